"""Option strings as /proc/mounts, findmnt and docker inspect show them mean the same stack."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from layerctl.codecs import overlay
from layerctl.codecs.request import Request, build
from layerctl.errors import RequestError
from layerctl.kernel import syscalls
from layerctl.model import Layer, Role, Stack
from tests.support import layerctl

NAMES = st.text(st.characters(codec="utf-8", exclude_characters="\0/"), min_size=1, max_size=8)


@given(st.lists(NAMES, min_size=1, max_size=3))
def test_what_is_escaped_for_mount_stays_as_it_is(names: list[str]) -> None:
    stack = Stack("overlay", tuple(Layer(f"/{name}", Role.LOWER) for name in names))
    assert build(Request(options=(overlay.encode(stack),))).layers == stack.layers


@pytest.mark.namespace
@pytest.mark.parametrize("name", ["sp ace", "tab\there", "back\\slash", "co:lon", "com,ma", "#x"])
def test_proc_mounts(name: str, lab: Path) -> None:
    for one in (name, "other", "m"):
        (lab / one).mkdir()
    stack = Stack("overlay", tuple(Layer(f"{lab}/{x}", Role.LOWER) for x in (name, "other")))
    syscalls.mount("o", f"{lab}/m", "overlay", 0, overlay.encode(stack))
    lines = Path("/proc/mounts").read_text().splitlines()
    (shown,) = [line.split(" ")[3] for line in lines if line.split(" ")[1] == f"{lab}/m"]
    for text in (shown, subprocess.getoutput(f"findmnt -no OPTIONS '{lab}/m'")):
        assert build(Request(options=(text,))).layers == stack.layers


def test_docker_inspect() -> None:
    data = {"LowerDir": "/a:/b", "MergedDir": "/x", "UpperDir": "/u,p", "WorkDir": "/w"}
    for value in (data, [{"Id": "1", "GraphDriver": {"Name": "overlay2", "Data": data}}]):
        stack = build(Request(options=(json.dumps(value, indent=1),)))
        assert [layer.path for layer in stack.layers] == ["/u,p", "/a", "/b"]
        assert stack.work == "/w"


@pytest.mark.parametrize("text", ["{", "[]", '{"LowerDir": 3}', "[" * 100000])
def test_other_json_is_refused(text: str) -> None:
    with pytest.raises(RequestError, match="no layers were found"):
        build(Request(options=(text,)))


@pytest.mark.namespace
def test_an_fstab_field_can_be_mounted(lab: Path) -> None:
    for one in ("sp ace", "b", "m"):
        (lab / one).mkdir()
    field = rf"noauto,x-systemd.after=x.service,nofail,ro,lowerdir={lab}/sp\040ace:{lab}/b"
    assert layerctl("mount", "-o", field, "m").returncode == 0
    assert os.statvfs(lab / "m").f_flag & os.ST_RDONLY
