"""Texts of real failures and of ordinary errors, each read from its own lines alone."""

from __future__ import annotations

from layerctl.doctor.catalogue import CAUSES
from tests.recordings import text
from tools.score import Score, score


def test_the_vocabulary_of_causes_is_in_the_catalogue() -> None:
    for cause in text("failures/causes.txt").split():
        assert CAUSES[cause].id == cause


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
