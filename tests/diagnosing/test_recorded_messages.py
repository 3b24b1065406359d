"""Every message that overlayfs and aufs can log is known, and matched from its format."""

from __future__ import annotations

import re

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from layerctl.diagnosing.catalogue import CAUSES
from layerctl.diagnosing.messages import Message, messages, search
from layerctl.diagnosing.messages.row import Kind
from layerctl.diagnosing.reading.diagnose import read
from layerctl.model import Severity
from tests.support.recordings import text as recorded

ROWS = [line.split("\t") for line in recorded("kernel-messages.tsv").splitlines()[1:] if line]
FORMATS: dict[tuple[str, str], Message] = {
    (message.fs, text): message for message in messages() for text in message.formats
}
_CONVERSION = re.compile(r"%(?:\.\*|\*)?(pd2|pD2|pd|pD|ps|phN|lld|llu|lu|ld|zd|[diuxosc])")


def test_each_message_of_the_kernels_has_an_entry() -> None:
    assert len(ROWS) == 299
    missing = [(fs, text) for fs, _, _, _, text in ROWS if (fs, text) not in FORMATS]
    assert not missing


def test_no_format_stands_twice() -> None:
    assert len(FORMATS) == sum(len(message.formats) for message in messages())


def test_each_entry_says_what_it_means_and_what_to_do() -> None:
    for message in messages():
        assert message.meaning
        assert message.causes
        for cause in message.causes:
            assert CAUSES[cause].fix, cause


def test_an_error_of_a_mount_is_no_noise_and_information_no_failure() -> None:
    for fs, level, _, _, text in ROWS:
        kind = FORMATS[fs, text].kind
        if level == "info":
            assert kind is not Kind.FAILURE, text


def filled(text: str, word: str, number: int) -> str:
    """Return a message as the kernel would print it."""

    def value(match: re.Match[str]) -> str:
        if match[1][0] in "diuxol" or match[1] in ("lld", "llu", "zd"):
            return str(abs(number) if match[1][-1] in "ux" else number)
        return word

    return _CONVERSION.sub(value, text)


_WORDS = st.from_regex(r"/?[a-z0-9][a-z0-9_.-]{0,9}(/[a-z0-9_.-]{1,8}){0,2}", fullmatch=True)


@pytest.mark.parametrize("fs", ["overlay", "aufs"])
def test_a_message_is_found_from_its_format(fs: str) -> None:
    # a bare number is nobody's in particular
    rows = sorted(text for one, text in FORMATS if one == fs and _CONVERSION.sub("", text).strip())

    @settings(deadline=None, suppress_health_check=[HealthCheck.too_slow], database=None)
    @given(st.sampled_from(rows), _WORDS, st.integers(-200, 4000))
    def one(text: str, word: str, number: int) -> None:
        line = filled(text, word, number)
        found = list(search(line, fs, short=True))
        wanted = FORMATS[fs, text]
        literal = len(_CONVERSION.sub("", text))
        assert any(
            match.message is wanted
            # the values may make it another message, which then fits more exactly
            or (match.start == 0 and match.literal > literal)
            for match in found
        ), line

    one()


@pytest.mark.parametrize(
    "prefix",
    [
        "[  123.456789] overlayfs: ",
        "<3>[12345.678901] overlayfs: ",
        "Nov 24 17:00:00 host kernel: overlayfs: ",
        "Nov 24 17:00:00 host kernel: [ 1.2] overlayfs: ",
        "2026-11-24T17:00:00.123456+01:00 host kernel: overlayfs: ",
        "kern  :err   : [Tue Nov 24 17:00:00 2026] overlayfs: ",
        "[Tue Nov 24 17:00:00 2026] overlayfs: ",
        "overlayfs: ",
        'level=error msg="overlayfs: ',
        "mount: /m: fsconfig() failed: overlay: ",
    ],
)
def test_a_line_is_found_behind_any_prefix(prefix: str) -> None:
    reading = read(prefix + "workdir and upperdir must reside under the same mount")
    assert [one.cause for one in reading.findings] == ["workdir-upperdir-different-mount"]


@pytest.mark.parametrize("prefix", ["[ 1.0] ", "[Tue Nov 24 17:00:00 2026] ", "journal: x: ", ""])
def test_an_errno_inside_a_message_is_no_complaint(prefix: str) -> None:
    text = f"{prefix}overlayfs: failed to set uuid (/u, err=-1); falling back to uuid=null."
    assert all(one.severity is Severity.INFO for one in read(text).findings)


def test_noise_is_called_noise() -> None:
    for message in messages():
        if message.kind is not Kind.NOISE or message.fs != "overlay":
            continue
        for text in message.formats:
            reading = read("[ 1.0] overlayfs: " + filled(text, "/a/b", 5))
            bad = [one.cause for one in reading.findings if one.severity is Severity.FAILURE]
            assert not bad, text
