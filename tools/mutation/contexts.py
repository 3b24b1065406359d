"""A plugin for pytest: keep coverage by the test that runs, and how long each took."""

from __future__ import annotations

import os
from collections.abc import Generator

import coverage
import pytest

#: Where to write each test that passed, a tab and its seconds: only the process that has it in its
#: environment and starts the workers does.
REPORT = "LAYERCTL_MUTATION_REPORT"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Name the test for this process and its forks; PYTEST_CURRENT_TEST does it for others."""
    measured = coverage.Coverage.current()
    if measured is not None:
        measured.switch_context(item.nodeid)
    return (yield)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Note a test that passed, in the process that hears of all of them."""
    if "PYTEST_XDIST_WORKER" in os.environ or REPORT not in os.environ:
        return
    if report.when == "call" and report.passed:
        with open(os.environ[REPORT], "a", encoding="utf-8") as file:
            file.write(f"{report.nodeid}\t{report.duration:.3f}\n")
