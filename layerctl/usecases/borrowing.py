"""Mount the layers of an existing mount, container or image again."""

from __future__ import annotations

from layerctl.codecs.request import Request
from layerctl.errors import RequestError
from layerctl.model import Role
from layerctl.stores.store import Container, Image
from layerctl.usecases.named import incomplete, one_named
from layerctl.usecases.targets import named


def layers_of(
    request: Request, *, like: str | None, container: str | None, image: str | None
) -> tuple[Request, tuple[str, ...]]:
    """Return a request with the layers of a name as lower ones, and notes.

    The upper layer of a container or mount becomes the topmost lower one, so that nothing of
    theirs is written. Raises RequestError if other layers are named too, and what `one_named` and
    `targets.named` do.
    """
    given = [name for name in (like, container, image) if name is not None]
    own = request.lowers or request.data or (like is None and request.options)
    if len(given) > 1 or own:
        raise RequestError(
            "usage",
            "--like, --container, --image, and other lower layers or -o cannot be combined",
            hint="use -u DIR to add a new writable layer",
        )
    if like is not None:
        return _like(like, request)
    return _stored_layers(container, image, request)


#: Options that say how the old upper layer is written.
_OF_UPPER = frozenset({"index", "nfs_export", "volatile", "fsync", "uuid"})


def _like(target: str, request: Request) -> tuple[Request, tuple[str, ...]]:
    found = named(target, request.root)
    stack, notes = found.stack, list(found.notes)
    if found.mount is not None and not stack.read_only:
        notes.append(f"{target} is mounted writable: do not rely on what it changes")
    if stack.fstype == "aufs":
        return _branches([layer.path for layer in stack.layers], request), tuple(notes)
    kept = {name: text for name, text in stack.options.items() if name not in _OF_UPPER}
    options = ",".join(name if text is None else f"{name}={text}" for name, text in kept.items())
    asked = request._replace(
        lowers=tuple(layer.path for layer in stack.layers if layer.role is not Role.DATA),
        data=tuple(layer.path for layer in stack.of_role(Role.DATA)),
        options=(*([options] if options else []), *request.options),
        read_only=request.read_only or request.upper is None,
    )
    return asked, tuple(notes)


def _stored_layers(
    container: str | None, image: str | None, request: Request
) -> tuple[Request, tuple[str, ...]]:
    found = one_named(
        container or image or "", request.root, thing=Container if container else Image
    )
    try:
        stack = found.store.stack(found.layers, writable=False)
    except KeyError as error:
        raise incomplete(found, str(error.args[0])) from None
    layers = [layer.path for layer in stack.layers]
    notes = [f"the layers are those of {found.spelled} in {found.store.root}"]
    if isinstance(found.thing, Container) and found.thing.state in ("running", "paused"):
        notes.append(f"{found.thing.label} is {found.thing.state}: do not rely on what it changes")
    if stack.fstype == "aufs":
        asked = _branches(layers, request)
    else:
        read_only = request.read_only or request.upper is None
        asked = request._replace(lowers=tuple(layers), read_only=read_only)
    return asked, tuple(notes)


def _branches(paths: list[str], request: Request) -> Request:
    """Return the request with read-only branches below its own."""
    branches = (*request.branches, *(f"{path}=ro+wh" for path in paths))
    read_only = request.read_only or not request.branches
    return request._replace(fstype="aufs", branches=branches, read_only=read_only)
