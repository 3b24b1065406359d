"""What is below a layer, as the resolver sees it."""

from __future__ import annotations

import os
from collections.abc import Collection

from layerctl.inspecting.resolvers.resolver import Found, Resolver
from layerctl.inspecting.resolvers.tree import MergedDir, Part
from layerctl.kernel import layers

_FEW = 8


def rest(directory: MergedDir, layer: int) -> MergedDir:
    """Return what a merged directory is made of below a layer; the parts are shared."""
    parts = [part for part in directory.parts if part.layer > layer]
    return MergedDir(directory.path, parts)


def look(resolver: Resolver, directory: MergedDir, name: str) -> Found:
    """Look a name up in what `rest` returned, which may be nothing at all."""
    return resolver.lookup(directory, name) if directory.parts else Found()


def hides(resolver: Resolver, below: MergedDir, name: str) -> bool:
    """Tell whether a layer below has the name, so that it would show, or be an error."""
    found = look(resolver, below, name)
    found.close()
    return found.letter is not None or bool(found.parts) or bool(found.error)


def letters(part: Part, names: Collection[str]) -> dict[str, str]:
    """Return the letters of the types of some names in an open directory, those that it has.

    Those of other names may be among them: many names are listed, not looked up.
    """
    if len(names) > _FEW:
        return layers.scan(part.fd, layers.LETTER_OF)
    found = {name: layers.letter_at(name, part.fd) for name in names}
    return {name: letter for name, letter in found.items() if letter is not None}


def is_moved(directory: MergedDir) -> bool:
    """Tell whether one rename puts a directory of the first layer in its place in the second.

    It does if that has nothing there, or an empty directory without markers that matter.
    """
    for part in directory.parts[1:2]:
        if part.layer == 1:
            with os.scandir(part.fd) as entries:
                return {"origin", "impure"}.issuperset(part.attributes) and next(
                    entries, None
                ) is None
    return True


def part_of(directory: MergedDir, layer: int) -> Part | None:
    """Return one layer's part of a directory."""
    for part in directory.parts:
        if part.layer == layer:
            return part
    return None
