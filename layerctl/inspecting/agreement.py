"""Compare the result from the layers with the root of the live mount.

If they differ, the layers were changed while mounted, or are not its layers: then there is no
answer.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Collection

from layerctl.errors import NotFoundError
from layerctl.inspecting.resolvers.resolver import Resolver
from layerctl.inspecting.resolvers.tree import MergedDir
from layerctl.kernel import layers, mounts
from layerctl.kernel.live_layers import same_inode, times
from layerctl.model import MountEntry
from layerctl.rules.words import shell

#: How many names are compared, and how often, since a mount in use changes meanwhile.
_MOST, _TRIES = 256, 3


def check(resolver: Resolver, mount: MountEntry, top: int) -> None:
    """Compare the root of the merged tree with the root of the mount, open at `top`.

    Raises NotFoundError if they differ. Names that depend on unreadable attributes or on the index
    are left out.
    """
    inside = {one.target for one in mounts.entries()}
    prefix = mount.target.rstrip("/") + "/"
    covered = {target.removeprefix(prefix) for target in inside if target.startswith(prefix)}
    was_thorough = resolver.thorough
    for left in range(_TRIES - 1, -1, -1):
        try:
            difference = _difference(resolver, top, covered)
        except OSError:  # the mount cannot be read: then there is nothing to compare with
            return
        finally:
            resolver.thorough = was_thorough
        if not difference:
            return
        resolver.thorough = True  # a listing does not read attributes of files
        if not left:
            raise NotFoundError(
                "layer-unknown",
                f"the layers of {mount.target} differ from what the mount shows: {difference}",
                why="layer directories were changed, moved or covered while mounted",
                commands=(shell("layerctl", "inspect", "mount", mount.target),),
            )


def _difference(resolver: Resolver, top: int, covered: Collection[str]) -> str:
    """Return what differs, in words; empty if nothing does. `covered` are mount points."""
    directory = resolver.root()
    try:
        entries = resolver.read(directory)
        shown = set(os.listdir(top))
        if not any(kind.uncertain for _, kind in entries):
            names = {name for name, _ in entries}
            for name in sorted(shown - names)[:_MOST]:
                if _shown(name, top) is not None:
                    return f"'{name}' is in the mount but in no layer"
            for name in sorted(names - shown)[:_MOST]:
                # a listing omits what a lookup refuses, which proves nothing
                gone = _shown(name, top) is None and not _refused(name, top)
                if gone and _is_there(resolver, directory, name):
                    return f"'{name}' is in a layer but not in the mount"
        parts = {part.layer: part.fd for part in directory.parts}
        for name, kind in entries[:_MOST]:
            fd = parts.get(kind.layer, -1)
            if fd < 0 or not kind.reachable or kind.uncertain or name in covered:
                continue
            one, other = _shown(name, fd), _shown(name, top)
            if one is None or other is None or (stat.S_ISREG(one.st_mode) and one.st_nlink > 1):
                continue  # removed meanwhile, or several names that the index keeps together
            # two redirects to one inode can show the times of either
            same = times(one) == times(other) or same_inode(one, other)
            if not same and not _is_shown(resolver, directory, name, other):
                return f"'{name}' is a different file in layer {kind.layer}"
    finally:
        directory.close()
    return ""


def _shown(name: str, fd: int) -> os.stat_result | None:
    try:
        return layers.status(name, fd)
    except OSError:
        return None


def _refused(name: str, top: int) -> bool:
    try:
        layers.status(name, top)
    except OSError:
        return True
    return False


def _is_there(resolver: Resolver, directory: MergedDir, name: str) -> bool:
    found = resolver.lookup(directory, name)
    found.close()
    return found.letter is not None and not found.error


def _is_shown(resolver: Resolver, directory: MergedDir, name: str, shown: os.stat_result) -> bool:
    """Tell whether a lookup, which reads all attributes, finds the file that the mount shows."""
    found = resolver.lookup(directory, name)
    try:
        if found.letter is None or found.error or not found.parts:
            return False
        part = found.parts[0]
        above, _, last = part.path.rpartition("/")
        fd = layers.open_path(above, resolver.roots[part.layer])
        try:
            status = layers.status(last, fd)
        finally:
            os.close(fd)
        return status is not None and times(status) == times(shown)
    finally:
        found.close()
