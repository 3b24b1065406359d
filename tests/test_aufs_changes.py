"""Changing a live aufs, against a stand-in that reads option strings as aufs does.

No kernel of continuous integration has aufs: what is tested here is which calls are made, in which
order, and what is made of the answers. `test_live_aufs.py` asks a real one.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from layerctl.codecs import aufs
from layerctl.errors import LayerctlError, NotPermittedError, RefusedError
from layerctl.kernel import mounts, syscalls
from layerctl.kernel.mounts import Mounted
from layerctl.model import Layer, MountEntry, Role, Stack
from layerctl.mounting import branches, remount
from layerctl.rules.branches import BranchChange
from layerctl.rules.flags import mount2_flags
from layerctl.rules.limits import MAX_BRANCHES
from layerctl.rules.remount import Flags

ID = 77


class Live:
    """One mounted aufs: what it was told, and what it shows."""

    def __init__(self, target: Path, layers: list[Layer], options: str = "rw,noplink") -> None:
        self.target = str(target)
        self.stack = Stack("aufs", tuple(layers), None, {}, ())
        self.mount_options: tuple[str, ...] = ("rw", "nodev", "relatime")
        self.super_options = options
        self.calls: list[str] = []
        self.bits: list[int] = []
        #: What the kernel does with a call instead, by the call's number.
        self.instead: dict[int, Callable[[], None]] = {}

    @property
    def mounted(self) -> Mounted:
        entry = MountEntry(
            ID, 1, "0:9", "/", self.target, self.mount_options, "aufs", "none", self.super_options
        )
        return Mounted(entry, self.stack)

    @property
    def shown(self) -> list[str]:
        return [f"{os.path.basename(one.path)}={one.permission}" for one in self.stack.layers]

    def mount(self, source: str, target: str, fstype: str, flags: int, data: str) -> None:
        assert (source, fstype) == ("none", "aufs")
        assert target == self.target or os.path.samefile(target, self.target)
        data = re.sub(r"/proc/self/fd/\d+", lambda match: os.readlink(match[0]), data)
        self.calls.append(data)
        self.bits.append(flags)
        instead = self.instead.get(len(self.calls))
        if instead is not None:
            instead()
            return
        if flags & syscalls.MS_BIND:
            assert data == ""
            mode = "ro" if flags & mount2_flags(["ro"]) else "rw"
            self.mount_options = (mode, *self.mount_options[1:])
            return
        name, _, value = data.partition("=")
        if name in ("append", "prepend", "add", "del", "mod"):
            self.change(name, value)
        else:
            words = [] if not data else data.split(",")
            mode = "ro" if flags & mount2_flags(["ro"]) else "rw"
            self.super_options = ",".join([mode, *self.super_options.split(",")[1:], *words])
            self.mount_options = (mode, *self.mount_options[1:])

    def change(self, name: str, value: str) -> None:
        """Do what aufs does at add, append, prepend, del or mod."""
        place, _, rest = value.rpartition(":")
        branch = aufs.parse_branch(rest)
        branch = branch._replace(permission=branch.permission or "ro")
        layers = list(self.stack.layers)
        at = [n for n, one in enumerate(layers) if os.path.samefile(one.path, branch.path)]
        if name in ("del", "mod"):
            layers[at[0] : at[0] + 1] = [branch] if name == "mod" else []
        elif not at:  # one that is there already is passed over silently
            index = {"append": len(layers), "prepend": 0}.get(name)
            layers.insert(int(place) if index is None else index, branch)
        self.stack = self.stack._replace(layers=tuple(layers))


@pytest.fixture
def live(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Live:
    for name in ("m", "a", "b", "c", "new", "x,y", "other"):
        (tmp_path / name).mkdir()
    (tmp_path / "link").symlink_to("b")
    layers = [Layer(str(tmp_path / name), Role.BRANCH, "ro") for name in "abc"]
    made = Live(tmp_path / "m", [layers[0]._replace(permission="rw"), *layers[1:]])

    def described(entry: MountEntry, _sysfs: str = "") -> Mounted:
        options, _ = aufs.from_super_options(entry.super_options)
        return Mounted(entry, made.stack._replace(options=options.options, flags=options.flags))

    other = made.mounted.entry._replace(mount_id=1, target="/", fstype="ext4")
    monkeypatch.setattr(syscalls, "mount", made.mount)
    monkeypatch.setattr(mounts, "shown", lambda _path: [other, made.mounted.entry])
    monkeypatch.setattr(mounts, "describe", described)
    monkeypatch.setattr(mounts, "mount_id_of", lambda _fd: ID)
    return made


def change(live: Live, word: str) -> BranchChange:
    """Make a change of `append c=ro`, `add 1 c`, `del c`."""
    name, *place, path = word.split(" ")
    directory, equals, permission = path.partition("=")
    where = os.path.join(os.path.dirname(live.target), directory)
    layer = Layer(where, Role.BRANCH, permission if equals else None)
    return BranchChange(name, layer, int(place[0]) if place else None)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["append new"], "a=rw b=ro c=ro new=ro"),
        (["append new=rw"], "a=rw b=ro c=ro new=rw"),
        (["prepend new=rw"], "new=rw a=rw b=ro c=ro"),
        (["add 0 new=ro+wh"], "new=ro+wh a=rw b=ro c=ro"),
        (["add 2 new=ro"], "a=rw b=ro new=ro c=ro"),
        (["add 3 new=ro"], "a=rw b=ro c=ro new=ro"),
        (["del b"], "a=rw c=ro"),
        (["mod b=rw"], "a=rw b=rw c=ro"),
        (["del a", "del b"], "c=ro"),
        (["mod a=ro", "append new=rw", "add 1 other=rr", "del c"], "a=ro other=rr b=ro new=rw"),
    ],
)
def test_branches_become_what_was_asked_for(live: Live, words: list[str], expected: str) -> None:
    changes = [change(live, word) for word in words]
    goal = branches.planned(live.mounted, changes)
    now, notes = branches.apply(live.mounted, changes)
    assert live.shown == expected.split()
    assert now.stack.layers == live.stack.layers
    assert [layer.path for layer in goal.layers] == [layer.path for layer in live.stack.layers]
    assert notes == ()
    assert len(live.calls) == len(words)
    wanted = syscalls.MS_REMOUNT | mount2_flags(["nodev", "relatime"])
    assert set(live.bits) == {wanted}


def test_a_branch_whose_name_aufs_cannot_read_goes_by_descriptor(live: Live) -> None:
    before = os.listdir("/proc/self/fd")
    branches.apply(live.mounted, [change(live, "append x,y=rw")])
    assert live.shown[-1] == "x,y=rw"
    assert os.listdir("/proc/self/fd") == before


@pytest.mark.parametrize(
    ("number", "kind", "identity"),
    [
        (errno.EBUSY, RefusedError, "aufs-branch-busy"),
        (errno.EPERM, NotPermittedError, "missing-cap-sys-admin"),
        (errno.EINVAL, RefusedError, "aufs-remount-refused"),
    ],
)
def test_what_is_refused_takes_back_what_was_done_before(
    live: Live, number: int, kind: type[LayerctlError], identity: str
) -> None:
    def refuse() -> None:
        raise OSError(number, os.strerror(number))

    live.instead[4] = refuse
    words = ["del b", "mod a=ro", "append new=rw", "del c"]
    with pytest.raises(kind) as caught:
        branches.apply(live.mounted, [change(live, word) for word in words])
    assert caught.value.id == identity
    base = os.path.dirname(live.target)
    if number != errno.EPERM:
        assert f"del={base}/c" in caught.value.message
        assert bool(caught.value.why) == (number == errno.EBUSY)
    assert live.calls[3:] == [
        f"del={base}/c", f"del={base}/new", f"mod={base}/a=rw", f"add=1:{base}/b=ro",
    ]  # fmt: skip
    assert live.shown == ["a=rw", "b=ro", "c=ro"]


def test_a_branch_that_aufs_has_already_is_not_taken_away(
    live: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(branches, "_check_new", lambda _stack, _path: None)
    words = ["append new=ro", "append link=ro"]
    with pytest.raises(RefusedError) as caught:
        branches.apply(live.mounted, [change(live, word) for word in words])
    assert caught.value.id == "aufs-branch-duplicated"
    assert "by another name" in caught.value.why
    assert live.shown == ["a=rw", "b=ro", "c=ro"]


def test_what_aufs_makes_otherwise_is_taken_back(live: Live) -> None:
    def other() -> None:
        live.instead.clear()
        live.mount("none", live.target, "aufs", 0, live.calls[0].replace("=rw", "=ro"))

    live.instead[1] = other
    with pytest.raises(RefusedError) as caught:
        branches.apply(live.mounted, [change(live, "append new=rw")])
    assert caught.value.id == "not-as-asked"
    assert "permission ro instead of rw" in caught.value.why
    assert live.shown == ["a=rw", "b=ro", "c=ro"]


@pytest.mark.parametrize(
    ("words", "identity"),
    [
        (["append new=bogus"], "aufs-branch-permission-unknown"),
        (["append new=ro+nolwh"], "aufs-branch-permission-unknown"),
        (["del new"], "no-such-branch"),
        (["mod new=ro"], "no-such-branch"),
        (["append nosuch"], "missing-layer-directory"),
        (["append file"], "layer-not-a-directory"),
        (["append b"], "aufs-branch-duplicated"),
        (["append link"], "aufs-branch-duplicated"),
        (["add 4 new"], "aufs-br-syntax"),
        (["del a", "del b", "del c"], "too-few-layers"),
    ],
)
def test_what_makes_no_sense_is_refused_before_any_call(
    live: Live, words: list[str], identity: str
) -> None:
    Path(live.target).with_name("file").touch()
    with pytest.raises(LayerctlError) as caught:
        branches.apply(live.mounted, [change(live, word) for word in words])
    assert caught.value.id == identity
    assert live.calls == []


def test_one_more_branch_than_aufs_takes(live: Live) -> None:
    def planned(many: int) -> Stack:
        stack = live.stack._replace(layers=live.stack.layers[:1] * many)
        return branches.planned(live.mounted._replace(stack=stack), [change(live, "append new")])

    assert len(planned(MAX_BRANCHES - 1).layers) == MAX_BRANCHES
    with pytest.raises(RefusedError) as caught:
        planned(MAX_BRANCHES)
    assert caught.value.id == "aufs-too-many-branches"


def asked(text: str) -> Stack:
    return aufs.parse(text)


@pytest.mark.parametrize(
    ("text", "calls", "shown", "notes"),
    [
        ("noplink", [], "rw,noplink", 1),  # in effect already
        ("udba=none", ["udba=none"], "rw,noplink,udba=none", 0),
        ("ro", [""], "ro,noplink", 0),
        ("ro,udba=none,dirwh=9", ["udba=none,dirwh=9"], "ro,noplink,udba=none,dirwh=9", 0),
        ("si=55", [], "rw,noplink", 1),  # as mount(8) hands it on
    ],
)
def test_options_of_an_aufs_are_changed(
    live: Live, text: str, calls: list[str], shown: str, notes: int
) -> None:
    planned = remount.plan(described(live), asked(text), bind=False)
    assert len(planned.steps()) == len(calls)
    mounted, said = remount.carry_out(planned)
    assert live.calls == calls
    assert live.super_options == shown
    assert len(said) == notes
    assert mounted.entry.super_options == shown


def described(live: Live) -> Mounted:
    return mounts.describe(live.mounted.entry)


def test_an_option_that_is_not_in_effect_afterwards_is_told(live: Live) -> None:
    live.instead[1] = lambda: None
    planned = remount.plan(described(live), asked("udba=none,ro"), bind=False)
    with pytest.raises(RefusedError) as caught:
        remount.carry_out(planned)
    assert caught.value.id == "not-as-asked"
    assert "the flag ro of the filesystem is not in effect" in caught.value.why
    assert "the flag ro of the mount is not in effect" in caught.value.why
    assert live.super_options == "rw,noplink"


def test_a_word_that_aufs_makes_another_of_is_told(live: Live) -> None:
    def other() -> None:
        live.super_options = "rw,noplink,udba=reval"

    live.instead[1] = other
    with pytest.raises(RefusedError) as caught:
        remount.carry_out(remount.plan(described(live), asked("udba=none"), bind=False))
    assert "udba=reval is in effect" in caught.value.why


@pytest.mark.parametrize(
    ("number", "kind", "identity"),
    [
        (errno.EBUSY, RefusedError, "remount-busy"),
        (errno.EPERM, NotPermittedError, "missing-cap-sys-admin"),
        (errno.EROFS, RefusedError, "remount-refused"),
    ],
)
def test_a_refused_remount(
    live: Live, number: int, kind: type[LayerctlError], identity: str
) -> None:
    def refuse() -> None:
        raise OSError(number, os.strerror(number))

    live.instead[1] = refuse
    with pytest.raises(kind) as caught:
        remount.carry_out(remount.plan(described(live), asked("ro"), bind=False))
    assert caught.value.id == identity
    assert os.strerror(number) in caught.value.message
    assert ("bind" in caught.value.hint) == (number == errno.EPERM)
    assert len(live.calls) == 1


@pytest.mark.parametrize(
    ("text", "bind", "words", "said"),
    [
        ("udba=none", True, [], "bind"),
        ("", True, ["append new"], "bind"),
        ("udba=none", False, ["append new"], "branches"),
        ("ro", False, ["append new"], "branches"),
    ],
)
def test_what_does_not_go_together(
    live: Live, text: str, bind: bool, words: list[str], said: str
) -> None:
    changes = tuple(change(live, word) for word in words)
    with pytest.raises(LayerctlError) as caught:
        remount.plan(described(live), asked(text), bind=bind, changes=changes)
    assert caught.value.id == "usage"
    assert said in caught.value.message + caught.value.why
    planned = remount.plan(described(live), asked(""), bind=False, changes=changes)
    assert [step.split(" with ")[1].split("=")[0] for step in planned.steps()] == [
        change.word for change in changes
    ]


@pytest.mark.parametrize(
    ("names", "fits"), [("", True), ("abc", True), ("ab", False), ("acb", False), ("abcd", False)]
)
def test_branches_cannot_be_named_anew_as_a_whole(live: Live, names: str, fits: bool) -> None:
    base = os.path.dirname(live.target)
    text = "br=" + ":".join(f"{base}/{name}" for name in names) if names else ""
    if fits:
        assert remount.plan(described(live), asked(text), bind=False).steps() == []
        return
    with pytest.raises(RefusedError) as caught:
        remount.plan(described(live), asked(text), bind=False)
    assert caught.value.id == "not-at-remount"
    assert "layerctl branch" in caught.value.commands[0]


def test_a_mount_that_took_the_place_of_another_is_left_alone(
    live: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    planned = remount.plan(described(live), asked("ro"), bind=False)
    monkeypatch.setattr(mounts, "mount_id_of", lambda _fd: ID + 1)
    before = os.listdir("/proc/self/fd")
    with pytest.raises(LayerctlError) as caught:
        remount.carry_out(planned)
    assert caught.value.id == "not-mounted"
    assert live.calls == []
    assert os.listdir("/proc/self/fd") == before


def test_flags_of_a_mount_and_its_filesystem() -> None:
    one = Flags(frozenset({"ro", "nodev"}), frozenset({"sync"}))
    assert one.text == "ro,nodev,sync"


@pytest.mark.parametrize(
    ("options", "text", "said"),
    [
        ("rw,noplink", "dev", "the flag nodev of the mount is still in effect"),
        ("rw,noplink", "noexec", "the flag noexec of the mount is not in effect"),
        ("rw,noplink", "sync", "the flag sync of the filesystem is not in effect"),
        ("rw,sync,noplink", "async", "the flag sync of the filesystem is still in effect"),
        ("rw", "noplink", "noplink is not in effect"),
    ],
)
def test_what_the_kernel_took_and_did_not_do(
    live: Live, options: str, text: str, said: str
) -> None:
    live.super_options = options
    for number in range(1, 9):
        live.instead[number] = lambda: None
    with pytest.raises(RefusedError) as caught:
        remount.carry_out(remount.plan(described(live), asked(text), bind=False))
    assert (caught.value.id, caught.value.why) == ("not-as-asked", said)


def test_what_the_kernel_does_not_show_is_not_called_proven(live: Live) -> None:
    for number, text in enumerate(("silent", "udba=none"), 1):
        live.instead[number] = lambda: None
        planned = remount.plan(described(live), asked(text), bind=False)
        (said,) = remount.carry_out(planned)[1]
        assert said.endswith(f": {text}")
