"""Where the markers of a layer are: what work on it can leave out."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from layerctl.inspecting.resolvers import marks
from layerctl.kernel import layers

PREFIX = "trusted.overlay."


def read(layer: Path) -> marks.Marks:
    fd = layers.open_root(str(layer))
    try:
        return marks.read(fd, PREFIX)
    finally:
        os.close(fd)


@pytest.mark.namespace
def test_markers_of_files_and_directories_are_found(lab: Path) -> None:
    for name in ("plain/deep", "files/deep", "white/deep", "own/deep", "escaped/deep"):
        (lab / name).mkdir(parents=True)
        (lab / name / "file").write_text("x")
    os.setxattr(lab / "files/deep/file", f"{PREFIX}metacopy", b"")
    os.mknod(lab / "white/deep/gone", stat.S_IFCHR, 0)
    os.setxattr(lab / "own/deep", f"{PREFIX}opaque", b"y")
    os.setxattr(lab / "escaped/deep/file", f"{PREFIX}overlay.metacopy", b"")
    os.setxattr(lab / "plain/deep/file", "trusted.other", b"")
    found = read(lab)
    below = sorted(path.relative_to(lab) for path in lab.rglob("*") if path.is_dir())
    assert [str(path) for path in below if found.in_tree(str(path))] == [
        "files", "files/deep", "own", "own/deep", "white", "white/deep",
    ]  # fmt: skip
    assert [str(path) for path in below if found.in_files(str(path))] == ["files/deep"]
    assert found.in_tree("")
    assert found.first == {"metacopy": "files/deep/file", "opaque": "own/deep"}


@pytest.mark.namespace
def test_any_directory_may_have_markers_once_too_many_have(
    lab: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(marks, "_MOST", 3)
    for number in range(4):
        (lab / f"d{number}").mkdir()
        (lab / f"d{number}/file").write_text("x")
        os.setxattr(lab / f"d{number}/file", f"{PREFIX}origin", b"")
    (lab / "plain").mkdir()
    found = read(lab)
    assert found.in_tree("plain")
    assert found.in_files("plain")
    assert found.first.keys() == {"origin"}
