"""Escapes: octal in mountinfo and sysfs, backslashes in overlay, text safe for a terminal."""

from __future__ import annotations

import re

# Patterns are compiled on first use, since most runs need none of them.
_OCTAL = rb"\\([0-7]{3})"
_BACKSLASH = r"(?s)\\(.?)"


def octal_decode(text: str) -> str:
    r"""Undo the kernel's `\ooo` escapes, each of one byte (seq_escape; mangle() of proc(5))."""
    if "\\" not in text:
        return text
    raw = text.encode("utf-8", "surrogateescape")
    raw = re.sub(_OCTAL, lambda match: bytes([int(match[1], 8) & 0xFF]), raw)
    return raw.decode("utf-8", "surrogateescape")


def octal_encode(text: str, characters: str = " \t\n\\") -> str:
    r"""Escape `characters` as `\ooo`, as in mountinfo and fstab(5)."""
    return "".join(f"\\{ord(char):03o}" if char in characters else char for char in text)


def backslash_escape(text: str, characters: str) -> str:
    """Put a backslash before each of `characters`, which should include the backslash."""
    return "".join("\\" + char if char in characters else char for char in text)


def backslash_unescape(text: str) -> str:
    r"""Undo backslashes as overlayfs does (ovl_unescape): `\x` is `x`, `\` at the end nothing."""
    return re.sub(_BACKSLASH, r"\1", text) if "\\" in text else text


def split_unescaped(text: str, separator: str) -> list[str]:
    """Split at each unescaped `separator`; escapes are left in the parts."""
    if separator not in text:
        return [text]
    parts: list[str] = []
    current: list[str] = []
    chars = iter(text)
    for char in chars:
        if char == "\\":
            current.append(char + next(chars, ""))
        elif char == separator:
            parts.append("".join(current))
            current = []
        else:
            current.append(char)
    parts.append("".join(current))
    return parts


def text_of(name: str) -> str:
    """Return `name` as valid text: invalid UTF-8 becomes U+FFFD."""
    if name.isascii():
        return name
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def is_text(name: str) -> bool:
    """Tell whether a path's bytes are UTF-8."""
    return name.isascii() or text_of(name) == name


def printable(name: str, also: str = "") -> str:
    r"""Return `name` safe for a terminal: control and undecodable characters as `\xNN` per byte.

    The characters of `also` are escaped too; with the backslash among them, the result is
    unambiguous.
    """
    if name.isascii() and name.isprintable() and not any(char in name for char in also):
        return name
    out: list[str] = []
    for char in name:
        if char.isprintable() and char not in also:
            out.append(char)
        else:
            out.extend(f"\\x{byte:02x}" for byte in _bytes(char))
    return "".join(out)


def _bytes(char: str) -> bytes:
    try:
        return char.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:  # a lone surrogate that encodes no byte
        return char.encode("utf-8", "surrogatepass")
