"""Option strings are read as the kernel reads them: random ones are mounted, and looked at."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from layerctl.codecs import overlay, words
from layerctl.errors import RequestError
from layerctl.kernel import mounts, syscalls
from layerctl.model import Role, Stack

NAMES = ("a", "b", "c", "a,b", "a:b", "b\\", "a\\b", "c\\,d", "c,d", "b,", "a:", "\\c")


@st.composite
def _name(draw: st.DrawFn) -> str:
    """A directory's name, escaped as it should be, or more, or less."""
    name = draw(st.sampled_from(NAMES))
    how = draw(st.integers(0, 5))
    if how == 0:
        return name
    escaped = "".join("\\" + one if one in "\\:," or how == 1 else one for one in name)
    return escaped + ("\\" if how == 2 else "")


def _option() -> st.SearchStrategy[str]:
    lowers = st.lists(_name(), min_size=1, max_size=3)
    return st.one_of(
        st.builds("lowerdir={}".format, lowers.map(":".join)),
        st.builds("lowerdir+={}".format, st.sampled_from(NAMES)),
        st.builds("lowerdir+={}".format, _name()),
        st.sampled_from(
            ["upperdir=u", "upperdir=u\\", "upperdir=\\u", "upperdir=u\\,", "workdir=w",
             "workdir=\\w\\", "index=off", "xino=off", "lowerdir=", "=x", "", "metacopy=off"]
        ),
    )  # fmt: skip


STRINGS = st.lists(_option(), min_size=1, max_size=4).map(",".join)


def _mounted(text: str) -> set[str] | None:
    """Mount by mount(2); return the directories whose files are seen, None if it fails."""
    try:
        syscalls.mount("o", "m", "overlay", 0, text)
    except OSError:
        return None
    return _seen()


def _set_one_by_one(text: str) -> set[str] | None:
    """Mount by the new calls, each word of the string as our codec splits it; see `_mounted`."""
    context = syscalls.fsopen("overlay")
    try:
        for name, value in map(words.word, words.split_options(text, escapes=True)):
            if not name:
                continue
            kind = syscalls.FSCONFIG_SET_FLAG if value is None else syscalls.FSCONFIG_SET_STRING
            syscalls.fsconfig(context, kind, name, value)
        syscalls.fsconfig(context, syscalls.FSCONFIG_CMD_CREATE, None, None)
        mount = syscalls.fsmount(context)
    except OSError:
        return None
    finally:
        os.close(context)
    target = os.open("m", os.O_PATH | os.O_CLOEXEC)
    syscalls.move_mount(mount, target, "m")
    os.close(target)
    os.close(mount)
    return _seen()


def _seen() -> set[str]:
    return {name[3:] for name in os.listdir("m") if name.startswith("is ")}


def _named(stack: Stack) -> set[str]:
    return {layer.path for layer in stack.layers if layer.role is not Role.DATA}


@pytest.mark.namespace
def test_a_string_is_read_as_the_kernel_reads_it(lab: Path) -> None:
    for name in (*NAMES, "u", "u,", "w"):
        (lab / name).mkdir()
        (lab / name / f"is {name}").touch()
    (lab / "m").mkdir()
    taken = 0

    @settings(max_examples=600, deadline=None, suppress_health_check=list(HealthCheck))
    @given(STRINGS)
    def compare(text: str) -> None:
        nonlocal taken
        seen = _mounted(text)
        if seen is not None:
            shown = mounts.find(str(lab / "m")).super_options
            syscalls.umount2("m", 0)
            taken += 1
            assert _named(overlay.parse(text)) == seen
            assert _named(overlay.from_super_options(shown)) == seen
        one_by_one = _set_one_by_one(text)
        with contextlib.suppress(OSError):
            syscalls.umount2("m", 0)
        assert one_by_one == seen

    compare()
    assert taken > 20


@pytest.mark.parametrize(
    ("text", "layers"),
    [("lowerdir=a:b\\", ["a", "b"]), ("lowerdir=,lowerdir+=a,lowerdir+=b", ["a", "b"])],
)
def test_strings_that_were_read_otherwise(text: str, layers: list[str]) -> None:
    assert [layer.path for layer in overlay.parse(text).layers] == layers


@pytest.mark.parametrize("text", ["lowerdir=a:\\", "lowerdir=\\"])
def test_a_backslash_alone_names_no_layer(text: str) -> None:
    with pytest.raises(RequestError):
        overlay.parse(text)
