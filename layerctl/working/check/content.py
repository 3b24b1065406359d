"""Faults of files whose data are in another layer (metacopy), and of what origins say."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator

from layerctl.inspecting.resolvers.resolver import Found
from layerctl.kernel import handles, layers
from layerctl.model import Stack
from layerctl.working.check.fault import Fault, Mending, mark, remove
from layerctl.working.check.walk import Folder

_ASK = Mending.ASK
#: struct ovl_metacopy: version, length, flags, digest algorithm, then the digest.
_LEAST = 4


def check(folder: Folder, stack: Stack) -> Iterator[Fault]:
    """Yield the faults of the files with metadata only, and a missing impure mark."""
    for name in sorted(folder.attributes):
        if folder.names.get(name) == "f" and "metacopy" in folder.marks(name):
            yield from _metacopy(folder, name, stack)
    if folder.layer == 0 and folder.resolver.settings.has_upper:
        yield from _impure(folder)


def _metacopy(folder: Folder, name: str, stack: Stack) -> Iterator[Fault]:
    layer, place, value = folder.layer, folder.place(name), folder.value("metacopy", name)
    mend = remove(layer, place)
    if 0 < len(value) < _LEAST:
        seen = f"the attribute has {len(value)} bytes"
        yield Fault("metacopy-too-short", layer, place, seen, _ASK, mend)
        return
    if value and (value[0] != 0 or value[1] != len(value) or value[2] != 0):
        seen = f"version {value[0]}, length {value[1]} of {len(value)} bytes"
        yield Fault("metacopy-invalid", layer, place, seen, _ASK, mend)
    if stack.options.get("verity") == "require" and len(value) <= _LEAST:
        yield Fault("verity-digest-missing", layer, place, "it has no digest, and verity=require")
    found = folder.resolver.lookup(folder.merged, name)
    found.close()
    if found.error == errno.EPERM:
        seen = "metacopy is off, or redirects are not followed"
        yield Fault("metacopy-not-followed", layer, place, seen)
    elif found.error:
        seen = "no lower layer has a file there" if found.error == errno.EIO else found.refused
        yield Fault("metacopy-without-data", layer, place, seen, _ASK, mend)
    else:
        yield from _data(folder, name, found)


def _data(folder: Folder, name: str, found: Found) -> Iterator[Fault]:
    layer, place = folder.layer, folder.place(name)
    status = layers.status(name, folder.fd)
    if status is None:
        return
    if found.data is None:
        yield Fault("data-file-missing", layer, place, "no data-only layer has its data")
        return
    if layers.holds_data(name, folder.fd):
        seen = "the file holds data of its own, which the kernel ignores"
        mend = remove(layer, place)
        yield Fault("metacopy-over-data", layer, place, seen, _ASK, mend)
    data = _status(folder, *found.data)
    if data is not None and data.st_size != status.st_size:
        seen = f"{status.st_size} bytes, and its data in layer {layer + found.data[0]} "
        seen += f"{data.st_size} bytes"
        yield Fault("metacopy-size", layer, place, seen)


def _status(folder: Folder, layer: int, path: str) -> os.stat_result | None:
    above, _, name = path.rpartition("/")
    fd = layers.open_path(above, folder.resolver.roots[layer])
    try:
        return layers.status(name, fd)
    finally:
        os.close(fd)


def _impure(folder: Folder) -> Iterator[Fault]:
    """Yield a directory of the upper layer alone that holds copied-up files, and is not impure.

    Of a merged directory the kernel notes that itself, at the next lookup.
    """
    if folder.below.parts or not folder.path or "impure" in folder.marks("."):
        return
    for name in sorted(folder.attributes):
        if name in folder.names and "origin" in folder.marks(name):
            attribute = f"{folder.resolver.settings.prefix}origin"
            if handles.remembered(attribute, folder.fd, name) is not None:
                seen = f"it holds '{name}', which was copied up from elsewhere"
                impure = f"{folder.resolver.settings.prefix}impure"
                mend = mark(0, folder.path, impure, b"y")
                yield Fault("impure-missing", 0, folder.path, seen, Mending.SAFE, mend)
                return
