"""What a run changed, over all of its layers, with paths from the root."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from layerctl.inspecting.changes import Changes, LayerChange
from layerctl.inspecting.opening import Opened, opened
from layerctl.running.record import Place
from layerctl.usecases.keeping import Kept, changed_places


@contextmanager
def view_of(kept: Kept, place: Place) -> Iterator[tuple[Opened, Changes]]:
    """Open a layer over what it covers, and what it changes. Raises LayerctlError."""
    with opened(kept.stack(place)) as view:
        yield view, Changes(view, 1, content=False)


def placed(change: LayerChange, place: Place) -> LayerChange:
    """Return a change of a layer with its path from the root."""
    return change._replace(path=f"{place.target.rstrip('/')}/{change.path}".rstrip("/"))


def changes(kept: Kept) -> tuple[list[LayerChange], list[str]]:
    """Return all changes, deletions first, and what could not be read."""
    found: list[LayerChange] = []
    unread: list[str] = []
    for place in changed_places(kept):
        with view_of(kept, place) as (view, search):
            count = len(found)
            for batch in search:
                found += [placed(one, place) for one in batch if one.change != "unchanged"]
            if len(found) == count and _is_bare(kept, place):
                found.append(LayerChange(place.target, "metadata", "dir", "dir", 0, ("mode",)))
            unread += [f"{place.target}/{one.path}: {one.reason}"
                       for one in view.resolver.reasons.kept if one.layer == 0]  # fmt: skip
    return sorted(found, key=lambda one: (one.change != "deleted", one.path)), unread


def _is_bare(kept: Kept, place: Place) -> bool:
    """Tell whether only the look of a layer's root was changed."""
    from layerctl.kernel import layers  # rarely needed
    from layerctl.kernel.process import close

    fd = layers.open_root(kept.upper(place))
    try:
        return not layers.scan(fd, layers.LETTER_OF)
    finally:
        close(fd)
