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


@pytest.mark.parametrize("kernel", KERNELS)
def test_an_option_string_is_read_as_the_kernel_reads_it(kernel: str) -> None:
    compared = 0
    for case, options, shown in _mounted(kernel, "mount2"):
        if options is None or options.endswith("bytes)"):
            continue  # layers by descriptor, or a string that the recording abbreviates
        asked = overlay.parse(options)
        if shown.upper is None:
            asked = asked._replace(work=None)  # a workdir without an upper is passed over
        assert _layers(asked) == _layers(shown), case
        for name, value in asked.options.items():
            if name in shown.options and value not in _CHOSEN:
                assert shown.options[name] == value, case
        compared += 1
    assert compared > 70


@pytest.mark.parametrize("kernel", KERNELS)
def test_a_shown_mount_can_be_written_as_options_again(kernel: str) -> None:
    lines = 0
    for case, _, shown in _mounted(kernel, "mount2", "fsconfig"):
        again = overlay.parse(overlay.encode(shown))
        assert _layers(again) == _layers(shown), case
        assert dict(again.options) == dict(shown.options), case
        lines += 1
    assert lines > 140


@pytest.mark.parametrize("kernel", KERNELS)
def test_a_string_cut_by_the_kernel_is_seen_in_what_it_shows(kernel: str) -> None:
    """101 layers in more than a page: five kernels mount 65 of them and report success."""
    (shown,) = [s for case, _, s in _mounted(kernel, "mount2") if case == "cut-on-a-colon"]
    assert len(shown.layers) == 65
