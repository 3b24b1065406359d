"""What trim and commit share: an aufs whose topmost branch is writable, and its names."""

from __future__ import annotations

import os
import stat
from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

from layerctl.errors import RefusedError, RequestError
from layerctl.inspecting.opening import Opened
from layerctl.inspecting.resolvers.aufs import META, PREFIX, Aufs
from layerctl.inspecting.resolvers.resolver import Found
from layerctl.inspecting.resolvers.tree import MergedDir, Part
from layerctl.kernel import layers
from layerctl.kernel.plinks import DIRECTORY
from layerctl.model import Stack
from layerctl.rules.aufs import is_writable
from layerctl.working import lower
from layerctl.working.steps import Folder

#: The mode of aufs's whiteouts, as mknod(2) takes it (WH_MASK in whout.c).
WHITEOUT = stat.S_IFREG | 0o444


class PseudoLink(NamedTuple):
    """A file in the directory of pseudo-links: its name there; `alone` if it has no other."""

    name: str
    status: os.stat_result
    alone: bool


def demand(stack: Stack) -> None:
    """Raise RefusedError if there is no branch below the topmost one."""
    if len(stack.layers) < 2:
        raise RefusedError(
            "no-upper-layer",
            "there is no branch below the topmost one",
            why="the topmost branch of an aufs is compared with those below it, or merged into one",
            hint="name the branches with -b, topmost first",
        )


def demand_topmost(stack: Stack, run: range) -> None:
    """Raise RefusedError unless the run is the topmost branch, which is above another one."""
    demand(stack)
    if run != range(1):
        raise RequestError(
            "no-such-layer",
            "only the topmost branch of an aufs can be merged into the next one",
            why="what a branch in the middle shows depends on those above it",
            hint="leave out --layer",
        )


def demand_run(stack: Stack, run: range) -> None:
    """Raise LayerctlError unless a run of branches, from the topmost down, can be copied."""
    if run == range(1):
        raise RefusedError(
            "not-for-aufs",
            "a branch of an aufs has no redirects and no metadata-only files",
            why="each branch holds its files whole, under their own names",
            hint="use the branch as it is, or make one of several with commit --into",
        )
    if run.start or not run or run.stop > len(stack.layers):
        raise RequestError(
            "no-such-layer",
            f"the branches {run.start}..{run.stop - 1} cannot be copied into one",
            why="what a branch in the middle shows depends on those above it",
            hint=f"use --layer 0..N, with N up to {len(stack.layers) - 1}",
        )


def resolver_of(view: Opened) -> Aufs:
    """Return the resolver. Raises RefusedError if the topmost branch is not writable."""
    assert isinstance(view.resolver, Aufs)  # noqa: S101 - the caller saw to that
    if not is_writable(view.stack.layers[0].permission or ""):
        raise RefusedError(
            "no-upper-layer",
            f"the topmost branch, {view.layers[0]}, is not writable",
            why="the whiteouts of a read-only branch count only with +wh",
            hint="name it with its permission, such as -b DIR=rw",
        )
    return view.resolver


def folder_of(view: Opened, part: Part) -> Folder:
    """Return the directory of a branch, to change names in it."""
    path = view.layers[part.layer]
    return Folder(part.fd, f"{path}/{part.path}" if part.path else path, "")


def pseudo_links(root: int) -> list[PseudoLink]:
    """Return the pseudo-links that aufs has left in a branch."""
    try:
        fd = layers.open_dir(DIRECTORY, root)
    except OSError:
        return []
    try:
        named = {name: layers.status(name, fd) for name in sorted(os.listdir(fd))}
    finally:
        os.close(fd)
    found = {name: status for name, status in named.items() if status is not None}
    links = Counter(status.st_ino for status in found.values())
    return [
        PseudoLink(name, status, status.st_nlink <= links[status.st_ino])
        for name, status in found.items()
    ]


def names_of(fd: int) -> Iterator[tuple[str, str]]:
    """Yield the names in a directory of a branch in order, without aufs's own files."""
    for name, letter in sorted(layers.scan(fd, layers.LETTER_OF).items()):
        if not name.startswith(META):
            yield name, letter


def directory_below(aufs: Aufs, below: MergedDir, name: str) -> Found:
    """Look up what branches below would be merged with a directory above them.

    aufs skips what is not a directory then, where it would end if the name were looked up alone.
    """
    parts = [part for part in below.parts if not _is_skipped(part, name)]
    found = lower.look(aufs, MergedDir(below.path, parts), name)
    if found.letter != "d":
        found.close()
        return Found()
    return found


def _is_skipped(part: Part, name: str) -> bool:
    status = layers.status(name, part.fd)
    is_other = status is not None and layers.letter_of(status) != "d"
    return is_other and layers.status(PREFIX + name, part.fd) is None
