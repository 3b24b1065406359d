"""`--from` on what real kernels said: overlay on five of them, aufs on one."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest

from layerctl.diagnosing.reading.diagnose import read
from layerctl.diagnosing.reading.result import Reading
from layerctl.model import Severity
from layerctl.rules.releases import release
from tests.support import recordings
from tests.support.recordings import recording

KERNELS = ("5.10", "6.1", "6.12", "6.18", "7.2")


class Tried(NamedTuple):
    case: str
    how: str
    failed: bool
    text: str


#: What each failure is about: a pattern of the case's name, and the causes that may come first.
FIRST: tuple[tuple[str, str], ...] = (
    (r"one-lower-no-upper|no-lowerdir|empty", "too-few-layers"),
    (r"no-workdir", "missing-workdir"),
    (r"(lower|upper|work)-missing", "missing-layer-directory"),
    (r"target-file .*fsconfig", "target-not-a-directory"),
    (r"target-missing .*fsconfig", "target-missing"),
    (r"(lower|upper|work)-is-file", "layer-not-a-directory"),
    (r"work-in-upper|upper-in-work|upper-is-work", "workdir-upperdir-not-separate"),
    (r"lower-(twice|in-lower|is-upper|in-upper|is-work)", "overlapping-layers"),
    (r"value:nosuch", "unknown-mount-option-old-kernel"),
    (r"value:", "bad-option-value too-few-layers"),
    (r"option:", "unknown-mount-option-old-kernel"),
    (r"together:", "conflicting-options unknown-mount-option-old-kernel"),
    (r"volatile-left", "volatile-incompat-dirty"),
    (r"(upper|work)-in-use:index=on", "upperdir-in-use-index-on"),
    (r"lower-in-use-as-upper:index=on", "lowerdir-in-use-as-upper"),
    (r"index-", "index-estale-lower-changed"),
    (r"upper-on-overlay", "upperdir-fs-unsupported-overlay"),
    (r"stack-|lower-on:proc", "max-stacking-depth"),
    (r"(upper|lower)-on:vfat", "lowerdir-fs-unsupported-case-insensitive"),
    (r"(upper|lower)-on:ext4-casefold", "casefold-capable-fs "
     "lowerdir-fs-unsupported-case-insensitive"),
    (r"upper-on:(squashfs|ro-)", "upper-readonly"),
    (r"upper-on:proc", "workdir-upperdir-not-separate"),
    (r"upper-work-", "workdir-upperdir-different-mount"),
    (r"lowers:50[12]", "too-many-layers mount-api-call-limit"),
    (r"lowers:", "mount-api-call-limit"),
    (r"longer-than-a-page", "option-string-too-long mount-api-call-limit"),
    (r"string-of-256|add-256", "new-mount-api-string-limit unknown-mount-option-old-kernel"),
    (r"name:|add-in-string|add-then|proc-self-fd|lower-after|lowerdir-then|data-only",
     "unknown-mount-option-old-kernel comma-in-path malformed-option-string "
     "data-layer-needs-metacopy"),
    (r"name-unescaped:.*a,b", "comma-in-path"),
    (r"colons:", "malformed-option-string data-layer-needs-metacopy"),
    (r"descriptors", "layers-by-descriptor-unsupported unknown-mount-option-old-kernel"),
    (r"ordinary-user|no-cap", "missing-cap-sys-admin"),
    (r"user-namespace.*(metacopy|redirect_dir)", "conflicting-options userns-trusted-xattr-option "
     "userns-overlay-not-permitted-old-kernel"),
    (r"user-namespace", "userns-overlay-not-permitted-old-kernel"),
    (r"umount-busy", "leaked-mount-busy"),
)  # fmt: skip

#: Where the words fit several causes, this one is among them.
AMONG: tuple[tuple[str, str], ...] = (
    (r"target-missing", "target-missing"),
    (r"target-file", "target-not-a-directory"),
    (r"upper-on:fuse", "upperdir-fs-unsupported-fuse"),
    (r"name-unescaped:.*a:b", "colon-in-path"),
    (r"name-unescaped:.*a\\\\b", "malformed-option-string"),
)


def _options(case: dict[str, Any]) -> str:
    text: str = case.get("options") or ""
    if text.endswith("bytes)"):  # cut in the recording: made again from what was set up
        names = re.search(r"seq -f (x+)%02g 0 79", case["setup"])
        if names is None:
            return ""
        layers = ":".join(f"{names[1]}{number:02}" for number in range(80))
        text = f"lowerdir={layers},upperdir=u,workdir=w"
    return text


def _tries(kernel: str) -> Iterator[Tried]:
    for case in recording(f"overlay/{kernel}")["cases"]:
        for how, tried in case["tries"].items():
            number = tried.get("errno")
            if number is None and "rc" not in tried:
                continue  # that kernel could not make the situation
            lines = []
            if how == "mount(8)":
                if case["case"].startswith("user-namespace"):
                    lines.append("unshare -Urm mount -t overlay ...")
                lines.append(tried["output"])
            else:
                if options := _options(case):
                    lines.append(f"mount -t overlay overlay -o {options} m")
                if number:
                    lines.append(f"{how} {tried.get('stage', '')}: {number}")
            lines += [*(tried.get("context_log") or []), *(tried.get("kernel_log") or [])]
            failed = bool(number) or tried.get("rc") == 32 or case["case"] == "umount-busy"
            yield Tried(case["case"], how, failed, "\n".join(lines))


def _wanted(table: tuple[tuple[str, str], ...], tried: Tried) -> list[str]:
    name = f"{tried.case} {tried.how}"
    return next((causes.split() for pattern, causes in table if re.match(pattern, name)), [])


def _read(tried: Tried, kernel: str) -> Reading:
    return read(tried.text, kernel_version=release(kernel))


REFUSALS = [(kernel, tried) for kernel in KERNELS for tried in _tries(kernel) if tried.failed]


def test_there_are_enough_refusals() -> None:
    assert len(REFUSALS) > 90 * len(KERNELS)


@pytest.mark.parametrize(
    ("kernel", "tried"), REFUSALS, ids=[f"{k}-{t.case}-{t.how}" for k, t in REFUSALS]
)
def test_from_names_the_cause_of_every_refusal(kernel: str, tried: Tried) -> None:
    causes = [one.cause for one in _read(tried, kernel).findings]
    among, first = _wanted(AMONG, tried), _wanted(FIRST, tried)
    assert among or first, f"nothing is wanted of {tried.case}"
    if among:
        assert among[0] in causes, (tried, causes)
    else:
        assert causes, tried
        assert causes[0] in first, (tried, causes)


#: What was mounted though the kernel logged something. The words of a command alone may look
#: worse than they are on a kernel that takes them.
WARNED = [
    (kernel, tried)
    for kernel in KERNELS
    for tried in _tries(kernel)
    if not tried.failed and tried.how != "mount(8)" and "overlay" in tried.text.partition("\n")[2]
]


def test_there_are_enough_warnings() -> None:
    assert all(sum(kernel == one for one, _ in WARNED) >= 20 for kernel in KERNELS)


@pytest.mark.parametrize(
    ("kernel", "tried"), WARNED, ids=[f"{k}-{t.case}-{t.how}" for k, t in WARNED]
)
def test_what_was_mounted_is_no_failure(kernel: str, tried: Tried) -> None:
    reading = _read(tried, kernel)
    assert [one for one in reading.findings if one.severity is Severity.FAILURE] == []
    assert reading.findings or reading.noise


AUFS = (
    "errors", "permissions", "xino-exists", "xfs-no-xino-option", "btrfs-no-xino-option",
    "xfs-tmp-on-tmpfs", "vfat-branch", "overlay-branch", "busy",
)  # fmt: skip

#: aufs: a pattern of the kernel's line or of the command, and the cause that comes first.
AUFS_FIRST: tuple[tuple[str, str], ...] = (
    (r"xino doesn't support", "aufs-xino-fs-unsupported aufs-branch-permission-unknown "
     "aufs-no-writable-branch"),
    (r"doesn't support link", "aufs-branch-no-hard-links"),
    (r"duplicated", "aufs-branch-duplicated"),
    (r"is overlapped", "aufs-branch-overlapping"),
    (r"lookup failed .* \(-20\)", "layer-not-a-directory"),
    (r"lookup failed", "missing-layer-directory"),
    (r"unsupported filesystem|already stacked", "aufs-branch-fs-unsupported"),
    (r"readonly mount", "aufs-branch-readonly-fs"),
    (r"Unknown parameter 'dirs:", "aufs-br-syntax"),
    (r"Unknown parameter", "unknown-mount-option-old-kernel"),
    (r"no branches", "too-few-layers"),
    (r"Bad value for 'br'", "bad-option-value aufs-br-syntax"),
    (r"bad value in", "bad-option-value"),
    (r"udba=bogus|create=bogus", "bad-option-value"),
    (r"open .*\(-17\)", "aufs-xino-exists"),
    (r"open .*\(-2\)", "aufs-xino-directory-missing"),
    (r"missing required features", "upper-missing-required-features"),
    (r"mount point does not exist", "target-missing"),
    (r"mount point is not a directory", "target-not-a-directory"),
    (r"unshare .*permission denied", "aufs-userns-not-allowed"),
    (r"must be superuser|permission denied", "missing-cap-sys-admin"),
    (r"target is busy", "leaked-mount-busy"),
)  # fmt: skip


def _aufs_steps() -> Iterator[tuple[str, dict[str, Any]]]:
    for name in AUFS:
        for step in recording(f"aufs/{name}")["steps"]:
            if step["kind"] in ("mount", "umount") and step["rc"]:
                if "not mounted" in step["stderr"] and step["kind"] == "umount":
                    continue  # cleaning up after a mount that was refused
                yield name, step


def test_there_are_enough_refusals_of_aufs() -> None:
    assert len(list(_aufs_steps())) >= 30


@pytest.mark.parametrize(("name", "step"), list(_aufs_steps()))
def test_from_names_the_cause_of_every_refusal_of_aufs(name: str, step: dict[str, Any]) -> None:
    text = "\n".join([step["command"], step["stderr"], *step["kernel_log"]])
    causes = [one.cause for one in read(text).findings]
    wanted = next((w.split() for pattern, w in AUFS_FIRST if re.search(pattern, text, re.S)), [])
    assert wanted, (name, text)
    assert causes, (name, text)
    assert causes[0] in wanted, (name, text, causes)


def test_a_real_terminal_in_chinese_ends_in_the_xino_trap_and_its_way_out() -> None:
    reading = read(recordings.text("failures/transcript-centos.txt"))
    first = reading.findings[0]
    assert first.cause == "aufs-xino-fs-unsupported"
    assert "(8 times)" in first.evidence[0]
    assert any("xino=/dev/shm/" in command for command in first.fix.commands)
    assert [one.cause for one in reading.findings] == [first.cause]
