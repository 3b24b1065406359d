"""Restore paths of a live overlay through its mount: the layer itself must not be changed then.

What shows below is copied into the mount, under a name of its own, and takes its place by one
rename. So it is in the upper layer afterwards, as a copy. A directory that is merged cannot be
exchanged: each path in it that the upper layer has is restored alone.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack

from layerctl.diagnosing.commands import layer_words
from layerctl.errors import RefusedError
from layerctl.inspecting.opening import Opened
from layerctl.inspecting.resolvers.overlay import Overlay
from layerctl.inspecting.resolvers.resolver import descend
from layerctl.inspecting.resolvers.tree import MergedDir
from layerctl.kernel import layers, live_layers, locks
from layerctl.model import MountEntry
from layerctl.rules.words import shell
from layerctl.working import copying
from layerctl.working.aside import NAME, Aside
from layerctl.working.flattening import denied
from layerctl.working.opening import demand_readable, locked_error
from layerctl.working.restore import Restoring
from layerctl.working.sites import Site, Sites, Upper, Wish, demand_plain
from layerctl.working.steps import Folder, Step, Verb


def through_mount(view: Opened, wish: Wish, entry: MountEntry, closing: ExitStack) -> Restoring:
    """Return the plan for a live overlay. Raises LayerctlError."""
    target, top = entry.target, live_layers.open_top(entry)
    if top is None:
        raise RefusedError(
            "not-restorable",
            f"the root of the mount on {target} cannot be opened",
            why="another mount covers it, or the caller has no permission to read it",
            hint="unmount what covers it",
        )
    closing.callback(os.close, top)
    demand_readable(view)
    _demand_writable(view, target)
    layer = Upper(view.resolver.roots[0], view.layers[0], view.prefix or "", closing)
    if not locks.lock(view.resolver.roots[0], exclusive=True):
        raise locked_error(view.layers[0])
    # The kernel has overlay's own names of attributes for itself.
    prefix = (view.prefix or "").removesuffix("overlay.")
    mount = Upper(top, target.rstrip("/"), prefix, closing)
    hidden = Aside(mount.folder(""), f".{NAME}", f"{prefix}layerctl.aside", closing, shown=True)
    paths, merged = _spread(view, wish, target)
    sites = Sites(view, wish._replace(paths=tuple(paths)), layer, (), live=True)
    _demand_not_renamed(sites, paths, target)
    for site in sites.found.values():
        if site.letter == "d":
            _demand_removable(view, site.path)
    plan = _Live(view, wish, closing, (layer, mount, hidden), sites)
    plan.merged = merged
    return plan


class _Live(Restoring):
    opaque = False  # which the kernel sees to

    #: Merged directories, in which each path is restored alone.
    merged: Sequence[str] = ()

    def _free_copies(self) -> Iterator[Step]:
        yield from ()  # what was renamed keeps its own lower file

    def _one(self, site: Site) -> Iterator[Step]:
        above, _, name = site.path.rpartition("/")
        folder = self._upper.folder(above)
        if site.source is not None:
            yield from self._copy(site, *site.source)
        elif self._letter(folder, name):
            yield from self._drop(site, folder, name)

    def _drop(self, site: Site, folder: Folder, name: str) -> Iterator[Step]:
        """Yield the steps that remove what only the upper layer has."""
        if self._moves(site):
            yield from self._move_aside(site, folder, name)
        elif site.letter == "d":
            yield folder.rmdir(name, f"a directory; {site.below}")
        else:
            status = os.stat(name, dir_fd=folder.fd, follow_symlinks=False)
            yield folder.remove(name, status, f"a file; {site.below}")

    def _ancestors(self) -> Sequence[str]:
        return [path for path in super()._ancestors() if path]

    def _end(self) -> Iterator[Step]:
        """Yield the step for the times of the root, in which the place aside was."""
        yield from self._upper.folder("").restore()

    def _finish(self) -> Iterator[Step]:
        """Yield the steps that give merged directories what they have below."""
        for path in self.merged:
            directory, _, _ = descend(self._overlay, path)
            self._closing.callback(directory.close)
            part = next(part for part in directory.parts if part.layer)
            folder, status = self._upper.folder(path), os.fstat(part.fd)
            places = (".", part.fd), (".", folder.fd)
            times = status.st_atime_ns, status.st_mtime_ns
            words = copying.attribute_words(*places, folder.path, self._prefix, times)

            def run(
                places: tuple[copying.Place, copying.Place] = places,
                times: tuple[int, int] = times,
            ) -> None:
                copying.copy_attributes(*places, self._prefix, times)

            yield Step(Verb.ATTRIBUTES, folder.path, f"as in layer {part.layer}", run, words)


def _spread(view: Opened, wish: Wish, target: str) -> tuple[list[str], list[str]]:
    """Return the paths to restore, with those in merged directories instead of these, and these."""
    assert isinstance(view.resolver, Overlay)  # noqa: S101 - the caller saw to that
    overlay = view.resolver
    merged: list[str] = []
    found: list[str] = []
    waiting = list(wish.paths)
    while waiting:
        path = waiting.pop(0)
        directory, _, other = descend(overlay, path)
        try:
            if other is not None and other.error:
                raise denied(path, other)
            if other is None and _divides(directory, path, wish, target):
                for part in directory.parts[:2]:
                    demand_plain(overlay.settings.prefix, part.fd, None, path)
                merged.append(path)
                waiting += [f"{path}/{name}" for name in os.listdir(directory.parts[0].fd)]
                continue
        finally:
            directory.close()
            if other is not None:
                other.close()
        found.append(path)
    return found, merged[::-1]


def _divides(directory: MergedDir, path: str, wish: Wish, target: str) -> bool:
    """Tell whether the paths in a directory are restored instead. Raises RefusedError."""
    first = directory.parts[0]
    if wish.layer is not None and directory.parts[-1].layer:
        raise _merged_error(path)
    if first.layer or len(directory.parts) == 1:
        return False
    if "redirect" in first.attributes:
        raise _renamed_error(target, path, directory.parts[1].path)
    return wish.recursive or not os.listdir(first.fd)


def _demand_writable(view: Opened, target: str) -> None:
    if view.stack.read_only:
        raise RefusedError(
            "not-restorable",
            f"{target} is mounted read-only",
            why="what is restored is written through the mount",
            hint="remount it writable, or unmount it first",
            commands=(shell("mount", "-o", "remount,rw", target),),
        )


def _demand_removable(view: Opened, path: str) -> None:
    """Raise RefusedError for a whiteout in a directory that is not merged: no mount removes it."""
    root = layers.open_path(path, view.resolver.roots[0])
    try:
        for fd, below in layers.directories(root, lambda _, __: None):
            for name in os.listdir(fd):
                if view.resolver.marker(0, fd, name, layers.status(name, fd)) is not None:
                    raise RefusedError(
                        "not-restorable",
                        f"'{path}/{below}' has a whiteout that hides nothing",
                        why="a mount lists it, but cannot remove it, nor the directory",
                        hint="unmount the overlay first, or remove what the check finds",
                        commands=(shell("layerctl", "check", *layer_words(view.stack)),),
                    )
    finally:
        os.close(root)


def _demand_not_renamed(sites: Sites, paths: list[str], target: str) -> None:
    for path in sites.found:
        if path in sites.was or path not in paths:
            raise _renamed_error(target, path, sites.was.get(path, path))


def _renamed_error(target: str, path: str, old: str) -> RefusedError:
    """Return the error for what was renamed, which the kernel alone can rename back."""
    return RefusedError(
        "not-restorable",
        f"'{path}' was renamed",
        why="while the overlay is mounted, what is below it must stay with one name",
        hint="rename it back first, or unmount the overlay",
        commands=(shell("mv", "-T", f"{target}/{path}", f"{target}/{old}"),) if path != old else (),
    )


def _merged_error(path: str) -> RefusedError:
    return RefusedError(
        "not-restorable",
        f"'{path}' shows a directory of a lower layer, and is mounted",
        why="a copy cannot take the place of such a directory in one step",
        hint="name the paths in it, or unmount the overlay first",
    )
