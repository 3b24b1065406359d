"""Faults of files whose data are in another layer (metacopy), and of what origins say."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator

from layerctl.inspecting.resolvers.resolver import Found
from layerctl.kernel import handles, layers, verity
from layerctl.model import Stack
from layerctl.working.check.fault import Fault, Mending, mark, remove, unmark
from layerctl.working.check.walk import Folder

_ASK = Mending.ASK
#: struct ovl_metacopy: version, length, flags, digest algorithm, then the digest.
_LEAST = 4


def check(folder: Folder, stack: Stack, *, healed: bool) -> Iterator[Fault]:
    """Yield the faults of the files with metadata only, and a missing impure mark.

    With `healed`, also one that the kernel sets at the next lookup.
    """
    for name in sorted(folder.attributes):
        if folder.names.get(name) == "f" and "metacopy" in folder.marks(name):
            yield from _metacopy(folder, name, stack)
    if folder.is_upper:
        yield from _impure(folder, healed=healed)


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
    if folder.is_refused(name):
        seen = "metacopy is off, or redirects are not followed"
        yield Fault("metacopy-not-followed", layer, place, seen)
    if folder.alone:
        folder.unsure(name)
        return
    found = folder.resolver.lookup(folder.merged, name)
    found.close()
    if found.alias is not None and found.alias.of_two:
        return  # a fault of two paths
    if found.error in (errno.EINVAL, errno.EACCES) and "redirect" in folder.marks(name):
        redirect = f"{folder.resolver.settings.prefix}redirect"
        seen = f"the redirect is '{os.fsdecode(folder.value('redirect', name))}'"
        yield Fault("redirect-invalid", layer, place, seen, _ASK, unmark(layer, place, redirect))
    elif found.error and folder.resolver.settings.data_layers and _is_relative(folder, name):
        seen = "a redirect must be absolute to lead to a data-only layer"
        yield Fault("data-file-missing", layer, place, seen)
    elif found.error:
        seen = "no lower layer has a file there" if found.error == errno.EIO else found.refused
        yield Fault("metacopy-without-data", layer, place, seen, _ASK, mend)
    else:
        yield from _data(folder, name, found)
        if stack.options.get("verity") in ("on", "require") and found.data is not None:
            yield from _digest(folder, name, found.data, stack)


def _is_relative(folder: Folder, name: str) -> bool:
    return "redirect" in folder.marks(name) and folder.value("redirect", name)[:1] != b"/"


def _digest(folder: Folder, name: str, data: tuple[int, str], stack: Stack) -> Iterator[Fault]:
    """Compare the digest in a metacopy attribute with that of the data (ovl_validate_verity)."""
    layer, place, value = folder.layer, folder.place(name), folder.value("metacopy", name)
    if len(value) <= _LEAST or not value[3]:
        if stack.options.get("verity") == "require":
            seen = "it has no digest, and verity=require"
            yield Fault("verity-digest-missing", layer, place, seen)
        return
    above, _, last = data[1].rpartition("/")
    fd = layers.open_path(above, folder.resolver.roots[data[0]])
    try:
        digest = verity.digest(last, fd)
    except OSError as error:
        folder.resolver.reasons.add(data[0], data[1], error)
        return
    finally:
        os.close(fd)
    number = layer + data[0]
    if digest is None:
        seen = f"its data in layer {number} have no fs-verity digest"
        yield Fault("verity-digest-wrong", layer, place, seen)
    elif digest != (value[3], value[_LEAST:]):
        seen = f"its data in layer {number} have the digest {digest[1].hex()}"
        yield Fault("verity-digest-wrong", layer, place, seen)


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


def _impure(folder: Folder, *, healed: bool) -> Iterator[Fault]:
    """Yield a directory that holds copied-up files, and is not marked impure.

    Of a merged directory the kernel notes that itself at the next lookup: only with `healed`.
    """
    is_merged = bool(folder.below.parts) or not folder.path
    if "impure" in folder.marks(".") or (is_merged and not healed):
        return
    prefix = folder.resolver.settings.prefix
    for name, letter in sorted(folder.names.items()):
        marks = folder.marks(name)
        if "origin" in marks and handles.remembered(f"{prefix}origin", folder.fd, name):
            seen = f"it holds '{name}', which was copied up from elsewhere"
        elif healed and letter == "d" and _merges(folder, name):
            seen = f"it holds '{name}', which is merged with a lower directory"
        else:
            continue
        mend = mark(0, folder.path, f"{prefix}impure", b"y")
        yield Fault("impure-missing", 0, folder.path, seen, Mending.SAFE, mend)
        return


def _merges(folder: Folder, name: str) -> bool:
    found = folder.resolver.lookup(folder.merged, name)
    found.close()
    return not found.error and len(found.parts) > 1
