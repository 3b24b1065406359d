"""Commands that can be pasted, made from stacks."""

from __future__ import annotations

import os

from layerctl.codecs.words import join_options
from layerctl.model import Role, Stack

_FLAGS = {Role.UPPER: "-u", Role.LOWER: "-l", Role.DATA: "--data"}


def mount_command(stack: Stack, target: str | None) -> str:
    """Return the `layerctl mount` command of a stack."""
    import shlex  # a mount without faults needs no command

    words = ["layerctl", "mount", *layer_words(stack)]
    return shlex.join(words) + " " + ("TARGET" if target is None else shlex.quote(target))


def layer_words(stack: Stack) -> list[str]:
    """Return the options that name a stack to any command."""
    words = ["-t", stack.fstype]
    for layer in stack.layers:
        if layer.role is Role.BRANCH:
            permission = "" if layer.permission is None else f"={layer.permission}"
            words += ["-b", layer.path + permission]
        else:
            words += [_FLAGS[layer.role], layer.path]
    if stack.work is not None:
        words += ["-w", stack.work]
    options = join_options(stack.options)
    options += [flag for flag in stack.flags if flag not in ("ro", "rw")]
    if options:
        words += ["-o", ",".join(options)]
    if stack.read_only:
        words.append("-r")
    return words


def beside(path: str, suffix: str) -> str:
    """Return a name beside a directory."""
    clean = path.rstrip("/") or "/"
    return os.path.join(os.path.dirname(clean), os.path.basename(clean) + suffix)
