"""What aufs accepts: branch permissions, filesystems of branches and of its xino file.

Sources: aufs.5, fs/aufs/{branch.c,br_perm,xino.c,fstype.h} of aufs 6.1, and recordings of it.
"""

from __future__ import annotations

from collections.abc import Iterable

from layerctl.model import Layer, Stack
from layerctl.rules.filesystems import STACKED

PERMISSIONS = ("rw", "ro", "rr")
_ICEX = ("icex", "icexsec", "icexsys", "icextr", "icexusr", "icexoth")
_COMMON = ("coo_reg", "coo_all", "unpin", *_ICEX)
ATTRIBUTES: dict[str, tuple[str, ...]] = {
    "rw": ("nolwh", "moo", "fhsm", *_COMMON),
    "ro": ("wh", *_ICEX),
    "rr": ("wh", *_ICEX),
}

#: Filesystems that are always read-only: their branches default to `rr` (au_br_default_perm).
NATIVELY_READ_ONLY = frozenset({"squashfs", "iso9660", "cramfs", "romfs"})

#: Filesystems that cannot hold a branch (au_test_fs_unsuppoted), including stacked ones.
UNSUPPORTED_BRANCH = STACKED | {
    "proc", "sysfs", "configfs", "debugfs", "securityfs", "xenfs", "ramfs",
}  # fmt: skip

#: Filesystems on a device that cannot hold the xino file (au_test_fs_bad_xino).
_BAD_XINO = frozenset({"xfs", "btrfs", "ubifs", "hfsplus", "aufs", "ecryptfs", "nilfs2", "overlay"})
XINO_NAME = ".aufs.xino"
XINO_FALLBACK = "/tmp/.aufs.xino"  # noqa: S108 - AUFS_XINO_DEFPATH, the kernel's own choice


def can_hold_xino(fstype: str, *, has_device: bool) -> bool:
    """Tell whether aufs can keep its xino file on a filesystem.

    It cannot on filesystems without a block device, except tmpfs, nor on those it lists itself.
    """
    if fstype == "tmpfs":
        return True
    return has_device and fstype not in _BAD_XINO


def default_xino(
    branches: Iterable[tuple[Layer, bool]], *, fallback_holds: bool
) -> tuple[str, bool]:
    """Return the path of aufs's default xino file, and whether it can be there.

    `branches` are layers with explicit permissions, each with whether its filesystem can hold the
    file: aufs uses the first writable one that can, else /tmp (au_xino_def). On a read-only mount
    no branch counts as writable.
    """
    for layer, holds in branches:
        if holds and is_writable(layer.permission or ""):
            return f"{layer.path}/{XINO_NAME}", True
    return XINO_FALLBACK, fallback_holds


def is_writable(permission: str) -> bool:
    """Tell whether a branch permission lets aufs write."""
    return permission.partition("+")[0] == "rw"


def honours_whiteouts(permission: str) -> bool:
    """Tell whether whiteouts in a branch count: always if writable, else only with `+wh`."""
    return is_writable(permission) or "wh" in permission.split("+")[1:]


def default_permission(index: int, fstype: str | None, *, read_only: bool) -> str:
    """Return the default permission of a branch (au_br_default_perm)."""
    if fstype in NATIVELY_READ_ONLY:
        return "rr"
    return "rw" if index == 0 and not read_only else "ro"


def with_permissions(stack: Stack, fstypes: dict[str, str] | None = None) -> Stack:
    """Return the stack with explicit permissions for all branches.

    `fstypes` maps the path of a branch to its filesystem type, if known.
    """
    types = fstypes or {}
    layers = tuple(
        layer
        if layer.permission is not None
        else Layer(
            layer.path,
            layer.role,
            default_permission(index, types.get(layer.path), read_only=stack.read_only),
        )
        for index, layer in enumerate(stack.layers)
    )
    return stack._replace(layers=layers)


def permission_problem(permission: str) -> str:
    """Return what is wrong with a branch permission, or an empty string.

    aufs itself only logs it and continues: an unknown permission becomes `ro`, an unknown attribute
    is dropped.
    """
    base, *attributes = permission.split("+")
    if base not in PERMISSIONS:
        return f"'{base}' is not a branch permission; use rw, ro or rr"
    for attribute in attributes:
        if attribute not in ATTRIBUTES[base]:
            known = ", ".join("+" + name for name in ATTRIBUTES[base])
            return f"'+{attribute}' is not an attribute of a {base} branch: {known}"
    return ""
