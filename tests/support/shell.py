"""What shell commands make of a lab before a test looks at it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

from tests.support.plans import make

BASE = ("l", "l2", "u", "w", "m")


def sh(script: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run shell commands; what they say is in the result."""
    return subprocess.run(
        ["sh", "-c", script], capture_output=True, text=True, env={**os.environ, **environment}
    )


def good(script: str) -> None:
    """Run shell commands that must succeed."""
    done = sh(script)
    assert done.returncode == 0, (script, done.stderr)


def let_go(lab: Path) -> None:
    """Take down every mount of a lab: a FUSE daemon holds its namespace, which holds the daemon."""
    os.chdir("/")
    sh(f"umount -l -R {lab}")


def dirs(*names: str) -> Callable[[Path], None]:
    """Return a preparation that makes directories, each lower layer with a file in it."""
    return lambda _lab: make(*names)


def shell(script: str, *names: str) -> Callable[[Path], None]:
    """Return a preparation by shell commands, after making directories."""

    def prepare(_lab: Path) -> None:
        make(*names)
        good(script)

    return prepare
