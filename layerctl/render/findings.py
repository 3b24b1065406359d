"""Findings, for scripts and for people."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from layerctl.codecs.escape import printable
from layerctl.model import Certainty, Finding, Severity
from layerctl.render.human import signs, wrapped
from layerctl.render.json import Document, finding_document
from layerctl.rules.findings import verdict
from layerctl.rules.words import count

if TYPE_CHECKING:
    from layerctl.diagnosing.checks.check import Report
    from layerctl.diagnosing.reading.result import Reading
    from layerctl.diagnosing.state import State

_COLOURS = {Severity.FAILURE: "31;1", Severity.WARNING: "33;1", Severity.INFO: "36"}


def _mark(severity: Severity) -> str:
    others = {Severity.WARNING: "!", Severity.INFO: "i"}
    return others.get(severity) or signs().bad


def document(report: Report, *, strict: bool = False) -> Document:
    """Return a report of `doctor` in its published shape."""
    return {
        "verdict": verdict(report.findings, strict=strict),
        "findings": [finding_document(one) for one in report.findings],
        "checks": [
            {"check": one.name, "what": one.well, "causes": list(one.causes)}
            for one in report.checks
        ],
    }


def state_document(state: State, *, strict: bool = False) -> Document:
    """Return a report on the system in its published shape."""
    return {
        **document(state.report, strict=strict),
        "machine": [row._asdict() for row in state.rows],
    }


def reading_document(reading: Reading, *, strict: bool = False) -> Document:
    """Return the result of reading a text: ranked findings with certainty; noise; how to decide."""
    return {
        "verdict": verdict(reading.findings, strict=strict),
        "findings": [finding_document(one) for one in reading.findings],
        "noise": [{"line": one.line, "meaning": one.meaning} for one in reading.noise],
        "decide": list(reading.decide),
        "others": [{"line": one.line, "meaning": one.meaning} for one in reading.others],
        "unsaid": reading.unsaid,
        "checks": [],
    }


def lines(finding: Finding, *, colour: bool = False, note: str = "") -> list[str]:
    """Return a finding as lines of text: title, evidence, why and fix."""
    mark = f"{_mark(finding.severity)} {finding.title}"
    if colour:
        mark = f"\x1b[{_COLOURS[finding.severity]}m{mark}\x1b[0m"
    out = [f"{mark}  [{finding.cause}]{note}"]
    out += [f"    {printable(text)}" for text in finding.evidence]
    out += [f"  why:  {text}" for text in wrapped(finding.why)]
    if finding.fix.text:
        out += [f"  fix:  {text}" for text in wrapped(printable(finding.fix.text))]
    out += [f"    $ {printable(command)}" for command in finding.fix.commands]
    return out


def check_lines(report: Report) -> Iterator[str]:
    """Yield a line for each check that passed, and for each finding of one that did not."""
    found = {one.cause: one for one in reversed(report.findings)}  # of several the worst
    for check in report.checks:
        findings = [found[cause] for cause in check.causes if cause in found]
        for one in findings:
            yield f"{_mark(one.severity)} {one.title}  [{one.cause}]"
        if not findings:
            yield f"{signs().good} {check.well}"


def state_lines(state: State, *, verbose: bool) -> list[str]:
    """Return the state of the system by group; without `verbose`, good states are summarized."""
    marks = signs().marks
    out: list[str] = []
    for group in dict.fromkeys(row.group for row in state.rows):
        rows = [row for row in state.rows if row.group == group]
        bad = [row for row in rows if row.well is False]
        if not (verbose or bad or group == "types"):
            out.append(f"{group}: {marks[True]} all {len(rows)}")
            continue
        out.append(group)
        for row in rows if verbose or group == "types" else bad:
            out.append(f"  {marks[row.well]} {row.what}: {row.state}")
        good = sum(row.well is True for row in rows)
        if not verbose and bad and good:
            out.append(f"  {marks[True]} {good} more {'is' if good == 1 else 'are'} available")
    return out


def summary(findings: Sequence[Finding], *, lacking: int = 0, all_shown: bool = False) -> str:
    """Return a one-line verdict, with the number of notes that were not shown.

    `lacking` is the number of unavailable features, `all_shown` whether notes were shown.
    """
    failures, warnings, notes = (sum(one.severity is kind for one in findings) for kind in Severity)
    if failures:
        text = count(failures, "failure")
        text += f", {count(warnings, 'warning')}" if warnings else ""
    elif warnings:
        text = count(warnings, "warning")
    elif lacking:
        text = f"no problems found; features marked {signs().bad} are not available here"
    else:
        text = "all is well"
    if all_shown or not notes:
        return text
    return f"{text}; {count(notes, 'note')}, -v shows {'it' if notes == 1 else 'them'}"


def reading_lines(reading: Reading, *, colour: bool, verbose: bool) -> list[str]:
    """Return what a text says: certain and first diagnoses in full, the others on one line each."""
    out: list[str] = []
    others = []
    if reading.unsaid:
        out += [f"{signs().bad} {reading.unsaid}", ""]
    for index, one in enumerate(reading.findings):
        certain = one.certainty is Certainty.CERTAIN
        if certain or (not index and not reading.unsaid) or verbose:
            text = "" if certain else f"  ({one.certainty.value})"
            out += [*lines(one, colour=colour, note=text), ""]
        elif one.severity is not Severity.INFO:
            others.append(one)
    if others:
        start = "possible causes" if reading.unsaid else "other candidates"
        out.append(f"{start}, most likely first (see layerctl explain CAUSE):")
        out += [f"    {one.title}  [{one.cause}]  ({one.certainty.value})" for one in others]
        out.append("")
    if reading.decide:
        out += ["to find out which:", *(f"    $ {printable(one)}" for one in reading.decide), ""]
    if reading.noise:
        out.append("harmless lines:")
        for noise in reading.noise:
            out += [f"    {printable(noise.line)}", f"      {noise.meaning}"]
        out.append("")
    if reading.others:
        out.append("unrelated to layered mounts:")
        for other in reading.others:
            out += [f"    {printable(other.line)}", f"      {other.meaning}"]
        out.append("")
    return [*out, reading_summary(reading)]


def reading_summary(reading: Reading) -> str:
    """Return a one-line summary of a finding."""
    certain = sum(one.certainty is Certainty.CERTAIN for one in reading.findings)
    if certain:
        return f"{count(certain, 'cause')} identified in the text"
    bad = [one for one in reading.findings if one.severity is not Severity.INFO]
    if bad:
        many = f"{len(bad)} candidates, most likely first"
        return many if len(bad) > 1 else "1 likely cause"
    return "no problem with a layered mount" if reading.others else "no problems found in the text"
