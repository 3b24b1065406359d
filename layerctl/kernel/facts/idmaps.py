"""Whether the owners of layers can be mapped: probed on clones of their mounts."""

from __future__ import annotations

import os
from typing import NamedTuple

from layerctl.codecs.idmap import seen
from layerctl.kernel import beneath, idmap
from layerctl.kernel.facts import Facts
from layerctl.model import IdMap, Role, Stack


class MapProbe(NamedTuple):
    """What happened: the call that failed and its errno (0 if none did).

    `lost` are the ids of the root's owner that the map does not contain (`uid 5`). `apart` means
    that an upper and a work directory have only / in common, which cannot be mapped.
    """

    stage: str = ""
    error: int = 0
    lost: tuple[str, ...] = ()
    apart: bool = False


def ask_maps(stack: Stack, facts: Facts) -> Facts:
    """Add what mapping the layers shows. Changes nothing; raises nothing."""
    found = {}
    spaces: dict[IdMap, int | OSError] = {}
    try:
        for layer in stack.layers:
            if layer.map is None or facts.of(layer.path).identity is None:
                continue
            if layer.map not in spaces:
                spaces[layer.map] = _namespace(layer.map)
            found[layer.path] = _probe(layer.path, layer.map, spaces[layer.map])
            if layer.role is Role.UPPER and stack.work is not None:
                apart = idmap.above_both(layer.path, stack.work) == "/"
                found[layer.path] = found[layer.path]._replace(apart=apart)
    finally:
        for space in spaces.values():
            if isinstance(space, int):
                os.close(space)
    return facts._replace(overlay=facts.overlay._replace(mapped=found))


def _namespace(ids: IdMap) -> int | OSError:
    try:
        return idmap.namespace(ids)
    except OSError as error:
        return error


def _probe(path: str, ids: IdMap, space: int | OSError) -> MapProbe:
    if isinstance(space, OSError):
        stage = "unshare" if space.filename == idmap.UNSHARE else "uid_map"
        return MapProbe(stage, space.errno or 0)
    try:
        with beneath.opened(path) as name:
            fd = os.open(name, os.O_PATH | os.O_CLOEXEC)
    except Exception as error:  # which another check reports
        return MapProbe("open", getattr(error, "errno", 0) or 0)
    try:
        disk = idmap.owner(fd)
        os.close(idmap.clone(fd, space))
    except OSError as error:
        return MapProbe("mount_setattr", error.errno or 0)
    finally:
        os.close(fd)
    owners = (("uid", disk.uid, ids.uids), ("gid", disk.gid, ids.gids))
    return MapProbe(
        lost=tuple(f"{kind} {one}" for kind, one, own in owners if seen(one, own) is None)
    )
