"""Spelling of paths, as the kernel will resolve them."""

from __future__ import annotations

import os

from layerctl.errors import NotFoundError


def absolute(path: str) -> str:
    """Return `path` from the root, without `.`, `..`, doubled or trailing slashes.

    `..` behind a symbolic link is what the kernel makes of it, not what the text suggests.
    Raises NotFoundError where the working directory is gone, and for an empty name, which the
    kernel does not take for the working directory either (path_resolution(7)).
    """
    if not path:
        raise NotFoundError(
            "target-missing",
            "an empty name was given",
            why="it leads nowhere, also not to the working directory",
            hint="name a directory; the working directory is '.'",
        )
    if os.pardir in path.split("/"):
        return os.path.realpath(_from_root(path))
    clean = os.path.normpath(_from_root(path))
    return clean[1:] if clean.startswith("//") else clean


def _from_root(path: str) -> str:
    if path.startswith("/"):
        return path
    try:
        return os.path.join(os.getcwd(), path)
    except FileNotFoundError:
        raise NotFoundError(
            "target-missing",
            "the working directory has been deleted, so that relative paths lead nowhere",
            hint="cd to a directory that exists, or write paths from /",
        ) from None
