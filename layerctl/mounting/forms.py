"""The same mount in other words: an option string, a mount(8) command. Pure."""

from __future__ import annotations

from layerctl.codecs import aufs, overlay
from layerctl.model import Stack
from layerctl.rules.flags import in_effect


def option_string(stack: Stack) -> str:
    """Return everything that stands behind `-o`, flags first.

    Raises ValueError where aufs has no way to write a path.
    """
    own = aufs.encode(stack) if stack.fstype == "aufs" else overlay.encode(stack)
    return ",".join([*in_effect(stack.flags), own] if own else in_effect(stack.flags))


def command(stack: Stack, source: str, target: str) -> str:
    """Return the mount(8) command, quoted for a POSIX shell."""
    words = ["mount", "-t", stack.fstype, "-o", option_string(stack), source, target]
    return " ".join(map(quoted, words))


def quoted(word: str) -> str:
    """Quote one word for a POSIX shell; every byte is kept."""
    import shlex

    return shlex.quote(word)
