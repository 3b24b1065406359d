"""Archives unpacked: layers as the kernel shows them, plain trees, and what hostile ones cannot."""

from __future__ import annotations

import gzip
import os
import subprocess
import tarfile
from pathlib import Path

import pytest

from layerctl.kernel import syscalls
from tests.archives.support import CHR, DIR, LINK, SYM, entry, tree, written
from tests.support import first_seed, in_namespace, layerctl, layerctl_json
from tests.support.everything import make_everything
from tests.support.stacks import Case
from tests.support.trees import differences, look, shown
from tests.support.working import build

#: What of an archive becomes which layer, whatever the order of its entries.
LAYERS = {
    "whiteout": ([entry("d", DIR), entry("d/.wh.x")], {"d": "d", "d/x": "w"}),
    "implied": ([entry("a/b/c")], {"a": "d", "a/b": "d", "a/b/c": "-"}),
    "opaque": ([entry("d", DIR), entry("d/.wh..wh..opq"), entry("d/x")], {"d": "o", "d/x": "-"}),
    "opaque last": ([entry("d/x"), entry("d/.wh..wh..opq")], {"d": "o", "d/x": "-"}),
    "inside": ([entry("d/.wh.y"), entry("d/.wh..wh..opq")], {"d": "o"}),
    "deep inside": ([entry("d/.wh..wh..opq"), entry("d/e/.wh.y")], {"d": "o", "d/e": "d"}),
    "deep before": ([entry("d/e/.wh.y"), entry("d/.wh..wh..opq")], {"d": "o", "d/e": "d"}),
    "replaced": ([entry(".wh.d"), entry("d", DIR)], {"d": "o"}),
    "replaced first": ([entry("d", DIR), entry(".wh.d")], {"d": "o"}),
    "file and whiteout": ([entry(".wh.f"), entry("f")], {"f": "-"}),
    "whiteout of own": ([entry("f"), entry(".wh.f")], {"f": "-"}),
    "twice": ([entry("f"), entry("f", SYM, linkname="x")], {"f": "l"}),
    "over a tree": ([entry("d/e/f"), entry("d")], {"d": "-"}),
    "over a file": ([entry("d"), entry("d", DIR), entry("d/f")], {"d": "d", "d/f": "-"}),
    "absolute": ([entry("/etc/passwd")], {"etc": "d", "etc/passwd": "-"}),
    "dots": ([entry("./a/./b")], {"a": "d", "a/b": "-"}),
    "aufs": ([entry(".wh..wh.plnk", DIR), entry(".wh..wh.aufs")], {}),
    "links": ([entry("a"), entry("b", LINK, linkname="./a")], {"a": "-", "b": "-"}),
    "link to itself": ([entry("a"), entry("a", LINK, linkname="a")], {"a": "-"}),
}  # fmt: skip


@pytest.mark.namespace
@pytest.mark.parametrize("name", LAYERS)
def test_layers(name: str, lab: Path) -> None:
    entries, expected = LAYERS[name]
    done = layerctl("unpack", written(lab / "a.tar", *entries), "out")
    assert (done.returncode, done.stderr) == (0, "")
    assert tree(lab / "out") == expected


#: What no archive may do: the id of the error.
HOSTILE = {
    "up": ([entry("../out-of-it")], "archive-unsafe"),
    "up inside": ([entry("a/../../out-of-it")], "archive-unsafe"),
    "through a link": ([entry("l", SYM, linkname="/lab"), entry("l/x")], "archive-unsafe"),
    "relative link": ([entry("l", SYM, linkname=".."), entry("l/out-of-it")], "archive-unsafe"),
    "link twice": (
        [entry("l", DIR), entry("l", SYM, linkname="/tmp"), entry("l/x")], "archive-unsafe",
    ),
    "hard link out": ([entry("h", LINK, linkname="../victim")], "archive-unsafe"),
    "hard link to absolute": ([entry("h", LINK, linkname="/victim")], "archive-unsafe"),
    "hard link through a link": (
        [entry("l", SYM, linkname=".."), entry("h", LINK, linkname="l/victim")], "archive-unsafe",
    ),
    "hard link to a directory": (
        [entry("d", DIR), entry("h", LINK, linkname="d")], "archive-unsafe",
    ),
    "hard link to nothing": ([entry("h", LINK, linkname="nothing")], "archive-unsafe"),
    "whiteout alone": ([entry(".wh.")], "archive-unsafe"),
    "whiteout of up": ([entry("d/.wh...")], "archive-unsafe"),
    "whiteout of here": ([entry(".wh..")], "archive-unsafe"),
    "below a file": ([entry("f"), entry("f/x")], "archive-unsafe"),
    "marker device": ([entry("c", CHR)], "archive-unsafe"),
    "too long": ([entry("n" * 256)], "not-unpacked"),
    "too deep": ([entry("d/" * 600 + "x")], "archive-unsafe"),
    "root is a file": ([entry("./")], "archive-unsafe"),
    "many headers": ([entry("f", pax_headers={"x" * 99: "y" * (3 << 20)})], "archive-damaged"),
    "odd type": ([entry("f", b"Z")], "archive-unsafe"),
    "owner": ([entry("f", uid=2**32 - 1)], "archive-unsafe"),
    "time": ([entry("f", pax_headers={"mtime": "never"})], ""),
}  # fmt: skip


@pytest.mark.namespace
@pytest.mark.parametrize("form", ["overlay", "plain"])
@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_archives_write_nothing_elsewhere(name: str, form: str, lab: Path) -> None:
    entries, error = HOSTILE[name]
    (lab / "victim").write_text("x")
    (lab / "victim").chmod(0o600)
    archive = written(lab / "a.tar", *entries)
    before = look(str(lab))
    done = layerctl("unpack", "--as", form, archive, "out")
    left = {path: one for path, one in look(str(lab)).items() if path.split("/")[0] != "out"}
    del left[""], before[""]  # whose time is that of the last name in it
    assert left == before
    if form == "plain" and name == "marker device":
        assert done.returncode == 0
    elif error:
        assert (done.returncode, f"[{error}]" in done.stderr) == (32, True), done.stderr
        assert not (lab / "out").exists()


@pytest.mark.namespace
def test_markers_cannot_be_smuggled_in(lab: Path) -> None:
    headers = {"SCHILY.xattr.trusted.overlay.redirect": "/etc", "SCHILY.xattr.user.x": "y"}
    layerctl("unpack", written(lab / "a.tar", entry("d", DIR, pax_headers=headers)), "out")
    found = os.listxattr(lab / "out/d")
    assert sorted(found) == ["trusted.overlay.overlay.redirect", "user.x"]


def damage(raw: bytes, how: str) -> bytes:
    if how == "cut":
        return raw[:700]
    if how == "cut gzip":
        return gzip.compress(raw)[:-20]
    if how == "bad gzip":
        return gzip.compress(raw)[:40] + bytes(100)
    return raw[:1024] + b"\1" * 512 + raw[1536:]


@pytest.mark.namespace
@pytest.mark.parametrize("how", ["cut", "cut gzip", "bad gzip", "bad header"])
def test_damaged_archives(how: str, lab: Path) -> None:
    path = written(lab / "a.tar", entry("a", text=os.urandom(400)), entry("b", text=b"y" * 2000))
    path.write_bytes(damage(path.read_bytes(), how))
    done = layerctl("unpack", path, "out")
    assert (done.returncode, "[archive-damaged]" in done.stderr) == (32, True), done.stderr
    assert sorted(os.listdir(lab)) == ["a.tar"]


@pytest.mark.namespace
def test_what_is_there_is_not_overwritten(lab: Path) -> None:
    path = written(lab / "a.tar", entry("a"))
    (lab / "out").mkdir()
    assert layerctl("unpack", path, "out").returncode == 0
    done = layerctl("unpack", path, "out")
    assert (done.returncode, "[target-exists]" in done.stderr) == (32, True)


@pytest.mark.namespace
def test_a_plain_tree_is_changed_as_the_layer_says(lab: Path) -> None:
    for name in ("gone/deep", "kept", "d/sub"):
        (lab / "t" / name).mkdir(parents=True)
    for name in ("gone/deep/f", "file", "d/old", "d/sub/old", "kept/f", "replaced"):
        (lab / "t" / name).write_text("old")
    path = written(
        lab / "a.tar", entry(".wh.gone"), entry(".wh.nothing"), entry("d/sub/new"),
        entry("d/.wh..wh..opq"), entry("replaced", DIR), entry("kept/g"),
        entry("file", text=b"new"),
    )  # fmt: skip
    assert layerctl("unpack", "--as", "plain", path, "t").returncode == 0
    assert tree(lab / "t") == {
        "d": "d", "d/sub": "d", "d/sub/new": "-", "file": "-", "kept": "d", "kept/f": "-",
        "kept/g": "-", "replaced": "d",
    }  # fmt: skip
    assert (lab / "t/file").read_text() == "new"


@pytest.mark.namespace
def test_layers_below_give_what_the_archive_does_not_have(lab: Path) -> None:
    (lab / "below/a/b").mkdir(parents=True)
    (lab / "below/a").chmod(0o2750)
    os.chown(lab / "below/a", 5, 6)
    (lab / "below/a/file").write_text("x")
    path = written(lab / "a.tar", entry("a/b/c"), entry("other", LINK, linkname="a/file"))
    assert layerctl("unpack", "--below", "below", path, "out").returncode == 0
    status = (lab / "out/a").stat()
    assert (status.st_mode & 0o7777, status.st_uid, status.st_gid) == (0o2750, 5, 6)
    assert (lab / "out/other").read_text() == "x"


@pytest.mark.namespace
def test_owners_are_shifted(lab: Path) -> None:
    path = written(lab / "a.tar", entry("a", uid=3, gid=4), entry("b", uid=70000))
    done = layerctl("unpack", "--map", "0:100000:65536", path, "out")
    assert (done.returncode, "[owner-unmapped]" in done.stderr) == (32, True)
    path = written(lab / "a.tar", entry("a", uid=3, gid=4))
    assert layerctl("unpack", "--map", "0:100000:65536", path, "out").returncode == 0
    assert ((lab / "out/a").stat().st_uid, (lab / "out/a").stat().st_gid) == (100003, 100004)


@pytest.mark.namespace(user=True)
def test_in_a_user_namespace(lab: Path) -> None:
    path = written(
        lab / "a.tar", entry("d", DIR), entry("d/.wh..wh..opq"), entry("d/f"), entry(".wh.x"),
        entry("disk", tarfile.BLKTYPE, devmajor=7, devminor=3),
    )  # fmt: skip
    done = layerctl("unpack", path, "out")
    assert (done.returncode, "needs root" in done.stderr) == (1, True)
    assert os.getxattr(lab / "out/d", "user.overlay.opaque") == b"y"
    (lab / "low/d").mkdir(parents=True)
    for name in ("low/d/old", "low/x"):
        (lab / name).write_text("x")
    (lab / "m").mkdir()
    words = f"lowerdir={lab}/out:{lab}/low,userxattr"
    syscalls.mount("o", str(lab / "m"), "overlay", 0, words)
    assert [sorted(os.listdir(lab / one)) for one in ("m", "m/d")] == [["d"], ["f"]]


@pytest.mark.namespace
def test_everything_is_preserved(lab: Path) -> None:
    for name in ("u", "l"):
        (lab / name).mkdir()
    make_everything(lab / "u")
    (lab / "u/d/socket").unlink()
    subprocess.run(["chattr", "-R", "-dA", lab / "u/d"], check=False)
    before = look(str(lab / "u"))
    layerctl("pack", "-u", "u", "-l", "l", "-o", "a.tar")
    assert layerctl("unpack", "a.tar", "out").returncode == 0
    assert list(differences(before, look(str(lab / "out")))) == []


def round_trip(case: Case) -> list[str]:
    """Pack the upper layer, unpack it in its place; return what the mount shows otherwise."""
    above = Path(case.stack.layers[0].path)
    for path in above.rglob("*"):
        if path.is_socket():
            path.unlink()  # which no archive can hold
    before = shown(case)
    flags = ["-u", str(above)]
    for layer in case.stack.layers[1:]:
        flags += ["--data" if layer.role.value == "data" else "-l", layer.path]
    options = ",".join(n if v is None else f"{n}={v}" for n, v in case.stack.options.items())
    flags += ["--work", case.stack.work or "", *(["--options", options] if options else [])]
    packed, new = above.with_name("packed.tar"), above.with_name("unpacked")
    done = layerctl("pack", *flags, "-o", packed)
    if done.returncode:
        assert done.returncode in (2, 32), done.stderr
        return []
    assert layerctl("unpack", packed, new).returncode == 0
    above.rename(above.with_name("old"))
    new.rename(above)
    subprocess.run(["rm", "-rf", case.stack.work or "/nonexistent"], check=True)
    os.mkdir(case.stack.work or "")
    return list(differences(before, shown(case)))


@pytest.mark.parametrize("user", [False, True], ids=["trusted", "user"])
def test_random_layers(*, user: bool) -> None:
    seed = first_seed()

    def body(lab: Path) -> list[str]:
        found: list[str] = []
        for number in range(seed, seed + int(os.environ.get("LAYERCTL_CASES", "120")) // 8):
            case = build(number, f"{lab}/case{number}", user=user)
            found += [f"seed {number}: {line}" for line in round_trip(case)[:4]]
        return found

    assert in_namespace(body, user=user) == []


@pytest.mark.namespace
def test_as_aufs_and_json(lab: Path) -> None:
    path = written(lab / "a.tar", entry("d/.wh..wh..opq"), entry(".wh.x"), entry("d/f"))
    document = layerctl_json("unpack", "--as", "aufs", path, "out")
    assert [layer["entries"] for layer in document["layers"]] == [3]
    assert tree(lab / "out") == {".wh.x": "-", "d": "d", "d/.wh..wh..opq": "-", "d/f": "-"}
