"""Every fault that a check finds in an overlay: how it is built, and what becomes of it."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from layerctl.working.check.fault import Mending
from tests.support.stacks import Case, Mounted, make_case

PREFIX = "trusted.overlay."


def mark(path: Path, name: str, value: bytes = b"y") -> Path:
    os.setxattr(path, PREFIX + name, value, follow_symlinks=False)
    return path


def whiteout(path: Path) -> Path:
    os.mknod(path, stat.S_IFCHR, 0)
    return path


def directory(path: Path, **marks: bytes) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    for name, value in marks.items():
        mark(path, name, value)
    return path


def file(path: Path, text: str = "", **marks: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    for name, value in marks.items():
        mark(path, name, value)
    return path


class Row(NamedTuple):
    """A fault: how it is built, what is found, and what the merged tree is once it is mended."""

    build: Callable[[Path], object]
    causes: set[str]
    mending: Mending
    options: str = ""
    mended: Callable[[dict[str, Any]], bool] = bool
    lowers: tuple[str, ...] = ("l",)
    data: tuple[str, ...] = ()


def aged(path: Path) -> Path:
    os.utime(path, ns=(5, 7))
    return path


def sized(path: Path, size: int) -> Path:
    os.truncate(path, size)
    return path


def _deep(lab: Path) -> None:
    directory(lab / "w/work/x/y/z")


def _two_origins(lab: Path) -> None:
    file(lab / "l/one", "x")
    with Mounted(make_case(str(lab), [f"{lab}/l"], upper=f"{lab}/u")):
        (lab / "m/one").chmod(0o600)
    subprocess.run(["cp", "-a", lab / "u/one", lab / "u/two"], check=True)


def _other_lower(lab: Path) -> None:
    with Mounted(make_case(str(lab), [f"{lab}/l"], upper=f"{lab}/u", options="index=on")):
        (lab / "m/new").touch()
    shutil.rmtree(lab / "l")
    directory(lab / "spare")
    directory(lab / "l")
    file(lab / "l/file", "x")


def _copied_upper(lab: Path) -> None:
    with Mounted(make_case(str(lab), [f"{lab}/l"], upper=f"{lab}/u", options="index=on")):
        (lab / "m/new").touch()
    subprocess.run(["cp", "-a", lab / "u", lab / "copy"], check=True)
    shutil.rmtree(lab / "u")
    (lab / "copy").rename(lab / "u")


def _foreign_in_index(lab: Path) -> None:
    with Mounted(make_case(str(lab), [f"{lab}/l"], upper=f"{lab}/u", options="index=on")):
        (lab / "m/new").touch()
    file(lab / "w/index/stranger")


def _other_type(lab: Path) -> None:
    file(lab / "l/one", "x")
    directory(lab / "l/dir")
    with Mounted(make_case(str(lab), [f"{lab}/l"], upper=f"{lab}/u")):
        (lab / "m/dir").chmod(0o700)
    origin = os.getxattr(lab / "u/dir", PREFIX + "origin")
    file(lab / "u/one", "y", origin=origin)


def _impure(lab: Path) -> None:
    file(lab / "l/one", "x")
    with Mounted(make_case(str(lab), [f"{lab}/l"], upper=f"{lab}/u")):
        (lab / "m/new").mkdir()
        (lab / "m/one").rename(lab / "m/new/one")
    os.removexattr(lab / "u/new", PREFIX + "impure")


def _moved_twice(lab: Path) -> None:
    """Move a directory, and one in it out of it; then lose the whiteout of that one."""
    file(lab / "l/q/a/x", "1")
    case = make_case(str(lab), [f"{lab}/l"], upper=f"{lab}/u", options="redirect_dir=on")
    with Mounted(case):
        (lab / "m/q").rename(lab / "m/p")
        (lab / "m/p/a").rename(lab / "m/z")
    (lab / "u/p/a").unlink()


def _linked(lab: Path) -> Path:
    """Change one name of two, with an index; return the copy."""
    os.link(file(lab / "l/one", "x"), lab / "l/two")
    with Mounted(make_case(str(lab), [f"{lab}/l"], upper=f"{lab}/u", options="index=on")):
        (lab / "m/one").chmod(0o600)
    return lab / "u/one"


SAFE, ASK, REPORT = Mending.SAFE, Mending.ASK, Mending.REPORT
TWO = ("l", "k")
ROWS: dict[str, Row] = {
    "1 new directory": Row(
        lambda lab: whiteout(directory(lab / "u/new") / "x"),
        {"whiteout-not-merged"}, SAFE, mended=lambda tree: "new/x" not in tree,
    ),
    "1 opaque directory": Row(
        lambda lab: (file(lab / "l/d/x"), whiteout(directory(lab / "u/d", opaque=b"y") / "x")),
        {"whiteout-not-merged"}, SAFE, mended=lambda tree: "d/x" not in tree,
    ),
    "1 lower directory": Row(
        lambda lab: whiteout(directory(lab / "l/d") / "x"),
        {"whiteout-not-merged"}, SAFE, mended=lambda tree: "d/x" not in tree,
    ),
    "2": Row(lambda lab: whiteout(lab / "u/x"), {"whiteout-over-nothing"}, SAFE),
    "3": Row(
        lambda lab: (file(lab / "l/x"), file(lab / "u/x", whiteout=b"")),
        {"xattr-whiteout-in-upper"}, SAFE, mended=lambda tree: "x" not in tree,
    ),
    "3 lower, not announced": Row(
        lambda lab: (file(lab / "l/x", whiteout=b""), file(lab / "k/x")),
        {"xattr-whiteout-not-announced"}, SAFE, "", lambda tree: "x" not in tree, TWO,
    ),
    "3 lowest": Row(
        lambda lab: file(lab / "l/d/x", whiteout=b""), {"xattr-whiteout-not-announced"}, SAFE,
    ),
    "2 by attribute": Row(
        lambda lab: (directory(lab / "k/d"), directory(lab / "l/d", opaque=b"x"),
                     file(lab / "l/d/x", whiteout=b"")),
        {"whiteout-over-nothing"}, SAFE, lowers=TWO,
    ),
    "4": Row(
        lambda lab: file(lab / "u/x", "data", whiteout=b""), {"xattr-whiteout-not-empty"}, REPORT
    ),
    "5": Row(
        lambda lab: (file(lab / "l/d/x"), directory(lab / "u/d", opaque=b"1")),
        {"opaque-value"}, ASK, mended=lambda tree: "d/x" in tree,
    ),
    "6 file": Row(
        lambda lab: file(lab / "u/x", "y", opaque=b"y"), {"opaque-without-effect"}, SAFE
    ),
    "6 root": Row(lambda lab: mark(lab / "u", "opaque"), {"opaque-without-effect"}, SAFE),
    "6 lower root": Row(
        lambda lab: mark(lab / "l", "opaque"), {"opaque-without-effect"}, ASK, lowers=TWO
    ),
    "7": Row(
        lambda lab: directory(lab / "u/d", redirect=b"/nothing"),
        {"redirect-to-nothing"}, SAFE, "redirect_dir=on",
    ),
    "7 same name": Row(
        lambda lab: (file(lab / "l/d/x"), directory(lab / "u/d", redirect=b"/nothing")),
        {"redirect-to-nothing"}, ASK, "redirect_dir=on", lambda tree: "d/x" not in tree,
    ),
    "7 file of the same name": Row(
        lambda lab: (file(lab / "l/d"), directory(lab / "u/d", redirect=b"/nothing")),
        {"redirect-to-nothing"}, SAFE, "redirect_dir=on", lambda tree: not tree["d"].error,
    ),
    "7 file": Row(
        lambda lab: (file(lab / "l/f"), directory(lab / "u/d", redirect=b"/f")),
        {"redirect-to-nothing"}, SAFE, "redirect_dir=on",
    ),
    **{
        f"8 {value!r}": Row(
            lambda lab, value=value: directory(lab / "u/d", redirect=value),  # type: ignore[misc]
            {"redirect-invalid"}, ASK, "redirect_dir=on", lambda tree: not tree["d"].error,
        )
        for value in (b"", b"//b", b"a/b", b"..")
    },
    "8 file": Row(
        lambda lab: (file(lab / "l/f"), file(lab / "u/f", metacopy=b"", redirect=b"a/b")),
        {"redirect-invalid"}, ASK, "metacopy=on", lambda tree: not tree["f"].error,
    ),
    "9": Row(
        lambda lab: (directory(lab / "l/a"), directory(lab / "u/d", redirect=b"/a"),
                     whiteout(lab / "u/a")),
        {"redirect-not-followed"}, REPORT, "redirect_dir=nofollow",
    ),
    "10": Row(
        lambda lab: (file(lab / "l/a/x"), directory(lab / "u/b", redirect=b"a")),
        {"redirect-uncovered"}, SAFE, "redirect_dir=on",
        lambda tree: "a" not in tree and not tree["b"].error and "b/x" in tree,
    ),
    "10 parent missing": Row(
        lambda lab: (file(lab / "l/p/a/x"), aged(lab / "l/p"),
                     directory(lab / "u/b", redirect=b"/p/a")),
        {"redirect-uncovered"}, SAFE, "redirect_dir=on",
        lambda tree: "b/x" in tree and "p/a" not in tree and tree["p"].modified == 7,
    ),
    "10 file": Row(
        lambda lab: (file(lab / "l/a", "x"),
                     sized(file(lab / "u/b", metacopy=b"", redirect=b"a"), 1)),
        {"redirect-uncovered"}, SAFE, "metacopy=on",
        lambda tree: tree["b"].content == b"x" and "a" not in tree,
    ),
    "10 below a moved directory": Row(
        _moved_twice, {"redirect-uncovered"}, SAFE, "redirect_dir=on",
        lambda tree: "z/x" in tree and "p/a" not in tree and not tree["p"].error,
    ),
    "11 merged": Row(
        lambda lab: (file(lab / "l/a/x"), directory(lab / "u/a"),
                     directory(lab / "u/b", redirect=b"a")),
        {"redirect-twice"}, ASK, "redirect_dir=on",
        lambda tree: "a/x" in tree and not tree["b"].error,
    ),
    "11 files": Row(
        lambda lab: (file(lab / "l/a"), whiteout(lab / "u/a"),
                     file(lab / "u/b", metacopy=b"", redirect=b"a"),
                     file(lab / "u/c", metacopy=b"", redirect=b"a")),
        {"redirect-twice"}, ASK, "metacopy=on", lambda tree: not tree["b"].error,
    ),
    "12": Row(
        lambda lab: (file(lab / "k/a/x"), file(lab / "k/b/y"),
                     directory(lab / "u/b", redirect=b"a"), directory(lab / "l/a", redirect=b"b")),
        {"redirect-uncovered"}, ASK, "redirect_dir=on",
        lambda tree: "b/y" in tree and "a" not in tree, TWO,
    ),
    "11": Row(
        lambda lab: (file(lab / "l/a/x"), whiteout(lab / "u/a"),
                     directory(lab / "u/b", redirect=b"a"), directory(lab / "u/c", redirect=b"a")),
        {"redirect-twice"}, ASK, "redirect_dir=on",
        lambda tree: "b/x" in tree and not tree["c"].error and "c/x" not in tree,
    ),
    "13": Row(
        lambda lab: file(lab / "u/f", metacopy=b""), {"metacopy-without-data"}, ASK, "metacopy=on",
        lambda tree: "f" not in tree,
    ),
    "13 directory": Row(
        lambda lab: (directory(lab / "l/f"), file(lab / "u/f", metacopy=b"")),
        {"metacopy-without-data"}, ASK, "metacopy=on", lambda tree: not tree["f"].error,
    ),
    "14": Row(
        lambda lab: (file(lab / "l/f"), file(lab / "u/f", metacopy=b"")),
        {"metacopy-not-followed"}, REPORT, "metacopy=off",
    ),
    "15": Row(
        lambda lab: (file(lab / "l/f", "x"), file(lab / "u/f", metacopy=b"ab")),
        {"metacopy-too-short"}, ASK, "metacopy=on", lambda tree: tree["f"].content == b"x",
    ),
    "16": Row(
        lambda lab: (file(lab / "l/f"), file(lab / "u/f", metacopy=b"\1\4\0\0")),
        {"metacopy-invalid"}, ASK, "metacopy=on",
    ),
    "17": Row(
        lambda lab: (file(lab / "l/f", "long"), file(lab / "u/f", metacopy=b"")),
        {"metacopy-size"}, REPORT, "metacopy=on",
    ),
    "18": Row(
        lambda lab: (file(lab / "l/f", "1234"), file(lab / "u/f", "abcd", metacopy=b"")),
        {"metacopy-over-data"}, ASK, "metacopy=on", lambda tree: tree["f"].content == b"1234",
    ),
    "19": Row(
        lambda lab: file(lab / "l/f", metacopy=b"", redirect=b"/blob"),
        {"data-file-missing"}, REPORT, "metacopy=on", data=("d",),
    ),
    "19 relative": Row(
        lambda lab: (file(lab / "l/f", metacopy=b"", redirect=b"blob"), file(lab / "d/blob")),
        {"data-file-missing"}, REPORT, "metacopy=on", data=("d",),
    ),
    "20 none": Row(
        lambda lab: (file(lab / "l/f"), file(lab / "u/f", metacopy=b"\0\44\0\1" + bytes(32))),
        {"verity-digest-wrong"}, REPORT, "metacopy=on,verity=on",
    ),
    "20": Row(
        lambda lab: (file(lab / "l/f"), file(lab / "u/f", metacopy=b"")),
        {"verity-digest-missing"}, REPORT, "metacopy=on,verity=require",
    ),
    "21": Row(lambda lab: file(lab / "u/f", "x", origin=b"garbage"), {"origin-invalid"}, SAFE),
    "22": Row(_other_type, {"origin-of-another-type"}, SAFE),
    "23": Row(
        _two_origins, {"origin-twice"}, SAFE,
        mended=lambda tree: not tree["one"].error and not tree["two"].error,
    ),
    "26": Row(_impure, {"impure-missing"}, SAFE),
    "27": Row(_other_lower, {"index-other-lower"}, ASK, "index=on"),
    "28": Row(_copied_upper, {"index-other-upper"}, ASK, "index=on"),
    "29": Row(_foreign_in_index, {"index-foreign-name"}, ASK, "index=on"),
    "32": Row(lambda lab: file(lab / "u/f", "x", nlink=b"many"), {"nlink-invalid"}, SAFE),
    "32 indexed": Row(
        lambda lab: mark(_linked(lab), "nlink", b"many"), {"nlink-invalid"}, SAFE, "index=on",
    ),
    "32 missing": Row(
        lambda lab: os.removexattr(_linked(lab), PREFIX + "nlink"),
        {"nlink-invalid"}, SAFE, "index=on",
    ),
    "33": Row(lambda lab: file(lab / "u/f", "x", protattr=b"z"), {"protattr-invalid"}, ASK),
    "34": Row(lambda lab: mark(lab / "u", "uuid", b"short"), {"uuid-invalid"}, SAFE),
    "35": Row(
        lambda lab: (mark(lab / "u", "uuid", bytes(16)), directory(lab / "copy", uuid=bytes(16))),
        {"uuid-twice"}, ASK,
    ),
    "36": Row(
        lambda lab: directory(lab / "w/work/incompat/newer"), {"workdir-incompat"}, ASK
    ),
    "37": Row(_deep, {"workdir-too-deep"}, SAFE),
    "38": Row(
        lambda lab: subprocess.run(["chattr", "+i", file(lab / "w/work/file")], check=True),
        {"workdir-immutable"}, SAFE,
    ),
    "39 name space": Row(
        lambda lab: os.setxattr(directory(lab / "u/d"), "user.overlay.opaque", b"y"),
        {"foreign-marker"}, REPORT,
    ),
    "39 root": Row(lambda lab: mark(lab / "u", "news"), {"unknown-marker"}, REPORT),
    "39 unknown": Row(lambda lab: mark(file(lab / "u/f"), "news"), {"unknown-marker"}, REPORT),
    "39 aufs": Row(lambda lab: file(lab / "u/.wh.x"), {"aufs-name-in-overlay"}, REPORT),
    "40": Row(
        lambda lab: whiteout(directory(lab / "u/d", opaque=b"y") / ".wh..wh..opq"),
        {"fuse-opaque-device"}, SAFE,
    ),
}  # fmt: skip
#: Rows of which the kernel does not mount before they are mended.
REFUSED = {"27", "28", "29", "36"}


def prepare(lab: Path, row: Row) -> tuple[Case, tuple[str, ...]]:
    for name in ("u", "w", "m", *row.lowers, *row.data):
        directory(lab / name)
    row.build(lab)
    lowers, data = ([f"{lab}/{name}" for name in names] for names in (row.lowers, row.data))
    case = make_case(str(lab), lowers, data=data, upper=f"{lab}/u", options=row.options)
    if data:
        return case, ("-o", case.data)
    arguments = ("-u", f"{lab}/u", *(w for one in lowers for w in ("-l", one)), "-w", f"{lab}/w")
    return case, (*arguments, *(("-o", row.options) if row.options else ()))
