"""Option strings as lists of words, for overlay and aufs. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from layerctl.codecs.escape import split_unescaped
from layerctl.errors import RequestError
from layerctl.rules.options import LSM_OPTIONS, is_flag

Word = tuple[str, str | None]


def word(text: str) -> Word:
    """Split `name=value` at the first `=`; the value is None without a `=`."""
    name, equals, value = text.partition("=")
    return name, (value if equals else None)


def split_options(text: str, *, escapes: bool) -> list[str]:
    """Split an option string at its commas like the kernel; empty words are ignored.

    Only options of the security module may have a value in double quotes (`context="a,b"`);
    elsewhere a quote is an ordinary character. `escapes` means that a backslash escapes a comma, as
    in overlay (ovl_next_opt); aufs has no escapes.
    """
    parts = split_unescaped(text, ",") if escapes else text.split(",")
    words: list[str] = []
    for part in parts:
        if words and _open_quote(words[-1]):
            words[-1] += "," + part
        elif part:
            words.append(part)
    for name in words:
        if _open_quote(name):
            raise RequestError(
                "malformed-option-string",
                f"the option '{name}' has an unclosed quote",
                why='a value that starts with a double quote must end with one: context="a,b"',
                hint="close the quote; protect it from the shell with single quotes",
            )
    return words


def _open_quote(text: str) -> bool:
    name, value = word(text)
    return (
        name in LSM_OPTIONS
        and value is not None
        and value.startswith('"')
        and (len(value) == 1 or not value.endswith('"'))
    )


def divide(words: list[str]) -> tuple[list[str], tuple[str, ...]]:
    """Split words into options of the filesystem and flags of any mount."""
    own = [text for text in words if not is_flag(text)]
    return own, tuple(text for text in words if is_flag(text))


def join_options(options: Mapping[str, str | None]) -> list[str]:
    """Return options as a string."""
    return [name if value is None else f"{name}={value}" for name, value in options.items()]
