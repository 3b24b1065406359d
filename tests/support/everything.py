"""A layer with one file of each kind, with all that a file can have."""

from __future__ import annotations

import os
import stat
import subprocess
from pathlib import Path

#: Version 2, CAP_NET_RAW permitted and effective.
_CAPABILITY = bytes.fromhex("0100000200200000" + "00" * 12)
_NAMES = (b"bad \xff\n\\name", b"-rf", b"'\" $x", b".hidden", b"\xc3\xa4" * 127)


def make_everything(layer: Path, *, links: bool = True) -> None:
    """Fill a layer, with names of one file if `links`; times are unlike each other, in ns."""
    d = layer / "d"
    d.mkdir()
    for raw in _NAMES:
        (d / os.fsdecode(raw)).write_bytes(raw)
    _specials(d)
    _files(d)
    if links:
        os.link(d / "suid", layer / "again")
        os.link(d / "fifo", d / "fifo again")
    for name, value in (("user.note", b"x"), ("trusted.note", b"y"), ("security.note", b"z")):
        os.setxattr(d, name, value)
    os.setxattr(d, "trusted.overlay.overlay.opaque", b"y")
    (d / "empty").mkdir()
    os.chown(d / "empty", 9, 10)
    (d / "empty").chmod(0o2755)
    subprocess.run(["setfacl", "-m", "u:7:rx", "-m", "d:u:8:r", d], check=True)
    d.chmod(0o1770)
    subprocess.run(["chattr", "+dA", d / "flagged", d], check=True)
    for number, path in enumerate(sorted((*layer.rglob("*"), layer), reverse=True)):
        os.utime(path, ns=(number, 10**18 + number), follow_symlinks=False)


def _specials(d: Path) -> None:
    os.symlink("nowhere", d / "link")
    os.chown(d / "link", 5, 6, follow_symlinks=False)
    os.setxattr(d / "link", "trusted.note", b"of a link", follow_symlinks=False)
    for name, kind, mode, device in (
        ("fifo", stat.S_IFIFO, 0o640, 0),
        ("socket", stat.S_IFSOCK, 0o604, 0),
        ("null", stat.S_IFCHR, 0o666, os.makedev(1, 3)),
        ("disk", stat.S_IFBLK, 0o660, os.makedev(7, 300)),
    ):
        os.mknod(d / name, kind, device)
        (d / name).chmod(mode)
        os.chown(d / name, 11, 12)
    os.setxattr(d / "null", "trusted.note", b"of a device")


def _files(d: Path) -> None:
    for name in ("suid", "capable", "acl", "flagged", "empty file"):
        (d / name).write_text("" if name == "empty file" else name)
        os.chown(d / name, 7, 8)
    (d / "suid").chmod(0o6755)
    os.setxattr(d / "capable", "security.capability", _CAPABILITY)
    subprocess.run(["setfacl", "-m", "u:7:rx,g:9:w", d / "acl"], check=True)
    os.setxattr(d / "acl", "user.long", bytes(range(256)) * 4)
    os.setxattr(d / "acl", "user.empty", b"")
    os.setxattr(d / "acl", "trusted.overlay.overlay.metacopy", b"")
    for name, end in (("holes", b"end"), ("hole at the end", b"")):
        with (d / name).open("wb") as file:
            file.write(b"start")
            file.truncate(10**7)
            file.seek(0, os.SEEK_END)
            file.write(end)
    (d / "large").write_bytes(bytes(range(256)) * 1200)
