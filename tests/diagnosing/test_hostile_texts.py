"""Texts that nobody would paste: mutated, random, long, of one line, with nothing but one word."""

from __future__ import annotations

import io

import pytest

from layerctl.diagnosing.reading import intake
from layerctl.diagnosing.reading.diagnose import read
from tools.fuzz.texts import texts

FAILURE = "[1.0] overlayfs: maximum fs stacking depth exceeded"


@pytest.mark.parametrize("text", list(texts(400)), ids=range(400))
def test_no_text_makes_it_crash(text: str) -> None:
    assert read(text) is not None


@pytest.mark.parametrize(
    "around",
    [
        b"usb 1-1: new device\n" * 200_000,
        b"x" * 10_000_000 + b"\n",
        bytes(range(256)) * 8_000 + b"\n",
        b"mount: error failed denied\n" * 100_000,
    ],
    ids=["log", "line", "bytes", "mounts"],
)
def test_a_failure_is_found_in_whatever_stands_around_it(around: bytes) -> None:
    text = intake.take(io.BytesIO(around + FAILURE.encode() + b"\n" + around))
    assert len(text) < 1 << 20
    assert [one.cause for one in read(text).findings] == ["max-stacking-depth"]


def test_of_a_long_text_each_kind_of_line_is_kept_once_and_its_neighbours_with_it() -> None:
    lines = [f"{number} overlayfs: failed to resolve '/l{number}': -2" for number in range(9000)]
    quiet = ["nothing of interest"] * 9000
    raw = "\n".join([*quiet, *lines, "mount: /m: special device o does not exist.", *quiet])
    kept = intake.take(io.BytesIO(raw.encode())).split("\n")
    assert kept[0] == "nothing of interest"
    assert "mount: /m: special device o does not exist." in kept
    assert sum("failed to resolve" in line for line in kept) == 1


@pytest.mark.parametrize("encoding", ["utf-16", "utf-8", "latin-1"])
def test_any_encoding_is_read(encoding: str) -> None:
    assert FAILURE in intake.take(io.BytesIO(FAILURE.encode(encoding)))


def test_a_short_text_is_kept_whole() -> None:
    assert intake.take(io.BytesIO(b"a\n\xff\n")) == "a\n\xff\n"
    config = b"CONFIG_X=y\n" * 20_000 + b"# CONFIG_OVERLAY_FS is not set\n"
    assert read(intake.take(io.BytesIO(config))).findings[0].cause == "overlay-not-in-kernel"
