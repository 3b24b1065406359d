"""Images as layers: attached, mounted, held by the mount alone, and gone with it."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from layerctl.kernel import disk_images, mounts
from layerctl.kernel.disk_images import Span
from tests.support import layerctl, layerctl_json
from tests.support.images import MKFS, own_run, run

PLACES = Path("/run/layerctl")


def tree(path: Path, number: int) -> Path:
    path.mkdir()
    (path / "same").write_text(str(number))
    (path / f"only{number}").write_text(str(number))
    return path


def image(lab: Path, fstype: str, number: int) -> Path:
    """Make an image of a type that holds a tree of its own."""
    path, source = lab / f"{number}.{fstype}", tree(lab / f"tree{number}", number)
    if fstype == "squashfs":
        run("mksquashfs", source, path, "-quiet", "-no-progress")
    elif fstype == "erofs":
        run("mkfs.erofs", "--quiet", path, source)
    else:
        command, size = MKFS[fstype]
        path.touch()
        os.truncate(path, size)
        run(*command, path)
        (lab / "fill").mkdir(exist_ok=True)
        run("mount", "-o", "loop", path, lab / "fill")
        for file in source.iterdir():
            (lab / "fill" / file.name).write_bytes(file.read_bytes())
        run("umount", lab / "fill")
    return path


def left(lab: Path) -> list[str]:
    """Return the loop devices that show files of the lab, and places with mounts on them."""
    found = []
    for device in Path("/sys/block").glob("loop*"):
        shown = disk_images.backing_file(int(device.name.removeprefix("loop")))
        if shown is not None and shown[0].startswith(str(lab)):
            found.append(device.name)
    names = os.listdir(PLACES) if PLACES.exists() else []
    return found + [name for name in names if name.startswith("loop")]


@pytest.mark.namespace
@pytest.mark.parametrize("fstype", ["squashfs", "erofs", "ext4", "xfs", "btrfs"])
@pytest.mark.parametrize("api", ["fsconfig", "mount", "fd"])
def test_an_image_is_a_layer(fstype: str, api: str, lab: Path) -> None:
    own_run()
    image(lab, fstype, 0)
    tree(lab / "below", 1)
    (lab / "m").mkdir()
    before = left(lab)
    done = layerctl("mount", "--api", api, "-l", f"0.{fstype}", "-l", "below", "m")
    assert (done.returncode, f"layer 0 is the image {lab}/0.{fstype}" in done.stderr) == (0, True)
    assert (lab / "m/same").read_text() == "0"
    assert {"only0", "only1"} <= set(os.listdir(lab / "m"))
    assert not [one for one in mounts.entries() if "/layerctl/" in one.target]
    found = layerctl_json("inspect", "merged", "m")["entries"]
    assert {one["path"]: one["layer"] for one in found}["same"] == 0
    (mount,) = layerctl_json("inspect", "mount", "m")["mounts"]
    assert f"0.{fstype}" in mount["notes"][0]
    assert layerctl("doctor", "--no-probe", "m").returncode == 0
    run("umount", lab / "m")
    assert left(lab) == before


@pytest.mark.namespace
def test_doctor_attaches_images(lab: Path) -> None:
    own_run()
    image(lab, "squashfs", 0)
    (lab / "m").mkdir()
    words = ("--no-probe", "-l", "0.squashfs", "-l", "tree0", "m")
    assert layerctl("doctor", *words).returncode == 0
    assert left(lab) == []


@pytest.mark.namespace
@pytest.mark.parametrize("count", [1, 20])
def test_a_stack_of_images(count: int, lab: Path) -> None:
    own_run()
    kinds = [("squashfs", "erofs", "ext4")[number % 3] for number in range(count)]
    words = [str(image(lab, kind, number)) for number, kind in enumerate(kinds)]
    (lab / "m").mkdir()
    before = left(lab)
    flags = [word for path in words for word in ("-l", path)]
    assert layerctl("mount", "--tmpfs", *flags, "m").returncode == 0
    assert (lab / "m/same").read_text() == "0"
    assert sum(name.startswith("only") for name in os.listdir(lab / "m")) == count
    assert layerctl("umount", "m").returncode == 0
    assert left(lab) == before


@pytest.mark.namespace
def test_a_dry_run_and_a_failure_leave_nothing(lab: Path) -> None:
    own_run()
    image(lab, "squashfs", 0)
    (lab / "m").mkdir()
    before = left(lab)
    words = ("-l", "0.squashfs", "-l", "tree0", "m")
    assert layerctl("mount", "-n", *words).returncode == 0
    assert left(lab) == before
    assert layerctl("mount", "-l", "0.squashfs", "-l", "missing", "m").returncode == 32
    assert layerctl("mount", "-l", "0.squashfs", "-l", "tree0", "nowhere").returncode == 3
    done = layerctl("mount", "--print", "fstab", *words)
    assert (done.returncode, "[usage]" in done.stderr) == (2, True)
    assert left(lab) == before


@pytest.mark.namespace
def test_what_a_killed_run_left_is_removed(lab: Path) -> None:
    own_run()
    image(lab, "squashfs", 0)
    (lab / "m").mkdir()
    before = left(lab)
    code = (
        "import contextlib, os, signal, sys\n"
        "from layerctl.codecs.request import Request\n"
        "from layerctl.usecases.holding import held\n"
        "from layerctl.usecases.mount import MountRequest\n"
        "asked = MountRequest(Request(lowers=('0.squashfs', 'tree0')), None, 'm')\n"
        "with held(asked, None, apart=False): os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -signal.SIGKILL
    assert len(left(lab)) == len(before) + 2
    assert layerctl("mount", "-l", "0.squashfs", "-l", "tree0", "m").returncode == 0
    run("umount", lab / "m")
    assert left(lab) == before


@pytest.mark.namespace
@pytest.mark.parametrize(
    ("name", "code", "error"),
    [
        ("junk", 32, "layer-not-a-directory"),
        ("empty", 32, "layer-not-a-directory"),
        ("disk", 32, "image-unknown"),
        ("disk:3", 3, "no-such-partition"),
        ("junk:1", 3, "no-such-partition"),
        ("broken", 32, "not-attached"),
    ],
)
def test_what_is_no_image(name: str, code: int, error: str, lab: Path) -> None:
    own_run()
    (lab / "junk").write_bytes(bytes(range(256)) * 500)
    (lab / "empty").touch()
    (lab / "disk").write_bytes(mbr([(0x83, 8, 8)]) + bytes(1 << 16))
    (lab / "broken").write_bytes(b"hsqs" + bytes(10000))
    tree(lab / "below", 1)
    (lab / "m").mkdir()
    done = layerctl("mount", "-l", name, "-l", "below", "m")
    assert (done.returncode, f"[{error}]" in done.stderr) == (code, True), done.stderr
    assert left(lab) == []


@pytest.mark.namespace(user=True)
def test_images_need_root(lab: Path) -> None:
    tree(lab / "below", 1)
    (lab / "m").mkdir()
    (lab / "0.squashfs").write_bytes(b"hsqs" + bytes(10000))
    done = layerctl("mount", "-l", "0.squashfs", "-l", "below", "m")
    assert (done.returncode, "[missing-cap-sys-admin]" in done.stderr) == (4, True)


# Partitions


def mbr(entries: list[tuple[int, int, int]]) -> bytes:
    """Return a sector with partition entries: type, first sector, number of sectors."""
    table = b"".join(struct.pack("<4xB3xII", *entry) for entry in entries)
    return bytes(446) + table.ljust(64, b"\0") + b"\x55\xaa"


def gpt(spans: list[tuple[int, int]], size: int) -> bytes:
    """Return the first sectors of a GPT disk of `size` sectors; spans are first and last ones."""
    entries = b"".join(
        struct.pack("<16s16sQQQ72s", b"\1" * 16, bytes([n + 1]) * 16, *span, 0, b"")
        for n, span in enumerate(spans)
    ).ljust(128 * 128, b"\0")
    fields = [b"EFI PART", 0x10000, 92, 0, 0, 1, size - 1, 34, size - 34, b"\7" * 16, 2, 128, 128]
    fields.append(zlib.crc32(entries))
    header = struct.pack("<8sIIIIQQQQ16sQIII", *fields)
    fields[3] = zlib.crc32(header)
    header = struct.pack("<8sIIIIQQQQ16sQIII", *fields).ljust(512, b"\0")
    return mbr([(0xEE, 1, size - 1)]) + header + entries


def by_partx(path: Path) -> dict[int, Span]:
    """Return the partitions that libblkid finds, which numbers them as the kernel does."""
    done = subprocess.run(
        ["partx", "--raw", "--noheadings", "--output", "NR,START,SECTORS", path],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    rows = (map(int, line.split()) for line in done.stdout.splitlines())
    return {number: Span(start * 512, size * 512) for number, start, size in rows}


def disk(lab: Path, start: bytes, sectors: int) -> int:
    path = lab / "disk"
    path.write_bytes(start)
    os.truncate(path, sectors * 512)
    return os.open(path, os.O_RDWR)


@pytest.mark.namespace
@pytest.mark.parametrize("seed", range(6))
def test_partx_finds_the_same_partitions(seed: int, lab: Path) -> None:
    rng = random.Random(seed)
    cuts = sorted(rng.sample(range(100, 4000), 6))
    spans = list(zip(cuts[::2], cuts[1::2], strict=True))
    for start in (
        mbr([(0x83, first, last - first) for first, last in spans]),
        gpt(spans, 5000),
    ):
        fd = disk(lab, start, 5000)
        assert disk_images.partitions(fd) == by_partx(lab / "disk") != {}
        os.close(fd)


@pytest.mark.namespace
def test_logical_partitions(lab: Path) -> None:
    fd = disk(lab, mbr([(0x83, 10, 20), (0x05, 100, 900)]), 5000)
    os.pwrite(fd, mbr([(0x83, 5, 50), (0x05, 200, 300)]), 100 * 512)
    os.pwrite(fd, mbr([(0x83, 6, 60)]), 300 * 512)
    found, real = disk_images.partitions(fd), by_partx(lab / "disk")
    real.pop(2, None)  # the extended one itself
    assert found == real
    assert sorted(found) == [1, 5, 6]
    os.pwrite(fd, mbr([(0x83, 6, 60), (0x05, 200, 300)]), 300 * 512)  # a chain that never ends
    assert len(disk_images.partitions(fd)) < 256
    os.close(fd)


@pytest.mark.namespace
def test_a_partition_is_a_layer(lab: Path) -> None:
    own_run()
    packed = image(lab, "squashfs", 0).read_bytes()
    sectors = len(packed) // 512 + 1
    (lab / "disk").write_bytes(
        mbr([(0x83, 8, 8), (0x83, 64, sectors)]).ljust(64 * 512, b"\0") + packed.ljust(1 << 17)
    )
    (lab / "m").mkdir()
    words = ("-l", "disk:2", "-l", "tree0", "m")
    done = layerctl("mount", *words)
    assert (done.returncode, f"{lab}/disk, from byte 32768 on" in done.stderr) == (0, True)
    assert (lab / "m/same").read_text() == "0"
    assert layerctl("inspect", "merged", "m").returncode == 0
    done = layerctl("mount", "-l", "disk", "-l", "tree0", "m")
    assert "name one of them, as" in done.stderr


@given(st.binary(max_size=600), st.integers(0, 600))
def test_any_bytes_are_read_without_a_failure(content: bytes, at: int) -> None:
    start = bytearray(gpt([(40, 50)], 100))
    start[at : at + len(content)] = content
    start[510:512] = b"\x55\xaa"
    with contextlib.ExitStack() as closing:
        fd = os.memfd_create("disk")
        closing.callback(os.close, fd)
        os.write(fd, start)
        for span in disk_images.partitions(fd).values():
            assert 0 < span.start < span.start + span.size <= len(start)
