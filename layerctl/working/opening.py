"""Take layers to work on: nobody else uses them, nobody else works on them, all can be read."""

from __future__ import annotations

import os
import shlex
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager, suppress

from layerctl.diagnosing.commands import layer_words
from layerctl.errors import LayerctlError, NotFoundError, NotPermittedError, RefusedError
from layerctl.inspecting.opening import Opened, opened, unopened
from layerctl.kernel import beneath, in_use, layers, locks, mounts
from layerctl.model import Stack
from layerctl.rules.aliasing import Aliasing
from layerctl.working.steps import Folder


@contextmanager
def taken(stack: Stack, changed: Collection[int], *, ambiguous: bool = False) -> Iterator[Opened]:
    """Open a stack of which the layers in `changed` are changed; the others are only read.

    `ambiguous` lets two paths lead to one file.

    Raises LayerctlError: where a mount in any mount namespace uses a layer that is changed, or the
    work directory, where another run works on a layer, and where marks cannot be read.
    """
    with ExitStack() as closing:
        fds = {}
        for number, layer in enumerate(stack.layers):
            fds[number] = open_layer(layer.path, closing)
            _lock(layer.path, fds[number], exclusive=number in changed)
        _demand_unused(stack, fds, changed, closing)
        view = closing.enter_context(opened(stack, thorough=True))
        for number, layer in enumerate(stack.layers):
            if beneath.identity(view.resolver.roots[number]) != beneath.identity(fds[number]):
                raise _swapped(layer.path)
        demand_readable(view)
        if not ambiguous:
            _demand_clear(view)
        yield view


def open_layer(path: str, closing: ExitStack) -> int:
    """Open a directory for a while, following no link of another user. Raises LayerctlError."""
    try:
        above = beneath.open_directory(path)
    except OSError as error:
        error.filename = path
        raise unopened(error) from None
    try:
        fd = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=above)
    finally:
        os.close(above)
    closing.callback(os.close, fd)
    return fd


def beside(fd: int, prefix: str, closing: ExitStack) -> tuple[Folder, str]:
    """Open the directory that a layer is in; return it, and the layer's name there.

    Raises LayerctlError: if the layer is the root of a mount, where nothing is beside it.
    """
    path = layers.real_path(fd)
    above, name = os.path.split(path)
    around = open_layer(above, closing)
    status = layers.status(name, around) if name else None
    if status is None or mounts.mount_id_of(around) != mounts.mount_id_of(fd):
        raise RefusedError(
            "layer-is-mount",
            f"{path} is the root of a mount",
            why="a copy is made beside the layer, and renamed into it once it is whole",
            hint="use a directory of that filesystem as the layer",
        )
    if (status.st_dev, status.st_ino) != beneath.identity(fd):
        raise _swapped(path)
    return Folder(around, above.rstrip("/"), prefix), name


def _lock(path: str, fd: int, *, exclusive: bool) -> None:
    if not locks.lock(fd, exclusive=exclusive):
        raise locked_error(path)


def locked_error(path: str) -> RefusedError:
    """Return the error for a layer that another run works on."""
    return RefusedError(
        "layer-locked",
        f"another layerctl works on {path}",
        why="two commands at once would undo each other's work",
        hint="wait until it has finished, then run the command again",
    )


def _demand_unused(
    stack: Stack, fds: dict[int, int], changed: Collection[int], closing: ExitStack
) -> None:
    names = [stack.layers[number].path for number in sorted(changed)]
    asked = [fds[number] for number in sorted(changed)]
    if stack.work is not None and 0 in changed:
        with suppress(NotFoundError):  # it is created at the first mount
            asked.append(open_layer(stack.work, closing))
            names.append(stack.work)
    if not asked:
        return
    for use in in_use.of(asked).uses:
        place = "" if use.pid is None else f" in the mount namespace of process {use.pid}"
        raise RefusedError(
            "layer-in-use",
            f"{names[use.position]} is used by the mount on {use.target}{place}",
            why="the result of changing a layer beneath a mount is undefined",
            hint=f"unmount {use.target}, then run the command again",
            commands=()
            if use.pid is not None
            else (shlex.join(("layerctl", "umount", use.target)),),
        )


def _swapped(path: str) -> LayerctlError:
    return RefusedError(
        "directory-swapped",
        f"{path} is no longer the directory that was checked",
        why="another directory took its place in the meantime; nothing was changed",
        hint="find out who can write to the directories on its path",
        commands=(shlex.join(("namei", "-l", path)),),
    )


def demand_readable(view: Opened) -> None:
    """Raise NotPermittedError if the markers of layers cannot be read."""
    if view.resolver.blind:
        raise NotPermittedError(
            "markers-unreadable",
            "overlay's markers in these layers cannot be read",
            why="trusted.overlay.* attributes require CAP_SYS_ADMIN",
            hint="run the command as root, or use -o userxattr for layers with user.overlay.*",
        )


def _demand_clear(view: Opened) -> None:
    """Raise RefusedError if what the merged tree shows depends on the order of lookups."""
    for directory, names in view.resolver.aliases.items():
        for name, alias in names.items():
            if alias.of_two or alias.what is Aliasing.BAD_INDEX:
                path = f"{directory}/{name}" if directory else name
                raise RefusedError(
                    "layers-ambiguous",
                    f"what the merged tree shows at {path} depends on the order of lookups",
                    why=alias.why,
                    hint="find the two paths, and mend one of them",
                    commands=(shlex.join(("layerctl", "check", *layer_words(view.stack))),),
                )
