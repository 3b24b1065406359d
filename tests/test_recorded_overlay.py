"""What five kernels took and showed: option strings and mountinfo lines become the same stack."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from layerctl.codecs import mountinfo, overlay
from layerctl.model import Stack
from tests.support.recordings import names, recording

#: Values for which the kernel shows what it made of them.
_CHOSEN = ("auto", "follow")

KERNELS = names("overlay")


def _mounted(kernel: str, *tries: str) -> Iterator[tuple[str, str | None, Stack]]:
    """Yield each recorded mount's name, its option string and the stack of its mountinfo line."""
    for case in recording(f"overlay/{kernel}")["cases"]:
        for name in tries:
            tried: dict[str, Any] = case["tries"].get(name, {})
            if tried.get("errno") == 0 and tried.get("mountinfo"):
                entry = mountinfo.parse_line(f"1 1 0:1 / /m {tried['mountinfo'][-1]}")
                stack = overlay.from_super_options(entry.super_options)
                yield case["case"], case.get("options"), stack


def _layers(stack: Stack) -> tuple[object, ...]:
    return stack.layers, stack.work


def test_five_kernels_are_there() -> None:
    assert len(KERNELS) == 5


#: Layers by descriptor have no option string, and the recording abbreviates long ones.
READ = [
    pytest.param(options, shown, id=f"{kernel}-{case}")
    for kernel in KERNELS
    for case, options, shown in _mounted(kernel, "mount2")
    if options is not None and not options.endswith("bytes)")
]
SHOWN = [
    pytest.param(shown, id=f"{kernel}-{case}")
    for kernel in KERNELS
    for case, _, shown in _mounted(kernel, "mount2", "fsconfig")
]


def test_there_are_enough_mounts() -> None:
    assert len(READ) > 70 * len(KERNELS)
    assert len(SHOWN) > 140 * len(KERNELS)


@pytest.mark.parametrize(("options", "shown"), READ)
def test_an_option_string_is_read_as_the_kernel_reads_it(options: str, shown: Stack) -> None:
    asked = overlay.parse(options)
    if shown.upper is None:
        asked = asked._replace(work=None)  # a workdir without an upper is passed over
    assert _layers(asked) == _layers(shown)
    given = {
        name: value
        for name, value in asked.options.items()
        if name in shown.options and value not in _CHOSEN
    }
    assert given == {name: shown.options[name] for name in given}


@pytest.mark.parametrize("shown", SHOWN)
def test_a_shown_mount_can_be_written_as_options_again(shown: Stack) -> None:
    again = overlay.parse(overlay.encode(shown))
    assert _layers(again) == _layers(shown)
    assert dict(again.options) == dict(shown.options)


@pytest.mark.parametrize("kernel", KERNELS)
def test_a_string_cut_by_the_kernel_is_seen_in_what_it_shows(kernel: str) -> None:
    """101 layers in more than a page: five kernels mount 65 of them and report success."""
    (shown,) = [s for case, _, s in _mounted(kernel, "mount2") if case == "cut-on-a-colon"]
    assert len(shown.layers) == 65
