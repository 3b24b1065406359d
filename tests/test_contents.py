"""`cat`: the bytes that the mount shows, or that one layer has; no link on the way is followed."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from layerctl.errors import NotFoundError
from layerctl.inspecting.contents import open_file
from layerctl.inspecting.opening import opened
from layerctl.kernel.layers import blocks
from tests.support import layerctl
from tests.support.compare import kernel_tree, resolver_tree
from tests.support.stacks import Mounted, build_by_hand, make_case


@pytest.mark.namespace
@pytest.mark.parametrize("seed", range(25))
def test_files_of_random_stacks_hold_what_the_mount_shows(seed: int, lab: Path) -> None:
    case = build_by_hand(random.Random(seed), f"{lab}/c", user=False)
    with opened(case.stack, thorough=True) as view:
        entries = resolver_tree(view).entries
        ours: dict[str, bytes | None] = {}
        for path, entry in entries.items():
            if entry.kind.letter == "f" and entry.kind.alias is None:
                try:
                    fd = open_file(view.resolver, path)
                except NotFoundError:
                    ours[path] = None
                else:
                    ours[path] = b"".join(blocks(fd))
        with Mounted(case) as target:
            kernel = kernel_tree(target, entries)
    for path, content in ours.items():
        seen = kernel.get(path)
        if seen is None or seen.error or seen.content_error:
            assert content is None
        else:
            assert content is not None
            assert content[: len(seen.content or b"")] == seen.content


def _stack(lab: Path) -> tuple[str, ...]:
    for name in ("u", "m", "l/dir"):
        (lab / name).mkdir(parents=True)
    for name in "ml":
        (lab / name / "file").write_bytes(b"\xff\0" + name.encode())
    os.mknod(lab / "u/file", 0o020000, 0)
    (lab / "l/link").symlink_to("/etc/passwd")
    (lab / "l/evil").symlink_to("/etc")
    os.mkfifo(lab / "l/fifo")
    return "-u", "u", "-l", "m", "-l", "l"


@pytest.mark.namespace
def test_every_version_of_a_file(lab: Path) -> None:
    stack = _stack(lab)
    for number, name in ((1, "m"), (2, "l")):
        done = layerctl("cat", *stack, "file", "--layer", str(number))
        assert (done.returncode, done.stdout) == (0, f"\udcff\0{name}")
    assert layerctl("cat", "-l", "m", "-l", "l", "file").stdout == "\udcff\0m"


@pytest.mark.namespace
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("file",), "'file' is not visible"),
        (("file", "--layer", "0"), "layer 0 has no file 'file'"),
        (("link",), "'link' is a symbolic link"),
        (("evil/passwd",), "'evil/passwd' is not visible"),
        (("evil/passwd", "--layer", "2"), "layer 2 has no file 'evil/passwd'"),
        (("fifo",), "'fifo' is a fifo"),
        (("dir",), "'dir' is a directory"),
        (("dir", "--layer", "2"), "layer 2 has no file 'dir'"),
    ],
)
def test_what_has_no_contents(words: tuple[str, ...], message: str, lab: Path) -> None:
    done = layerctl("cat", *_stack(lab), *words)
    assert (done.returncode, done.stdout) == (3, "")
    assert message in done.stderr


@pytest.mark.namespace
def test_a_file_with_metadata_alone_has_the_data_of_its_origin(lab: Path) -> None:
    for name in ("l", "u", "w", "m"):
        (lab / name).mkdir()
    (lab / "l/old").write_text("contents\n")
    options = "metacopy=on,redirect_dir=on"
    with Mounted(make_case(str(lab), [f"{lab}/l"], upper=f"{lab}/u", options=options)) as target:
        os.chmod(f"{target}/old", 0o600)
        os.rename(f"{target}/old", f"{target}/new")
        assert layerctl("cat", target, "new").stdout == "contents\n"
        assert layerctl("cat", target, f"{target}/new", "--layer", "0").stdout == "contents\n"
        assert layerctl("cat", target, "new", "--layer", "1").stdout == "contents\n"


@pytest.mark.namespace
def test_a_second_name_that_shows_the_copy_of_the_first(lab: Path) -> None:
    for name in ("l", "u", "w", "m"):
        (lab / name).mkdir()
    (lab / "l/a").write_text("lower\n")
    os.link(lab / "l/a", lab / "l/b")
    with Mounted(make_case(str(lab), [f"{lab}/l"], upper=f"{lab}/u", options="index=on")):
        (lab / "m/a").write_text("changed\n")
        assert layerctl("cat", "m", "b").stdout == Path("m/b").read_text() == "changed\n"
        assert layerctl("cat", "m", "b", "--layer", "1").stdout == "lower\n"
