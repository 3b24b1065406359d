"""A pytest plugin: record coverage per test, and the duration of each."""

from __future__ import annotations

import os
from collections.abc import Generator

import coverage
import pytest

#: File for the tests that passed, each with a tab and its seconds. Only the process that starts the
#: workers writes it.
REPORT = "LAYERCTL_MUTATION_REPORT"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Name the test for this process and its forks; other processes use PYTEST_CURRENT_TEST."""
    measured = coverage.Coverage.current()
    if measured is not None:
        measured.switch_context(item.nodeid)
    return (yield)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Record a test that passed, in the process that receives all reports."""
    if "PYTEST_XDIST_WORKER" in os.environ or REPORT not in os.environ:
        return
    if report.when == "call" and report.passed:
        with open(os.environ[REPORT], "a", encoding="utf-8") as file:
            file.write(f"{report.nodeid}\t{report.duration:.3f}\n")
