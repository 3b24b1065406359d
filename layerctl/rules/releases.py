"""Releases of Linux, as uname(2) and people write them. Pure."""

from __future__ import annotations

import re

Release = tuple[int, int]


def release(text: str) -> Release | None:
    """Return the first two numbers of a version (`6.1.0-18-amd64`), None where there are none."""
    found = re.match(r"\D*(\d+)\.(\d+)", text)
    return (int(found[1]), int(found[2])) if found else None


def before(kernel: str, than: Release) -> bool | None:
    """Tell whether a kernel is older than a release, None where it does not say."""
    found = release(kernel)
    return None if found is None else found < than
