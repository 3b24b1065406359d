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


@pytest.mark.namespace
def test_each_option_may_have_its_own_o(lab: Path) -> None:
    layers(lab)
    os.mknod(lab / "u/gone", stat.S_IFCHR, 0)
    words = ("-o", f"upperdir={lab}/u", "-o", f"workdir={lab}/w")
    assert fsck(lab, "-n", *words, options=f"lowerdir={lab}/l") == 4


@pytest.mark.namespace
def test_what_the_kernel_would_mend_itself_is_mended_too(lab: Path) -> None:
    layers(lab)
    for layer in "lu":
        (lab / layer / "d").mkdir()
    assert fsck(lab, "-n") == 0
    assert fsck(lab, "-p") == 1
    assert os.getxattr(lab / "u", "trusted.overlay.impure") == b"y"
    assert fsck(lab, "-p") == 0


@pytest.mark.namespace
@pytest.mark.parametrize(("name", "expected"), [("metacopy", 4), ("news", 0)])
def test_what_cannot_be_corrected_counts_unless_it_is_harmless(
    lab: Path, name: str, expected: int
) -> None:
    layers(lab)
    (lab / "u/f").touch()
    (lab / "l/f").write_text("longer")
    os.setxattr(lab / "u/f", f"trusted.overlay.{name}", b"")
    options = f"lowerdir={lab}/l,upperdir={lab}/u,workdir={lab}/w,metacopy=on"
    assert fsck(lab, "-y", options=options) == expected
