"""The directory of the merged tree at which a walk starts."""

from __future__ import annotations

from layerctl.errors import NotFoundError
from layerctl.inspecting.resolvers.resolver import Resolver, descend
from layerctl.inspecting.resolvers.tree import MergedDir
from layerctl.rules.words import shell


def open_at(resolver: Resolver, path: str) -> MergedDir:
    """Return the merged directory at `path`, looked up name by name as the kernel does.

    Raises NotFoundError if the merged tree has no directory there, or none that can be entered.
    """
    directory, name, found = descend(resolver, path)
    if found is None:
        return directory
    found.close()
    directory.close()
    path = directory.child_path(name)
    if found.error:
        raise NotFoundError(
            "no-such-directory",
            f"'{path}' cannot be entered",
            why=found.refused,
            commands=(shell("layerctl", "inspect", "merged", "TARGET", path),),
        )
    raise NotFoundError(
        "no-such-directory",
        f"'{path}' is not visible" if found.letter is None else f"'{path}' is not a directory",
        why="only directories of the merged tree can be listed",
        commands=(shell("layerctl", "inspect", "merged", "TARGET", path),),
    )
