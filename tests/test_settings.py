"""Which of overlay's features are in effect: every combination, as Linux 6.18 showed it.

The recording was made by mounting each with each set of the module's defaults, and reading
mountinfo. It holds rows of the defaults (index, nfs_export, metacopy, redirect_dir), whether there
was an upper layer, the options, and what was shown; null where the kernel refused the mount.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from layerctl.diagnosing.checks import plan
from layerctl.kernel.facts import Caller, Facts, OverlayFacts, TypeState
from layerctl.model import Layer, Role, Stack
from layerctl.rules.overlay import settings
from layerctl.rules.validity import problems
from tests.support.recordings import text

NAMES = ("index", "nfs_export", "metacopy", "redirect_dir")
ROWS = json.loads(text("overlay-settings.json"))
FOLLOWS = next(row for row in plan.CHECKS if row.name == "options.follows")
DEFAULTS = sorted({defaults for defaults, *_ in ROWS})


def _rows(defaults: str) -> Iterator[tuple[Stack, dict[str, str], dict[str, str] | None]]:
    parameters = dict(zip(NAMES, defaults, strict=True)) | {"redirect_always_follow": "Y"}
    upper = (Layer("/u", Role.UPPER), Layer("/l", Role.LOWER))
    lower = (Layer("/l", Role.LOWER), Layer("/l2", Role.LOWER))
    for of, has_upper, asked, shown in ROWS:
        if of == defaults:
            layers, work = (upper, "/w") if has_upper else (lower, None)
            yield Stack("overlay", layers, work, asked), parameters, shown


@pytest.mark.parametrize("defaults", DEFAULTS)
def test_what_is_in_effect_is_what_the_kernel_shows(defaults: str) -> None:
    compared, wrong = 0, []
    for stack, parameters, shown in _rows(defaults):
        if shown is None:
            continue
        # mountinfo leaves out what is the module's default
        effect = {name: "on" if parameters[name] == "Y" else "off" for name in NAMES}
        effect["redirect_dir"] = "on" if parameters["redirect_dir"] == "Y" else "follow"
        found = settings(stack, parameters)
        ours = {
            "index": "on" if found.indexed else "off",
            "nfs_export": "on" if found.exported else "off",
            "metacopy": "on" if found.metacopy else "off",
            "redirect_dir": found.redirect,
        }
        compared += 1
        if ours != effect | shown:
            wrong.append((stack, shown, ours))
    assert wrong == []
    assert compared > 200


@pytest.mark.parametrize("defaults", DEFAULTS)
def test_what_the_kernel_refuses_is_foreseen(defaults: str) -> None:
    wrong = []
    for stack, parameters, shown in _rows(defaults):
        own = OverlayFacts(parameters=parameters)
        facts = Facts(TypeState.PRESENT, Caller(0, True, False), {}, overlay=own)
        clues = FOLLOWS.clues(stack, facts) if FOLLOWS.applies(stack, facts) else ()
        foreseen = bool(problems(stack) or [*clues])
        if foreseen != (shown is None):
            wrong.append((stack, shown))
    assert wrong == []
