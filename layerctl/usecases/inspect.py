"""Decisions of the inspect commands: valid layer numbers, and the position of a path."""

from __future__ import annotations

import os
from functools import lru_cache

from layerctl.codecs.request import Request
from layerctl.errors import RequestError
from layerctl.kernel import paths
from layerctl.model import Role, Stack
from layerctl.rules.words import shell
from layerctl.usecases.stacks import Target
from layerctl.usecases.targets import open_target


def check_layer(layer: int | None, stack: Stack) -> None:
    """Check the number of a layer. Raises RequestError if the stack has no such layer."""
    if layer is not None and not 0 <= layer < len(stack.layers):
        raise RequestError(
            "no-such-layer",
            f"there is no layer {layer}",
            hint=f"use 0 (the topmost) to {len(stack.layers) - 1}",
        )


def check_changing(layer: int, target: str | None, stack: Stack) -> None:
    """Check the number of a layer whose changes are requested. Raises RequestError."""
    check_layer(layer, stack)
    if stack.layers[layer].role is Role.DATA:
        raise RequestError(
            "no-such-layer",
            f"layer {layer} is a data-only layer, which changes nothing",
            commands=(shell("layerctl", "inspect", "mount", target),) if target else (),
        )


def check_since(since: int, target: str | None, stack: Stack) -> None:
    """Check the topmost layer of a tree to compare with. Raises RequestError for another."""
    count = len(stack.layers)
    if 0 < since < count:
        return
    if count < 2:
        what = "there is only one layer, and so nothing to compare"
    elif count == 2:
        what = "--since must be 1 here"
    else:
        what = f"--since must be between 1 and {count - 1}"
    words = ("mount", target) if target else ("changes", "--help")
    raise RequestError("no-such-layer", what, commands=(shell("layerctl", "inspect", *words),))


def path_in_tree(path: str, target: str | None) -> str:
    """Return PATH relative to the merged tree: no slash before or after it, no `.` or `..`.

    An absolute path below TARGET means the same path in the mount.
    """
    if target is not None and path.startswith("/"):
        for base in (paths.absolute(target), paths.real(target)):
            if base != "/" and (path == base or path.startswith(base + "/")):
                path = path[len(base) :]
                break
    return os.path.normpath("/" + path).strip("/")


@lru_cache(maxsize=1)  # the choice of columns and the command itself ask for it
def target_and_path(request: Request, arguments: tuple[str, ...]) -> tuple[Target, str | None]:
    """Return what TARGET means, and PATH relative to the merged tree; None if neither has a path.

    Raises RequestError if there are too many arguments, and what `open_target` does.
    """
    given = list(arguments)
    target = None if request.names_layers or not given else given.pop(0)
    if len(given) > 1:
        raise RequestError(
            "usage",
            f"too many arguments: {given[1]}",
            hint="with layer options, PATH is the only argument"
            if request.names_layers
            else "give one TARGET and at most one PATH",
        )
    found = open_target(target, request)
    path = path_in_tree(given[0], target) if given else None
    if found.path:
        path = found.path if path is None else f"{found.path}/{path}".rstrip("/")
    return found, path
