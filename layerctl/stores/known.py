"""What is known of a stack in a list of all, and of what a name stands for."""

from __future__ import annotations

from typing import NamedTuple


class Known(NamedTuple):
    """A stack that `list --all` shows: `kind` is mount, container or image.

    `target` is where it is mounted, None if it is not.
    """

    kind: str
    name: str
    engine: str = ""
    id: str = ""
    state: str = ""
    image: str = ""
    layers: int = 0
    target: str | None = None
    root: str = ""


class Fate(NamedTuple):
    """What a container shows of a path in one of its layers: `state` is shown, replaced, deleted.

    It is `unknown` if the container's layers cannot be read.
    """

    container: str
    state: str


class Answer(NamedTuple):
    """What one name stands for.

    `kind` is mount, container, image or layer, `position` that of the layer in the stack `of`
    that it belongs to. `size` is in bytes on disk, None if it was not counted; `whole` is False if
    it is more than that. `users` are the containers that use it.
    """

    name: str
    kind: str
    engine: str = ""
    id: str = ""
    of: str = ""
    position: int | None = None
    step: str = ""
    directory: str = ""
    path: str = ""
    size: int | None = None
    whole: bool = True
    users: tuple[str, ...] = ()
    fates: tuple[Fate, ...] = ()
