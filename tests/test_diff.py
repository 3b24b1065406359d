"""`diff` says what two mounts show differently; a patch of it makes one file of the other."""

from __future__ import annotations

import os
import random
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from layerctl.inspecting.opening import opened
from layerctl.inspecting.two_trees import Differences
from tests.support import ROOT, layerctl, layerctl_json
from tests.support.compare import Seen, kernel_tree
from tests.support.stacks import Builder, Mounted, make_case


def _expected(was: dict[str, Seen], now: dict[str, Seen]) -> dict[str, str]:
    """Return how two trees differ, as the kernel shows them; of what is deleted only the top."""
    found: dict[str, str] = {}
    for path in sorted(was.keys() | now.keys()):
        above = path.rpartition("/")[0]
        one, other = was.get(path), now.get(path)
        if other is None:
            if not above or (above in now and stat.S_ISDIR(_mode(now[above]))):
                found[path] = "deleted"
        elif not _sound(path, was, now):
            continue
        elif one is None:
            found[path] = "added"
        elif stat.S_IFMT(_mode(one)) != stat.S_IFMT(_mode(other)):
            found[path] = "replaced"
        else:
            change = _change(one, other)
            if change:
                found[path] = change
    return found


def _mode(seen: Seen) -> int:
    return 0 if seen.status is None else seen.status.st_mode


def _change(one: Seen, other: Seen) -> str:
    assert one.status is not None
    assert other.status is not None
    if (one.content, one.link) != (other.content, other.link):
        return "modified"
    if stat.S_ISREG(one.status.st_mode) and one.status.st_size != other.status.st_size:
        return "modified"
    fields = ["st_mode", "st_uid", "st_gid"]
    if not stat.S_ISDIR(one.status.st_mode):
        fields.append("st_mtime_ns")
        if one.status.st_rdev != other.status.st_rdev:
            return "modified"
    same = all(getattr(one.status, name) == getattr(other.status, name) for name in fields)
    return "" if same else "metadata"


def _sound(path: str, *trees: dict[str, Seen]) -> bool:
    """Tell whether both mounts show all of a path: nothing on the way is listed and denied."""
    while path:
        for tree in trees:
            seen = tree.get(path)
            if seen is not None and (seen.error or seen.content_error or seen.unlisted):
                return False
        path = path.rpartition("/")[0]
    return True


@pytest.mark.namespace
@pytest.mark.parametrize("seed", range(40))
@pytest.mark.parametrize("moves", [True, False])
def test_random_stacks_that_share_layers(seed: int, moves: bool, lab: Path) -> None:
    rng = random.Random(seed)
    builder = Builder(rng, False, str(lab), moves)
    for name in "abcde":
        builder.layer(f"{lab}/{name}", depth=2)
    (lab / "m").mkdir()
    pool = [f"{lab}/{name}" for name in "cde"]
    common = pool[rng.randint(0, 1) :]
    options = "redirect_dir=on,metacopy=on" if moves else ""
    cases = [make_case(str(lab), [f"{lab}/{name}", *common], options=options) for name in "ab"]
    if rng.random() < 0.3:  # the second on top of the first
        cases[1] = make_case(str(lab), [f"{lab}/b", f"{lab}/a", *common], options=options)
    with opened(cases[0].stack) as one, opened(cases[1].stack) as other:
        search = Differences(one, other)
        ours = {change.path: change.change for changes in search for change in changes}
        assert not other.resolver.reasons.kept
    trees = []
    for case in cases:
        with Mounted(case) as target:
            trees.append(kernel_tree(target, ours))
    expected = {path: change for path, change in _expected(*trees).items() if _sound(path, *trees)}
    assert {path: change for path, change in ours.items() if _sound(path, *trees)} == expected


def _images(lab: Path) -> None:
    """Make two stacks that share a lower layer of 200 directories, and differ in one file."""
    for number in range(200):
        (lab / f"base/dir{number}").mkdir(parents=True)
        (lab / f"base/dir{number}/file").write_text(f"{number}\n")
    for name in "ab":
        (lab / name / "dir7").mkdir(parents=True)
        (lab / name / "dir7/file").write_text(f"{name}\n")


@pytest.mark.namespace
def test_what_two_stacks_share_is_not_read(lab: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _images(lab)
    stacks = [make_case(str(lab), [f"{lab}/{one}", f"{lab}/base"]).stack for one in "ab"]
    with opened(stacks[0]) as one, opened(stacks[1]) as other:
        search = Differences(one, other)
        read: list[str] = []
        before = search.now.read

        def noted(directory: Any) -> Any:
            read.append(directory.path)
            return before(directory)

        monkeypatch.setattr(search.now, "read", noted)
        found = [change for changes in search for change in changes]
    assert [(one.path, one.change) for one in found] == [("dir7/file", "modified")]
    assert read == ["", "dir7"]


@pytest.mark.namespace
def test_a_shared_directory_that_leads_to_other_layers_is_read(lab: Path) -> None:
    """A redirect in a layer that both have goes on to whatever lies below it in each."""
    for name in ("one", "two"):
        (lab / name / "there").mkdir(parents=True)
        (lab / name / "there/file").write_text(name)
    (lab / "shared/here").mkdir(parents=True)
    os.setxattr("shared/here", "trusted.overlay.redirect", b"/there")
    stacks = [
        make_case(str(lab), [f"{lab}/shared", f"{lab}/{one}"], options="redirect_dir=on").stack
        for one in ("one", "two")
    ]
    with opened(stacks[0]) as one, opened(stacks[1]) as other:
        found = sorted(change.path for changes in Differences(one, other) for change in changes)
    assert found == ["here/file", "there/file"]


def changes(*words: str) -> dict[str, str]:
    return {row["path"]: row["change"] for row in layerctl_json("diff", *words)["changes"]}


@pytest.mark.namespace
def test_a_mount_and_directories(lab: Path) -> None:
    _images(lab)
    (lab / "m").mkdir()
    with Mounted(make_case(str(lab), [f"{lab}/a", f"{lab}/base"])) as target:
        assert changes("base", target) == {"dir7/file": "modified"}
        assert changes(target, "base") == {"dir7/file": "modified"}
        assert changes(target, target) == {}
        assert changes("base", target, "dir8") == {}
        assert changes("base", target, "dir7") == changes("base", target, "--glob", "fi*")
        assert len(changes("a", target)) == 2 * 199
    assert changes("a", "b") == {"dir7/file": "modified"}
    refused = layerctl("diff", "a", "nowhere")
    assert (refused.returncode, refused.stdout) == (3, "")


TEXTS = {
    "changed": ("one\ntwo\nthree\n", "one\n2\nthree\nfour\n"),
    "end": ("no end", "no end\n"),
    "added": (None, "new\nfile"),
    "deleted": ("old\n", None),
    "emptied": ("x\n", ""),
    "é": ("ä\r\n\x0c\n", "ä\n\x0c\n"),
}


def _texts(lab: Path) -> None:
    for side, name in enumerate("ab"):
        (lab / name / "dir").mkdir(parents=True)
        for file, versions in TEXTS.items():
            text = versions[side]
            if text is not None:
                (lab / name / "dir" / file).write_bytes(text.encode())
        (lab / name / "binary").write_bytes(b"\0" + name.encode())
        (lab / name / "latin").write_bytes(b"\xe4" + name.encode())


@pytest.mark.namespace
@pytest.mark.parametrize(
    "command", [("diff", "a", "b"), ("inspect", "changes", "-u", "b", "-l", "a")], ids=" ".join
)
def test_a_patch_makes_one_of_the_other(command: tuple[str, ...], lab: Path) -> None:
    _texts(lab)
    if command[0] == "inspect":  # what is absent in an upper layer is not deleted
        os.mknod(lab / "b/dir/deleted", 0o020000, 0)
    program = (sys.executable, "-m", "layerctl", *command, "--diff")
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    patch = subprocess.run(program, env=environment, capture_output=True, check=True).stdout
    assert b"# modified   binary  (content" in patch
    assert patch.count(b"sha256:") == 4
    applied = subprocess.run(
        ["git", "apply", "-p1", "-"], input=patch, cwd=lab / "a",
        env={**os.environ, "GIT_CEILING_DIRECTORIES": "/"}, capture_output=True,
    )  # fmt: skip
    assert applied.returncode == 0, applied.stderr
    for file, (_, text) in TEXTS.items():
        if text is None:
            assert not (lab / "a/dir" / file).exists()
        else:
            assert (lab / "a/dir" / file).read_bytes() == text.encode()


@pytest.mark.namespace
def test_how_much_of_each_file_changed(lab: Path) -> None:
    _texts(lab)
    rows = {row["path"]: row for row in layerctl_json("diff", "a", "b", "--stat")["stats"]}
    assert (rows["dir/changed"]["added"], rows["dir/changed"]["removed"]) == (2, 1)
    assert (rows["dir/deleted"]["added"], rows["dir/deleted"]["removed"]) == (0, 1)
    assert rows["binary"]["added"] is None
    assert rows["binary"]["digest"] != rows["binary"]["was_digest"]
    shown = layerctl("diff", "a", "b", "--stat").stdout.splitlines()
    assert " binary      | binary 2B -> 2B" in shown
    assert " dir/changed | 3 ++-" in shown
    assert shown[-1] == " files: 8, lines added: 6, removed: 5"


@pytest.mark.namespace
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--diff", "--stat"), "--stat and --diff cannot be combined"),
        (("--diff", "--json"), "--diff cannot be combined with other output options"),
        (("--stat", "--output", "LAYER"), "'LAYER' is not a column"),
    ],
)
def test_what_is_refused(words: tuple[str, ...], message: str, lab: Path) -> None:
    _texts(lab)
    done = layerctl("diff", "a", "b", *words)
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr
