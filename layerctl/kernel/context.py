"""What filesystem contexts of this kernel accept: probed, never derived from its version."""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping
from typing import NamedTuple

from layerctl.kernel import syscalls

#: No filesystem has this option: a context that accepts it does not check options.
_BOGUS = "layerctl_probe"


class Features(NamedTuple):
    """How overlay can be mounted here; all False if only with mount(2).

    `context`: options are checked one by one as they are set (6.5). `append`: lowerdir+ and
    datadir+ are known (6.7). `by_descriptor`: layers can be given as descriptors (6.13; the first
    kernels that take one refuse O_PATH, and count as not). `unknown` says why nothing could be
    asked, empty if it could.
    """

    context: bool = False
    append: bool = False
    by_descriptor: bool = False
    unknown: str = ""


def overlay_features() -> Features:
    """Ask the kernel. Nothing is mounted; raises nothing."""
    try:
        fd = syscalls.fsopen("overlay")
    except OSError as error:
        if error.errno == errno.ENOSYS:
            return Features()
        return Features(unknown=error.strerror or str(error))
    try:
        if _accepts(fd, _BOGUS, "1"):  # the old context accepts everything and checks at the end
            return Features()
        append = _accepts(fd, "lowerdir+", "/")
        return Features(context=True, append=append, by_descriptor=append and _takes_o_path(fd))
    finally:
        os.close(fd)


def _accepts(fd: int, key: str, value: str | None) -> bool:
    command = syscalls.FSCONFIG_SET_FLAG if value is None else syscalls.FSCONFIG_SET_STRING
    try:
        syscalls.fsconfig(fd, command, key, value)
    except OSError:
        return False
    return True


def _takes_o_path(fd: int) -> bool:
    root = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        syscalls.fsconfig(fd, syscalls.FSCONFIG_SET_FD, "lowerdir+", None, root)
    except OSError:
        return False
    finally:
        os.close(root)
    return True


def refused_options(options: Mapping[str, str | None]) -> dict[str, str]:
    """Return the overlay options that this kernel refuses, each with its message.

    Empty if the kernel cannot be asked, or checks options only when mounting.
    """
    refused: dict[str, str] = {}
    if not options:
        return refused
    try:
        fd = syscalls.fsopen("overlay")
    except OSError:
        return refused
    try:
        if _accepts(fd, _BOGUS, "1"):
            return refused
        syscalls.context_log(fd)
        for key, value in options.items():
            if not _accepts(fd, key, value):
                words = [line.partition(" ")[2] for line in syscalls.context_log(fd)]
                refused[key] = "; ".join(words) or "refused without a word"
    finally:
        os.close(fd)
    return refused
