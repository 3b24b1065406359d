"""From a stack to a resolver: open the layers, and determine how their markers are read.

What only a live mount needs, or only an aufs, is imported there: scripts pay for every import.
"""

from __future__ import annotations

import errno
import os
from bisect import bisect_left
from collections.abc import Sequence
from contextlib import contextmanager
from itertools import pairwise
from typing import TYPE_CHECKING

from layerctl.errors import LayerctlError, NotFoundError, NotPermittedError, RequestError
from layerctl.inspecting.resolvers import inodes
from layerctl.inspecting.resolvers.origins import Origins
from layerctl.inspecting.resolvers.overlay import Overlay
from layerctl.inspecting.resolvers.overlay_layers import identities
from layerctl.inspecting.resolvers.resolver import Resolver, open_layers
from layerctl.kernel import layers, mounts
from layerctl.kernel.facts import common
from layerctl.kernel.facts.modules import parameters
from layerctl.model import MountEntry, Stack
from layerctl.rules import aufs as aufs_rules
from layerctl.rules import overlay as overlay_rules

if TYPE_CHECKING:
    from collections.abc import Iterator


class Opened:
    """A stack whose layers are open, with the resolver for its type.

    `notes` are the limits of the answers. `layers` are the directories as the stack names them;
    `prefix` is the attribute prefix of overlay, None for aufs.
    """

    __slots__ = ("layers", "notes", "prefix", "resolver", "stack")

    def __init__(
        self, stack: Stack, resolver: Resolver, paths: tuple[str, ...], prefix: str | None
    ) -> None:
        self.stack = stack
        self.resolver = resolver
        self.layers = paths
        self.prefix = prefix
        self.notes: list[str] = []


@contextmanager
def opened(
    stack: Stack, mount: MountEntry | None = None, *, thorough: bool = False
) -> Iterator[Opened]:
    """Open the layers of a stack, those of a live `mount` as it sees them.

    Raises LayerctlError if a layer is missing, no directory, or closed to the caller, and where
    what is found is not, or may not be, what the mount shows.
    """
    paths = tuple(layer.path for layer in stack.layers)
    if not paths:
        raise RequestError(
            "no-layers", "no layers were given", hint="name the layers with -l, -u or -b"
        )
    layers.directories_at_once(len(paths))
    top = None if mount is None else _open_top(mount)
    view: Opened | None = None
    roots: list[int] = []
    try:
        try:
            roots = open_layers(paths) if mount is None else _open_live(stack, mount, top)
        except OSError as error:
            raise unopened(error) from None
        if stack.fstype == "aufs":
            view = _aufs(stack, roots, paths)
        else:
            view = _overlay(stack, roots, paths, live=mount is not None, thorough=thorough)
        _look_beneath_mounts(view)
        if mount is not None and top is not None:
            from layerctl.inspecting import agreement

            agreement.check(view.resolver, mount, top)
            view.resolver.ask(top)
        yield view
    finally:
        if view is not None:
            roots = view.resolver.roots
            view.resolver.close()
        for fd in [*roots, *([] if top is None else [top])]:
            os.close(fd)


def _open_top(mount: MountEntry) -> int | None:
    from layerctl.kernel import live_layers

    return live_layers.open_top(mount)


def _open_live(stack: Stack, mount: MountEntry, top: int | None) -> list[int]:
    from layerctl.inspecting import live

    return live.open_layers(stack, mount, top)


def _look_beneath_mounts(view: Opened) -> None:
    """Open layers as the kernel does, without what is mounted inside them."""
    try:
        entries = mounts.entries()
    except OSError:
        return
    targets = sorted(entry.target for entry in entries)
    here = {entry.mount_id for entry in entries}
    roots = view.resolver.roots
    for index, root in enumerate(roots):
        if mounts.mount_id_of(root) not in here:
            continue  # found beneath mounts or in another namespace, where the names differ
        above = layers.real_path(root).rstrip("/") + "/"
        place = bisect_left(targets, above)
        if place == len(targets) or not targets[place].startswith(above):
            continue
        try:
            roots[index] = layers.open_without_mounts(root)
        except OSError:
            view.notes.append(
                f"something is mounted inside layer {index}, at {targets[place]}; the kernel sees "
                "what is beneath it, and reading that requires CAP_SYS_ADMIN"
            )
        else:
            os.close(root)


def unopened(error: OSError) -> LayerctlError:
    """Return the error for a layer that cannot be opened."""
    path = error.filename
    if error.errno == errno.ENOTDIR:
        return NotFoundError(
            "layer-not-a-directory", f"layer {path} is not a directory", hint="name a directory"
        )
    if error.errno in (errno.EACCES, errno.EPERM):
        return NotPermittedError(
            "layer-unreadable",
            f"layer {path} cannot be read: {error.strerror}",
            why="layerctl needs to read the layers themselves",
            hint="run the command as root, or as the owner of the layers",
        )
    if overlay_rules.own_place(path):
        return NotFoundError(
            "layer-unreachable",
            f"layer {path} is reachable only through its mount",
            why="it is on a tmpfs of the mount's own (mount --tmpfs)",
            hint="to look into an upper layer, mount a tmpfs, and use directories of it with -u "
            "and -w",
        )
    return NotFoundError(
        "missing-layer-directory",
        f"layer {path} cannot be opened: {error.strerror}",
        hint="check the path; it may be in another mount namespace or on a filesystem that is not "
        "mounted",
    )


def _aufs(stack: Stack, roots: Sequence[int], paths: tuple[str, ...]) -> Opened:
    from layerctl.inspecting.resolvers.aufs import Aufs, AufsSettings

    fstypes = {}
    if any(layer.permission is None for layer in stack.layers):
        by_id = {entry.mount_id: entry.fstype for entry in mounts.entries()}
        fstypes = {
            path: by_id.get(mounts.mount_id_of(fd), "")
            for path, fd in zip(paths, roots, strict=True)
        }
    stack = aufs_rules.with_permissions(stack, fstypes)
    honours = tuple(aufs_rules.honours_whiteouts(layer.permission or "") for layer in stack.layers)
    links = tuple(
        index
        for index, layer in enumerate(stack.layers)
        if "noplink" not in stack.options and aufs_rules.is_writable(layer.permission or "")
    )
    settings = AufsSettings(honours, "shwh" in stack.options and stack.read_only, links)
    return Opened(stack, Aufs(roots, settings), paths, None)


def _overlay(
    stack: Stack, roots: Sequence[int], paths: tuple[str, ...], *, live: bool, thorough: bool
) -> Opened:
    caller = common.caller()
    user = "userxattr" in stack.options or (not live and caller.in_user_namespace)
    settings = overlay_rules.settings(stack, parameters("overlay"), user=user)
    if caller.in_user_namespace and not live:  # without file handles there is no index
        settings = settings._replace(indexed=False, exported=False)
    blind = not user and (caller.in_user_namespace or not caller.sys_admin)
    traps = identities(roots) if _nested(roots) else frozenset()
    resolver = Overlay(
        roots,
        settings,
        blind=blind,
        thorough=thorough,
        traps=traps,
        same_fs=len({os.fstat(fd).st_dev for fd in roots}) == 1,
        decodes=not caller.in_user_namespace,
    )
    resolver.origins = Origins(resolver, stack.work)
    resolver.find_aliases = inodes.find
    found = Opened(stack, resolver, paths, settings.prefix)
    if blind:
        found.notes.append(
            "trusted.overlay.* attributes cannot be read without CAP_SYS_ADMIN: opaque "
            "directories, redirects, metacopy and attribute whiteouts are unknown"
        )
    return found


def _nested(roots: Sequence[int]) -> bool:
    """Tell whether one layer is inside another, so that a lookup may run into it."""
    named = sorted(layers.real_path(fd) + "/" for fd in roots)
    return any(below.startswith(above) for above, below in pairwise(named))
