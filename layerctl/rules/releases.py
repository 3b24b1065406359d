"""Releases of Linux, as in uname(2) and in text. Pure."""

from __future__ import annotations

import re

Release = tuple[int, int]


def release(text: str) -> Release | None:
    """Return the first two numbers of a version (`6.1.0-18-amd64`), or None."""
    found = re.match(r"\D*(\d+)\.(\d+)", text)
    return (int(found[1]), int(found[2])) if found else None


def before(kernel: str, than: Release) -> bool | None:
    """Tell whether a kernel is older than a release; None if its version is unknown."""
    found = release(kernel)
    return None if found is None else found < than
