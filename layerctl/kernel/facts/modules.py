"""Filesystem types of this kernel, and the parameters of their modules."""

from __future__ import annotations

import errno
import os

from layerctl.kernel import mounts, syscalls
from layerctl.kernel.facts import TypeState

MODULES = "/lib/modules"


def parameters(module: str) -> dict[str, str]:
    """Return a module's parameters; none if it is not loaded, or they cannot be read."""
    base = f"/sys/module/{module}/parameters"
    try:
        names = sorted(os.listdir(base))
        return {name: mounts.read_text(f"{base}/{name}").strip() for name in names}
    except OSError:
        return {}


def type_state(fstype: str) -> str:
    """Return the state of a filesystem type: built in or loaded, a module, or absent.

    Where the modules of the running kernel cannot be read (they are gone, or this is a container)
    the kernel itself is asked by fsopen(2), which loads a module as mount(2) would.
    """
    try:
        known = [
            line.split("\t")[-1] for line in mounts.read_text("/proc/filesystems").splitlines()
        ]
    except OSError:
        known = []
    if fstype in known:
        return TypeState.PRESENT
    found = has_module(fstype, os.uname().release)
    if found is not None:
        return TypeState.MODULE if found else TypeState.ABSENT
    try:
        os.close(syscalls.fsopen(fstype))
    except OSError as error:
        return TypeState.ABSENT if error.errno == errno.ENODEV else TypeState.UNKNOWN
    return TypeState.PRESENT


def has_module(fstype: str, release: str) -> bool | None:
    """Tell whether a kernel's modules hold a filesystem type, None if they cannot be read."""
    readable = None
    for name in ("modules.dep", "modules.builtin"):
        try:
            text = mounts.read_text(f"{MODULES}/{release}/{name}")
        except OSError:
            continue
        readable = False
        for line in text.splitlines():
            base = os.path.basename(line.partition(":")[0]).partition(".ko")[0]
            if base == fstype:
                return True
    return readable


def kernels_with(fstype: str) -> tuple[str, ...]:
    """Return the releases in /lib/modules that have the type as a module."""
    try:
        names = sorted(os.listdir(MODULES))
    except OSError:
        return ()
    return tuple(name for name in names if has_module(fstype, name))
