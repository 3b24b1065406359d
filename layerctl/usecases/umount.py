"""Unmount what is on a target."""

from __future__ import annotations

from layerctl.kernel import standing
from layerctl.kernel.mounts import Mounted
from layerctl.mounting.unmount import unmount
from layerctl.usecases.targets import find_mount


def unmount_target(target: str, *, lazy: bool, force: bool) -> Mounted:
    """Unmount the layered mount on TARGET, and return what it was.

    `lazy` detaches it even if it is busy; `force` unmounts an aufs even if hard links break. Raises
    NotFoundError if there is no layered mount, else what `unmount` raises.
    """
    mounted = find_mount(target)
    standing.demand_name(target, mounted.entry)
    unmount(mounted, lazy=lazy, force=force)
    return mounted
