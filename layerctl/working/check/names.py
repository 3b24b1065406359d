"""Faults of one name in a layer: whiteouts, opaque directories, redirects, foreign markers."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator

from layerctl.codecs.handles import Handle
from layerctl.inspecting.resolvers import aufs
from layerctl.kernel import handles, layers
from layerctl.rules.overlay import FUSE, TRUSTED, USER
from layerctl.working.check.fault import Fault, Mending, both, mark, remove, unmark
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
_NLINK = re.compile(rb"[LU][+-][0-9]+")


def check(folder: Folder) -> Iterator[Fault]:
    """Yield the faults of the names in one directory, and of the directory of the layer itself."""
    if not folder.path:
        yield from _of_root(folder)
    for name, letter in sorted(folder.names.items()):
        if letter == "w":
            yield from _device(folder, name)
        elif name.startswith(aufs.PREFIX):
            yield Fault("aufs-name-in-overlay", folder.layer, folder.place(name), f"'{name}'")
        attributes = folder.attributes.get(name)
        if attributes:
            yield from _attributes(folder, name, letter)


def _device(folder: Folder, name: str) -> Iterator[Fault]:
    place = folder.place(name)
    mend = remove(folder.layer, place)
    if name == aufs.OPAQUE:
        yield Fault("fuse-opaque-device", folder.layer, place, "a 0:0 device", _SAFE, mend)
    elif not folder.reached:
        return
    elif not folder.merged.whiteouts:
        seen = "its directory is not merged with a lower one"
        yield Fault("whiteout-not-merged", folder.layer, place, seen, _SAFE, mend)
    elif not folder.hidden(name):
        seen = "no lower layer has the name"
        yield Fault("whiteout-over-nothing", folder.layer, place, seen, _SAFE, mend)


def _attributes(folder: Folder, name: str, letter: str) -> Iterator[Fault]:
    marks = folder.marks(name)
    if letter == "f" and "whiteout" in marks:
        yield from _by_attribute(folder, name)
    if "opaque" in marks:
        yield from _opaque(folder, name, letter)
    if letter == "d" and "redirect" in marks:
        yield from _redirect(folder, name)
    if "origin" in marks and folder.resolver.settings.has_upper and folder.layer == 0:
        yield from _origin(folder, name, letter)
    yield from _values(folder, name, marks)
    yield from _foreign(folder, name, marks)


def _by_attribute(folder: Folder, name: str) -> Iterator[Fault]:
    status = layers.status(name, folder.fd)
    place = folder.place(name)
    if status is None:
        return
    if status.st_size:
        seen = f"it holds {status.st_size} bytes"
        yield Fault("xattr-whiteout-not-empty", folder.layer, place, seen)
    elif folder.resolver.is_upper(0) and folder.layer == 0:
        seen = "it lies in the upper layer"
        mend = remove(folder.layer, place)
        if folder.merged.whiteouts and folder.hidden(name):
            layer = folder.layer
            mend = lambda mender: mender.whiteout(layer, place)  # noqa: E731
        yield Fault("xattr-whiteout-in-upper", folder.layer, place, seen, _SAFE, mend)


def _opaque(folder: Folder, name: str, letter: str) -> Iterator[Fault]:
    place, value = folder.place(name), folder.value("opaque", name)
    attribute = f"{folder.resolver.settings.prefix}opaque"
    mend = unmark(folder.layer, place, attribute)
    if letter != "d":
        yield Fault("opaque-without-effect", folder.layer, place, "not a directory", _SAFE, mend)
    elif value not in (b"y", b"x"):
        seen = f"the value is '{os.fsdecode(value)}', which the kernel ignores"
        yield Fault("opaque-value", folder.layer, place, seen, _ASK, mend)


def _redirect(folder: Folder, name: str) -> Iterator[Fault]:
    place, layer = folder.place(name), folder.layer
    value = folder.value("redirect", name)
    if "opaque" in folder.marks(name) and folder.value("opaque", name) == b"y":
        return  # the kernel reads no redirect of an opaque directory
    attribute = f"{folder.resolver.settings.prefix}redirect"
    mend = unmark(layer, place, attribute)
    seen = f"the redirect is '{os.fsdecode(value)}'"
    found = folder.resolver.lookup(folder.merged, name)
    parts, error = len(found.parts), found.error
    found.close()
    if error == errno.EINVAL:
        yield Fault("redirect-invalid", layer, place, seen, _ASK, mend)
    elif not folder.resolver.settings.follow:
        yield Fault("redirect-not-followed", layer, place, seen)
    elif not error and parts == 1:
        if folder.hidden(name):
            opaque = mark(layer, place, f"{folder.resolver.settings.prefix}opaque", b"y")
            seen += ", and a lower layer has a directory of the same name"
            yield Fault("redirect-to-nothing", layer, place, seen, _ASK, both(opaque, mend))
        else:
            yield Fault("redirect-to-nothing", layer, place, seen, _SAFE, mend)


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


def _values(folder: Folder, name: str, marks: set[str]) -> Iterator[Fault]:
    prefix = folder.resolver.settings.prefix
    for mark_, cause, is_valid in (
        ("protattr", "protattr-invalid", lambda value: not value.strip(b"ai") and value),
        ("nlink", "nlink-invalid", _NLINK.fullmatch),
    ):
        if mark_ in marks:
            value = folder.value(mark_, name)
            if not is_valid(value):
                mend = unmark(folder.layer, folder.place(name), prefix + mark_)
                seen = f"the value is '{os.fsdecode(value)}'"
                yield Fault(cause, folder.layer, folder.place(name), seen, _ASK, mend)


def _foreign(folder: Folder, name: str, marks: set[str]) -> Iterator[Fault]:
    """Yield markers that this mount does not read, or that nobody knows."""
    prefix = folder.resolver.settings.prefix
    others = (USER if prefix == TRUSTED else TRUSTED, FUSE)
    for attribute in folder.attributes[name]:
        for other in others:
            if attribute.startswith(other) and attribute.removeprefix(other) in _MEANT:
                yield Fault("foreign-marker", folder.layer, folder.place(name), attribute)
    for unknown in sorted(marks - _KNOWN):
        place = folder.place(name)
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
    is_upper = folder.resolver.is_upper(0) and layer == 0
    if is_upper and "opaque" in marks:
        mend = unmark(layer, "", f"{prefix}opaque")
        seen = "it is on the layer's own directory"
        yield Fault("opaque-without-effect", layer, "", seen, _SAFE, mend)
    if is_upper and "uuid" in marks and len(folder.value("uuid", ".")) != 16:
        mend = unmark(layer, "", f"{prefix}uuid")
        yield Fault("uuid-invalid", layer, "", "it is not 16 bytes long", _SAFE, mend)
    if STAMP in marks:
        yield _unfinished(folder, "")
