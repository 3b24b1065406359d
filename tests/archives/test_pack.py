"""Archives of layers, read by tarfile: what is in them, in which order, and the same each time."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import socket
import stat
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from layerctl.kernel import syscalls
from tests.support import ROOT, layerctl
from tests.support.stacks import Mounted, make_case


def layers(lab: Path) -> tuple[str, ...]:
    for name in ("u", "w", "m", "l0/dir", "l1"):
        (lab / name).mkdir(parents=True)
    return ("-u", f"{lab}/u", "-l", f"{lab}/l0", "-l", f"{lab}/l1", "-w", f"{lab}/w")


def packed(lab: Path, *arguments: str, epoch: str = "") -> bytes:
    done = subprocess.run(
        [sys.executable, "-m", "layerctl", "pack", *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT), "SOURCE_DATE_EPOCH": epoch},
        capture_output=True,
        cwd=lab,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def read(raw: bytes) -> dict[str, tarfile.TarInfo]:
    with tarfile.open(fileobj=io.BytesIO(raw), errors="surrogateescape") as archive:
        return {member.name: member for member in archive}


@pytest.mark.namespace
def test_markers_become_whiteouts_before_what_is_beside_them(lab: Path) -> None:
    stack = layers(lab)
    (lab / "u/dir").mkdir()
    (lab / "u/dir/!first").touch()
    os.setxattr(lab / "u/dir", "trusted.overlay.opaque", b"y")
    os.setxattr(lab / "u/dir", "trusted.overlay.origin", b"")
    os.mknod(lab / "u/zz", stat.S_IFCHR, 0)
    (lab / "u/!a").touch()
    found = read(packed(lab, *stack))
    assert list(found) == [".", ".wh.zz", "!a", "dir", "dir/.wh..wh..opq", "dir/!first"]
    assert not any(member.pax_headers.keys() - {"mtime"} for member in found.values())


@pytest.mark.namespace
def test_everything_of_a_file_is_kept(lab: Path) -> None:
    stack = layers(lab)
    file = lab / "u" / os.fsdecode(b"\xff")
    file.write_bytes(b"data")
    os.chown(file, 3_000_000, 5)
    file.chmod(0o4755)
    os.setxattr(file, "user.binary", b"\0\n=\xff")
    os.setxattr(file, "trusted.overlay.overlay.opaque", b"y")
    os.setxattr(file, "security.capability", b"\1\0\0\2" + bytes(16))
    os.utime(file, ns=(0, -1_500_000_000))
    os.link(file, lab / "u" / ("l" * 150))
    os.symlink("t" * 150, lab / "u/symlink")
    os.mknod(lab / "u/device", stat.S_IFBLK | 0o600, os.makedev(8, 3))
    os.mkfifo(lab / "u/fifo")
    found = read(packed(lab, *stack))
    one = found[os.fsdecode(b"\xff")]
    assert found["l" * 150].linkname == "\udcff" or one.linkname == "l" * 150
    whole = one if one.isreg() else found["l" * 150]
    assert (whole.uid, whole.gid, whole.mode, whole.size) == (3_000_000, 5, 0o4755, 4)
    assert whole.mtime == -1.5
    values = {name: os.fsencode(text) for name, text in whole.pax_headers.items()}
    assert values["SCHILY.xattr.user.binary"] == b"\0\n=\xff"
    assert values["SCHILY.xattr.trusted.overlay.opaque"] == b"y"
    assert values["SCHILY.xattr.security.capability"] == b"\1\0\0\2" + bytes(16)
    device = found["device"]
    assert (device.isblk(), device.devmajor, device.devminor) == (True, 8, 3)
    assert found["symlink"].linkname == "t" * 150
    assert found["fifo"].isfifo()
    assert (one.uname, one.gname) == ("", "")


@pytest.mark.namespace
def test_redirects_and_metadata_only_files_are_resolved(lab: Path) -> None:
    stack = layers(lab)
    (lab / "l0/dir/file").write_text("data")
    (lab / "l1/dir").mkdir()
    (lab / "l1/dir/deep").write_text("deep")
    (lab / "l0/alone").write_text("alone")
    options = "redirect_dir=on,metacopy=on"
    case = make_case(
        str(lab), [f"{lab}/l0", f"{lab}/l1"], upper=f"{lab}/u", options=options
    )  # fmt: skip
    with Mounted(case):
        (lab / "m/dir").rename(lab / "m/moved")
        (lab / "m/moved/file").chmod(0o600)
        (lab / "m/alone").chmod(0o640)
    raw = packed(lab, *stack, "--options", options)
    with tarfile.open(fileobj=io.BytesIO(raw)) as archive:
        names = archive.getnames()
        content = {
            name: file.read()
            for name in ("moved/file", "moved/deep", "alone")
            if (file := archive.extractfile(name))
        }
        assert archive.getmember("moved/file").mode == 0o600
    assert names == [
        ".", ".wh.dir", "alone", "moved", "moved/.wh..wh..opq", "moved/deep", "moved/file"
    ]  # fmt: skip
    assert content == {"moved/file": b"data", "moved/deep": b"deep", "alone": b"alone"}


@pytest.mark.namespace
def test_several_layers_become_one(lab: Path) -> None:
    stack = layers(lab)
    for name in ("l1/kept", "l0/dropped"):
        (lab / name).write_text("x")
    for name in ("kept", "dropped"):
        os.mknod(lab / "u" / name, stat.S_IFCHR, 0)
    assert list(read(packed(lab, *stack, "--layer", "0..1"))) == [".", ".wh.kept", "dir"]
    assert list(read(packed(lab, *stack, "--layer", "0..2"))) == [".", "dir"]
    assert list(read(packed(lab, *stack, "--merged"))) == [".", "dir"]
    assert list(read(packed(lab, *stack))) == [".", ".wh.dropped", ".wh.kept"]
    assert list(read(packed(lab, *stack, "--layer", "2"))) == [".", "kept"]


@pytest.mark.namespace
def test_a_mount_is_packed(lab: Path) -> None:
    stack = layers(lab)
    (lab / "l1/file").touch()
    assert layerctl("mount", *stack, lab / "m").returncode == 0
    (lab / "m/dir/new").touch()
    (lab / "m/file").unlink()
    found = list(read(packed(lab, "m")))
    merged = list(read(packed(lab, "m", "--merged")))
    syscalls.umount2(f"{lab}/m", 0)
    assert found == [".", ".wh.file", "dir", "dir/new"]
    assert merged == [".", "dir", "dir/new"]


@pytest.mark.namespace
def test_aufs_branches(lab: Path) -> None:
    for name in ("b0/dir", "b1/dir"):
        (lab / name).mkdir(parents=True)
    for name in ("b0/.wh.gone", "b0/.wh..wh.aufs", "b0/dir/.wh..wh..opq", "b1/gone", "b1/dir/x"):
        (lab / name).touch()
    stack = ("-b", f"{lab}/b0=rw", "-b", f"{lab}/b1=ro")
    assert list(read(packed(lab, *stack))) == [".", ".wh.gone", "dir", "dir/.wh..wh..opq"]
    assert list(read(packed(lab, *stack, "--merged"))) == [".", "dir"]


@pytest.mark.namespace
@pytest.mark.parametrize("compression", ["gzip", "zstd", "none"])
def test_the_same_layer_gives_the_same_bytes(lab: Path, compression: str) -> None:
    stack = layers(lab)
    (lab / "u/file").write_bytes(bytes(1 << 20) + b"x" * 300_000)
    (lab / "u/sparse").write_bytes(b"")
    os.truncate(lab / "u/sparse", 3 << 20)
    subprocess.run(["cp", "-a", "--sparse=never", lab / "u", lab / "again"], check=True)
    arguments = ("--compress", compression)
    one = packed(lab, *stack, *arguments, epoch="1000000000")
    other = packed(lab, "-l", f"{lab}/again", "--layer", "0", *arguments, epoch="1000000000")
    assert one == other
    done = layerctl("pack", *stack, *arguments, "-o", f"{lab}/file", "--json",
                    env={"SOURCE_DATE_EPOCH": "1000000000"})  # fmt: skip
    document = json.loads(done.stdout)
    assert (lab / "file").read_bytes() == one
    assert document["digest"] == f"sha256:{hashlib.sha256(one).hexdigest()}"
    plain = packed(lab, *stack, epoch="1000000000")
    assert document["diff_id"] == f"sha256:{hashlib.sha256(plain).hexdigest()}"
    assert {member.mtime for member in read(plain).values()} <= {0, 10**9}


@pytest.mark.namespace
def test_what_no_archive_can_hold(lab: Path) -> None:
    stack = layers(lab)
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(f"{lab}/u/socket")
    done = layerctl("pack", *stack, "-o", f"{lab}/file")
    assert (done.returncode, "socket" in done.stderr) == (0, True)
    (lab / "u/.wh.x").touch()
    done = layerctl("pack", *stack, "-o", f"{lab}/other")
    assert (done.returncode, "name-reserved" in done.stderr) == (32, True)
    assert not (lab / "other").exists()
    assert not [name for name in os.listdir(lab) if "part" in name]
    (lab / "u/.wh.x").unlink()
    os.mknod(lab / "u" / ("n" * 252), stat.S_IFCHR, 0)
    assert layerctl("pack", *stack, "-o", f"{lab}/other").returncode == 32


@pytest.mark.namespace
def test_nothing_is_overwritten_unasked(lab: Path) -> None:
    stack = layers(lab)
    (lab / "file").write_text("mine")
    (lab / "link").symlink_to("file")
    assert layerctl("pack", *stack, "-o", f"{lab}/file").returncode == 32
    assert (lab / "file").read_text() == "mine"
    assert layerctl("pack", *stack, "-o", f"{lab}/link", "--force").returncode == 32
    assert layerctl("pack", *stack, "-o", f"{lab}/file", "--force").returncode == 0
    assert tarfile.is_tarfile(lab / "file")
    assert layerctl("pack", *stack, "-o", "/dev/null").returncode == 0


@pytest.mark.namespace
@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("--layer", "7"), 2),
        (("--layer", "x"), 2),
        (("--layer", "0", "--merged"), 2),
        (("--compress", "xz"), 2),
        (("-o", "missing/file"), 3),
    ],
)
def test_wrong_requests(lab: Path, arguments: tuple[str, ...], code: int) -> None:
    stack = layers(lab)
    assert layerctl("pack", *stack, *arguments, cwd=lab).returncode == code
    bad = layerctl("pack", *stack, "-o", "f", cwd=lab, env={"SOURCE_DATE_EPOCH": "soon"})
    assert bad.returncode == 2


@pytest.mark.namespace
def test_a_file_that_grows_short_is_an_error_and_leaves_nothing(lab: Path) -> None:
    stack = layers(lab)
    (lab / "u/meta").write_bytes(b"")
    os.truncate(lab / "u/meta", 10)
    os.setxattr(lab / "u/meta", "trusted.overlay.metacopy", b"")
    (lab / "l0/meta").write_text("short")
    done = layerctl("pack", *stack, "--options", "metacopy=on", "-o", "file", cwd=lab)
    assert (done.returncode, "layer-changed" in done.stderr) == (32, True)
    assert not (lab / "file").exists()
    shutil.rmtree(lab / "u")
