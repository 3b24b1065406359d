"""Checks of the filesystem below each layer."""

from __future__ import annotations

from collections.abc import Iterator

from layerctl.doctor.checks.layers import command, roles
from layerctl.doctor.hits import Hit
from layerctl.kernel.facts import Directory, Facts
from layerctl.model import Severity, Stack

#: Remote filesystems whose rename(2) refuses RENAME_WHITEOUT, which overlay demands of a remote
#: upper (ovl_make_workdir, since 5.7; before, no remote upper at all).
NETWORK = frozenset({"nfs", "nfs4", "cifs", "smb3", "ceph", "afs"})

#: Filesystems whose names are compared by rules of their own: dentries with d_hash or d_compare
#: are 'weird' to overlay, as any layer (ovl_dentry_weird).
OWN_NAMES = frozenset({"vfat", "msdos", "exfat", "hfs", "hfsplus", "adfs", "affs", "autofs"})


def is_read_only(place: Directory) -> bool:
    """Tell whether a directory's mount, or the filesystem itself, is read-only."""
    entry = place.mount
    return entry is not None and (
        "ro" in entry.mount_options or "ro" in entry.super_options.split(",")
    )


def _upper(stack: Stack, facts: Facts) -> Directory | None:
    if stack.fstype != "overlay" or stack.upper is None:
        return None
    place = facts.of(stack.upper)
    return place if place.error is None else None


def upper_read_only(stack: Stack, facts: Facts) -> Iterator[Hit]:
    """The upper directory is writable as far as its mount goes (__mnt_is_readonly)."""
    upper = _upper(stack, facts)
    if upper is None or upper.mount is None or not is_read_only(upper):
        return
    whole = "ro" in upper.mount.super_options.split(",")
    seen = (
        f"upper {upper.path} is on {upper.mount.target} ({upper.mount.fstype}), "
        + ("a read-only filesystem" if whole else "a read-only mount"),
    )
    how = "remount,rw" if whole else "remount,bind,rw"
    yield Hit(
        "upper-readonly",
        seen,
        {
            "upper": upper.path,
            "mountpoint": upper.mount.target,
            "command": command(stack, facts),
        },
        commands=(f"mount -o {how} {{mountpoint}}", "{command}"),
    )


def unsupported_upper(stack: Stack, facts: Facts) -> Iterator[Hit]:
    """The upper directory's filesystem is one that the kernel refuses for certain."""
    upper = _upper(stack, facts)
    if upper is None or upper.fstype is None:
        return
    cause = {"overlay": "overlay", "ecryptfs": "ecryptfs"}.get(upper.fstype)
    if upper.fstype in NETWORK:
        cause = "nfs"
    if cause is None:
        return
    yield Hit(
        f"upperdir-fs-unsupported-{cause}",
        (f"upper {upper.path} is on {_on(upper)}",),
        {"upper": upper.path, **_stack_values(stack, facts)},
    )


def _on(place: Directory) -> str:
    entry = place.mount
    return "?" if entry is None else f"{entry.target}, which is {entry.fstype}"


def _stack_values(stack: Stack, facts: Facts) -> dict[str, str]:
    from layerctl.model import Role

    lowers = ":".join(layer.path for layer in stack.of_role(Role.LOWER))
    values = {"lower": lowers} if lowers else {}
    if stack.work is not None:
        values["work"] = stack.work
    if facts.target is not None:
        values["target"] = facts.target.path
    return values


def unsupported_layer(stack: Stack, facts: Facts) -> Iterator[Hit]:
    """A layer's filesystem compares names by rules of its own."""
    if stack.fstype != "overlay":
        return
    for role, path in roles(stack):
        place = facts.of(path)
        if place.error is None and place.fstype in OWN_NAMES:
            # autofs is refused only where a mount is still to be made at just that directory
            certain = place.fstype != "autofs"
            yield Hit(
                "lowerdir-fs-unsupported-case-insensitive",
                (f"{role} {path} is on {_on(place)}",),
                {"path": path},
                severity=Severity.FAILURE if certain else Severity.WARNING,
            )
