"""Two paths to one lower file: the kernel shows the one that is looked up first."""

from __future__ import annotations

import errno
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.support import layerctl_json
from tests.support.compare import compare
from tests.support.stacks import Case, Mounted, make_case


def stack(lab: Path, options: str = "redirect_dir=on") -> Case:
    for name in ("lower", "upper", "w", "m"):
        (lab / name).mkdir(exist_ok=True)
    return make_case(str(lab), [f"{lab}/lower"], upper=f"{lab}/upper", options=options)


def entries(*words: str | Path) -> dict[str, Any]:
    found = layerctl_json("inspect", "merged", *words, "--thorough")["entries"]
    return {entry["path"]: entry for entry in found}


def flags(lab: Path) -> list[str | Path]:
    return [*layers_of(lab), "-o", "redirect_dir=on"]


def layers_of(lab: Path) -> list[str | Path]:
    return ["-u", lab / "upper", "-w", lab / "w", "-l", lab / "lower"]


def copy(lab: Path, source: str, target: str) -> None:
    subprocess.run(["cp", "-a", lab / "upper" / source, lab / "upper" / target], check=True)


def refused(path: str) -> bool:
    try:
        os.lstat(path)
    except OSError as error:
        return error.errno == errno.ESTALE
    return False


def check_pair(lab: Path, case: Case, one: str, other: str) -> None:
    """One of two is shown and one is denied, the kernel agrees, and so do their stories."""
    found = entries(*flags(lab))
    denied, shown = sorted((one, other), key=lambda path: bool(found[path]["reachable"]))
    assert (found[shown]["reachable"], found[denied]["reachable"]) == (True, False)
    assert found[denied]["cause"] == "second-path"
    assert found[shown]["cause"] == "first-path"
    assert (found[denied]["other"], found[shown]["other"]) == (shown, denied)
    assert found[denied]["uncertain"] is True
    assert found[shown]["uncertain"] is True
    story = layerctl_json("inspect", "merged", *flags(lab), denied)
    assert (story["reachable"], story["cause"], story["other"]) == (False, "second-path", shown)
    assert shown in story["why"]
    assert compare(case) == []
    with Mounted(case) as merged:  # the other way round
        os.lstat(f"{merged}/{denied}")
        assert refused(f"{merged}/{shown}")


@pytest.mark.namespace
def test_two_redirects_to_one_directory(lab: Path) -> None:
    case = stack(lab)
    (lab / "lower/origin").mkdir()
    (lab / "lower/origin/file").touch()
    with Mounted(case) as merged:
        Path(merged, "origin/file").touch()
        os.rename(f"{merged}/origin", f"{merged}/one")
    copy(lab, "one", "two")
    check_pair(lab, case, "one", "two")


@pytest.mark.namespace
def test_two_files_with_one_origin(lab: Path) -> None:
    case = stack(lab)
    (lab / "lower/origin").touch()
    with Mounted(case) as merged:
        os.rename(f"{merged}/origin", f"{merged}/one")
    copy(lab, "one", "two")
    check_pair(lab, case, "one", "two")


@pytest.mark.namespace
def test_a_renamed_directory_whose_old_place_is_uncovered(lab: Path) -> None:
    case = stack(lab)
    (lab / "lower/old").mkdir()
    with Mounted(case) as merged:
        os.rename(f"{merged}/old", f"{merged}/new")
    (lab / "upper/old").unlink()
    check_pair(lab, case, "new", "old")


@pytest.mark.namespace
@pytest.mark.parametrize("name", ["a", "z"])
def test_a_renamed_file_whose_old_place_is_uncovered(lab: Path, name: str) -> None:
    case = stack(lab)
    (lab / "lower/old").write_text("lower")
    with Mounted(case) as merged:
        os.rename(f"{merged}/old", f"{merged}/{name}")
        Path(merged, name).write_text("upper")
    (lab / "upper/old").unlink()
    assert compare(case) == []
    found = entries(*flags(lab))
    # A listing looks up what is in the upper layer, so that the lower name shows its contents.
    assert (found["old"]["layer"], found["old"]["cause"]) == (0, "shared-inode")
    assert found[name]["cause"] == "first-path"
    with Mounted(case) as merged:
        os.lstat(f"{merged}/{name}")
        assert Path(merged, "old").read_text() == "upper"
    with Mounted(case) as merged:
        os.lstat(f"{merged}/old")
        assert refused(f"{merged}/{name}")


@pytest.mark.namespace
def test_what_nfs_export_refuses_is_left_out(lab: Path) -> None:
    case = stack(lab, "index=on,nfs_export=on")
    for name in ("d", "other"):
        (lab / "lower" / name).mkdir()
        (lab / "lower" / name / f"in-{name}").touch()
    with Mounted(case) as merged:
        os.chmod(f"{merged}/d", 0o700)
        os.chmod(f"{merged}/other", 0o700)
    origin = os.getxattr(lab / "upper/other", "trusted.overlay.origin")
    words = [*layers_of(lab), "-o", "index=on,nfs_export=on"]
    assert "d/in-d" in entries(*words)
    os.setxattr(lab / "upper/d", "trusted.overlay.origin", origin)
    assert sorted(entries(*words)) == ["d", "other", "other/in-other"]
    assert compare(case) == []
    story = layerctl_json("inspect", "merged", *words, "d")
    assert [layer["state"] for layer in story["layers"]] == ["provides", "hidden"]


@pytest.mark.namespace
def test_an_uncovered_directory_in_the_index_is_denied(lab: Path) -> None:
    case = stack(lab, "index=on,nfs_export=on,redirect_dir=on")
    (lab / "lower/old").mkdir()
    (lab / "lower/gone").touch()
    with Mounted(case) as merged:
        os.rename(f"{merged}/old", f"{merged}/new")
        os.unlink(f"{merged}/gone")
    (lab / "upper/old").unlink()
    (lab / "upper/gone").unlink()
    assert compare(case) == []
    found = entries(*layers_of(lab), "-o", "index=on,nfs_export=on,redirect_dir=on")
    assert {path: entry["reachable"] for path, entry in found.items()} == {
        "new": True, "old": False, "gone": False,
    }  # fmt: skip
    assert found["gone"]["cause"] == "bad-index"


@pytest.mark.namespace
@pytest.mark.parametrize("first", ["one", "two"])
def test_a_live_mount_tells_which_was_first(lab: Path, first: str) -> None:
    case = stack(lab)
    (lab / "lower/sub").mkdir()
    (lab / "lower/sub/origin").touch()
    with Mounted(case) as merged:
        os.rename(f"{merged}/sub/origin", f"{merged}/sub/one")
    copy(lab, "sub/one", "sub/two")
    later = "two" if first == "one" else "one"
    with Mounted(case) as merged:
        os.lstat(f"{merged}/sub/{first}")
        found = entries(merged)
        assert found[f"sub/{first}"]["reachable"] is True
        assert found[f"sub/{later}"]["reachable"] is False
        assert "uncertain" not in found[f"sub/{first}"]
        assert "uncertain" not in found[f"sub/{later}"]
        assert refused(f"{merged}/sub/{later}")


@pytest.mark.namespace
def test_what_a_mount_remembers_to_be_absent(lab: Path) -> None:
    case = stack(lab)
    (lab / "lower/sub").mkdir()
    for name in ("file", "sub/file", "other"):
        (lab / "lower" / name).touch()
    with Mounted(case) as merged:
        for name in ("file", "sub/file"):
            os.unlink(f"{merged}/{name}")
            assert not os.path.lexists(f"{merged}/{name}")
            (lab / "upper" / name).unlink()
        found = entries(merged)
        stories = [
            layerctl_json("inspect", "merged", merged, name) for name in ("file", "sub/file")
        ]
    assert {path: entry["reachable"] for path, entry in found.items()} == {
        "file": False, "other": True, "sub": True, "sub/file": False,
    }  # fmt: skip
    assert found["file"]["cause"] == "remembered-absent"
    assert [(story["reachable"], story["cause"]) for story in stories] == [
        (False, "remembered-absent")
    ] * 2
    with Mounted(case) as merged:
        assert os.path.lexists(f"{merged}/file")
        assert entries(merged)["file"]["reachable"] is True
