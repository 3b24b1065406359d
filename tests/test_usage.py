"""What layers take up is what du(1) says, and what is hidden is what no path of the mount needs."""

from __future__ import annotations

import os
import random
import shutil
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from layerctl.inspecting import sharing
from layerctl.inspecting.opening import Opened, opened
from layerctl.inspecting.tally import Sums
from layerctl.inspecting.usage import measure
from layerctl.stores import find
from tests.support import layerctl, layerctl_json
from tests.support.compare import resolver_tree
from tests.support.stacks import Mounted, build_by_hand, make_case
from tests.support.stored import Docker


def du(*directories: str | Path) -> list[int]:
    """Return what du(1) says of directories, together: a file with several names counts once."""
    done = subprocess.run(
        ["du", "-s", "-B1", "-x", *directories], stdout=subprocess.PIPE, text=True, check=True
    )
    return [int(line.split("\t")[0]) for line in done.stdout.splitlines()]


def alone(*directories: str | Path) -> list[int]:
    """Return what du(1) says of each directory alone."""
    return [size for directory in directories for size in du(directory)]


def inodes(directory: str) -> Iterator[tuple[str, os.stat_result]]:
    """Yield everything in a directory, and that itself, by its path in there."""
    yield "", os.lstat(directory)
    for above, below, files in os.walk(directory):
        for name in (*below, *files):
            path = f"{above}/{name}"
            yield os.path.relpath(path, directory), os.lstat(path)


def hidden(view: Opened) -> list[int]:
    """Return the bytes of each layer that nothing in the merged tree is made of."""
    shown = {
        (layer, place)
        for entry in resolver_tree(view).entries.values()
        for layer, place in entry.objects
    }
    answer = []
    for layer, directory in enumerate(view.layers):
        sizes: dict[int, int] = {}
        needed: set[int] = set()
        is_data = view.stack.layers[layer].role.value == "data"
        for place, status in inodes(directory):
            sizes[status.st_ino] = status.st_blocks * 512
            is_needed = not place or (layer, place) in shown
            if is_needed or (is_data and stat.S_ISDIR(status.st_mode)):
                needed.add(status.st_ino)
        answer.append(sum(size for inode, size in sizes.items() if inode not in needed))
    return answer


@pytest.mark.namespace
@pytest.mark.parametrize("backing", ["ext4"])  # where directories take up room
@pytest.mark.parametrize("seed", range(20))
def test_random_stacks(seed: int, backing: str, lab: Path) -> None:
    assert backing
    case = build_by_hand(random.Random(seed), f"{lab}/c", user=False)
    with opened(case.stack) as view:
        sums = measure(view).tally.by_layer()
        assert [one.hidden for one in sums] == hidden(view)
        assert [one.size for one in sums] == alone(*view.layers)


def layers(document: Any, *keys: str) -> list[tuple[Any, ...]]:
    return [tuple(row[key] for key in keys) for row in document["layers"]]


def _large(path: Path, size: int = 1 << 16) -> None:
    path.write_bytes(os.urandom(size))
    os.utime(path, (10**9, 10**9))


@pytest.mark.namespace
def test_what_is_done_through_a_mount(lab: Path) -> None:
    """Changed, deleted and replaced files stay below; a chmod copies a file up."""
    for name in ("l/gone", "u", "w", "m"):
        (lab / name).mkdir(parents=True)
    for name in ("changed", "deleted", "moded", "kept", "gone/one", "gone/two"):
        _large(lab / "l" / name)
    with Mounted(make_case(str(lab), [f"{lab}/l"], upper=f"{lab}/u")) as target:
        with open(f"{target}/changed", "ab") as file:
            file.write(b"more")
        os.unlink(f"{target}/deleted")
        os.chmod(f"{target}/moded", 0o600)
        shutil.rmtree(f"{target}/gone")
        found = layerctl_json("du", target)
        top = layerctl_json("du", target, "--top", "20")["paths"]
    block = 1 << 16
    assert layers(found, "role", "size", "hidden", "copied") == [
        ("upper", *alone("u"), 0, block),
        ("lower", *alone("l"), 5 * block, 0),
    ]
    total = found["total"]
    assert total["size"] == sum(alone("u", "l"))
    assert total["efficiency"] == round(1 - total["hidden"] / total["size"], 4)
    assert {(row["path"], row["layer"]): (row["state"], row["by"], row["size"]) for row in top} == {
        ("gone", 1): ("deleted", 0, 2 * block),
        ("changed", 0): ("shown", None, *alone("u/changed")),
        ("moded", 0): ("shown", None, block),
        ("changed", 1): ("replaced", 0, block),
        ("moded", 1): ("replaced", 0, block),
        ("deleted", 1): ("deleted", 0, block),
        ("kept", 1): ("shown", None, block),
    }


@pytest.mark.namespace
def test_metadata_alone_holes_and_hard_links_take_up_what_they_do(lab: Path) -> None:
    for name in ("l", "u", "w", "m"):
        (lab / name).mkdir()
    for name in ("data", "linked"):
        _large(lab / "l" / name)
    os.link(lab / "l/linked", lab / "l/other")
    for name in ("one", "two"):
        (lab / "l/dir" / name).mkdir(parents=True)
        os.link(lab / "l/linked", lab / "l/dir" / name / "third")
    with open(lab / "l/hole", "wb") as file:
        file.truncate(1 << 30)
    options = "metacopy=on,redirect_dir=on"
    with Mounted(make_case(str(lab), [f"{lab}/l"], upper=f"{lab}/u", options=options)) as target:
        os.chmod(f"{target}/data", 0o600)
        os.rename(f"{target}/data", f"{target}/renamed")
        os.unlink(f"{target}/linked")
        found = layerctl_json("du", target)
    assert layers(found, "size", "hidden", "copied") == [
        (*alone("u"), 0, 0), (2 << 16, 0, 0),
    ]  # fmt: skip
    assert alone("l") == [2 << 16]


@pytest.mark.namespace
@pytest.mark.parametrize("backing", ["ext4"])
def test_a_directory_that_was_moved_is_not_hidden_where_it_was(backing: str, lab: Path) -> None:
    assert backing
    for name in ("l/dir/sub", "u", "w", "m"):
        (lab / name).mkdir(parents=True)
    for name in ("dir/file", "dir/sub/file", "dir/sub/gone"):
        _large(lab / "l" / name)
    case = make_case(str(lab), [f"{lab}/l"], upper=f"{lab}/u", options="redirect_dir=on")
    with Mounted(case) as target:
        os.rename(f"{target}/dir", f"{target}/moved")
        os.unlink(f"{target}/moved/sub/gone")
        assert layers(layerctl_json("du", target), "hidden") == [(0,), (1 << 16,)]


@pytest.mark.namespace
def test_a_copy_with_other_times_is_read(lab: Path) -> None:
    for name in ("l", "u"):
        (lab / name).mkdir()
    for name in ("same", "other"):
        _large(lab / "l" / name)
        shutil.copy(lab / "l" / name, lab / "u" / name)
    (lab / "u/other").write_bytes(b"x" * (1 << 16))
    found = layerctl_json("du", "-u", "u", "-l", "l")
    assert layers(found, "copied") == [(1 << 16,), (0,)]


@pytest.mark.namespace
def test_all_mounts_of_a_machine_count_a_shared_layer_once(lab: Path) -> None:
    for name in ("base", *(f"{kind}{n}" for kind in "uwm" for n in (1, 2))):
        (lab / name).mkdir()
    _large(lab / "base/file")
    for number in (1, 2):
        _large(lab / f"u{number}/new")
        options = ("-u", f"u{number}", "-w", f"w{number}", "-l", "base")
        assert layerctl("mount", *options, f"m{number}").returncode == 0
    (lab / "m1/file").unlink()
    found = layerctl_json("du")
    stacks = [
        (row["target"], row["own"], row["shared"], row["hidden"])
        for row in found["stacks"]
        if row["target"].startswith(f"{lab}/")
    ]
    block = 1 << 16
    assert stacks == [(f"{lab}/m1", block, block, block), (f"{lab}/m2", block, block, 0)]
    both = layerctl_json("du", "m1", "m2")
    assert both["total"]["size"] == sum(du("u1", "u2", "base"))
    assert both["total"]["hidden"] == 0  # the other container still shows it
    rows = layerctl_json("du", "m1", "m2", "--layers")["layers"]
    assert [(row["users"], row["used_by"]) for row in rows] == [
        (0, []), (1, [f"{lab}/m2"]), (0, []), (1, [f"{lab}/m1"]),
    ]  # fmt: skip


@pytest.mark.namespace
def test_a_mount_that_cannot_be_measured_is_named_and_the_rest_is_measured(lab: Path) -> None:
    for name in ("base", "gone", "m1", "m2"):
        (lab / name).mkdir()
    _large(lab / "base/file")
    os.mkdir(lab / "other")
    for target, lower in (("m1", "gone"), ("m2", "other")):
        assert layerctl("mount", "-l", lower, "-l", "base", target).returncode == 0
    (lab / "gone").rmdir()
    done = layerctl("du", "--raw", "--noheadings", "--output", "TARGET,HIDDEN")
    assert done.returncode == 3
    assert f"{lab}/m2 0" in done.stdout.splitlines()
    assert f"{lab}/m1 is not measured" in done.stderr


@pytest.mark.namespace
@pytest.mark.parametrize("backing", ["ext4"])
def test_an_aufs_s_markers_are_not_hidden(backing: str, lab: Path) -> None:
    assert backing
    for name in ("rw/.wh..wh.plnk", "ro"):
        (lab / name).mkdir(parents=True)
    (lab / "rw/.wh..wh.aufs").touch()
    os.link(lab / "rw/.wh..wh.aufs", lab / "rw/.wh.gone")
    for name in ("rw/linked", "ro/gone", "ro/kept"):
        _large(lab / name)
    os.link(lab / "rw/linked", lab / "rw/.wh..wh.plnk/1.2")
    found = layerctl_json("du", "-b", "rw=rw", "-b", "ro=ro")
    assert layers(found, "size", "hidden") == [
        (*alone("rw"), 0), (*alone("ro"), 1 << 16),
    ]  # fmt: skip


def _deep(root: Path) -> None:
    """Make two layers with directories enough to share, hard links across them among it."""
    for number in range(30):
        for layer in ("u", "l"):
            below = root / layer / f"top{number}" / "dir"
            below.mkdir(parents=True)
            for name in ("both", layer, f"only{layer}"):
                (below / name).write_bytes(b"x" * (number + 1) * 5000)
        (root / f"l/top{number}/alone").mkdir()
        for name in ("link", "alone/link"):
            os.link(root / "l/top0/dir/l", root / f"l/top{number}/{name}")
        if number % 3 == 0:
            shutil.rmtree(root / f"u/top{number}/dir")
            os.mknod(root / f"u/top{number}/dir", 0o020000, 0)


@pytest.mark.namespace
def test_two_processes_count_what_one_does(lab: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _deep(lab)
    case = make_case(str(lab), [f"{lab}/l"], upper=f"{lab}/u")

    def counted() -> tuple[list[Sums], Sums, list[Any]]:
        with opened(case.stack) as view:
            tally = measure(view, top=10).tally
            return tally.by_layer(), tally.total(), tally.largest()

    monkeypatch.setattr(sharing, "_WORTHWHILE", 1e9)
    one = counted()
    monkeypatch.setattr(sharing, "_WORTHWHILE", 0)
    assert counted() == one
    assert [sums.size for sums in one[0]] == alone("u", "l")


@pytest.mark.namespace
def test_files_that_two_layers_share_count_once_in_the_total(lab: Path) -> None:
    for name in ("u", "m", "l"):
        (lab / name).mkdir()
    _large(lab / "l/seen")
    os.link(lab / "l/seen", lab / "m/again")
    _large(lab / "l/lost")
    os.link(lab / "l/lost", lab / "m/lost")
    os.mknod(lab / "u/lost", 0o020000, 0)
    found = layerctl_json("du", "-u", "u", "-l", "m", "-l", "l")
    assert layers(found, "size", "hidden") == [(0, 0), (2 << 16, 1 << 16), (2 << 16, 1 << 16)]
    assert (found["total"]["size"], found["total"]["hidden"]) == (sum(du("u", "m", "l")), 1 << 16)


@pytest.mark.namespace
def test_containers_and_images_of_a_store(lab: Path) -> None:
    """What a container deletes is hidden for it, and no image's bytes are its own."""
    store = Docker(lab / "disk/var/lib/docker")
    base = store.image("base:1", ["base"], ["ADD base"])
    image = store.image("app:1", ["base", "app"], ["ADD base", "COPY app"])
    assert base != image
    for name in ("web", "db"):
        store.container(name, image)
    (read,) = find.stores(str(lab / "disk"))
    app = next(one for one in read.images if one.name == "app:1")
    top, bottom = (Path(read.layers[one].directory) for one in app.layers)
    web = next(one for one in read.containers if one.name == "web")
    _large(top / "app")
    _large(bottom / "base")
    _large(Path(read.layers[web.layers[0]].directory) / "new")
    os.mknod(Path(read.layers[web.layers[0]].directory) / "base", 0o020000, 0)
    rows = {row["name"]: row for row in layerctl_json("du", "--root", "disk")["stacks"]}
    block = 1 << 16
    found = {
        name: (one["kind"], one["own"], one["shared"], one["hidden"]) for name, one in rows.items()
    }
    assert found == {
        "web": ("container", block, 2 * block, block),
        "db": ("container", 0, 2 * block, 0),
        "app:1": ("image", 0, 2 * block, 0),
        "base:1": ("image", 0, block, 0),
    }
    one = layerctl_json("du", "--root", "disk", "web")
    assert [(row["label"], row["size"], row["users"]) for row in one["layers"]] == [
        ("web", block, 0), ("web-init", 0, 0), ("app#0", block, 2), ("base#0", block, 3),
    ]  # fmt: skip
    assert one["layers"][3]["step"] == "ADD base"
    assert layerctl_json("du", "--root", "disk", "image:app:1")["layers"][0]["users"] == 2
    total = layerctl_json("du", "--root", "disk")["total"]
    assert (total["size"], total["hidden"]) == (3 * block, 0)
