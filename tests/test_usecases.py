"""What commands do, without the command line."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from layerctl.codecs.request import RemountWords, Request
from layerctl.errors import EXIT_NOT_FOUND, EXIT_REFUSED, LayerctlError, NotFoundError, RequestError
from layerctl.kernel import mounts, syscalls
from layerctl.kernel.mounts import Mounted
from layerctl.model import Layer, MountEntry, Role, Severity, Stack
from layerctl.usecases import examine, remount
from layerctl.usecases.branch import find_aufs, plan_changes
from layerctl.usecases.mount import MountRequest, carry_out, failing, plan_mount, prepare_mount
from layerctl.usecases.stacks import as_shown, from_flags
from layerctl.usecases.targets import open_target
from layerctl.usecases.umount import unmount_target

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
def test_relative_names_start_at_this_directory(lab: Path) -> None:
    _make_layers(lab)
    (lab / "w").mkdir()
    syscalls.mount("o", "m", "overlay", 0, "lowerdir=low,upperdir=up,workdir=w")
    found = open_target("m", Request())
    assert (found.stack.upper, found.stack.work) == (f"{lab}/up", f"{lab}/w")
    assert "relative" in found.notes[-1]
    os.chdir("/")
    with pytest.raises(NotFoundError) as raised:
        open_target(f"{lab}/m", Request())
    assert raised.value.id == "relative-layers"
    shown = as_shown(mounts.find_layered(f"{lab}/m"))
    assert (shown.stack.upper, shown.notes[-1]) == ("up", raised.value.message)


@pytest.mark.namespace
def test_a_mount_is_prepared_carried_out_and_reported(lab: Path) -> None:
    _make_layers(lab)
    prepared = prepare_mount(MountRequest(_LAYERS, None, "m"))
    assert not list(failing(prepared))
    assert prepared.make == (f"{lab}/up.work",)
    assert plan_mount(prepared, None) is not None
    seen = []
    carry_out(prepared, None, lambda plan, mounted, notes: seen.append((plan, mounted, notes)))
    ((plan, mounted, notes),) = seen
    assert plan is not None
    assert notes[0] == f"the work directory is {lab}/up.work, created for this mount"
    assert mounted.entry.target == f"{lab}/m"
    assert open_target("m", Request()).stack.upper == f"{lab}/up"
    report, _ = examine.existing("m", None, probe=False)
    assert {one.severity for one in report.findings} == {Severity.INFO}


@pytest.mark.namespace
def test_what_a_report_raises_undoes_the_mount(lab: Path) -> None:
    _make_layers(lab)

    def report(*_: object) -> None:
        raise OSError

    with pytest.raises(OSError):  # noqa: PT011 - the one raised above
        carry_out(prepare_mount(MountRequest(_LAYERS, None, "m")), None, report)
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
    prepared = prepare_mount(MountRequest(_LAYERS, None, target))
    with pytest.raises(LayerctlError) as raised:
        carry_out(prepared, None, lambda *_: None)
    assert (raised.value.exit_code, raised.value.id) == (code, cause)
    report = examine.planned_mount(_LAYERS, target, probe=False)
    failures = {one.cause for one in report.findings if one.severity is Severity.FAILURE}
    assert failures == {one.cause for one in failing(prepared)} == {cause}


@pytest.mark.namespace
def test_a_mount_is_changed_and_unmounted(lab: Path) -> None:
    _make_layers(lab)
    carry_out(prepare_mount(MountRequest(_LAYERS, None, "m")), None, lambda *_: None)
    planned = remount.plan_remount(RemountWords(Request(options=("nodev",)), bind=False), "m")
    assert planned.steps() == [f"remount {lab}/m with bind,rw,nodev,relatime"]
    assert "nodev" not in mounts.find("m").mount_options
    now, notes = remount.carry_out(planned, "m")
    assert "nodev" in now.entry.mount_options
    assert not notes
    assert unmount_target("m", lazy=False, force=False).stack.upper == f"{lab}/up"
    with pytest.raises(NotFoundError):
        unmount_target("m", lazy=False, force=False)
    with pytest.raises(NotFoundError) as raised:
        remount.carry_out(planned, "m")
    assert raised.value.id == "not-mounted"


def _live(monkeypatch: pytest.MonkeyPatch, fstype: str, *paths: str) -> None:
    entry = MountEntry(9, 1, "0:9", "/", "/m", ("rw",), fstype, "none", "rw")
    stack = Stack(fstype, tuple(Layer(path, Role.BRANCH, "ro") for path in paths))
    monkeypatch.setattr(mounts, "find_layered", lambda _: Mounted(entry, stack))


@pytest.mark.parametrize(
    ("word", "names", "position", "options"),
    [
        ("add", ("new=rw",), 1, ("add=1:{here}/new=rw",)),
        ("append", ("new", "b=ro"), None, ("append={here}/new", "append={here}/b=ro")),
        ("prepend", ("new", "b=ro"), None, ("prepend={here}/b=ro", "prepend={here}/new")),
        ("del", ("link", "c=ro"), None, ("del={here}/a", "del={here}/c=ro")),
        ("mod", ("link=rw",), None, ("mod={here}/a=rw",)),
    ],
)
def test_changes_of_branches(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    word: str,
    names: tuple[str, ...],
    position: int | None,
    options: tuple[str, ...],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a").mkdir()
    (tmp_path / "link").symlink_to("a")
    _live(monkeypatch, "aufs", f"{tmp_path}/a")
    found = plan_changes("m", word, names, position).options
    assert found == tuple(option.format(here=tmp_path) for option in options)


def test_a_mod_needs_permissions_and_a_branch_an_aufs(monkeypatch: pytest.MonkeyPatch) -> None:
    _live(monkeypatch, "aufs", "/a")
    with pytest.raises(RequestError) as raised:
        plan_changes("m", "mod", ["/a"])
    assert raised.value.id == "aufs-br-syntax"
    _live(monkeypatch, "overlay", "/a")
    with pytest.raises(NotFoundError) as refused:
        find_aufs("m")
    assert refused.value.id == "not-aufs"
