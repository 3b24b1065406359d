"""`fsck.overlay`: the arguments and exit bits of fsck(8)."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import ROOT


def fsck(lab: Path, *arguments: str, options: str = "") -> int:
    link = lab / "fsck.overlay"
    if not link.exists():
        link.write_text("import layerctl.__main__\nlayerctl.__main__.program()\n")
    words = options or f"lowerdir={lab}/l,upperdir={lab}/u,workdir={lab}/w"
    done = subprocess.run(
        [sys.executable, link, "-o", words, *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True,
    )  # fmt: skip
    assert "Traceback" not in done.stderr
    return done.returncode


def layers(lab: Path) -> None:
    for name in ("l", "u", "w"):
        (lab / name).mkdir()


@pytest.mark.namespace
@pytest.mark.parametrize("argument", ["-n", "-p", "-y", "-v"])
def test_clean_layers(lab: Path, argument: str) -> None:
    layers(lab)
    assert fsck(lab, argument) == 0


@pytest.mark.namespace
def test_what_is_safe_is_corrected(lab: Path) -> None:
    layers(lab)
    os.mknod(lab / "u/gone", stat.S_IFCHR, 0)
    assert fsck(lab, "-n") == 4
    assert fsck(lab, "-p") == 1
    assert fsck(lab, "-n") == 0


@pytest.mark.namespace
def test_what_is_not_safe_is_left_to_y(lab: Path) -> None:
    layers(lab)
    (lab / "l/d").mkdir()
    (lab / "u/d").mkdir()
    os.setxattr(lab / "u/d", "trusted.overlay.redirect", b"//d")
    options = f"lowerdir={lab}/l,upperdir={lab}/u,workdir={lab}/w,redirect_dir=on"
    assert fsck(lab, "-p", options=options) == 4
    assert fsck(lab, "-y", options=options) == 1
    assert fsck(lab, options=options) == 0


@pytest.mark.namespace
def test_wrong_usage_and_missing_layers(lab: Path) -> None:
    layers(lab)
    assert fsck(lab, "-p", "-y") == 16
    assert fsck(lab, "--bogus") == 16
    assert fsck(lab, options=f"lowerdir={lab}/none,upperdir={lab}/u,workdir={lab}/w") == 8
