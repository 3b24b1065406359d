"""Checks of the filesystem below each layer."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Mapping

from layerctl.diagnosing.checks.layers import INSIDE, command, inside_upper, roles
from layerctl.diagnosing.clue import Clue
from layerctl.diagnosing.commands import beside
from layerctl.kernel.facts import FS_CASEFOLD_FL, Directory, Facts, Storage
from layerctl.kernel.facts.overlay import FEW_INODES, FULL, LITTLE_SPACE
from layerctl.model import Role, Severity, Stack
from layerctl.rules import filesystems
from layerctl.rules.overlay import own_place, work_beside
from layerctl.rules.releases import before
from layerctl.rules.words import count


def is_read_only(place: Directory) -> bool:
    """Tell whether a directory's mount, or the filesystem itself, is read-only."""
    entry = place.mount
    return entry is not None and (
        "ro" in entry.mount_options or "ro" in entry.super_options.split(",")
    )


def _upper(stack: Stack, facts: Facts) -> Directory | None:
    if stack.upper is None:
        return None
    place = facts.of(stack.upper)
    return place if place.error is None else None


def upper_read_only(stack: Stack, facts: Facts) -> Iterator[Clue]:
    """The mount of the upper directory is writable (__mnt_is_readonly)."""
    upper = _upper(stack, facts)
    if upper is None or upper.mount is None or not is_read_only(upper):
        return
    whole = "ro" in upper.mount.super_options.split(",")
    seen = (
        f"upper {upper.path} is on {upper.mount.target} ({upper.mount.fstype}), "
        + ("a read-only filesystem" if whole else "a read-only mount"),
    )
    values = {
        "upper": upper.path,
        "mountpoint": upper.mount.target,
        "command": command(stack, facts),
    }
    how = "remount,rw" if whole else "remount,bind,rw"
    commands: tuple[str, ...] = (f"mount -o {how} {{mountpoint}}", "{command}")
    fix = None
    if upper.fstype in filesystems.READ_ONLY:
        layers = tuple(
            layer._replace(role=Role.LOWER) if layer.role is Role.UPPER else layer
            for layer in stack.layers
        )
        values["command"] = command(stack._replace(layers=layers, work=None), facts)
        commands = ("{command}",)
        fix = "It can only be a lower layer; make it the topmost one."
    yield Clue("upper-readonly", seen, values, fix=fix, commands=commands)


def unsupported_upper(stack: Stack, facts: Facts) -> Iterator[Clue]:
    """Overlay supports the upper directory's filesystem."""
    upper = _upper(stack, facts)
    if upper is None or upper.fstype is None:
        return
    family = filesystems.doubtful_upper(upper.fstype)
    if not family:
        return
    severity: Severity | None = None
    seen = [f"upper {upper.path} is on {_on(upper)}"]
    if family not in ("overlay", "ecryptfs") and upper.fstype not in filesystems.NETWORK:
        lacks = lacking(facts)
        if lacks == []:
            return  # probed: it has everything that overlay requires of a remote upper layer
        if lacks is None:
            severity = Severity.WARNING
            seen.append("it was not probed for the features that overlay needs")
        else:
            seen.append(f"tried: it has no {', no '.join(lacks)}")
    values, commands = scratch_fix(stack, facts)
    yield Clue(
        f"upperdir-fs-unsupported-{family}",
        tuple(seen),
        {"upper": upper.path, **_stack_values(stack, facts), **values},
        severity,
        commands=commands,
    )


def scratch_fix(stack: Stack, facts: Facts) -> tuple[dict[str, str], tuple[str, ...]]:
    """Return values and commands that put upper and work on a new tmpfs."""
    base = facts.target.path if facts.target is not None else (stack.upper or "/upper")
    scratch = beside(base, ".rw")
    upper, work = f"{scratch}/upper", f"{scratch}/work"
    better = stack._replace(
        layers=tuple(
            layer._replace(path=upper) if layer.role is Role.UPPER else layer
            for layer in stack.layers
        ),
        work=work,
    )
    values = {
        "scratch": scratch,
        "newupper": upper,
        "newwork": work,
        "command": command(better, facts),
    }
    commands = (
        "mkdir -p {scratch}",
        "mount -t tmpfs tmpfs {scratch}",
        "mkdir -p {newupper} {newwork}",
        "{command}",
    )
    return values, commands


def lacking(facts: Facts) -> list[str] | None:
    """Return which requirements for a remote upper filesystem are missing; None if unknown."""
    probed = facts.overlay.probed
    if probed is None or probed.rename_whiteout is None:
        return None
    tried = (
        ("RENAME_WHITEOUT", probed.rename_whiteout),
        ("file types in readdir", probed.d_type),
        ("extended attributes", probed.xattr),
    )
    return [name for name, has in tried if has is False]


def upper_features(stack: Stack, facts: Facts) -> Iterator[Clue]:
    """The upper filesystem has file types, extended attributes and RENAME_WHITEOUT."""
    upper = _upper(stack, facts)
    probed = facts.overlay.probed
    if upper is None or probed is None or upper.fstype is None:
        return
    if filesystems.doubtful_upper(upper.fstype):
        return
    on = f"upper {upper.path} is on {_on(upper)}"
    values, commands = scratch_fix(stack, facts)
    values |= {"upper": upper.path, **_stack_values(stack, facts)}
    kind = "user" if "userxattr" in stack.options else "trusted"
    no_xattr = "tmpfs-upper-xattr-unsupported" if upper.fstype == "tmpfs" else "upper-fs-no-xattr"
    for has, cause, tried in (
        (probed.d_type, "xfs-ftype0-no-dtype", "readdir does not return file types"),
        (probed.rename_whiteout, "zfs-no-rename-whiteout", "RENAME_WHITEOUT fails"),
        (probed.xattr, no_xattr, f"it does not accept {kind}.overlay.* attributes"),
    ):
        if has is False:
            seen = (on, f"tried: {tried}")
            yield Clue(cause, seen, values, Severity.WARNING, commands=commands)


def space(stack: Stack, facts: Facts) -> Iterator[Clue]:
    """The upper filesystem has free space and inodes."""
    upper, left = _upper(stack, facts), facts.overlay.storage
    own = upper is None and stack.upper is not None and own_place(stack.upper)
    if left is None or (is_read_only(upper) if upper is not None else not own):
        return
    on = "the tmpfs of the mount's own" if upper is None else _on(upper)
    full, seen = False, list[str]()
    if left.bytes_free < LITTLE_SPACE:
        seen.append(f"{count(left.bytes_free, 'byte')} free on {on}")
        if not left.bytes_free and left.bytes_for_root:
            seen.append(f"{count(left.bytes_for_root, 'byte')} reserved for root")
        full = not left.bytes_free and _no_room(left, facts)
    if left.inodes_free is not None and left.inodes_free < FEW_INODES:
        seen.append(f"{count(left.inodes_free, 'inode')} free on {on}")
        full = full or not left.inodes_free
    if left.refused:
        seen.append(f"tried: writing 64 KiB: {os.strerror(left.refused)}")
    if facts.overlay.probed is not None and facts.overlay.probed.work in FULL:
        seen.append(
            f"tried: creating a directory in work {stack.work}: "
            f"{os.strerror(facts.overlay.probed.work or 0)}"
        )
        full = True
    if not seen:
        return
    path = stack.upper or ""
    mountpoint = upper.mount.target if upper is not None and upper.mount is not None else path
    commands: tuple[str, ...] = ("mount -o remount,size=2G,nr_inodes=1M {mountpoint}",)
    if upper is None:
        commands = ("layerctl mount --tmpfs=2g -l LOWER TARGET",)
    elif upper.fstype != "tmpfs":
        commands = ("df -h {upper}", "df -i {upper}")
    yield Clue(
        "upper-enospc",
        tuple(seen),
        {"upper": path, "mountpoint": mountpoint},
        Severity.FAILURE if full and not stack.read_only else None,
        commands=commands,
    )


def _no_room(left: Storage, facts: Facts) -> bool:
    """Tell whether a filesystem without free space for others has none for the caller either."""
    if left.refused is not None:
        return left.refused in FULL
    inside = facts.caller.sys_admin and facts.caller.in_user_namespace
    return inside or not left.bytes_for_root


#: The inode number of a btrfs subvolume's top (BTRFS_FIRST_FREE_OBJECTID).
SUBVOLUME_ROOT = 256


def subvolumes(stack: Stack, facts: Facts) -> Iterator[Clue]:
    """Upper and work are in the same btrfs subvolume."""
    upper = _upper(stack, facts)
    if upper is None or upper.fstype != "btrfs" or stack.work is None:
        return
    work = facts.of(stack.work)
    if work.identity is None or upper.identity is None or upper.mount != work.mount:
        return
    if upper.identity[0] != work.identity[0]:
        better = work_beside(upper.path)
        if upper.identity[1] == SUBVOLUME_ROOT:  # its siblings are in another subvolume
            values, commands = inside_upper(stack, facts, upper)
            seen = f"upper {upper.path} is a subvolume, and work {work.path} is not in it"
            yield Clue(
                "btrfs-subvolume-upper-exdev", (seen,), values, fix=INSIDE, commands=commands
            )
            return
        yield Clue(
            "btrfs-subvolume-upper-exdev",
            (f"upper {upper.path} and work {work.path} have different devices in one mount",),
            {"upper": upper.path, "work": better, "command": command(stack, facts, work=better)},
        )


def idmapped(stack: Stack, facts: Facts) -> Iterator[Clue]:
    """No layer is an idmapped mount, or the kernel supports that (5.19)."""
    if not before(facts.kernel, (5, 19)):
        return
    asked = {layer.path for layer in stack.layers if layer.map is not None}
    for role, path in roles(stack):
        entry = facts.of(path).mount
        if path in asked:
            seen = (f"the owners of {role} {path} are to be mapped", facts.kernel)
        elif entry is not None and "idmapped" in entry.mount_options:
            seen = (f"{role} {path} is on {entry.target}, which is idmapped", facts.kernel)
        else:
            continue
        yield Clue("idmapped-layers-unsupported", seen, {"path": path}, Severity.WARNING)


#: What mount_setattr(2) says to a map (can_idmap_mount of fs/namespace.c).
_MAP_REFUSALS = {
    errno.EINVAL: "idmap-filesystem-unsupported",
    errno.EPERM: "idmapping-refused",
    errno.ENOSYS: "idmapped-layers-unsupported",
}


def mappable(stack: Stack, facts: Facts) -> Iterator[Clue]:
    """The owners of the layers can be mapped as requested: probed on clones of their mounts."""
    for layer in stack.layers:
        probe = facts.overlay.mapped.get(layer.path)
        if probe is None or layer.map is None:
            continue
        values = {"path": layer.path, "lower": layer.path}
        name = f"{layer.role} {layer.path}"
        if probe.stage == "unshare":
            seen = f"no user namespace can be created here: {os.strerror(probe.error)}"
            fix = (
                "Run the command outside of chroot(8), where the kernel creates no user namespace, "
                "and where a policy does not forbid them."
            )
            commands = ("cat /proc/sys/user/max_user_namespaces",)
            yield Clue("idmapping-refused", (seen,), values, fix=fix, commands=commands)
        elif probe.stage == "uid_map":
            seen = f"a user namespace with the map cannot be created: {os.strerror(probe.error)}"
            fix = "Map only ids that this user namespace has, or run the command as root on the "
            yield Clue("idmapping-refused", (seen,), values, fix=f"{fix}host.")
        elif probe.stage == "mount_setattr":
            yield _unmappable(name, facts.of(layer.path), probe.error, values, facts)
        elif probe.apart:
            seen = f"upper {layer.path} and work {stack.work} have only / in common"
            fix = "Put both into one directory, which is cloned and mapped as a whole."
            yield Clue("idmapping-refused", (seen,), values, fix=fix, commands=())
        elif probe.lost:
            seen = f"{name} belongs to {' and '.join(probe.lost)}, not in its map"
            # the kernel could create nothing in it, and would mount read-only
            upper = Severity.FAILURE if layer.role is Role.UPPER else None
            yield Clue("idmap-owner-unmapped", (seen,), values, upper)


def _unmappable(
    name: str, place: Directory, number: int, values: Mapping[str, str], facts: Facts
) -> Clue:
    seen = f"mount_setattr(2) refuses to map {name} on {_on(place)}: {os.strerror(number)}"
    cause = _MAP_REFUSALS.get(number, "idmapping-refused")
    if number != errno.EPERM:
        return Clue(cause, (seen,), values)
    if place.mount is not None and "idmapped" in place.mount.mount_options:
        why = "that mount is idmapped already"
        fix = "Name the layer on a mount of its filesystem that is not idmapped."
    elif facts.caller.in_user_namespace:
        why = "this is a user namespace, and the filesystem was mounted outside it"
        fix = (
            "Map layers on a filesystem that was mounted in this user namespace (such as a tmpfs), "
            "or run the command as root on the host."
        )
    else:
        return Clue(cause, (seen,), values)
    return Clue(cause, (seen, why), values, fix=fix, commands=())


def casefold(stack: Stack, facts: Facts) -> Iterator[Clue]:
    """Either all layers are case-insensitive or none (before 6.18, none)."""
    folds = {path: bool(flags & FS_CASEFOLD_FL) for path, flags in facts.overlay.flags.items()}
    named = [(role, path) for role, path in roles(stack) if path in folds]
    if len({folds[path] for _, path in named}) > 1:
        seen = tuple(
            f"{role} {path} {'is' if folds[path] else 'is not'} case-insensitive"
            for role, path in named
        )
        yield Clue("casefold-capable-fs", seen, {"path": named[0][1]}, Severity.WARNING)


def _on(place: Directory) -> str:
    entry = place.mount
    return "?" if entry is None else f"{entry.target} ({entry.fstype})"


def _stack_values(stack: Stack, facts: Facts) -> dict[str, str]:
    lowers = ":".join(layer.path for layer in stack.of_role(Role.LOWER))
    values = {"lower": lowers} if lowers else {}
    if stack.work is not None:
        values["work"] = stack.work
    if facts.target is not None:
        values["target"] = facts.target.path
    return values


def unsupported_layer(stack: Stack, facts: Facts) -> Iterator[Clue]:
    """No layer is on a filesystem with its own name comparison."""
    for role, path in roles(stack):
        place = facts.of(path)
        if place.error is None and place.fstype in filesystems.OWN_NAMES:
            # autofs is refused only at a directory that triggers a mount
            certain = place.fstype != "autofs"
            yield Clue(
                "lowerdir-fs-unsupported-case-insensitive",
                (f"{role} {path} is on {_on(place)}",),
                {"path": path},
                severity=Severity.FAILURE if certain else Severity.WARNING,
            )
