"""The checks before a mount, against what the kernel says of the same plan."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from layerctl.diagnosing import preflight, refusal
from layerctl.diagnosing.refusal import Answer
from layerctl.kernel import syscalls
from layerctl.kernel.facts import Caller, Directory, Facts, TypeState
from layerctl.kernel.facts.aufs import AufsFacts
from layerctl.kernel.facts.modules import type_state
from layerctl.model import Layer, MountEntry, Role, Severity, Stack
from layerctl.rules.flags import mount2_flags
from tests.support import in_namespace, layerctl
from tests.support.plans import doctor_says, failures, kernel_says, make, stack_of

_F = "failure"


#: Cause, lower layers, upper and work directory, and target, all beneath the lab.
REFUSED: tuple[tuple[str, str, str, str, str], ...] = (
    ("missing-layer-directory", "l1 nosuch", "", "", "m"),
    ("missing-layer-directory", "l1", "no", "w2", "m"),
    ("layer-not-a-directory", "l1 f", "", "", "m"),
    ("missing-layer-directory", "l1 f/x", "", "", "m"),
    ("target-missing", "l1 l2", "", "", "nosuch"),
    ("target-not-a-directory", "l1 l2", "", "", "f"),
    ("workdir-upperdir-different-mount", "l1", "u2", "other/w", "m"),
    ("workdir-upperdir-different-mount", "l1", "u2", "w", "m"),
    ("workdir-upperdir-not-separate", "l1", "u", "u/w", "m"),
    ("workdir-upperdir-not-separate", "l1", "w2/u", "w2", "m"),
    ("workdir-upperdir-not-separate", "l1", "u2", "u2", "m"),
    ("overlapping-layers", "l1 l1", "", "", "m"),
    ("overlapping-layers", "l1 l1/s", "", "", "m"),
    ("overlapping-layers", "l1/s l1", "", "", "m"),
    ("overlapping-layers", "u2", "u2", "w2", "m"),
    ("overlapping-layers", "u/s", "u", "w2", "m"),
    ("overlapping-layers", "w2", "u2", "w2", "m"),
)


def _stack(lab: Path, lowers: str, upper: str, work: str) -> Stack:
    return stack_of(
        *(lab / name for name in lowers.split()),
        upper=lab / upper if upper else None,
        work=lab / work if work else None,
    )


@pytest.mark.namespace
@pytest.mark.parametrize(("cause", "lowers", "upper", "work", "target"), REFUSED)
def test_what_the_kernel_refuses_is_a_failure_and_named(
    lab: Path, cause: str, lowers: str, upper: str, work: str, target: str
) -> None:
    make("l1/s", "l2", "u/s", "u/w", "w/u", "m", "other", "l1/t")
    (lab / "f").write_text("x")
    syscalls.mount("t", "other", "tmpfs", 0, "")
    make("other/w")
    syscalls.mount("w", "w", "", syscalls.MS_BIND, "")
    make("u2", "w2", "w/u", "w2/u")
    stack = _stack(lab, lowers, upper, work)
    assert failures(doctor_says(stack, lab / target)) == [cause]
    assert kernel_says(stack, lab / target) != 0


@pytest.mark.namespace
@pytest.mark.parametrize(
    ("causes", "lowers", "upper", "work", "target"),
    [
        ([], "l1 l2", "", "", "m"),
        ([], "l1", "u", "w", "m"),
        (["overlapping-layers"] * 2, "l1", "l1/u", "l1/w", "m"),
        (["mountpoint-overlaps-layer"], "l1", "u", "w", "l1/t"),
        (["target-is-a-lower"], "l1", "u", "w", "l1"),
        (["mountpoint-overlaps-layer"], "l1", "u", "w", "u"),
    ],
)
def test_what_the_kernel_takes_is_at_most_a_warning(
    lab: Path, causes: list[str], lowers: str, upper: str, work: str, target: str
) -> None:
    make("l1/u", "l1/w", "l1/t", "l2", "u", "w", "m")
    stack = _stack(lab, lowers, upper, work)
    found = doctor_says(stack, lab / target)
    assert [(one.cause, one.severity) for one in found] == [
        (cause, Severity.WARNING) for cause in causes
    ]
    assert kernel_says(stack, lab / target) == 0


@pytest.mark.namespace
@pytest.mark.parametrize("place", ["f", "b"], ids=["filesystem", "mount"])
def test_a_read_only_upper(lab: Path, place: str) -> None:
    make("l", "f", "b/u", "b/w", "m")
    syscalls.mount("t", "f", "tmpfs", 0, "")
    make("f/u", "f/w")
    syscalls.mount("t", "f", "", syscalls.MS_REMOUNT | mount2_flags(["ro"]), "")
    syscalls.mount("b", "b", "", syscalls.MS_BIND, "")
    syscalls.mount("b", "b", "", syscalls.MS_REMOUNT | syscalls.MS_BIND | mount2_flags(["ro"]), "")
    stack = stack_of(lab / "l", upper=lab / place / "u", work=lab / place / "w")
    (found,) = doctor_says(stack, lab / "m")
    assert found.cause == "upper-readonly"
    assert kernel_says(stack, lab / "m") != 0


@pytest.mark.namespace
def test_an_upper_on_overlay(lab: Path) -> None:
    make("l", "u", "w", "o", "m")
    syscalls.mount("o", "o", "overlay", 0, "lowerdir=l,upperdir=u,workdir=w")
    make("o/u", "o/w")
    stack = stack_of(lab / "l", upper=lab / "o/u", work=lab / "o/w")
    assert failures(doctor_says(stack, lab / "m")) == ["upperdir-fs-unsupported-overlay"]
    assert kernel_says(stack, lab / "m") != 0


PLACES = ("a", "a/b", "a/b/c", "d", "d/e", "bind-a", "bind-a/b", "bind-b", "d/w", "t/x", "t/y")


def _tree(_lab: Path) -> None:
    make("a/b/c", "d/e", "d/w", "bind-a", "bind-b", "t", "m")
    syscalls.mount("a", "bind-a", "", syscalls.MS_BIND, "")
    syscalls.mount("a/b", "bind-b", "", syscalls.MS_BIND, "")
    syscalls.mount("t", "t", "tmpfs", 0, "")
    make("t/x", "t/y")


def test_any_layout_is_judged_as_the_kernel_judges_it() -> None:
    """Every lie of layers to each other, through binds and other mounts."""
    place = st.sampled_from(PLACES)

    def run(lab: Path) -> None:
        _tree(lab)

        @settings(max_examples=150, deadline=None, database=None)
        @given(st.lists(place, min_size=1, max_size=4), st.none() | st.tuples(place, place))
        def judge(lowers: list[str], top: tuple[str, str] | None) -> None:
            upper, work = top or (None, None)
            if top is None and len(lowers) < 2:
                lowers = [*lowers, "d/e"]
            stack = stack_of(
                *(lab / name for name in lowers),
                upper=None if upper is None else lab / upper,
                work=None if work is None else lab / work,
            )
            said = failures(doctor_says(stack, lab / "m"))
            assert bool(said) == bool(kernel_says(stack, lab / "m")), (lowers, top, said)

        judge()

    in_namespace(run)


def _entry(fstype: str, target: str = "/x", device: str = "8:1", mount_id: int = 1) -> MountEntry:
    return MountEntry(mount_id, 0, device, "/", target, ("rw",), fstype, "s", "rw")


def _facts(**places: MountEntry) -> Facts:
    names = {f"/{name}": entry for name, entry in places.items()}
    return Facts(
        type_state=TypeState.PRESENT,
        caller=Caller(0, True, False),
        directories={
            path: Directory(path, None, True, (1, index), entry, f"{path}", mode=0o40755)
            for index, (path, entry) in enumerate(names.items())
        },
        kernel="6.1",
    )


def _aufs(*branches: str, **options: str | None) -> Stack:
    layers = [
        Layer(path, Role.BRANCH, permission or None)
        for path, _, permission in (text.partition("=") for text in branches)
    ]
    return Stack("aufs", tuple(layers), None, options)


def test_the_xino_trap() -> None:
    base = _facts(a=_entry("xfs"), b=_entry("xfs"), t=_entry("tmpfs", device="0:9"))
    on_xfs = base._replace(aufs=AufsFacts({"/tmp": Directory("/tmp", mount=_entry("xfs"))}))
    on_tmpfs = base._replace(aufs=AufsFacts({"/tmp": Directory("/tmp", mount=_entry("tmpfs"))}))
    (trap,) = preflight.findings(_aufs("/a", "/b"), on_xfs)
    assert trap.cause == "aufs-xino-fs-unsupported"
    assert "/tmp/.aufs.xino" in trap.evidence[0]
    assert "xino=/dev/shm/" in trap.fix.commands[0]
    assert preflight.findings(_aufs("/a", "/b"), on_tmpfs) == []
    assert preflight.findings(_aufs("/a", "/b", noxino=None), on_xfs) == []
    assert preflight.findings(_aufs("/t", "/b"), on_xfs) == []
    assert failures(preflight.findings(_aufs("/a=ro", "/t=ro"), on_xfs)) == [trap.cause]
    taken = on_tmpfs._replace(
        aufs=AufsFacts(
            {"/tmp": Directory("/tmp", mount=_entry("tmpfs"))}, frozenset({"/tmp/.aufs.xino"})
        )
    )
    assert failures(preflight.findings(_aufs("/a", "/b"), taken)) == ["aufs-xino-exists"]


@pytest.mark.parametrize(
    ("branches", "causes"),
    [
        (("/a", "/o"), ["aufs-branch-fs-unsupported"]),
        (("/a", "/p"), ["aufs-branch-fs-unsupported"]),
        (("/a", "/a"), ["aufs-branch-duplicated"]),
        (("/a", "/a/in"), ["aufs-branch-overlapping"]),
        (("/a/in", "/a"), ["aufs-branch-overlapping"]),
        (("/r", "/a"), ["aufs-branch-readonly-fs"]),
        (("/a", "/r"), []),
        (("/v", "/a"), ["aufs-branch-no-hard-links"]),
        (("/v=rw+nolwh", "/a"), []),
        (("/a", "/v"), []),
    ],
)
def test_branches_that_aufs_refuses(branches: tuple[str, ...], causes: list[str]) -> None:
    base = _facts(
        a=_entry("ext4"), o=_entry("overlay", device="0:7"), p=_entry("proc", device="0:8"),
        v=_entry("vfat", device="7:2"),
    )  # fmt: skip
    read_only = _entry("ext4", device="7:9")
    read_only = read_only._replace(super_options="ro")
    base.directories["/r"] = Directory("/r", None, True, (2, 1), read_only, "/")
    base.directories["/a/in"] = Directory("/a/in", None, True, (2, 2), _entry("ext4"), "/a/in")
    assert failures(preflight.findings(_aufs(*branches), base)) == causes


NOBODY = Caller(1000, False, False)


@pytest.mark.parametrize(
    ("changed", "fstype", "causes"),
    [
        ({"type_state": TypeState.ABSENT}, "overlay", ["overlay-not-in-kernel"]),
        (
            {"type_state": TypeState.ABSENT, "elsewhere": ("6.2",)},
            "overlay",
            ["running-kernel-modules-removed"],
        ),
        ({"type_state": TypeState.ABSENT}, "aufs", ["aufs-module-missing"]),
        ({"type_state": TypeState.MODULE}, "overlay", []),
        ({"type_state": TypeState.UNKNOWN}, "overlay", []),
        ({"caller": NOBODY}, "overlay", ["missing-cap-sys-admin"]),
    ],
)
def test_the_type_and_the_caller(changed: dict[str, Any], fstype: str, causes: list[str]) -> None:
    stack = stack_of("/a", "/b") if fstype == "overlay" else _aufs("/a", "/b", noxino=None)
    facts = _facts(a=_entry("ext4"), b=_entry("ext4"))._replace(**changed)
    found = failures(preflight.findings(stack, facts))
    assert [one for one in found if one != "overlapping-layers"] == causes


@pytest.mark.namespace
def test_a_type_that_no_module_file_tells_of_is_asked_for() -> None:
    assert type_state("overlay") in (TypeState.PRESENT, TypeState.MODULE)
    assert type_state("nosuchfs") == TypeState.ABSENT


@pytest.mark.namespace
@pytest.mark.parametrize("work", ["u/w", "other/w"])
def test_the_fix_of_a_wrong_work_directory_mends_it(lab: Path, work: str) -> None:
    make("l", "u/w", "m", "other")
    syscalls.mount("t", "other", "tmpfs", 0, "")
    make("other/w")
    stack = stack_of(lab / "l", upper=lab / "u", work=lab / work)
    for _ in range(2):  # the first look leaves nothing that the second finds
        found = doctor_says(stack, lab / "m")
        assert f"-w {lab}/u.work" in found[0].fix.commands[1]


@pytest.mark.namespace
def test_doctor_is_a_report_with_a_verdict() -> None:
    make("l1", "l2", "m")
    assert layerctl("doctor", "-l", "l1", "-l", "l2", "m").returncode == 0
    bad = layerctl("doctor", "--json", "-l", "l1", "-l", "nosuch", "m")
    assert bad.returncode == 1
    assert '"verdict": "failure"' in bad.stdout
    assert '"cause": "missing-layer-directory"' in bad.stdout
    warned = layerctl("doctor", "-l", "l1", "-l", "l2", "l1")
    assert warned.returncode == 0
    assert "target-is-a-lower" in warned.stdout
    assert layerctl("doctor", "--strict", "-l", "l1", "-l", "l2", "l1").returncode == 1
    few = layerctl("doctor", "-l", "l1", "m")
    assert few.returncode == 1
    assert "too-few-layers" in few.stdout


def test_a_refusal_that_no_check_foresaw_is_told_by_its_errno() -> None:
    base = _facts(a=_entry("ext4"))
    base.directories["/b"] = Directory("/b", None, True, (3, 3), _entry("ext4"), "/bb")
    found = refusal.causes(stack_of("/a", "/b"), Answer(19, [], ["overlayfs: x"]), base)
    assert found.known[0].cause == "overlay-module-missing"
    answer = Answer(22, ["e overlay: Unknown parameter 'x'"], [])
    said = refusal.causes(stack_of("/a", "/b"), answer, base)
    assert said.known[0].cause == "unknown-mount-option-old-kernel"
    assert said.known[0].evidence == ("overlay: Unknown parameter 'x'",)
