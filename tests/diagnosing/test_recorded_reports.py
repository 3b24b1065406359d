"""Texts of real failures and of ordinary errors, each read from its own lines alone."""

from __future__ import annotations

import pytest

from layerctl.diagnosing.catalogue import CAUSES
from tests.support.recordings import DATA, text
from tools.score import Score, lines, load, score


def test_the_vocabulary_of_causes_is_in_the_catalogue() -> None:
    assert set(text("failures/causes.txt").split()) <= set(CAUSES)


def _report(text: str, cause: str, **more: object) -> dict[str, object]:
    return {"id": "x", "text": text, "cause_id": cause, **more}


SAYS = "overlayfs: workdir and upperdir must reside under the same mount"


def test_the_scorer_counts_first_exact_three_and_false_alarms() -> None:
    counts = score(
        [
            _report(SAYS, "workdir-upperdir-different-mount"),
            _report(SAYS, "missing-workdir", also=["workdir-upperdir-different-mount"]),
            _report(SAYS, "missing-workdir"),
            _report(SAYS, "workdir-upperdir-different-mount", undecidable=True),
            _report(SAYS, "none"),
            _report("Hello, world", "none"),
        ]
    )
    assert (counts.told, counts.first, counts.exact, counts.three) == (4, 3, 2, 3)
    assert counts.negatives == 2
    assert len(counts.false_alarms) == 1
    assert len(counts.wrong_certain) == 2
    assert not counts.passed
    assert Score().passed


@pytest.mark.parametrize("half", ["build", "judge"])
def test_texts_are_explained_and_what_is_not_layered_is_not_blamed(half: str) -> None:
    """`build` was looked at while the reader was built, `judge` was not."""
    reports = load(str(DATA / "doctor" / f"{half}.jsonl"))
    named = {cause for report in reports for cause in (report["cause_id"], *report.get("also", ()))}
    assert named <= {"none", *CAUSES}
    counts = score(reports)
    assert counts.told >= 50
    assert counts.negatives >= 50
    told = "\n".join(lines(counts, every=True))
    assert counts.first >= 0.9 * counts.told, told
    assert counts.exact >= 0.8 * counts.told, told
    assert counts.three >= 0.93 * counts.told, told
    assert len(counts.false_alarms) <= 2, told
    assert len(counts.wrong_certain) <= 1, told


@pytest.mark.parametrize(
    "name",
    ["reports", "reports-2"],
)
def test_older_reports_have_no_false_alarm(name: str) -> None:
    counts = score(load(str(DATA / "failures" / f"{name}.jsonl")))
    told = "\n".join(lines(counts, every=True))
    assert counts.three >= 0.88 * counts.told, told
    assert not counts.false_alarms, told
