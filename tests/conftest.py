"""Markers: `namespace` runs a whole test in a forked child with namespaces of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.support import in_namespace


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers",
        "namespace(user=False): run in a forked child with its own mount (and user) namespace; "
        "`lab` is an empty directory on a fresh tmpfs there, and the working directory",
    )


@pytest.fixture
def lab() -> Path:
    """Stand in for the directory that `namespace` makes."""
    return Path("/nonexistent")


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    marker = pyfuncitem.get_closest_marker("namespace")
    if marker is None:
        return None
    names = pyfuncitem._fixtureinfo.argnames
    arguments: dict[str, Any] = {name: pyfuncitem.funcargs[name] for name in names}

    def body(directory: Path) -> None:
        if "lab" in arguments:
            arguments["lab"] = directory
        pyfuncitem.obj(**arguments)

    in_namespace(body, user=marker.kwargs.get("user", False))
    return True
