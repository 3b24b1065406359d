"""What of a mount is a difference, what is worth a note, and what is all the same."""

from __future__ import annotations

import pytest

from layerctl.codecs import aufs, overlay
from layerctl.model import Layer, Role, Stack
from layerctl.mounting.readback import compare

UPPER = (Layer("/u", Role.UPPER), Layer("/l", Role.LOWER), Layer("/k", Role.LOWER))
OVERLAY = Stack("overlay", UPPER, "/w", {}, ("rw",))
LOWERS = Stack("overlay", UPPER[1:], None, {}, ())


def branches(text: str) -> tuple[Layer, ...]:
    return aufs.parse(f"br={text}").layers


AUFS = Stack("aufs", branches("/a=rw:/b=ro"), None, {}, ("rw",))


def same(asked: str, shown: str) -> bool:
    return asked.rstrip("/") == shown.rstrip("/")


def differences(asked: Stack, shown: Stack) -> tuple[str, ...]:
    found = compare(asked, shown, same)
    assert not (found.differences and found.notes)
    return found.differences + tuple("note: " + note for note in found.notes)


def with_options(text: str, base: Stack = OVERLAY) -> Stack:
    codec = aufs if base.fstype == "aufs" else overlay
    return base._replace(options=codec.parse(text).options)


CASES: list[tuple[Stack, Stack, list[str]]] = [
    (OVERLAY, OVERLAY, []),
    (OVERLAY, OVERLAY._replace(work="/w/", layers=(UPPER[0]._replace(path="/u/"), *UPPER[1:])), []),
    (OVERLAY, OVERLAY._replace(layers=UPPER[:2]), ["instead of 3 layers it has 2"]),
    (OVERLAY._replace(layers=UPPER[:1]), OVERLAY, ["instead of 1 layer it has 3"]),
    (LOWERS, LOWERS._replace(layers=UPPER[2:0:-1]), ["layer 0 is /k", "layer 1 is /l"]),
    (OVERLAY, OVERLAY._replace(layers=(*UPPER[:2], Layer("/k", Role.DATA))), ["2 became data"]),
    (OVERLAY, OVERLAY._replace(work="/x"), ["the work directory is /x instead of /w"]),
    (OVERLAY, OVERLAY._replace(work=None), ["the work directory is None instead of /w"]),
    (LOWERS._replace(work="/w"), LOWERS, []),  # without an upper layer it means nothing
    (OVERLAY._replace(flags=("ro",)), OVERLAY, ["writable instead of read-only"]),
    (OVERLAY, OVERLAY._replace(flags=("ro",)), ["note: the kernel mounted it read-only"]),
    (OVERLAY._replace(flags=("ro",)), OVERLAY._replace(flags=("ro",)), []),
    (LOWERS, LOWERS._replace(flags=("ro",)), []),
    (AUFS, AUFS._replace(flags=("ro",)), ["note: the kernel mounted it read-only"]),
    (OVERLAY._replace(flags=("nosuid", "nodev")), OVERLAY, ["flag nosuid", "flag nodev"]),
    (OVERLAY._replace(flags=("noexec", "nosymfollow")), OVERLAY._replace(flags=("noexec",)),
     ["flag nosymfollow"]),
    (OVERLAY._replace(flags=("nosuid", "suid", "noatime", "silent", "user")), OVERLAY,
     ["flag nosuid", "flag nodev", "flag noexec"]),
    (OVERLAY._replace(flags=("nosuid", "suid", "noatime", "silent")), OVERLAY, []),
    (with_options("index=on"), OVERLAY, ["note: index=on but it is not in effect"]),
    (with_options("index=on"), with_options("index=off"),
     ["note: index=on but index=off is in effect"]),
    (with_options("index=on"), with_options("index=on"), []),
    (with_options("index=off,xino=auto,redirect_dir=follow,uuid=none"), OVERLAY, []),
    (with_options("xino=off"), with_options("xino=on"), ["note: xino=off"]),
    (with_options("volatile"), OVERLAY, ["note: volatile but it is not in effect"]),
    (with_options("volatile"), with_options("fsync=volatile"), []),
    (with_options("fsync=volatile"), with_options("volatile"), []),
    (with_options("fsync=strict"), with_options("volatile"), ["note: fsync=strict"]),
    (with_options("fsync=strict"), with_options("fsync=strict"), []),
    (with_options("volatile"), with_options("fsync=strict"), ["note: volatile"]),
    (with_options("userxattr"), OVERLAY, ["the option userxattr is not in effect"]),
    (with_options("userxattr"), with_options("userxattr"), []),
    (with_options("index=on,userxattr"), with_options("index=on"), ["the option userxattr"]),
    (with_options("index=off,userxattr"), OVERLAY, ["the option userxattr is not in effect"]),
    (with_options("default_permissions"), OVERLAY, ["the option default_permissions"]),
    (with_options("context=x"), OVERLAY, []),  # which only the security module shows
    (AUFS, AUFS, []),
    (with_options("noxino", AUFS), AUFS, ["noxino is not in effect"]),
    (with_options("noxino", AUFS), with_options("noxino", AUFS), []),
    (AUFS, with_options("noxino", AUFS), []),
    (with_options("index=on,userxattr", AUFS), AUFS, []),
    (AUFS, AUFS._replace(layers=branches("/a=rw:/b=ro+wh")), ["permission ro+wh instead of ro"]),
    (AUFS, AUFS._replace(layers=branches("/a=ro:/b=ro")), ["branch /a has the permission ro"]),
    (AUFS._replace(layers=branches("/a:/b")), AUFS, []),
    (AUFS._replace(layers=branches("/a:/b")), AUFS._replace(layers=branches("/a=rw:/b=rr")), []),
    (AUFS, AUFS._replace(layers=branches("/a:/b")), []),
    (AUFS._replace(layers=branches("/a=rw+nolwh+moo:/b=ro")),
     AUFS._replace(layers=branches("/a=rw+nolwh:/b=ro")), ["note: branch /a: this aufs ignores"]),
    (AUFS._replace(layers=branches("/a=rw+unpin+fhsm:/b=ro")), AUFS,
     ["note: branch /a: this aufs ignores +fhsm +unpin"]),
    (AUFS._replace(layers=branches("/a=rw+nolwh:/b=ro")), AUFS, ["rw instead of rw+nolwh"]),
    (AUFS._replace(layers=branches("/a=rw+nolwh+moo:/b=ro")), AUFS, ["instead of rw+nolwh+moo"]),
    (AUFS, AUFS._replace(layers=branches("/a=rw+moo:/b=ro")), ["permission rw+moo instead of rw"]),
]  # fmt: skip


@pytest.mark.parametrize(("asked", "shown", "said"), CASES)
def test_what_is_told_of_a_mount(asked: Stack, shown: Stack, said: list[str]) -> None:
    found = differences(asked, shown)
    assert len(found) == len(said), found
    for line, words in zip(found, said, strict=True):
        assert line.startswith("note: ") == words.startswith("note: ")
        assert set(words.split()) <= set(line.replace(",", "").split()), line
