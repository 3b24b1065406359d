"""The harness itself: a namespace of one's own, where overlay is real."""

from __future__ import annotations

from pathlib import Path

import pytest

from layerctl.kernel import mounts, syscalls
from tests.support import layerctl_json


@pytest.mark.namespace
def test_list_decodes_a_real_overlay(lab: Path) -> None:
    for name in ("a:b", "u", "w", "m"):
        (lab / name).mkdir()
    syscalls.mount(
        "o", str(lab / "m"), "overlay", 0, f"lowerdir={lab}/a\\:b,upperdir={lab}/u,workdir={lab}/w"
    )
    (one,) = [m for m in layerctl_json("list")["mounts"] if m["target"] == str(lab / "m")]
    assert [(x["role"], x["path"]) for x in one["layers"]] == [
        ("upper", f"{lab}/u"),
        ("lower", f"{lab}/a:b"),
    ]
    assert one["work"] == f"{lab}/w"


@pytest.mark.namespace(user=True)
def test_a_user_namespace_mounts_overlay(lab: Path) -> None:
    for name in ("l", "u", "w", "m"):
        (lab / name).mkdir()
    syscalls.mount("o", "m", "overlay", 0, "lowerdir=l,upperdir=u,workdir=w,userxattr")
    assert mounts.find_layered(str(lab / "m")).stack.upper == "u"
