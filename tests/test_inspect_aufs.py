"""What aufs makes of its branches, shape by shape; the truth is au_lkup_dentry's and fillvdir's."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import Any

import pytest

from layerctl.cli.main import main

#: Three branches: a name with a slash at its end is a directory, with `->` a symbolic link.
BRANCHES = (
    "d/ opq/ mix/ only2/ opq2/ d/top .wh.gone .wh.both both opq/.wh..wh..opq mix/m0 .wh..wh.aufs"
    " .wh.strange/ opq2/.wh..wh..opq opq2/zero only2/deep/ only2/deep/.wh.m"
    " d/.wh.under .wh.nothing .wh..wh..opq end cut/"
    " cut/.wh..wh..opq last/ cov",
    "d/ opq/ gone/ opq2/ hid/ d/mid gone/in both strange mix opq/one d/under opq2/.wh..wh..opq"
    " opq2/one .wh.lost d/.wh.low hides2 hid/.wh..wh..opq hid/.wh.q .wh.nothing .wh.end .wh.cut"
    " .wh.last .wh.cov",
    "d/ opq/ gone/ mix/ opq2/ hid/ hides2/ d/low opq/two mix/m2 lost opq2/two both strange hid/q"
    " d/under hides2/x file2 link-> end/ end/e cut/ cut/c last/ last/l .wh.never cov"
    " cut/.wh.w last/sub/ last/sub/.wh..wh..opq last/sub/.wh.v last/.wh..wh.aufs",
)


def grow(where: Path) -> list[str]:
    """Make the branches; return their paths."""
    paths = []
    for number, names in enumerate(BRANCHES):
        branch = where / f"b{number}"
        branch.mkdir()
        for name in names.split():
            if name.endswith("/"):
                (branch / name).mkdir()
            elif name.endswith("->"):
                (branch / name.removesuffix("->")).symlink_to("file2")
            else:
                (branch / name).touch()
        paths.append(str(branch))
    return paths


def inspected(
    capfdbinary: pytest.CaptureFixture[bytes],
    command: str,
    where: Path,
    permissions: str,
    *words: str,
    code: int | None = 0,
) -> Any:
    paths = grow(where) if not (where / "b0").exists() else [f"{where}/b{n}" for n in range(3)]
    flags = [
        f"-b{path}={permission}"
        for path, permission in zip(paths, permissions.split(), strict=True)
    ]
    open_before = os.listdir("/proc/self/fd")
    ended = main(["inspect", command, *flags, "--json", *words])
    assert code is None or ended == code
    assert os.listdir("/proc/self/fd") == open_before
    return json.loads(capfdbinary.readouterr().out)


def tree(document: Any) -> list[str]:
    """Return entries in few words: the path, its type, the branches, `!` where it is denied."""
    out = []
    for entry in document["entries"]:
        merged = [path[-1] for path in entry.get("merged_from", [entry["provider"]])]
        assert merged[0] == str(entry["layer"]) == entry["provider"][-1]
        mark = "" if entry["reachable"] else "!"
        out.append(f"{entry['path']} {entry['type']} {''.join(merged)}{mark}")
    return out


HONOURED = """both file 0!|cov file 0|cut dir 0|d dir 012|d/mid file 1|d/top file 0|end file 0
|file2 file 2|hid dir 1|hides2 file 1|last dir 0|link symlink 2|mix dir 02|mix/m0 file 0
|mix/m2 file 2|only2 dir 0|only2/deep dir 0|opq dir 0|opq2 dir 01|opq2/one file 1
|opq2/zero file 0"""
#: Where the second branch is `ro`, what its markers hid comes through.
NOT_HONOURED = """both file 0!|cov file 0|cut dir 0|d dir 012|d/low file 2|d/mid file 1
|d/top file 0|end file 0|file2 file 2|hid dir 12|hid/q file 2|hides2 file 1|last dir 02
|last/l file 2|last/sub dir 2|link symlink 2|lost file 2|mix dir 02|mix/m0 file 0|mix/m2 file 2
|only2 dir 0|only2/deep dir 0|opq dir 0|opq2 dir 0|opq2/zero file 0"""


@pytest.mark.parametrize(
    ("permissions", "words", "expected"),
    [
        ("rw ro+wh ro", (), HONOURED),
        ("rw rr+wh ro+wh", (), HONOURED),
        ("rw ro ro", (), NOT_HONOURED),
        ("rw ro ro", ("-o", "shwh"), NOT_HONOURED),  # which counts where it is read-only as a whole
    ],
)
def test_the_merged_tree(
    tmp_path: Path,
    capfdbinary: pytest.CaptureFixture[bytes],
    permissions: str,
    words: tuple[str, ...],
    expected: str,
) -> None:
    found = tree(inspected(capfdbinary, "merged", tmp_path, permissions, *words))
    assert found == expected.replace("\n", "").split("|")


def test_whiteouts_are_shown_where_they_are_asked_for(
    tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    document = inspected(capfdbinary, "merged", tmp_path, "ro+wh ro+wh ro+wh", "-o", "shwh,ro")
    shown = [line for line in tree(document) if ".wh." in line]
    assert [line for line in shown if "/" not in line] == [
        ".wh..wh..opq file 0", ".wh..wh.aufs file 0", ".wh.both file 0", ".wh.cov file 1",
        ".wh.cut file 1", ".wh.end file 1", ".wh.gone file 0", ".wh.last file 1",
        ".wh.lost file 1", ".wh.never file 2", ".wh.nothing file 0", ".wh.strange dir 0",
    ]  # fmt: skip
    assert "d/.wh.under file 0" in shown
    assert "d/.wh.low file 1" in shown
    story = inspected(
        capfdbinary, "merged", tmp_path, "ro+wh ro+wh ro+wh", "-o", "shwh,ro", ".wh.lost"
    )
    assert (story["visible"], story["reachable"], story["layer"]) == (True, True, 1)


#: Path, kind, layer: the layers hidden, the effect, a word of the reason, who made it useless.
MARKS = """
both aufs 0: 12 yes layer 2
gone aufs 0: 12 yes directory in layer 1 and the directory
nothing aufs 0: - no no lower layer
strange aufs 0: 12 yes file in layer 1
nothing aufs 1: - no already hides by 0
cov aufs 1: - no file in layer 0 covers by 0
cut aufs 1: - no directory in layer 0 is opaque by 0
end aufs 1: - no file in layer 0 covers by 0
last aufs 1: 2 yes directory in layer 2
lost aufs 1: 2 yes file in layer 2
never aufs 2: - no its branch is ro
only2/deep/m aufs 0: - no no lower layer
d/under aufs 0: 12 yes file in layer 2
d/low aufs 1: 2 yes file in layer 2
hid/q aufs 1: - no opaque directory by 1
cut opaque 0: - no it is new
hid opaque 1: 2 yes layer 2
opq opaque 0: 12 yes layer 1 and the directory in layer 2
opq2 opaque 0: - no layer 1 is also opaque
opq2 opaque 1: 2 yes layer 2
 opaque 0: - no root directory
cut/w aufs 2: - no inside a directory that the opaque directory in layer 0 hides by 0
last/sub opaque 2: - no inside a directory that the whiteout in layer 1 hides by 1
last/sub/v aufs 2: - no inside a directory that the whiteout in layer 1 hides by 1
"""


def marks(document: Any) -> dict[tuple[str, str, int], tuple[str, str, str, int | None]]:
    found = {}
    for one in document["whiteouts"]:
        assert os.path.lexists(one["marker"])
        assert one["marker"].split("/")[-1].startswith(".wh.")
        hides = "".join(map(str, one["hides"])) or "-"
        key = (one["path"], one["kind"], one["layer"])
        assert key not in found
        found[key] = (hides, one["effective"], one["reason"], one.get("by"))
    return found


def test_every_marker_and_what_it_does(
    tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    found = marks(inspected(capfdbinary, "whiteouts", tmp_path, "rw ro+wh ro"))
    expected = {}
    for line in MARKS.strip("\n").splitlines():
        key, _, rest = line.partition(": ")
        path, kind, layer = key.rsplit(" ", 2)
        hides, effect, words = rest.split(" ", 2)
        words, _, by = words.partition(" by ")
        expected[path, kind, int(layer)] = (hides, effect, words, int(by) if by else None)
    assert found.keys() == expected.keys()
    for where, (hides, effect, words, who) in expected.items():
        assert found[where][:2] == (hides, effect), where
        assert words in found[where][2], where
        assert found[where][3] == who, where


def test_markers_that_do_not_count(
    tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    found = marks(inspected(capfdbinary, "whiteouts", tmp_path, "rw ro ro"))
    for where in [("lost", "aufs", 1), ("d/low", "aufs", 1), ("hid", "opaque", 1)]:
        assert found[where][:2] == ("-", "no")
        assert "without +wh" in found[where][2]
    assert found["opq2", "opaque", 0][:2] == ("12", "yes")
    hides, effect, reason, by = found["opq2", "opaque", 1]
    assert (hides, effect, by) == ("-", "no", 0)
    assert "the opaque directory in layer 0" in reason


@pytest.mark.parametrize(
    ("path", "visible", "reachable", "states", "said"),
    [
        ("both", True, False, "provides hidden hidden", "layer 0"),
        ("gone", False, True, "whiteout hidden hidden", "hides the directory in layer 1 and"),
        ("mix", True, True, "provides hidden merged", "layer 0"),
        ("d", True, True, "provides merged merged", "layer 0"),
        ("d/low", False, True, "absent whiteout hidden", "whiteout in layer 1 hides the file"),
        ("hid", True, True, "absent provides hidden", "layer 1"),
        ("opq2", True, True, "provides merged hidden", "layer 0"),
        ("hides2/x", False, True, "absent absent hidden", "'hides2' is a file"),
        ("nosuch", False, True, "absent absent absent", "no layer has it"),
        ("last", True, True, "provides whiteout hidden", "layer 0"),
        # au_wh_test in whout.c: 'Invalid whiteout entry type', and EIO
        (
            "strange",
            False,
            False,
            "whiteout hidden hidden",
            "not a regular file, so a lookup fails",
        ),
    ],
)
def test_stories(
    tmp_path: Path,
    capfdbinary: pytest.CaptureFixture[bytes],
    path: str,
    visible: bool,
    reachable: bool,
    states: str,
    said: str,
) -> None:
    story = inspected(
        capfdbinary, "merged", tmp_path, "rw ro+wh ro", path, code=0 if visible else 3
    )
    assert (story["visible"], story["reachable"]) == (visible, reachable)
    assert [layer["state"] for layer in story["layers"]] == states.split()
    assert any(said in line for line in story["story"])


def test_a_whiteout_that_is_a_directory_does_nothing_in_a_branch_that_honours_none(
    tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    story = inspected(capfdbinary, "merged", tmp_path, "ro ro+wh ro", "strange")
    assert (story["visible"], story["layer"]) == (True, 1)
    first = story["layers"][0]
    assert (first["state"], first["file"]) == ("whiteout", None)
    assert first["reason"].endswith("without effect: its branch is neither rw nor +wh")


def test_branches_get_the_permissions_that_aufs_gives_them(
    tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    """The first branch is writable, the others are not, unless the mount is read-only."""
    paths = grow(tmp_path)
    flags = [f"-b{path}" for path in paths]
    expected = NOT_HONOURED.replace("\n", "").split("|")
    assert main(["inspect", "merged", *flags, "--json"]) == 0
    assert tree(json.loads(capfdbinary.readouterr().out)) == expected
    assert main(["inspect", "merged", *flags, "-o", "ro", "--json"]) == 0
    found = tree(json.loads(capfdbinary.readouterr().out))
    assert {"gone dir 12", "opq dir 012", "d/under file 1", "both file 0"} <= set(found)


def test_a_file_between_directories_hides_none_of_them(
    tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    """aufs passes over it: what hides the lowest directory is the opaque one above."""
    for number in (0, 2, 3):
        (tmp_path / f"b{number}" / "d" / "sub").mkdir(parents=True)
    (tmp_path / "b1").mkdir()
    (tmp_path / "b1" / "d").touch()
    (tmp_path / "b2" / "d" / ".wh..wh..opq").touch()
    (tmp_path / "b3" / "d" / ".wh.x").touch()
    flags = [f"-b{tmp_path}/b{number}={'ro+wh' if number else 'rw'}" for number in range(4)]
    assert main(["inspect", "merged", *flags, "--json"]) == 0
    assert tree(json.loads(capfdbinary.readouterr().out)) == ["d dir 02", "d/sub dir 02"]
    assert main(["inspect", "whiteouts", *flags, "--json"]) == 0
    found = marks(json.loads(capfdbinary.readouterr().out))
    assert found["d", "opaque", 2][:2] == ("3", "yes")
    hides, effect, reason, by = found["d/x", "aufs", 3]
    assert (hides, effect, by) == ("-", "no", 2)
    assert "the opaque directory in layer 2" in reason


def test_markers_in_directories_that_are_not_shown_at_all(
    tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    for name in ("b1/gone/sub", "b1/file", "b2/gone", "b0"):
        (tmp_path / name).mkdir(parents=True)
    for name in ("b0/.wh.gone", "b0/file", "b1/gone/sub/.wh.x", "b1/file/.wh.y", "b2/gone/.wh.z"):
        (tmp_path / name).touch()
    flags = [f"-b{tmp_path}/b{number}={'ro+wh' if number else 'rw'}" for number in range(3)]
    assert main(["inspect", "whiteouts", *flags, "--json"]) == 0
    found = marks(json.loads(capfdbinary.readouterr().out))
    assert {where: (one[1], one[3]) for where, one in found.items()} == {
        ("gone", "aufs", 0): ("yes", None),
        ("gone/sub/x", "aufs", 1): ("no", 0),
        ("file/y", "aufs", 1): ("no", 0),
        ("gone/z", "aufs", 2): ("no", 0),
    }
    assert "the file in layer 0" in found["file/y", "aufs", 1][2]


@pytest.mark.parametrize("command", ["merged", "whiteouts"])
def test_what_cannot_be_read_is_said(
    tmp_path: Path,
    capfdbinary: pytest.CaptureFixture[bytes],
    monkeypatch: pytest.MonkeyPatch,
    command: str,
) -> None:
    real = os.scandir

    def failing(fd: int) -> Any:
        if os.readlink(f"/proc/self/fd/{fd}").endswith(("b1/d", "only2/deep", "b2/last")):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return real(fd)

    monkeypatch.setattr(os, "scandir", failing)
    document = inspected(capfdbinary, command, tmp_path, "rw ro+wh ro", code=None)
    unread = {(one["layer"], one["path"]) for one in document["unknown"]}
    assert unread == {(1, "d"), (0, "only2/deep")} | (
        {(2, "last")} if command == "whiteouts" else set()
    )
    assert all("rror" in one["reason"] for one in document["unknown"])
