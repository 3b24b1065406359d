"""Markers: `namespace` runs a whole test in a forked child with namespaces of its own."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from tests.support import NoNamespaceError, in_namespace

#: Without aufs, which no CI machine has, there is nothing to run: `make test-aufs` brings a kernel.
collect_ignore = (
    [] if "\taufs\n" in Path("/proc/filesystems").read_text() else ["test_live_aufs.py"]
)


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers",
        "namespace(user=False, place=None): run in a forked child with its own mount (and user) "
        "namespace; `lab` is an empty directory there, and the working directory, on a fresh "
        "filesystem of the type that the fixture `backing` names, else tmpfs; "
        "mounted on `place` if it is said",
    )


@pytest.fixture
def lab() -> Path:
    """Stand in for the directory that `namespace` makes."""
    return Path("/nonexistent")


@pytest.fixture
def backing() -> str:
    """Return the type of the filesystem that `lab` is on."""
    return "tmpfs"


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    marker = pyfuncitem.get_closest_marker("namespace")
    if marker is None:
        return None
    user = marker.kwargs.get("user", False)
    names = pyfuncitem._fixtureinfo.argnames
    arguments: dict[str, Any] = {name: pyfuncitem.funcargs[name] for name in names}
    fs = str(pyfuncitem.funcargs.get("backing", "tmpfs"))

    def body(directory: Path) -> None:
        if "lab" in arguments:
            arguments["lab"] = directory
        pyfuncitem.obj(**arguments)

    in_namespace(body, user=user, fs=fs, place=marker.kwargs.get("place"))
    return True


#: A run has an overlay over everything, so that no layer is unused as long as it lasts.
_COVERING = ("test_run", "look-before-you-keep", "test_every_example", "test_startup")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """Let what covers every layer run alone; skip what an ordinary user may not do, and say why.

    As root that is a failure.
    """
    alone = any(word in item.nodeid for word in _COVERING)
    try:
        with Path(__file__).open() as lock:
            fcntl.flock(lock, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
            return (yield)
    except NoNamespaceError as error:
        if os.geteuid() == 0:
            raise
        pytest.skip(f"needs more privilege: {str(error).strip().splitlines()[-1]}")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Let nothing be skipped in continuous integration."""
    report = yield
    if report.skipped and os.environ.get("CI"):
        report.outcome = "failed"
        report.longrepr = f"skipped, which continuous integration must not: {report.longrepr}"
    return report
