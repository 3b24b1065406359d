"""The error for a missing library; imports no library itself."""

from __future__ import annotations

import sys

from layerctl.errors import RefusedError

LIBRARIES = ("click", "psutil", "rich")


def missing(error: ImportError) -> RefusedError | None:
    """Return the error for a failed import, or None if it is a bug instead of a missing library."""
    name = (error.name or "").partition(".")[0]
    if name not in LIBRARIES:
        return None
    packages = " ".join(f"python3-{one}" for one in LIBRARIES)
    return RefusedError(
        "missing-library",
        f"the Python library {name} is not installed for {sys.executable}",
        why=str(error),
        hint="install the libraries (this is for Debian), or install layerctl with pipx",
        commands=(f"apt-get install {packages}",),
    )
