"""Random stacks on the real kernel: what is mounted is what was asked, whatever the names."""

from __future__ import annotations

import itertools
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from layerctl.codecs import overlay
from layerctl.kernel import mounts, syscalls
from layerctl.kernel.context import overlay_features
from layerctl.model import Layer, Role, Stack
from layerctl.mounting.apply import MountFailedError, carry_out
from layerctl.mounting.choose import choose
from layerctl.rules.validity import problems
from tests.support.mounting import APIS

#: How many random stacks; a virtual machine under emulation is ten times slower.
CASES = 300 if os.environ.get("LAYERCTL_TESTS_FORK") else 4000

#: Drawing the first name loads tables of characters, which takes a guest more than a minute.
SLOW = [HealthCheck.too_slow]

NAMES = st.one_of(
    st.binary(min_size=1, max_size=12),
    st.text(alphabet="\\:,= \"'\n\t#-.+a", min_size=1, max_size=8).map(str.encode),
    st.integers(200, 255).map(lambda size: b"n" * size),
).map(lambda raw: os.fsdecode(raw.replace(b"\0", b"0").replace(b"/", b"1")))
CLEAN_NAMES = NAMES.filter(lambda name: name not in (".", ".."))

VALUES: dict[str, tuple[str | None, ...]] = {
    "redirect_dir": ("on", "off", "follow", "nofollow"),
    "index": ("on", "off"),
    "metacopy": ("on", "off"),
    "xino": ("on", "off", "auto"),
    "uuid": ("on", "off", "null", "auto"),
    "nfs_export": ("on", "off"),
    "verity": ("on", "off", "require"),
    "fsync": ("auto", "strict"),
    "userxattr": (None,),
    "default_permissions": (None,),
}


def taken(lab: Path, *words: str) -> bool:
    """Tell whether this kernel mounts two layers with these options, by trying."""
    if not (lab / "try").is_dir():
        for name in ("m", "l", "d", "u", "w"):
            (lab / "try" / name).mkdir(parents=True)
    data = ",".join([*words, f"upperdir={lab}/try/u,workdir={lab}/try/w"])
    if not any(word.startswith("lowerdir") for word in words):
        data += f",lowerdir={lab}/try/l"
    try:
        syscalls.mount("o", str(lab / "try/m"), "overlay", 0, data)
    except OSError:
        return False
    syscalls.umount2(str(lab / "try/m"), 0)
    return True


def options(lab: Path) -> st.SearchStrategy[dict[str, str | None]]:
    """Return options with the values that this kernel knows."""
    known = {
        name: [value for value in values if taken(lab, f"{name}={value}" if value else name)]
        for name, values in VALUES.items()
    }
    if not taken(lab, "userxattr", "verity=on"):
        del known["verity"]  # before 6.16 it is metacopy by another name, with its conflicts
    return st.fixed_dictionaries(
        {}, optional={name: st.sampled_from(values) for name, values in known.items() if values}
    )


@st.composite
def stacks(
    draw: st.DrawFn, options: st.SearchStrategy[dict[str, str | None]], most_data: int
) -> Stack:
    names = draw(st.lists(CLEAN_NAMES, min_size=1, max_size=30, unique=True))
    upper = draw(st.booleans()) or len(names) == 1
    data = draw(st.integers(0, min(most_data, len(names) - 1)))
    roles = [Role.LOWER] * (len(names) - data) + [Role.DATA] * data
    layers = [Layer(name, role) for name, role in zip(names, roles, strict=True)]
    if upper:
        layers.insert(0, Layer(draw(CLEAN_NAMES), Role.UPPER))
    flags = draw(st.lists(st.sampled_from(["ro", "nosuid", "nodev", "noexec", "noatime"])))
    work = draw(CLEAN_NAMES) if upper else None
    return Stack("overlay", tuple(layers), work, draw(options), tuple(flags))


def placed(stack: Stack, root: str) -> Stack:
    """Put every directory of a stack below `root` and make it."""
    for part in ("l", "u", "w"):
        os.makedirs(f"{root}/{part}")
    layers = []
    for layer in stack.layers:
        path = f"{root}/{'u' if layer.role is Role.UPPER else 'l'}/{layer.path}"
        os.mkdir(path)
        layers.append(Layer(path, layer.role))
    work = None if stack.work is None else f"{root}/w/{stack.work}"
    if work is not None:
        os.mkdir(work)
    return Stack("overlay", tuple(layers), work, stack.options, stack.flags)


def _off_that_follows(stack: Stack) -> bool:
    """A module parameter makes redirect_dir=off `follow`, which userxattr does not go with."""
    return "userxattr" in stack.options and stack.options.get("redirect_dir") == "off"


@pytest.mark.namespace
def test_random_stacks_mount_and_decode_into_themselves(lab: Path) -> None:
    features = overlay_features()
    most_data = 3 if taken(lab, f"lowerdir={lab}/try/l::{lab}/try/d") else 0
    numbers = itertools.count()
    (lab / "m").mkdir()

    @settings(max_examples=CASES, deadline=None, database=None, suppress_health_check=SLOW)
    @given(stacks(options(lab), most_data), st.sampled_from([None, *APIS]))
    def check(stack: Stack, api: str | None) -> None:
        stack = placed(stack, f"{lab}/{next(numbers)}")
        if _off_that_follows(stack):
            return
        plan = choose(stack, features, api)
        if problems(stack):  # never more than the kernel itself refuses
            with pytest.raises(MountFailedError):
                carry_out(plan, str(lab / "m"), "o")
            return
        mounted, _ = carry_out(plan, str(lab / "m"), "o")
        try:
            if plan.cwd is None and not plan.opened:
                shown = mounts.describe(mounted.entry).stack
                assert shown.layers == stack.layers
                assert shown.work == stack.work
                again = overlay.parse(overlay.encode(stack))
                assert again.layers == stack.layers
        finally:
            syscalls.umount2(str(lab / "m"), 0)

    check()


@pytest.mark.namespace
def test_the_encoded_string_means_the_same_to_the_kernel(lab: Path) -> None:
    most_data = 3 if taken(lab, f"lowerdir={lab}/try/l::{lab}/try/d") else 0
    numbers = itertools.count()
    (lab / "m").mkdir()

    @settings(max_examples=CASES // 4, deadline=None, database=None, suppress_health_check=SLOW)
    @given(stacks(st.just({}), most_data))
    def check(stack: Stack) -> None:
        stack = placed(stack, f"{lab}/{next(numbers)}")
        string = overlay.encode(Stack("overlay", stack.layers, stack.work))
        if len(os.fsencode(string)) > 4095:
            return
        syscalls.mount("o", str(lab / "m"), "overlay", 0, string)
        try:
            shown = mounts.find_layered(str(lab / "m")).stack
            assert (shown.layers, shown.work) == (stack.layers, stack.work)
        finally:
            syscalls.umount2(str(lab / "m"), 0)

    check()
