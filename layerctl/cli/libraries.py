"""What is said where a library that the program imports is not there: imported without any."""

from __future__ import annotations

import sys

from layerctl.errors import RefusedError

LIBRARIES = ("click", "psutil", "rich")


def missing(error: ImportError) -> RefusedError | None:
    """Return what to tell of a failed import, None where it is no library but a bug."""
    name = (error.name or "").partition(".")[0]
    if name not in LIBRARIES:
        return None
    packages = " ".join(f"python3-{one}" for one in LIBRARIES)
    return RefusedError(
        "missing-library",
        f"the Python library {name} is not installed for {sys.executable}",
        why=str(error),
        hint=f"on Debian: apt-get install {packages}; or install layerctl with pipx, which brings "
        "the libraries along",
    )
