"""Map the owners of layers: what a plan with ID maps needs besides."""

from __future__ import annotations

from layerctl.kernel import idmap, syscalls
from layerctl.kernel.idmap import Mapped
from layerctl.kernel.process import close
from layerctl.model import IdMap, Role
from layerctl.mounting.run import Run


def prepare(run: Run) -> None:
    """Create the user namespaces that hold the maps. Raises OSError."""
    run.stage = "the user namespace of an ID map"
    stack = run.plan.stack
    known: dict[IdMap, int] = {}
    found = []
    for layer in stack.layers:
        if layer.map is None:
            continue
        if layer.map not in known:
            known[layer.map] = idmap.namespace(layer.map)
            run.always.callback(close, known[layer.map])
        work = stack.work if layer.role is Role.UPPER else None
        names = (layer.path,) if work is None else (layer.path, work)
        place = layer.path if work is None else idmap.above_both(layer.path, work)
        found.append(Mapped(place, names, layer.map, known[layer.map]))
    run.mapped = tuple(found)


def act(run: Run) -> None:
    """Let this process create files as an owner that a mapped upper layer can hold.

    Overlay creates what it needs in the work directory with the ids of its mounter; ids that are
    not mapped cannot be written (EOVERFLOW), and the mount would come out read-only.
    """
    upper = next((one for one in run.plan.stack.layers if one.role is Role.UPPER), None)
    if upper is None or upper.map is None:
        return
    ids = upper.map
    if not all(any(seen <= 0 < seen + n for _, seen, n in own) for own in (ids.uids, ids.gids)):
        owner = idmap.owner(run.open[upper.path])
        syscalls.set_filesystem_ids(owner.uid, owner.gid)


def differences(run: Run, root: int) -> tuple[str, ...]:
    """Return how the owner of the merged root differs from that of the topmost layer, as mapped."""
    top = run.plan.stack.layers[0]
    disk, found = idmap.owner(run.open[top.path]), idmap.owner(root)
    wanted = disk if top.map is None else idmap.expected(disk, top.map)
    if found == wanted:
        return ()
    return (
        f"the owner of the merged root is {found.uid}:{found.gid} instead of "
        f"{wanted.uid}:{wanted.gid}",
    )
