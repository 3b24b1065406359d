"""What commands do, without the command line."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from layerctl.codecs.request import Request
from layerctl.errors import EXIT_NOT_FOUND, EXIT_REFUSED, LayerctlError, NotFoundError, RequestError
from layerctl.kernel import mounts
from layerctl.model import Role, Severity
from layerctl.usecases import examine
from layerctl.usecases.mount import Asked, carry_out, failing, plan_mount, prepare_mount
from layerctl.usecases.targets import from_flags, open_target

_LAYERS = Request(lowers=("low",), upper="up")


def _make_layers(lab: Path) -> None:
    """Make the layers and a mount point in `lab`, and work there."""
    for name in ("low", "up", "m"):
        (lab / name).mkdir()
    os.chdir(lab)


def test_a_target_is_a_mount_or_layers_and_not_both() -> None:
    with pytest.raises(RequestError):
        open_target("m", _LAYERS)
    with pytest.raises(RequestError):
        open_target(None, Request())
    with pytest.raises(NotFoundError):
        open_target("/proc", Request())


def test_layers_are_spelled_from_the_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    stack = from_flags(_LAYERS)
    assert stack.upper == f"{tmp_path}/up"
    assert [layer.path for layer in stack.of_role(Role.LOWER)] == [f"{tmp_path}/low"]


@pytest.mark.namespace
def test_a_mount_is_prepared_carried_out_and_reported(lab: Path) -> None:
    _make_layers(lab)
    prepared = prepare_mount(Asked(_LAYERS, None, "m"))
    assert not list(failing(prepared))
    assert prepared.make == (f"{lab}/up.work",)
    assert plan_mount(prepared, None) is not None
    seen = []
    carry_out(prepared, None, lambda plan, mounted, changes: seen.append((plan, mounted, changes)))
    ((plan, mounted, changes),) = seen
    assert plan is not None
    assert not changes
    assert mounted.entry.target == f"{lab}/m"
    assert open_target("m", Request()).stack.upper == f"{lab}/up"
    report, _ = examine.standing("m", probe=False)
    assert {one.severity for one in report.findings} == {Severity.INFO}


@pytest.mark.namespace
def test_what_a_report_raises_undoes_the_mount(lab: Path) -> None:
    _make_layers(lab)

    def report(*_: object) -> None:
        raise OSError

    with pytest.raises(OSError):  # noqa: PT011 - the one raised above
        carry_out(prepare_mount(Asked(_LAYERS, None, "m")), None, report)
    assert f"{lab}/m" not in {entry.target for entry in mounts.entries()}
    assert not (lab / "up.work").exists()


@pytest.mark.namespace
@pytest.mark.parametrize(
    ("target", "code", "cause"),
    [
        ("missing", EXIT_NOT_FOUND, "target-missing"),
        ("file", EXIT_REFUSED, "target-not-a-directory"),
    ],
)
def test_mount_and_doctor_find_the_same(lab: Path, target: str, code: int, cause: str) -> None:
    _make_layers(lab)
    (lab / "file").touch()
    prepared = prepare_mount(Asked(_LAYERS, None, target))
    with pytest.raises(LayerctlError) as raised:
        carry_out(prepared, None, lambda *_: None)
    assert (raised.value.exit_code, raised.value.id) == (code, cause)
    report = examine.planned(_LAYERS, target, probe=False)
    failures = {one.cause for one in report.findings if one.severity is Severity.FAILURE}
    assert failures == {one.cause for one in failing(prepared)} == {cause}
