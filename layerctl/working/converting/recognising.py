"""Tell which form the markers of a layer have, and whether a conversion was stopped."""

from __future__ import annotations

from layerctl.errors import RefusedError, RequestError
from layerctl.inspecting.resolvers.aufs import OPAQUE, PREFIX
from layerctl.kernel import layers
from layerctl.rules.overlay import FUSE, TRUSTED, USER
from layerctl.working.converting.forms import HOUSEKEEPING, Form, Syntax
from layerctl.working.converting.reading import Task, unreadable

#: The attribute that says which conversion is under way, on the layer's own directory.
UNFINISHED = "layerctl.convert"
NOTES = (f"trusted.{UNFINISHED}", f"user.{UNFINISHED}")


class _All:
    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and name.startswith((TRUSTED, USER, FUSE))


def task(root: int, path: str, given: Form | None, target: Syntax, *, privileged: bool) -> Task:
    """Return the conversion of a layer that is open at `root` to another form.

    `given` is the form that the user names. Raises RequestError if none is named and the markers
    are of several, and RefusedError if a conversion to another form is unfinished.
    """
    for note in NOTES:
        kept = layers.attribute(note, root)
        if kept is not None:
            return _unfinished(kept.decode(), path, target)
    source = _recognised(root, path, target) if given is None else given
    return Task(_syntax(source, root, path, target, privileged=privileged), target)


def words(task_: Task) -> str:
    """Return the text of the attribute that says which conversion is under way."""
    source, target = task_.source, task_.target
    return f"{source.form} {source.prefix or '-'} {target.form} {target.prefix or '-'}"


def _unfinished(kept: str, path: str, target: Syntax) -> Task:
    source, own, other, prefix = kept.split()
    there = Syntax(Form(other), prefix.strip("-"))
    if there != target:
        raise RefusedError(
            "conversion-unfinished",
            f"a conversion of {path} to {other} was interrupted",
            why="the layer has markers of both forms until it is complete",
            hint=f"complete it with --to {other} first"
            + (" -o userxattr" if there.prefix == USER else ""),
        )
    return Task(Syntax(Form(source), own.strip("-")), there, resumed=True)


def _syntax(form: Form, root: int, path: str, target: Syntax, *, privileged: bool) -> Syntax:
    """Return a form with its name space: of an overlay, the one that has markers."""
    if form is not Form.OVERLAY:
        return Syntax(form)
    found = _signals(root, path)
    if target.form is Form.OVERLAY:
        other = USER if target.prefix == TRUSTED else TRUSTED
        return Syntax(form, other if other in found else target.prefix)
    if {TRUSTED, USER} <= found:
        raise _ambiguous(path)
    return Syntax(form, USER if USER in found or not privileged else TRUSTED)


def _signals(root: int, path: str) -> set[str]:
    """Return what a layer has of all forms: prefixes of attributes, and kinds of names."""
    found: set[str] = set()

    def unread(place: str, error: OSError) -> None:
        raise unreadable(f"{path}/{place}", error)

    for fd, place in layers.directories(root, unread):
        names = layers.scan(fd, layers.LETTER_OF)
        for attributes in layers.with_attributes(fd, [*names, "."], _All(), unread).values():
            found.update(_prefix(one) for one in attributes)
        if "w" in names.values():
            found.add("device")
        for name in names:
            if name == OPAQUE:
                found.add(OPAQUE)
            elif not place and name in HOUSEKEEPING:
                found.add("aufs")
            elif name.startswith(PREFIX):
                found.add(PREFIX)
    return found


def _prefix(attribute: str) -> str:
    return next(one for one in (TRUSTED, USER, FUSE) if attribute.startswith(one))


def _recognised(root: int, path: str, target: Syntax) -> Form:
    found = _signals(root, path)
    if not found:
        return target.form
    overlay = bool(found & {TRUSTED, USER, "device"})
    if FUSE in found or (overlay and found & {OPAQUE} and not found & {PREFIX, "aufs"}):
        return Form.FUSE  # which writes both kinds of opaque markers
    if not overlay:
        return Form.FUSE if target.form is Form.FUSE and "aufs" not in found else Form.AUFS
    if found & {PREFIX, "aufs", OPAQUE} or {TRUSTED, USER} <= found:
        raise _ambiguous(path)
    return Form.OVERLAY


def _ambiguous(path: str) -> RequestError:
    return RequestError(
        "form-ambiguous",
        f"{path} has markers of several forms",
        why="trusted.overlay.* and user.overlay.* belong to different overlays, names with '.wh.' "
        "to aufs, and fuse-overlayfs reads them all",
        hint="name the filesystem that wrote the layer: --from overlay, aufs or fuse-overlayfs",
    )
