"""The resolver agrees with the kernel on random stacks; `LAYERCTL_CASES` is how many of each."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from layerctl.kernel import syscalls
from tests.support import first_seed, in_namespace, layerctl_json
from tests.support.compare import compare
from tests.support.stacks import Mounted, make_case
from tools.fuzz.stacks import BUILDERS, differing

CASES = int(os.environ.get("LAYERCTL_CASES", "400"))


@pytest.mark.parametrize("user", [False, True], ids=["trusted", "user"])
@pytest.mark.parametrize("kind", list(BUILDERS))
def test_the_kernel_agrees(kind: str, *, user: bool) -> None:
    seed = first_seed()

    def body(lab: Path) -> object:
        return differing(lab, kind, user=user, seed=seed, cases=CASES, until=None)

    count, found = in_namespace(body, user=user)
    assert found == []
    assert count == CASES


@pytest.mark.namespace
def test_what_is_mounted_inside_a_layer_is_not_seen(lab: Path) -> None:
    for name in ("lower/d/sub", "upper", "w", "m"):
        (lab / name).mkdir(parents=True)
    (lab / "lower/d/sub/beneath").write_text("x")
    syscalls.mount("over", str(lab / "lower/d/sub"), "tmpfs", 0, "")
    (lab / "lower/d/sub/above").write_text("x")
    with Mounted(make_case(str(lab), [f"{lab}/lower"], upper=f"{lab}/upper")) as merged:
        assert os.listdir(f"{merged}/d/sub") == ["beneath"]
    entries = layerctl_json("inspect", "merged", "-u", lab / "upper", "-l", lab / "lower")
    assert [one["path"] for one in entries["entries"]] == ["d", "d/sub", "d/sub/beneath"]
    story = layerctl_json(
        "inspect", "merged", "-u", lab / "upper", "-l", lab / "lower", "d/sub/above", code=3
    )
    assert story["visible"] is False


@pytest.mark.namespace
def test_a_layer_inside_another_is_refused_entry(lab: Path) -> None:
    for name in ("lower/up", "lower/other", "w", "m"):
        (lab / name).mkdir(parents=True)
    case = make_case(str(lab), [f"{lab}/lower"], upper=f"{lab}/lower/up")
    assert compare(case) == []
    found = layerctl_json("inspect", "merged", "-u", lab / "lower/up", "-l", lab / "lower")
    assert {one["path"]: one["reachable"] for one in found["entries"]} == {
        "other": True,
        "up": False,
    }


@pytest.mark.namespace
def test_hard_links_are_followed_into_the_index(lab: Path) -> None:
    for name in ("lower", "upper", "w", "m"):
        (lab / name).mkdir()
    (lab / "lower/one").write_text("x")
    os.link(lab / "lower/one", lab / "lower/two")
    case = make_case(str(lab), [f"{lab}/lower"], upper=f"{lab}/upper", options="index=on")
    with Mounted(case) as merged:
        assert "notes" not in layerctl_json("inspect", "merged", merged)
        with open(f"{merged}/one", "a") as file:
            file.write("more")
        assert Path(merged, "two").read_text() == "xmore"
        document = layerctl_json("inspect", "merged", merged)
        story = layerctl_json("inspect", "merged", merged, "two")
    assert "notes" not in document
    found = {one["path"]: (one["layer"], one.get("cause")) for one in document["entries"]}
    assert found == {"one": (0, None), "two": (0, "indexed")}
    assert (story["layer"], story["reachable"], story["cause"]) == (0, True, "indexed")
    assert [layer["state"] for layer in story["layers"]] == ["provides", "hidden"]
    assert "index" in story["layers"][0]["reason"]


@pytest.mark.namespace
def test_a_redirect_in_a_lower_layer_can_lead_to_a_directory_that_was_copied_up(lab: Path) -> None:
    for name in ("one/new", "two/old/d", "upper", "w", "m"):
        (lab / name).mkdir(parents=True)
    os.setxattr(lab / "one/new", "trusted.overlay.redirect", b"old")
    lowers = [f"{lab}/one", f"{lab}/two"]
    case = make_case(str(lab), lowers, upper=f"{lab}/upper", options="redirect_dir=on")
    with Mounted(case) as merged:
        Path(merged, "new/d").chmod(0o700)
    assert compare(case) == []
