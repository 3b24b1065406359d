"""Faults of one name in a layer: whiteouts, opaque directories, origins, foreign markers."""

from __future__ import annotations

import os
from collections.abc import Iterator

from layerctl.codecs.handles import Handle
from layerctl.inspecting.resolvers import aufs
from layerctl.kernel import handles, layers
from layerctl.rules.overlay import FUSE, TRUSTED, USER
from layerctl.working.check.fault import Fault, Mending, mark, remove, unmark
from layerctl.working.check.index import is_valid_nlink
from layerctl.working.check.walk import Folder
from layerctl.working.steps import STAMP

_SAFE, _ASK = Mending.SAFE, Mending.ASK
#: What the kernel, or an older one, writes itself.
_KNOWN = frozenset(
    {
        "opaque", "redirect", "metacopy", "origin", "impure", "nlink", "upper", "protattr", "uuid",
        "whiteout", "whiteouts",
    }
)  # fmt: skip
#: Markers that mean something to a mount that reads the other name space.
_MEANT = ("opaque", "redirect", "whiteout", "metacopy")


def check(folder: Folder, indexed: frozenset[int]) -> Iterator[Fault]:
    """Yield the faults of the names in one directory, and of the directory of the layer itself.

    `indexed` are the inodes in the index, whose number of links is checked there.
    """
    if not folder.path:
        yield from _of_root(folder)
    for name, letter in sorted(folder.names.items()):
        if letter == "w":
            yield from _device(folder, name)
        elif name.startswith(aufs.PREFIX):
            yield Fault("aufs-name-in-overlay", folder.layer, folder.place(name), f"'{name}'")
        attributes = folder.attributes.get(name)
        if attributes:
            yield from _attributes(folder, name, letter, indexed)


def _device(folder: Folder, name: str) -> Iterator[Fault]:
    if name == aufs.OPAQUE:
        place = folder.place(name)
        mend = remove(folder.layer, place)
        yield Fault("fuse-opaque-device", folder.layer, place, "a 0:0 device", _SAFE, mend)
    else:
        yield from _idle(folder, name)


def _idle(folder: Folder, name: str) -> Iterator[Fault]:
    """Yield a whiteout that hides nothing."""
    layer, place = folder.layer, folder.place(name)
    if not folder.reached:
        return
    if folder.alone:
        folder.unsure(name)
    elif not folder.merged.whiteouts:
        seen = "its directory is not merged with a lower one"
        yield Fault("whiteout-not-merged", layer, place, seen, _SAFE, remove(layer, place))
    elif not folder.hidden(name):
        seen = "no lower layer has the name"
        yield Fault("whiteout-over-nothing", layer, place, seen, _SAFE, remove(layer, place))


def _attributes(folder: Folder, name: str, letter: str, indexed: frozenset[int]) -> Iterator[Fault]:
    marks = folder.marks(name)
    if letter == "f" and "whiteout" in marks:
        yield from _by_attribute(folder, name)
    if "opaque" in marks:
        yield from _opaque(folder, name, letter)
    if "origin" in marks and folder.is_upper:
        yield from _origin(folder, name, letter)
    if "protattr" in marks:
        yield from _protected(folder, name)
    if "nlink" in marks and not is_valid_nlink(folder.value("nlink", name)):
        yield from _nlink(folder, name, indexed)
    yield from _foreign(folder, name)


def _by_attribute(folder: Folder, name: str) -> Iterator[Fault]:
    status = layers.status(name, folder.fd)
    place = folder.place(name)
    if status is None:
        return
    if status.st_size:
        seen = f"it holds {status.st_size} bytes"
        yield Fault("xattr-whiteout-not-empty", folder.layer, place, seen)
    elif folder.is_upper or not (folder.alone or folder.hides_by_attribute):
        seen = "it is in the upper layer" if folder.is_upper else "no opaque=x announces it"
        cause = "xattr-whiteout-in-upper" if folder.is_upper else "xattr-whiteout-not-announced"
        layer, mend = folder.layer, remove(folder.layer, place)
        if folder.merged.whiteouts and folder.hidden(name):
            mend = lambda mender: mender.whiteout(layer, place)  # noqa: E731
        yield Fault(cause, layer, place, seen, _SAFE, mend)
    else:
        yield from _idle(folder, name)


def _opaque(folder: Folder, name: str, letter: str) -> Iterator[Fault]:
    place, value = folder.place(name), folder.value("opaque", name)
    attribute = f"{folder.resolver.settings.prefix}opaque"
    mend = unmark(folder.layer, place, attribute)
    if letter != "d":
        yield Fault("opaque-without-effect", folder.layer, place, "not a directory", _SAFE, mend)
    elif value not in (b"y", b"x"):
        seen = f"the value is '{os.fsdecode(value)}', which the kernel ignores"
        yield Fault("opaque-value", folder.layer, place, seen, _ASK, mend)


def _origin(folder: Folder, name: str, letter: str) -> Iterator[Fault]:
    """Check the origin of an upper file; an empty one says that it is unknown."""
    value = folder.value("origin", name)
    if not value:
        return
    attribute = f"{folder.resolver.settings.prefix}origin"
    mend = mark(0, folder.place(name), attribute, b"")
    handle = handles.remembered(attribute, folder.fd, name)
    if handle is None:
        seen = f"{len(value)} bytes that are not a file handle"
        yield Fault("origin-invalid", 0, folder.place(name), seen, _SAFE, mend)
        return
    other = _type_of(folder, handle)
    if other not in (None, letter):
        seen = f"a file of type '{other}', and this one is of type '{letter}'"
        yield Fault("origin-of-another-type", 0, folder.place(name), seen, _SAFE, mend)


def _type_of(folder: Folder, handle: Handle) -> str | None:
    """Return the letter of the type of what a handle leads to; None if that is unknown."""
    overlay = folder.resolver
    for layer in range(overlay.first_lower, len(overlay.roots)):
        if overlay.origins is None or overlay.origins.uuid(layer) not in (None, handle.uuid):
            continue
        try:
            found = handles.decode(handle, overlay.roots[layer])
        except OSError:
            return None
        if found is not None:
            return layers.letter_of(found)
    return None


def _protected(folder: Folder, name: str) -> Iterator[Fault]:
    value, place = folder.value("protattr", name), folder.place(name)
    if not value or value.strip(b"ai"):
        mend = unmark(folder.layer, place, f"{folder.resolver.settings.prefix}protattr")
        seen = f"the value is '{os.fsdecode(value)}'"
        yield Fault("protattr-invalid", folder.layer, place, seen, _ASK, mend)


def _nlink(folder: Folder, name: str, indexed: frozenset[int]) -> Iterator[Fault]:
    status, place = layers.status(name, folder.fd), folder.place(name)
    if status is None or (folder.is_upper and status.st_ino in indexed):
        return
    mend = unmark(folder.layer, place, f"{folder.resolver.settings.prefix}nlink")
    seen = f"the value is '{os.fsdecode(folder.value('nlink', name))}', and it is not in the index"
    yield Fault("nlink-invalid", folder.layer, place, seen, _SAFE, mend)


def _foreign(folder: Folder, name: str) -> Iterator[Fault]:
    """Yield markers that this mount does not read, or that nobody knows."""
    prefix, place = folder.resolver.settings.prefix, folder.place(name)
    others = (USER if prefix == TRUSTED else TRUSTED, FUSE)
    for attribute in folder.attributes.get(name, ()):
        for other in others:
            if attribute.startswith(other) and attribute.removeprefix(other) in _MEANT:
                yield Fault("foreign-marker", folder.layer, place, attribute)
    for unknown in sorted(folder.marks(name) - _KNOWN):
        if unknown == STAMP:
            yield _unfinished(folder, place)
        else:
            yield Fault("unknown-marker", folder.layer, place, prefix + unknown)


def _unfinished(folder: Folder, place: str) -> Fault:
    layer = folder.layer
    seen = "the times that the directory had are kept in an attribute"
    return Fault("work-unfinished", layer, place, seen, _SAFE, lambda it: it.restore(layer, place))


def _of_root(folder: Folder) -> Iterator[Fault]:
    marks, layer = folder.marks("."), folder.layer
    prefix = folder.resolver.settings.prefix
    if "opaque" in marks and (folder.is_upper or folder.value("opaque", ".") == b"y"):
        mend = unmark(layer, "", f"{prefix}opaque")
        seen = "it is on the layer's own directory"
        # In a lower layer somebody may have meant it.
        mending = _SAFE if folder.is_upper else _ASK
        yield Fault("opaque-without-effect", layer, "", seen, mending, mend)
    if folder.is_upper and "uuid" in marks and len(folder.value("uuid", ".")) != 16:
        mend = unmark(layer, "", f"{prefix}uuid")
        yield Fault("uuid-invalid", layer, "", "it is not 16 bytes long", _SAFE, mend)
    yield from _foreign(folder, ".")
