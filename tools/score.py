"""Count how well `doctor --from` names the causes of reports: `make score REPORTS=FILES`.

A file has one report per line, as JSON: `cause_id`, and the text as `text` or as `command`,
`mount_error` and `kernel_log`. `cause_id` is `none` if no layered mount is at fault; `also` lists
causes that are equally right; `undecidable` marks a text that does not determine the cause, so that
a list of candidates is right and a certain cause is wrong.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from layerctl.diagnosing.reading.diagnose import read
from layerctl.model import Certainty, Severity

#: Minimum shares, and the maximum of false alarms.
FIRST_GOAL, EXACT_GOAL, THREE_GOAL, FALSE_GOAL = 0.90, 0.80, 0.93, 2


@dataclass(slots=True)
class Score:
    """The counts. `first` counts causes of `also` too, `exact` does not."""

    told: int = 0
    first: int = 0
    exact: int = 0
    three: int = 0
    negatives: int = 0
    false_alarms: list[str] = field(default_factory=list)
    wrong_certain: list[str] = field(default_factory=list)
    missed: list[str] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        """Whether every goal is met."""
        return (
            self.first >= FIRST_GOAL * self.told
            and self.exact >= EXACT_GOAL * self.told
            and self.three >= THREE_GOAL * self.told
            and len(self.false_alarms) <= FALSE_GOAL
            and not self.wrong_certain
        )


def text_of(report: Mapping[str, Any]) -> str:
    """Return what a user would paste: the text, or the command, its error and the log lines."""
    if "text" in report:
        return str(report["text"])
    log = report.get("kernel_log") or []
    lines = [log] if isinstance(log, str) else list(log)
    return "\n".join([report.get("command") or "", report.get("mount_error") or "", *lines])


def score(reports: Iterable[Mapping[str, Any]]) -> Score:
    """Read every report and count the results."""
    counts = Score()
    for report in reports:
        text = text_of(report)
        if text.strip():
            _count(counts, report, text)
    return counts


def _count(counts: Score, report: Mapping[str, Any], text: str) -> None:
    reading = read(text)
    causes = [one.cause for one in reading.findings]
    shown = f"{report['id']}: {report['cause_id']}, not {', '.join(causes[:3]) or '-'}"
    failed = any(one.severity is Severity.FAILURE for one in reading.findings)
    wanted = {report["cause_id"], *report.get("also", ())}
    if report["cause_id"] == "none":
        counts.negatives += 1
        if failed:
            counts.false_alarms.append(shown)
        return
    if _is_benign(report) and failed:
        counts.false_alarms.append(shown)
    counts.told += 1
    if report.get("undecidable"):
        # the text does not determine the cause: any order of candidates is right
        found = bool(wanted & set(causes[:3]))
        counts.first += found
        counts.exact += found
    else:
        counts.first += bool(wanted & set(causes[:1]))
        counts.exact += causes[:1] == [report["cause_id"]]
    counts.three += bool(wanted & set(causes[:3]))
    if not wanted & set(causes[:1]):
        counts.missed.append(shown)
    certain = [one.cause for one in reading.findings[:1] if one.certainty is Certainty.CERTAIN]
    if certain and (certain[0] not in wanted or report.get("undecidable")):
        counts.wrong_certain.append(shown)


def _is_benign(report: Mapping[str, Any]) -> bool:
    environment = report.get("environment") or {}
    notes = environment.get("notes", "") if isinstance(environment, dict) else str(environment)
    return bool(notes.startswith("outcome=benign") or report["cause_id"].startswith("benign-"))


def lines(counts: Score, *, every: bool) -> list[str]:
    """Return the counts as text; with `every`, each miss too."""

    def share(number: int, of: int) -> str:
        return f"{number} of {of} ({100 * number / of:.0f} %)" if of else "none"

    out = [
        f"cause first: {share(counts.first, counts.told)}",
        f"exactly that cause: {share(counts.exact, counts.told)}",
        f"among the first three: {share(counts.three, counts.told)}",
        f"false alarms: {len(counts.false_alarms)} (of {counts.negatives} texts without a cause)",
        f"wrong causes called certain: {len(counts.wrong_certain)}",
    ]
    if every:
        out += [f"  missed {one}" for one in counts.missed]
        out += [f"  false alarm {one}" for one in counts.false_alarms]
        out += [f"  wrongly certain {one}" for one in counts.wrong_certain]
    return out


def load(path: str) -> list[dict[str, Any]]:
    """Return the reports of a file."""
    return [json.loads(line) for line in Path(path).read_text().splitlines() if line.strip()]


def main(arguments: list[str]) -> int:
    """Print the counts over all files; return 0 if the goals are met."""
    parser = argparse.ArgumentParser(description="Count the reports that doctor --from explains.")
    parser.add_argument("files", nargs="+", help="reports, one JSON object per line")
    parser.add_argument("-v", "--verbose", action="store_true", help="show each miss")
    asked = parser.parse_args(arguments)
    counts = score(one for path in asked.files for one in load(path))
    sys.stdout.write("\n".join(lines(counts, every=asked.verbose)) + "\n")
    return 0 if counts.passed else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
