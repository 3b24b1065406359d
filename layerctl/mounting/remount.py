"""Change an existing mount: its flags, and the options of aufs. Verified, or undone.

Sources: do_remount and do_reconfigure_mnt of fs/namespace.c; ovl_reconfigure and ovl_parse_param of
fs/overlayfs: at a remount overlay takes `ro` and `rw`; mount(2) ignores every other option
silently, fsconfig(2) refuses it. aufs takes most of its options (aufs.5).
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Mapping
from typing import NamedTuple

from layerctl.codecs.words import join_options
from layerctl.errors import LayerctlError, NotPermittedError, RefusedError, RequestError
from layerctl.kernel import holders, paths, plinks, standing, syscalls
from layerctl.kernel.facts.modules import parameters
from layerctl.kernel.kmsg import KernelLog
from layerctl.kernel.mounts import Mounted
from layerctl.kernel.process import signals_come, signals_wait
from layerctl.model import Stack
from layerctl.mounting import branches, busy
from layerctl.mounting.plan import size
from layerctl.rules.branches import BranchChange
from layerctl.rules.flags import mount2_flags
from layerctl.rules.limits import MAX_STRING
from layerctl.rules.options import FLAGS, LSM_OPTIONS, find, nearest
from layerctl.rules.remount import FIXED, UNSHOWN, Flags, in_effect_already, shown, wanted
from layerctl.rules.words import shell

#: The note for a remount that changes nothing.
NOTHING = "nothing to change: already in effect"


class Remount(NamedTuple):
    """What a remount changes: `now` and `flags` are before and after.

    `options` are new ones of aufs; `changes` are changes of its branches.
    """

    mounted: Mounted
    now: Flags
    flags: Flags
    options: Mapping[str, str | None]
    changes: tuple[BranchChange, ...] = ()

    def steps(self) -> list[str]:
        """Return the steps, one line each."""
        target = self.mounted.entry.target
        out = [f"remount {target} with {words}" for words in self._calls()]
        out += [f"remount {target} with {one.option(one.branch.path)}" for one in self.changes]
        return out

    def _calls(self) -> list[str]:
        words = [self.flags.text, *join_options(self.options)]
        if self.options or self.flags.superblock != self.now.superblock:
            return [",".join(words)]
        return [f"bind,{self.flags.text}"] if self.flags != self.now else []


def plan(
    mounted: Mounted, asked: Stack, *, bind: bool, changes: tuple[BranchChange, ...] = ()
) -> Remount:
    """Return what a remount changes; `asked` are the words, its layers those that it names.

    Layers and options that are in effect already are ignored: mount(8) passes on everything in
    fstab. Raises RefusedError for what no remount can change, with the reason.
    """
    now = shown(mounted.entry)
    _refuse_layers(mounted, asked)
    fixed = [word for word in asked.flags if word in FIXED and word not in now.superblock]
    if fixed:
        raise _fixed(mounted, fixed[0], "the kernel sets this flag only at the first mount")
    if mounted.entry.fstype == "aufs":
        options = {
            name: value
            for name, value in asked.options.items()
            if name != "si" and not _shown_as(mounted.stack, name, value)
        }
    else:
        _refuse_options(mounted, asked)
        options = {}
    flags = wanted(now, asked.flags, bind=bind)
    if bind and (options or changes):
        raise RequestError(
            "usage",
            "bind cannot be combined with filesystem options",
            why="with bind, a remount changes only the flags of the mount",
            hint="remove bind",
        )
    if changes and (options or flags != now):
        raise RequestError(
            "usage",
            "branches and other options cannot be changed in one call",
            why="if it failed halfway, it could not be undone as a whole",
            hint="change the branches separately",
            commands=("layerctl branch --help",),
        )
    return Remount(mounted, now, flags, options, changes)


def _refuse_layers(mounted: Mounted, asked: Stack) -> None:
    live = mounted.stack
    named = [(layer.role.value, layer.path) for layer in asked.layers]
    there = [(layer.role.value, layer.path) for layer in live.layers]
    if named and not (
        len(named) == len(there)
        and all(a == b and paths.same(x, y) for (a, x), (b, y) in zip(named, there, strict=True))
    ):
        if live.fstype == "aufs":
            raise RefusedError(
                "not-at-remount",
                f"the branches of {mounted.entry.target} cannot be replaced as a whole",
                why="aufs changes them one by one",
                commands=("layerctl branch --help",),
            )
        raise _fixed(mounted, "", f"{live.fstype} accepts no new layers on a remount")
    if asked.work is not None and not (live.work is not None and paths.same(asked.work, live.work)):
        raise _fixed(mounted, "", f"{live.fstype} accepts no new work directory on a remount")


def _refuse_options(mounted: Mounted, asked: Stack) -> None:
    live = mounted.stack
    defaults = parameters("overlay")
    together = paths.on_one_filesystem(layer.path for layer in live.layers)
    for name, value in asked.options.items():
        if not in_effect_already(live, name, value, defaults, one_filesystem=together):
            if find(live.fstype, name) is None and name not in LSM_OPTIONS:
                raise _unknown(name)
            word = name if value is None else f"{name}={value}"
            why = f"{live.fstype} accepts only ro, rw and generic mount flags on a remount"
            raise _fixed(mounted, word, why)


def _unknown(name: str) -> RequestError:
    close = nearest(name, [option.name for option in FLAGS])
    return RequestError(
        "unknown-mount-option-old-kernel",
        f"'{name}' is not a known option",
        why="an unknown option cannot be verified, and mount(2) would silently ignore it",
        hint=f"use -o remount,{close[0]}" if close else "",
        commands=() if close else ("layerctl mount --help",),
    )


def _fixed(mounted: Mounted, word: str, why: str) -> RefusedError:
    target = mounted.entry.target
    what = f"'{word}' cannot be changed" if word else "the layers cannot be changed"
    return RefusedError(
        "not-at-remount",
        f"{what} while {target} is mounted",
        why=f"{why}; unmount it, and mount it again",
        commands=(shell("layerctl", "umount", target),),
    )


def _shown_as(stack: Stack, name: str, value: str | None) -> bool:
    return name in stack.options and stack.options[name] == value


def carry_out(remount: Remount) -> tuple[Mounted, tuple[str, ...]]:
    """Change the mount; return it as it is then, and notes.

    Raises RefusedError or NotPermittedError if the kernel refuses, RefusedError if the result
    differs from the request, KeyboardInterrupt after a signal. Each leaves the mount as it was.
    """
    if remount.changes:
        return branches.apply(remount.mounted, remount.changes)
    if not remount.steps():
        return remount.mounted, (NOTHING,)
    with signals_wait() as mask, standing.opened(remount.mounted.entry) as target:
        entry = remount.mounted.entry
        if entry.fstype == "aufs" and "ro" in remount.flags.superblock - remount.now.superblock:
            plinks.flush(remount.mounted)  # a read-only aufs cannot
        log = KernelLog()
        try:
            _apply(target, remount.mounted, remount.now, remount.flags, remount.options)
            mounted = _proven(remount)
            with signals_come(mask):
                pass
        except OSError as error:
            _take_back(target, remount)
            raise _refused(remount, error, log.lines("overlay", "aufs")) from None
        except (LayerctlError, KeyboardInterrupt, SystemExit):
            _take_back(target, remount)
            raise
        finally:
            log.close()
        return mounted, _notes(remount, mounted)


def restore(remount: Remount) -> None:
    """Undo a remount that was carried out. Raises what `standing.opened` does."""
    with standing.opened(remount.mounted.entry) as target:
        _take_back(target, remount)


def _proven(remount: Remount) -> Mounted:
    """Return the mount as it is. Raises what `carry_out` does after the call."""
    mounted = branches.as_it_is(remount.mounted)
    differences = _differences(mounted, remount)
    if differences:
        raise RefusedError(
            "not-as-asked",
            "the result of the remount differs from the request; it was undone",
            why="; ".join(differences),
            commands=(shell("layerctl", "inspect", "mount", mounted.entry.target),),
        )
    return mounted


def _apply(
    target: str, mounted: Mounted, now: Flags, flags: Flags, options: Mapping[str, str | None]
) -> None:
    """Set the flags of a mount and its filesystem, and give it options. Raises OSError."""
    source, fstype = mounted.entry.source, mounted.entry.fstype
    mount_flags = flags.mount - {"ro"}
    data = ",".join(join_options(options))
    if size(data) > MAX_STRING:
        raise OSError(errno.E2BIG, os.strerror(errno.E2BIG))
    both = "ro" in flags.superblock
    if options or flags.superblock != now.superblock:
        bits = mount2_flags((*mount_flags, *flags.superblock)) | syscalls.MS_REMOUNT
        syscalls.mount(source, target, fstype, bits, data)
    elif flags.mount != now.mount:
        both = "ro" not in flags.mount  # so that the call below is made
    if ("ro" in flags.mount) != both:
        bits = mount2_flags(flags.mount) | syscalls.MS_REMOUNT | syscalls.MS_BIND
        syscalls.mount(source, target, fstype, bits, "")


def _take_back(target: str, remount: Remount) -> None:
    there = shown(branches.as_it_is(remount.mounted).entry)
    if there != remount.now:
        with contextlib.suppress(OSError):
            _apply(target, remount.mounted, there, remount.now, {})


def _differences(mounted: Mounted, remount: Remount) -> list[str]:
    there, want = shown(mounted.entry), remount.flags
    out = []
    for of, one, other in (
        ("mount", want.mount, there.mount),
        ("filesystem", want.superblock, there.superblock),
    ):
        for word in sorted(one - UNSHOWN - other):
            out.append(f"the flag {word} of the {of} is not in effect")
        for word in sorted(other - one):
            out.append(f"the flag {word} of the {of} is still in effect")
    for name, value in remount.options.items():
        option = find("aufs", name)
        if option is None or not option.shown:
            continue
        if name in mounted.stack.options and mounted.stack.options[name] != value:
            out.append(f"{name}={mounted.stack.options[name]} is in effect")
        elif value is None and name not in mounted.stack.options:
            out.append(f"{name} is not in effect")
    return out


def _notes(remount: Remount, mounted: Mounted) -> tuple[str, ...]:
    unproven = sorted((remount.flags.superblock & UNSHOWN) - remount.now.superblock)
    unproven += [
        name if value is None else f"{name}={value}"
        for name, value in remount.options.items()
        if name not in mounted.stack.options
    ]
    if not unproven:
        return ()
    return (
        f"accepted, but not verified, because the kernel does not show it: {', '.join(unproven)}",
    )


def _refused(remount: Remount, error: OSError, kernel_log: list[str]) -> LayerctlError:
    entry = remount.mounted.entry
    details = [f"kernel: {line}" for line in kernel_log]
    what = f"{entry.target} cannot be remounted: {error.strerror}"
    if error.errno == errno.EPERM:
        whole = remount.flags.superblock != remount.now.superblock
        return NotPermittedError(
            "missing-cap-sys-admin",
            what,
            why="this requires root in the user namespace that mounted the filesystem; flags "
            "inherited from outside a user namespace are locked",
            hint="run the command as root"
            + (
                f", or change only this mount: -o remount,bind,{remount.flags.text}"
                if whole
                else ""
            ),
        )
    if error.errno == errno.EBUSY:
        details.extend(busy.details(holders.of(entry)))
        why = "a file on it is open for writing or otherwise in use"
        return RefusedError(
            "remount-busy", what, why=why, hint="stop what is using it", details=tuple(details)
        )
    why = ""
    if error.errno == errno.EROFS and entry.fstype == "overlay":
        why = (
            "it has no upper layer"
            if remount.mounted.stack.upper is None
            else "its upper layer is read-only, or its work directory was not writable at mount "
            "time"
        )
    return RefusedError(
        "remount-refused",
        what,
        why=why,
        commands=(shell("layerctl", "doctor", entry.target),),
        details=tuple(details),
    )
