"""Every message that overlayfs and aufs can log is known, and matched from its format."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
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


@pytest.mark.parametrize("message", messages(), ids=lambda message: str(message.formats[0]))
def test_each_entry_says_what_it_means_and_what_to_do(message: Message) -> None:
    assert message.meaning
    assert message.causes
    assert all(CAUSES[cause].fix for cause in message.causes)


def test_information_is_no_failure() -> None:
    informing = [FORMATS[fs, text] for fs, level, _, _, text in ROWS if level == "info"]
    assert informing
    assert [one for one in informing if one.kind is Kind.FAILURE] == []


def filled(text: str, word: str, number: int) -> str:
    """Return a message as the kernel would print it."""

    def value(match: re.Match[str]) -> str:
        if match[1][0] in "diuxol" or match[1] in ("lld", "llu", "zd"):
            return str(abs(number) if match[1][-1] in "ux" else number)
        return word

    return _CONVERSION.sub(value, text)


_WORDS = st.from_regex(r"/?[a-z0-9][a-z0-9_.-]{0,9}(/[a-z0-9_.-]{1,8}){0,2}", fullmatch=True)


def _literal(text: str) -> int:
    return len(_CONVERSION.sub("", text))


def _fits(text: str, line: str) -> bool:
    """Tell whether a line is a format filled in, but for quotes: not by the program's pattern."""
    text, line = (one.replace("'", "").replace('"', "") for one in (text, line))
    parts = _CONVERSION.split(text)
    values = (r"-?\d+" if kind[0] in "diuxolz" else ".*" for kind in parts[1::2])
    pattern = re.escape(parts[0]) + "".join(
        value + re.escape(part) for value, part in zip(values, parts[2::2], strict=True)
    )
    return re.fullmatch(pattern, line) is not None


#: All formats but bare numbers, which are nobody's in particular.
TOLD = sorted((fs, text) for fs, text in FORMATS if _CONVERSION.sub("", text).strip())


@pytest.mark.parametrize(("fs", "text"), TOLD)
@settings(deadline=None, max_examples=8, database=None)
@given(word=_WORDS, number=st.integers(-200, 4000))
def test_a_message_is_found_from_its_format(fs: str, text: str, word: str, number: int) -> None:
    line = filled(text, word, number)
    found = {match.format for match in search(line, fs, short=True) if match.start == 0}
    # the values may make it another message, which then fits more exactly
    likely = {
        form
        for other, form in FORMATS
        if other in (fs, "any") and _literal(form) >= _literal(text) and _fits(form, line)
    }
    assert text in likely
    assert found & likely, (line, found)


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


NOISE = [
    text
    for message in messages()
    if message.kind is Kind.NOISE and message.fs == "overlay"
    for text in message.formats
]


@pytest.mark.parametrize("text", NOISE)
def test_noise_is_called_noise(text: str) -> None:
    reading = read("[ 1.0] overlayfs: " + filled(text, "/a/b", 5))
    assert [one for one in reading.findings if one.severity is Severity.FAILURE] == []
