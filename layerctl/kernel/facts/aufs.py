"""Facts about aufs alone."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import NamedTuple

from layerctl.kernel.facts import Directory
from layerctl.kernel.facts.common import directory
from layerctl.kernel.facts.modules import parameters
from layerctl.model import MountEntry, Stack
from layerctl.rules.aufs import XINO_FALLBACK, XINO_NAME


class AufsFacts(NamedTuple):
    """What concerns aufs alone.

    `places` are directories where the xino file could go that are not branches, `taken` the paths
    of xino files that exist. `allow_userns` is the module's parameter, None if it is unknown.
    """

    places: Mapping[str, Directory]
    taken: frozenset[str] = frozenset()
    allow_userns: bool | None = None


def gather(stack: Stack, by_id: Mapping[int, MountEntry]) -> AufsFacts:
    """Gather the facts of a plan that concern aufs alone. Reads only; raises nothing."""
    xino = _xino_paths(stack)
    allowed = parameters("aufs").get("allow_userns")
    return AufsFacts(
        places={path: directory(path, by_id) for path in {os.path.dirname(one) for one in xino}},
        taken=frozenset(path for path in xino if os.path.lexists(path)),
        allow_userns=None if allowed is None else allowed in ("Y", "1"),
    )


def _xino_paths(stack: Stack) -> list[str]:
    """Return every path where aufs may put the xino file of a stack."""
    named = stack.options.get("xino")
    if named:
        return [named]
    return [XINO_FALLBACK, *(f"{layer.path}/{XINO_NAME}" for layer in stack.layers)]
