"""Each recorded aufs mount gets the verdict that aufs gave, from its words and its situation."""

from __future__ import annotations

import errno
import os.path
from typing import Any

from layerctl.codecs.request import Request, build
from layerctl.diagnosing import preflight
from layerctl.errors import RequestError
from layerctl.kernel.facts import Caller, Directory, Facts, TypeState
from layerctl.kernel.facts.aufs import AufsFacts
from layerctl.model import MountEntry, Severity, Stack
from layerctl.rules.limits import MAX_STRING
from layerctl.rules.options import find
from layerctl.rules.validity import problems
from tests.support.recordings import aufs_calls, names, recording

#: Where /tmp was in each recording, if not on the virtual machine's overlay.
TMP = {
    "btrfs-no-xino-option": "btrfs",
    "xfs-no-xino-option": "xfs",
    "xfs-tmp-on-tmpfs": "tmpfs",
    "mixed-backing": "tmpfs",
}
#: Taken by aufs and dangerous: it drops branches, or takes another permission than was asked for.
DANGEROUS = {"br=./l1::./l2", "br=./l1=rw+bogus:./l2=ro", "br=./l1=rw:./l2=ro+nolwh"}
#: Accepted with a warning of ours: what comes of it is not what one expects.
WARNED = {
    "br=./l1:./merged",
    "br=./l1:./merged/in",
    "br=./l1=rw:./l2=rw:./l3=ro,shwh",
}
#: What no look at the words and directories tells: the module's list of names, the kernel's own.
KERNEL_ALONE = {"nosuchoption", "br=./l1:./l2,nosuchoption", "lowerdir=./l1,upperdir=./l2"}


def entry(fstype: str, target: str, *, options: str = "rw") -> MountEntry:
    device = "0:40" if fstype in ("tmpfs", "overlay", "proc", "sysfs", "aufs", "btrfs") else "7:0"
    return MountEntry(1, 0, device, "/", target, (options,), fstype, "x", options)


class Situation:
    """The directories of one step of a recording."""

    def __init__(self, name: str, recording: dict[str, Any], command: str) -> None:
        self.cwd = recording["cwd"]
        self.name = name
        self.command = command
        self.backing = recording["backing_fs"]

    def directory(self, path: str) -> Directory:
        path = os.path.normpath(os.path.join(self.cwd, path))
        local = os.path.relpath(path, self.cwd)
        lost = local.startswith("nosuch") or path.startswith("/nonexistent")
        if lost or local in ("comma", "colon"):  # of names that a separator has cut
            return Directory(path, error=errno.ENOENT)
        inside = path if path.startswith(self.cwd) else "/"
        return Directory(
            path,
            is_directory=local != "file",
            identity=(1, hash(path)),
            mount=self.mount(path, local),
            inside=inside,
        )

    def mount(self, path: str, local: str) -> MountEntry:
        if path == "/tmp":
            return entry(TMP.get(self.name, "overlay"), "/tmp")
        for place, fstype in (("/proc", "proc"), ("/sys", "sysfs"), ("/run", "tmpfs")):
            if path.startswith(place):
                return entry(fstype, place)
        if self.name == "mixed-backing" and local == "sq":
            return entry("squashfs", path, options="ro")
        if local == "ov":
            return entry("overlay", path)
        if local == "ro" and "tmpfs -o ro" in self.command:
            return entry("tmpfs", path, options="ro")
        if local == "merged" and "br=./l9" in self.command:
            return entry("aufs", path)
        return entry(self.backing, self.cwd)

    def facts(self, stack: Stack, target: str) -> Facts:
        known = {layer.path: self.directory(layer.path) for layer in stack.layers}
        xino = stack.options.get("xino")
        places = {"/tmp": self.directory("/tmp")}
        taken = set()
        if xino:
            parent = os.path.dirname(xino)
            places[parent] = self.directory(parent)
            if xino in ("./l1/x", "./d"):
                taken.add(xino)
        return Facts(
            TypeState.PRESENT,
            Caller(
                1000 if "setpriv" in self.command else 0,
                "setpriv" not in self.command,
                "unshare" in self.command,
            ),
            known,
            self.directory(target),
            aufs=AufsFacts(places, frozenset(taken), allow_userns=False),
        )


def verdict(situation: Situation, options: str, target: str) -> tuple[bool, list[str]]:
    """Tell whether a mount is refused, and the causes found."""
    try:
        built = build(Request(fstype="aufs", options=(options,) if options else ()))
        stack = built._replace(
            layers=tuple(
                layer._replace(path=os.path.normpath(os.path.join(situation.cwd, layer.path)))
                for layer in built.layers
            )
        )
        wrong = problems(stack)
        if wrong:
            return True, [error.id for error in wrong]
    except RequestError as error:
        return True, [error.id]
    found = preflight.findings(stack, situation.facts(stack, target))
    refused = any(one.severity is Severity.FAILURE for one in found)
    return refused, [one.cause for one in found]


def mounts_of() -> list[tuple[str, str, str, bool, Situation]]:
    out = []
    for name in names("aufs"):
        recorded = recording(f"aufs/{name}")
        for step in recorded["steps"]:
            if step["kind"] not in ("mount", "mount-syscall"):
                continue
            command = step.get("command", "")
            calls = [call for call in aufs_calls(step) if "remount" not in call[0]]
            if "overlay o " in command and command.index("aufs") < command.index("overlay o "):
                continue  # the overlay above is what failed or did not
            for number, (options, target) in enumerate(calls):
                last = number == len(calls) - 1
                refused = step["rc"] != 0 and last
                situation = Situation(name, recorded, command)
                out.append((name, options, target, refused, situation))
    return out


def test_every_recorded_mount_gets_the_verdict_that_aufs_gave() -> None:
    wrong = []
    cases = mounts_of()
    assert len(cases) > 90
    for name, options, target, refused, situation in cases:
        mine, causes = verdict(situation, options, target)
        if options in DANGEROUS or options in KERNEL_ALONE:
            continue
        if len(options) > MAX_STRING:
            continue  # aufs got a part of it alone; we give it all, in several calls
        if mine is not refused or (options in WARNED and not causes):
            wrong.append(f"{name}: {options} on {target}: aufs {refused}, found {causes}")
    assert not wrong, "\n".join(wrong)


def test_what_aufs_takes_and_changes_in_silence_is_refused() -> None:
    judged = {
        options: (refused, verdict(situation, options, target)[0])
        for _, options, target, refused, situation in mounts_of()
        if options in DANGEROUS
    }
    assert judged == dict.fromkeys(DANGEROUS, (False, True))


def test_every_recorded_option_is_in_the_table() -> None:
    unknown = set()
    for name, options, _, _, _ in mounts_of():
        # in `names` a comma in a path makes a word of the rest
        if name == "names" or options in KERNEL_ALONE or options.startswith("dirs:"):
            continue
        try:
            stack = build(Request(fstype="aufs", options=(options,) if options else ()))
        except RequestError:
            continue
        unknown |= {option for option in stack.options if not find("aufs", option)}
    assert unknown == set()
