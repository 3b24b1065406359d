"""Reports of real failures, each read from its command, error and log lines alone."""

from __future__ import annotations

import json

from layerctl.doctor.catalogue import CAUSES
from layerctl.doctor.score import main, score
from tests.recordings import DATA, text


def test_the_vocabulary_of_causes_is_in_the_catalogue() -> None:
    for cause in text("failures/causes.txt").split():
        assert CAUSES[cause].id == cause


def test_reports_are_explained() -> None:
    counts = score(json.loads(line) for line in text("failures/reports.jsonl").splitlines())
    assert counts.logged >= 15
    assert counts.told >= 80
    assert counts.benign >= 2
    assert counts.benign_failed == []
    assert counts.passed, counts.missed


def test_the_score_is_printed_and_decides_the_exit_code(tmp_path: object, capfd: object) -> None:
    assert main([str(DATA / "failures" / "reports.jsonl")]) == 0
