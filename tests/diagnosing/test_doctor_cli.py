"""The command itself: the state of the machine, the checks, what was looked at, explain."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from layerctl.cli.main import main
from layerctl.diagnosing import live, preflight
from layerctl.diagnosing.catalogue import CAUSES, fill
from layerctl.diagnosing.checks import check, mounted, plan, system
from layerctl.diagnosing.clue import Clue
from layerctl.kernel import syscalls
from layerctl.kernel.facts import Caller, Facts, TypeState, features, probes
from layerctl.kernel.facts.gather import gather
from layerctl.model import Severity, Stack
from tests.support import layerctl, layerctl_json
from tests.support.plans import a_system, doctor_says, failures, make, stack_of


def test_the_state_of_this_machine() -> None:
    document = layerctl_json("doctor")
    rows = {(row["group"], row["what"]): row for row in document["machine"]}
    assert rows["types", "overlay"]["well"]
    assert rows["features", "overlay with an upper layer"]["state"] == "works"
    assert document["checks"]
    quick = layerctl_json("doctor", "--no-probe")
    assert not [row for row in quick["machine"] if row["group"].startswith("features")]
    shown = layerctl("doctor", "-v").stdout
    assert "✓ overlay: in the kernel" in shown
    assert len(layerctl("doctor").stdout) < len(shown)


@pytest.mark.parametrize(
    ("cause", "changed"),
    [
        ("overlay-not-in-kernel", {"types": {"overlay": TypeState.ABSENT, "aufs": "absent"}}),
        (
            "running-kernel-modules-removed",
            {
                "types": {"overlay": TypeState.ABSENT, "aufs": "absent"},
                "overlay_elsewhere": ("6.2",),
            },
        ),
        ("missing-user-namespace",
         {"caller": Caller(1000, False, False), "surroundings": frozenset({"no-userns"})}),
        ("missing-cap-sys-admin", {"caller": Caller(1000, False, False)}),
        (
            "missing-user-namespace",
            {"caller": Caller(1000, False, False), "user_features": {"namespace": 1}},
        ),
        ("container-policy-denies-overlay-mount", {"features": {"overlay with an upper layer": 1}}),
        ("gvisor-overlay-limitation", {"surroundings": frozenset({"gvisor"})}),
        ("upperdir-fs-unsupported-overlay", {"places": {"/": "overlay"}}),
        ("dev-fuse-missing", {"fuse_overlayfs": "/usr/bin/fuse-overlayfs", "dev_fuse": False}),
    ],
)  # fmt: skip
def test_what_would_stop_common_setups(cause: str, changed: dict[str, object]) -> None:
    found, _ = check.make(system.CHECKS, (), False, a_system(**changed))
    assert cause in [one.cause for one in found]


def test_a_healthy_machine_is_well() -> None:
    found, _ = check.make(system.CHECKS, (), False, a_system())
    assert {one.severity for one in found} <= {Severity.INFO}


EVERY = (*plan.CHECKS, *mounted.CHECKS, *system.CHECKS)


@pytest.mark.parametrize("row", EVERY, ids=lambda row: row.name)
def test_a_check_says_what_is_so_where_it_finds_nothing(row: check.Check[...]) -> None:
    assert re.fullmatch(r"([A-Z/]|xino|userxattr|redirect_dir|aufs).*[^.]", row.well)
    assert len(row.well) < 80
    assert bool(row.types) == (row not in system.CHECKS)


def test_the_checks_are_listed() -> None:
    listed = layerctl_json("doctor", "--list-checks")["checks"]
    assert len(listed) == len(EVERY)
    assert len({row["check"] for row in listed}) == len(EVERY)
    applies = {row["check"]: row["applies"] for row in listed}
    assert applies["branches.xino"] == "aufs"
    assert applies["layers.target"] == "any type"
    assert applies["options.export"] == "overlay, with -o nfs_export"
    assert applies["machine.aufs-type"] == ""
    assert "work.in-use" in layerctl("doctor", "--list-checks").stdout


def test_a_check_that_fails_is_a_finding() -> None:
    def broken() -> Iterator[Clue]:
        """Fall over after the first."""
        yield Clue("unknown-type", ())
        raise RuntimeError("boom")

    (found,), (made,) = check.make([check.Check("a.b", "All is well", broken)], (), False)
    assert found.cause == "check-failed"
    assert found.severity is Severity.WARNING
    assert "boom" in found.evidence[0]
    assert made.causes == ("check-failed",)


def test_what_could_not_be_read_is_said() -> None:
    (found,), _ = check.make([], ("/proc/x",), False)
    assert (found.cause, found.evidence) == ("fact-unreadable", ("/proc/x",))


@pytest.mark.namespace
def test_what_was_looked_at_is_told() -> None:
    make("l", "l2", "m")
    document = layerctl_json("doctor", "-l", "l", "-l", "l2", "m")
    names = {one["check"] for one in document["checks"]}
    assert {"layers.directories", "options.without-effect", "options.known"} <= names
    shown = layerctl("doctor", "-v", "-l", "l", "-l", "l2", "m").stdout
    assert "✓ The lower layers do not overlap\n" in shown
    assert not re.search(r"branch|[Uu]pper|xino|user namespace", shown), "what does not apply"
    shown = layerctl("doctor", "-v", "-l", "l", "-u", "nosuch", "m").stdout
    assert "✗ A directory of the stack does not exist  [missing-layer-directory]" in shown
    assert "upper directory is on a writable mount" not in shown, "nothing is known of it"


@pytest.mark.parametrize(
    ("fstype", "options", "yes", "no"),
    [
        ("aufs", {}, {"branches.xino", "layers.target"}, {"work.usable", "overlap.refused"}),
        ("aufs", {"shwh": None}, {"branches.whiteouts-shown"}, set()),
        ("aufs", {}, set(), {"branches.whiteouts-shown"}),
        ("overlay", {}, {"overlap.refused"}, {"branches.xino", "options.known", "layers.apart"}),
        ("overlay", {"xino": "on"}, {"options.inode-numbers"}, {"options.export"}),
        ("fuse-overlayfs", {}, {"layers.target"}, {"machine.privilege", "overlap.refused"}),
    ],
)
def test_a_check_is_made_where_it_applies(
    fstype: str, options: dict[str, str | None], yes: set[str], no: set[str]
) -> None:
    stack = stack_of("/a", "/b", options=options)._replace(fstype=fstype)
    facts = Facts(TypeState.PRESENT, Caller(0, True, False), {})
    names = {row.name for row in plan.CHECKS if row.applies(stack, facts)}
    assert yes <= names
    assert not no & names


@pytest.mark.namespace
def test_notes_are_counted() -> None:
    make("l", "u", "w", "m")
    assert layerctl("mount", "-l", "l", "-u", "u", "-w", "w", "m").returncode == 0
    notes = len(layerctl_json("doctor", "m")["findings"])  # one more if a process is hidden
    assert notes >= 2
    assert layerctl("doctor", "m").stdout == f"all is well; {notes} notes, -v shows them\n"
    assert layerctl("doctor", "-v", "m").stdout.endswith("\nall is well\n")
    volatile = ("-l", "l", "-u", "u2", "-o", "volatile", "--no-probe", "m")
    make("u2")
    assert layerctl("doctor", *volatile).stdout == "all is well; 1 note, -v shows it\n"


@pytest.mark.namespace
def test_nothing_is_tried_where_that_is_forbidden() -> None:
    make("l", "f", "m")
    syscalls.mount("r", "f", "ramfs", 0, "")
    make("f/u", "f/w")
    arguments = ("-l", "l", "-u", "f/u", "-w", "f/w", "m")
    assert layerctl_json("doctor", *arguments)["verdict"] == "warning"
    before = os.stat("f").st_mtime_ns
    assert layerctl_json("doctor", "--no-probe", *arguments)["findings"] == []
    assert os.stat("f").st_mtime_ns == before


@pytest.mark.namespace
def test_nothing_is_tried_on_a_mount_where_that_is_forbidden(
    lab: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make("l", "u", "w", "m")
    options = f"lowerdir={lab}/l,upperdir={lab}/u,workdir={lab}/w"
    syscalls.mount("o", "m", "overlay", 0, options)
    tried = []

    def ask(stack: Stack, facts: Facts) -> Facts:
        tried.append(stack.upper)
        return facts

    monkeypatch.setattr(live, "ask_for_room", ask)
    assert main(["doctor", "--no-probe", "--json", "m"]) == 0
    assert not tried
    assert main(["doctor", "--json", "m"]) == 0
    assert tried == [f"{lab}/u"]


@pytest.mark.namespace
def test_a_work_directory_that_cannot_be_made_is_seen() -> None:
    upper = "u" * 252  # and with .work appended it is not a valid name
    make("l", upper, "m")
    arguments = ("-l", "l", "-u", upper, "m")
    assert failures_of("doctor", *arguments) == ["directory-not-made"]
    assert failures_of("mount", "-n", *arguments) == ["directory-not-made"]
    make("w")
    assert failures_of("doctor", "-w", "w", *arguments, code=0) == []


def failures_of(*arguments: str, code: int = 1) -> list[str]:
    """Return the causes that a command reports as failures."""
    found = layerctl_json(*arguments, code=code)["findings"]
    return [one["cause"] for one in found if one["severity"] == "failure"]


@pytest.mark.namespace
def test_an_upper_in_use_in_another_namespace_is_seen(lab: Path) -> None:
    make("l", "u", "w", "w2", "m", "m2")
    ready, write = os.pipe()
    child = os.fork()
    if child == 0:
        syscalls.unshare(syscalls.CLONE_NEWNS)
        names = f"lowerdir={lab}/l,upperdir={lab}/u,workdir={lab}/w"
        syscalls.mount("o", f"{lab}/m", "overlay", 0, names)
        os.write(write, b"x")
        signal.pause()
        os._exit(0)
    try:
        assert os.read(ready, 1) == b"x"
        stack = stack_of(lab / "l", upper=lab / "u", work=lab / "w2", options={"index": "on"})
        assert failures(doctor_says(stack, lab / "m2")) == []
        wider = probes.look_wider(stack, gather(stack, str(lab / "m2")))
        (found,) = preflight.findings(stack, wider)
        assert found.cause == "upperdir-in-use-index-on"
        assert f"process {child}" in found.evidence[0]
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


@pytest.mark.namespace
def test_without_the_right_to_mount_it_is_said_and_a_namespace_offered(lab: Path) -> None:
    make("l", "l2", "m")
    stack = stack_of(lab / "l", lab / "l2")
    nobody = gather(stack, str(lab / "m"))._replace(caller=Caller(1000, False, False))
    (found,) = preflight.findings(stack, nobody)
    assert found.cause == "missing-cap-sys-admin"
    assert found.fix.commands[0].startswith("unshare -Urm layerctl mount")
    off = nobody._replace(surroundings=frozenset({"no-userns", "container"}))
    (found,) = preflight.findings(stack, off)
    assert found.fix.commands == ()
    assert "container" in found.evidence[1]


def test_every_feature_is_tried_and_leaves_nothing() -> None:
    before = set(os.listdir("/tmp"))
    found = features.probe()
    assert found["overlay with an upper layer"] == 0
    assert set(found) == set(features.FEATURES)
    assert features.probe(user=True)["userxattr"] == 0
    left = {name for name in set(os.listdir("/tmp")) - before if name.startswith("layerctl-trial")}
    assert not left


@pytest.mark.parametrize("cause", sorted(CAUSES))
def test_each_cause_is_whole(cause: str) -> None:
    one = CAUSES[cause]
    assert one.id == cause
    assert one.why.count(". ") + one.why.count("; ") + one.why.endswith(".") >= 1
    for text in (one.title, one.why, fill(one.fix, {})):
        assert text
        assert "{" not in text


def test_explain() -> None:
    shown = layerctl("explain", "aufs-xino-fs-unsupported").stdout
    assert "xino" in shown
    assert "findmnt" in shown
    document = layerctl_json("explain", "overlapping-layers")
    assert document["fix"]["text"]
    wrong = layerctl("explain", "overlaping-layers")
    assert wrong.returncode == 3
    assert "layerctl explain overlapping-layers" in wrong.stderr
