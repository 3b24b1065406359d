"""Layers out of the stack of a command into OCI layer archives."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager

from layerctl.errors import RequestError
from layerctl.inspecting.opening import Opened, opened
from layerctl.kernel import streams
from layerctl.kernel.output import new_file
from layerctl.kernel.streams import Digests
from layerctl.model import Role
from layerctl.usecases.stacks import Target
from layerctl.working import opening
from layerctl.working.archives import packing
from layerctl.working.archives.entries import Archive, Writer

STDOUT = "-"
_STDOUT_FD = 1


def pack(
    target: Target,
    run: range | None,
    *,
    to: str,
    force: bool,
    compression: str,
    environment: Mapping[str, str],
) -> Archive:
    """Write a run of layers, or the merged tree (None), to a file, or to standard output (`-`).

    Raises LayerctlError and OSError.
    """
    _demand_layers(target, run)
    epoch = _epoch(environment)
    with _view(target, run) as view:
        writer = Writer(view, run, epoch)
        pieces = packing.pieces(writer, run)
        if to == STDOUT:
            digests = _delivered(pieces, compression, _STDOUT_FD)
        else:
            with new_file(to, force=force) as fd:
                digests = _delivered(pieces, compression, fd)
        return Archive(to, digests, writer.entries, writer.notes)


def _delivered(pieces: Iterator[bytes], compression: str, fd: int) -> Digests:
    return streams.deliver(pieces, compression, lambda piece: streams.write(fd, piece))


def _demand_layers(target: Target, run: range | None) -> None:
    if target.path:
        raise RequestError(
            "usage",
            f"'{target.path}' is a part of the merged tree",
            why="an archive holds a whole layer",
            hint="name the mount itself",
        )
    count = sum(layer.role is not Role.DATA for layer in target.stack.layers)
    if run is not None and (run.stop > count or run.start >= run.stop):
        raise RequestError(
            "no-such-layer",
            f"the stack has no layers {run.start}..{run.stop - 1}",
            hint=f"use numbers from 0 to {count - 1}; data-only layers cannot be packed",
        )


def _view(target: Target, run: range | None) -> AbstractContextManager[Opened]:
    if target.mount is None:
        alone = run is not None and len(run) == 1  # then other paths to a file do not matter
        return opening.taken(target.stack, (), ambiguous=alone)
    return _mounted(target)


@contextmanager
def _mounted(target: Target) -> Iterator[Opened]:
    with opened(target.stack, target.mount) as view:
        opening.demand_readable(view)
        yield view


def _epoch(environment: Mapping[str, str]) -> int | None:
    """Return the latest time of the archive (reproducible-builds.org). Raises RequestError."""
    text = environment.get("SOURCE_DATE_EPOCH")
    if text is None or text == "":
        return None
    if not (text.isascii() and text.isdecimal() and len(text) < 12):
        raise RequestError(
            "usage",
            f"SOURCE_DATE_EPOCH is '{text}'",
            why="it must be a number of seconds since 1970",
            hint="correct or unset it",
        )
    return int(text)
