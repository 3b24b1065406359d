"""The recorded situations made again: the checks give the kernel's verdict before it does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from layerctl.codecs import overlay
from layerctl.diagnosing import preflight
from layerctl.diagnosing.request import request_findings, string_findings
from layerctl.errors import RequestError
from layerctl.kernel import syscalls
from layerctl.kernel.facts import probes
from layerctl.kernel.facts.gather import gather
from layerctl.model import Severity
from layerctl.usecases.stacks import absolute_stack
from tests.support import in_namespace
from tests.support.plans import make
from tests.support.recordings import recording
from tests.support.shell import let_go, sh

#: Words of any mount that mount(2) takes as flags and not in its string: layerctl does so.
#: And a full upper layer, which the kernel mounts: nothing could be written there.
NOT_OURS = {"option:noatime", "option:source=x", "upper-full", "upper-no-inodes"}
CASES: list[dict[str, Any]] = [
    case
    for case in recording("overlay/6.18")["cases"]
    if "mount2" in case["tries"]
    and case.get("options") is not None
    and not case["options"].endswith("bytes)")  # not the whole string
    and case["case"] not in NOT_OURS
]
TARGETS = {
    "target-missing": "nosuch", "target-file": "f", "target-in-lower": "l1/t",
    "target-is-lower": "l1", "target-is-upper": "u",
}  # fmt: skip


def _judge(lab: Path, case: dict[str, Any]) -> None:
    target = TARGETS.get(case["case"], "m")
    failed, warned = _doctor(lab, case["options"], target)
    try:
        syscalls.mount("o", target, "overlay", 0, case["options"])
        refused = False
    except OSError:
        refused = True
    assert failed == refused, case["case"]
    if not refused and case["tries"]["mount2"]["kernel_log"]:
        assert warned, case["case"]


def _doctor(lab: Path, options: str, target: str) -> tuple[bool, bool]:
    """Return whether the checks foresee a failure, and whether they say anything at all."""
    try:
        stack = absolute_stack(overlay.parse(options))
    except RequestError:
        return True, True
    gathered = probes.look_wider(stack, gather(stack, str(lab / target)))
    gathered = probes.try_out(stack, gathered)
    found = [*request_findings(stack), *preflight.findings(stack, gathered)]
    return any(one.severity is Severity.FAILURE for one in found), bool(found)


def test_there_are_enough_situations() -> None:
    assert len(CASES) > 120


@pytest.mark.parametrize("case", CASES, ids=[case["case"] for case in CASES])
def test_the_verdict_is_the_kernels(case: dict[str, Any]) -> None:
    def go(lab: Path) -> None:
        for name in ("l1", "l2", "l3"):
            make(name)
            (lab / name / name).write_text(name)
        make("u", "u2", "w", "w2", "m", "m2")
        try:
            if sh(case["setup"] or "true").returncode == 0:
                _judge(lab, case)
        finally:
            let_go(lab)

    in_namespace(go)


def test_a_string_that_is_cut_on_a_colon_is_warned_of() -> None:
    """Every kernel mounts a part of these layers and reports success."""
    names = "a" * 54, *(f"{'x' * 60}{number:02}" for number in range(100))
    stack = overlay.parse("lowerdir=" + ":".join(names))
    (found,) = string_findings(stack)
    assert found.severity is Severity.WARNING
    assert found.cause in ("option-string-truncated", "option-string-too-long")
