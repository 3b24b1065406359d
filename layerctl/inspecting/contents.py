"""The contents of one version of a file: opened beneath its layer, no symbolic link followed."""

from __future__ import annotations

import os

from layerctl.errors import NotFoundError
from layerctl.inspecting.opening import Opened
from layerctl.inspecting.resolvers.resolver import Found, Resolver, descend
from layerctl.inspecting.resolvers.tree import noun
from layerctl.inspecting.story import tell
from layerctl.kernel import layers
from layerctl.model import Role
from layerctl.rules.aliasing import Aliasing
from layerctl.rules.words import shell


def open_file(resolver: Resolver, path: str) -> int:
    """Open the regular file that a merged tree shows at a path; that of its data, if elsewhere.

    Raises NotFoundError if it shows no regular file there, OSError if that cannot be opened.
    """
    directory, name, found = descend(resolver, path)
    directory.close()
    if found is None:
        raise _refused(path, f"'{path}' is a directory", "only regular files have contents")
    try:
        if directory.child_path(name) != path or (found.letter is None and not found.error):
            raise _refused(path, f"'{path}' is not visible", "no layer shows it")
        if found.error:
            raise _refused(path, f"'{path}' cannot be opened", found.refused)
        if found.letter != "f":
            what = noun(found.letter or "")
            raise _refused(path, f"'{path}' is a {what}", "only regular files have contents")
        return _opened(resolver, found, path)
    finally:
        found.close()


def open_version(opened: Opened, path: str, layer: int) -> int:
    """Open the file that one layer has for a path of the merged tree, shown or hidden.

    Raises NotFoundError if it has no regular file there, OSError if that cannot be opened.
    """
    version = tell(opened, path).layers[layer]
    if version.file is None or version.type != "file" or version.state == "whiteout":
        raise _refused(path, f"layer {layer} has no file '{path}'", version.reason)
    place = version.file.removeprefix(version.directory).strip("/")
    if opened.stack.layers[layer].role is Role.DATA:
        return _beneath(opened.resolver.roots[layer], place)
    return open_file(opened.resolver.below(layer) if layer else opened.resolver, place)


def _opened(resolver: Resolver, found: Found, path: str) -> int:
    if found.metacopy and found.data is None:
        raise _refused(path, f"'{path}' has no data", "only its metadata is there (metacopy)")
    if found.data is not None:
        layer, place = found.data
        return _beneath(resolver.roots[layer], place)
    alias = found.alias
    if alias is not None and alias.what is Aliasing.INDEXED:
        return layers.open_file(alias.other, resolver.index)
    return _beneath(resolver.roots[found.parts[0].layer], found.parts[0].path)


def _beneath(root: int, place: str) -> int:
    above, _, name = place.rpartition("/")
    directory = layers.open_path(above, root)
    try:
        return layers.open_file(name, directory)
    finally:
        os.close(directory)


def _refused(path: str, message: str, why: str) -> NotFoundError:
    command = shell("layerctl", "inspect", "merged", "TARGET", path)
    return NotFoundError("no-such-file", message, why=why, commands=(command,))
