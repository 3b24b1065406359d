"""Faults of two paths that lead to one file or directory of a lower layer."""

from __future__ import annotations

import os
from collections.abc import Iterator

from layerctl.inspecting.resolvers.overlay import Overlay
from layerctl.inspecting.resolvers.overlay_lookup import OverlayLookup
from layerctl.kernel import layers
from layerctl.working.check.fault import Fault, Mending, mark


def check(overlay: Overlay) -> Iterator[Fault]:
    """Yield each pair of paths of which the kernel shows the one that is looked up first."""
    seen: set[frozenset[str]] = set()
    for directory, names in sorted(overlay.aliases.items()):
        for name, alias in sorted(names.items()):
            path = f"{directory}/{name}" if directory else name
            pair = frozenset((path, alias.other))
            if alias.of_two and pair not in seen:
                seen.add(pair)
                yield from _of_two(overlay, path, alias.other)


def _of_two(overlay: Overlay, one: str, other: str) -> Iterator[Fault]:
    places = {path: _place(overlay, path) for path in (one, other)}
    redirected = [path for path, place in places.items() if place.redirect is not None]
    if not places[one].is_directory:
        upper = sorted(path for path, place in places.items() if place.layer == 0)
        last = upper[-1] if upper else one
        attribute = f"{overlay.settings.prefix}origin"
        seen = f"the same origin as '{one if last == other else other}'"
        if redirected or not upper:
            yield Fault("origin-twice", places[last].layer, places[last].path, seen)
            return
        mend = mark(0, places[last].path, attribute, b"")
        yield Fault("origin-twice", 0, places[last].path, seen, Mending.SAFE, mend)
    elif len(redirected) == 1:
        place = places[redirected[0]]
        old = other if redirected[0] == one else one
        layer = place.redirect if place.redirect is not None else place.layer
        seen = f"'{old}' still shows the directory that '{redirected[0]}' redirects to"
        if _has_parent(overlay, layer, old):
            yield Fault(
                "redirect-uncovered", layer, place.path, seen, Mending.SAFE,
                lambda mender: mender.whiteout(layer, old),
            )  # fmt: skip
        else:
            yield Fault("redirect-uncovered", layer, place.path, seen)
    else:
        seen = f"'{one}' and '{other}' lead to one directory"
        layer = places[one].layer
        yield Fault("redirect-twice", layer, places[one].path, seen)


class _Place:
    """Where a path is found: its topmost layer, the path in it, and the layer of a redirect."""

    def __init__(self, layer: int, path: str, redirect: int | None, *, is_directory: bool) -> None:
        self.layer = layer
        self.path = path
        self.redirect = redirect
        self.is_directory = is_directory


def _place(overlay: Overlay, path: str) -> _Place:
    """Look a path up without regard to other paths."""
    directory = overlay.root()
    redirect: int | None = None
    *above, last = path.split("/")
    for name in above:
        found = OverlayLookup(overlay, overlay.origins, name).run(directory)
        directory.close()
        redirect = found.redirects[0][0] if found.redirects else redirect
        directory = overlay.directory(directory, name, found)
    found = OverlayLookup(overlay, overlay.origins, last).run(directory)
    directory.close()
    redirect = found.redirects[0][0] if found.redirects else redirect
    part = found.parts[0] if found.parts else None
    found.close()
    return _Place(
        0 if part is None else part.layer,
        path if part is None else part.path,
        redirect,
        is_directory=found.letter == "d",
    )


def _has_parent(overlay: Overlay, layer: int, path: str) -> bool:
    """Tell whether a layer has the directory that a path is in, and not the path itself."""
    above, _, name = path.rpartition("/")
    try:
        fd = layers.open_path(above, overlay.roots[layer])
    except OSError:
        return False
    try:
        return layers.status(name, fd) is None
    finally:
        os.close(fd)
