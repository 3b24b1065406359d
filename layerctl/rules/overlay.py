"""The settings of an overlay that follow from its options: redirects, metacopy, index, ...

Sources: fs/overlayfs/params.c (ovl_fs_params_verify, ovl_redirect_mode_def) and super.c.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from layerctl.model import Role, Stack

TRUSTED = "trusted.overlay."
USER = "user.overlay."
#: Attributes of fuse-overlayfs, which the kernel ignores.
FUSE = "user.fuseoverlayfs."


class Settings(NamedTuple):
    """The settings in effect in an overlay, after resolving its options.

    `redirect` is the mode of redirect_dir, `data_layers` the number of data-only layers, `indexed`
    whether the index is on, `exported` whether nfs_export is, `xino` whether inode numbers of
    several filesystems are made unique, `uuid` whether origins contain the filesystem's UUID. The
    index and nfs_export may still fall back to off if a filesystem has no file handles, and
    uuid=off to null if there are several filesystems.
    """

    prefix: str
    redirect: str
    metacopy: bool
    has_upper: bool
    data_layers: int
    indexed: bool = False
    exported: bool = False
    xino: bool = False
    uuid: bool = True

    @property
    def follow(self) -> bool:
        """Whether redirects are followed."""
        return self.redirect in ("on", "follow")

    @property
    def checks_redirects(self) -> bool:
        """Whether redirect attributes are read, even if only to refuse them."""
        return self.follow or self.data_layers > 0

    @property
    def verify(self) -> bool:
        """Whether a lower directory must match the origin recorded in the layer above."""
        return self.indexed and self.exported


def settings(stack: Stack, parameters: Mapping[str, str], *, user: bool | None = None) -> Settings:
    """Return the settings in effect in a stack. Nothing else decides this.

    `parameters` are those of the overlay module (`Y` or `N`), or its defaults if they cannot be
    read. `user` means that attributes are in the `user.` namespace; None means to go by the option
    `userxattr`. Of contradicting options one is kept; the kernel refuses some of them
    (`layerctl.rules.validity`).
    """
    options = stack.options
    upper = stack.upper is not None
    if user is None:
        user = "userxattr" in options
    redirect, metacopy = _redirects(options, parameters, upper=upper)
    index, export = _index(options, parameters, redirect, upper=upper)
    if export and metacopy:
        if "metacopy" in options or "verity" in options:
            export = False
        else:
            metacopy = False
    if user:
        redirect, metacopy = "nofollow", False
    return Settings(
        prefix=USER if user else TRUSTED,
        redirect=redirect,
        metacopy=metacopy,
        has_upper=upper,
        data_layers=len(stack.of_role(Role.DATA)),
        indexed=index,
        exported=export,
        xino=options.get("xino", "auto" if _default(parameters, "xino_auto") else "off")
        in ("on", "auto"),
        uuid=options.get("uuid") != "off",
    )


Options = Mapping[str, str | None]


def _redirects(options: Options, parameters: Mapping[str, str], *, upper: bool) -> tuple[str, bool]:
    """Return the mode of redirect_dir, and whether metacopy is on, which needs redirects."""
    redirect = redirect_mode(options.get("redirect_dir"), parameters)
    metacopy = _is_on("metacopy", options, parameters) or options.get("verity") in ("on", "require")
    if not upper and redirect == "follow":
        redirect = "on"  # which is the same if nothing is written
    if metacopy and redirect != "on":
        if "redirect_dir" in options:
            metacopy = False
        else:
            redirect = "on"
    return redirect, metacopy


def _index(
    options: Options, parameters: Mapping[str, str], redirect: str, *, upper: bool
) -> tuple[bool, bool]:
    """Return whether the index is on, and whether nfs_export is, which needs the index."""
    index = upper and _is_on("index", options, parameters)
    export = _is_on("nfs_export", options, parameters)
    if export and not index:
        if upper:
            index = export = "index" not in options
        else:
            export = redirect == "nofollow" and options.get("index") != "off"
    return index, export


def _is_on(name: str, options: Options, parameters: Mapping[str, str]) -> bool:
    return options.get(name, "on" if _default(parameters, name) else "off") == "on"


def _default(parameters: Mapping[str, str], name: str, fallback: str = "N") -> bool:
    return parameters.get(name, fallback).strip() in ("Y", "1")


def redirect_mode(asked: str | None, parameters: Mapping[str, str]) -> str:
    """Return the mode of redirect_dir; `asked` is the value of the option, or None.

    With `off`, the module parameter redirect_always_follow decides.
    """
    if asked is None:
        asked = "on" if _default(parameters, "redirect_dir") else "off"
    if asked == "off":
        return "follow" if _default(parameters, "redirect_always_follow", "Y") else "nofollow"
    return asked


#: Options and values that need trusted.* attributes (ovl_fs_params_verify).
_TRUSTED = {
    "redirect_dir": ("on", "follow"),
    "metacopy": ("on",),
    "verity": ("on", "require"),
}


def trusted_options(options: Mapping[str, str | None]) -> list[str]:
    """Return the names of options that need trusted.* attributes.

    A user namespace cannot use these attributes; without `userxattr` the kernel refuses the options
    there since 6.12, and turned the features off before.
    """
    return [name for name, value in options.items() if value in _TRUSTED.get(name, ())]


def work_beside(upper: str) -> str:
    """Return the default work directory of an upper directory: UPPER.work."""
    return f"{upper.rstrip('/')}.work"


def default_work(stack: Stack) -> str | None:
    """Return the default work directory if a stack needs one and names none, else None."""
    if stack.fstype == "aufs" or stack.upper is None or stack.work is not None:
        return None
    return work_beside(stack.upper)


#: What the names of places begin with that only one mount holds, before 16 hexadecimal digits.
OWN_TMPFS, OWN_LOOP = "tmpfs", "loop"


def own_place(path: str) -> str | None:
    """Return what a layer's name is below if only its mount holds that (`kernel.own_places`).

    That is `tmpfs`, or the name of the loop device of an image (`loop3`); None for other layers.
    """
    for part in path.split("/"):
        kind, dash, digits = part.removeprefix("layerctl.").rpartition("-")
        if dash and len(digits) == 16:
            number = kind.removeprefix(OWN_LOOP)
            if kind == OWN_TMPFS or (number != kind and number.isdecimal()):
                return kind
    return None
