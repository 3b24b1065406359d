"""What a stack's options make of overlay's markers: attribute prefix, redirects, metacopy.

Sources: fs/overlayfs/params.c (ovl_fs_params_verify, ovl_redirect_mode_def) and super.c.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from layerctl.model import Role, Stack

TRUSTED = "trusted.overlay."
USER = "user.overlay."
#: fuse-overlayfs's own attributes, which the kernel does not read.
FUSE = "user.fuseoverlayfs."


class Settings(NamedTuple):
    """How one overlay reads its layers.

    `follow` is whether redirects are followed, `data_layers` how many layers below all others
    only hold file contents, `verify` whether a lower directory must match its origin
    (nfs_export=on with index=on), `indexed` whether hard links are kept together by an index,
    `xino` whether inode numbers of several filesystems are made unique.
    """

    prefix: str
    follow: bool
    metacopy: bool
    has_upper: bool
    data_layers: int
    verify: bool = False
    indexed: bool = False
    xino: bool = False

    @property
    def checks_redirects(self) -> bool:
        """Whether redirect attributes are looked at, be it to refuse them."""
        return self.follow or self.data_layers > 0


def settings(stack: Stack, parameters: Mapping[str, str], *, user: bool) -> Settings:
    """Return how the kernel would read this stack.

    `parameters` are those of the overlay module (`Y` or `N`), its defaults where they cannot be
    read. `user` tells that attributes are in the `user.` namespace: the option `userxattr`.
    """

    def default(name: str, fallback: str = "N") -> bool:
        return parameters.get(name, fallback).strip() in ("Y", "1")

    get = stack.options.get
    mode = get("redirect_dir")
    if mode is None:
        mode = "on" if default("redirect_dir") else "off"
    if mode == "off":
        mode = "follow" if default("redirect_always_follow", "Y") else "nofollow"
    metacopy = get("metacopy", "on" if default("metacopy") else "off") == "on"
    if get("verity") in ("on", "require"):
        metacopy = True
    if user:
        mode, metacopy = "nofollow", False
    elif metacopy and mode != "on" and (stack.upper is not None or mode != "follow"):
        if "redirect_dir" in stack.options:
            metacopy = False
        else:
            mode = "on"
    index = get("index", "on" if default("index") else "off") == "on"
    export = get("nfs_export", "on" if default("nfs_export") else "off") == "on"
    return Settings(
        prefix=USER if user else TRUSTED,
        follow=mode in ("on", "follow"),
        metacopy=metacopy,
        has_upper=stack.upper is not None,
        data_layers=len(stack.of_role(Role.DATA)),
        verify=index and export and stack.upper is not None,
        indexed=index and stack.upper is not None,
        xino=get("xino", "auto" if default("xino_auto") else "off") in ("on", "auto"),
    )
