"""The same mount in other forms: option string and mount(8) command. Pure.

Forms for mounting at boot are in `layerctl.mounting.boot`.

mount(8) of util-linux 2.38 passes everything to mount(2); 2.39 and newer use the new calls, which
take 255 bytes per value, unless LIBMOUNT_FORCE_MOUNT2 is set.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from layerctl.codecs import aufs, overlay
from layerctl.codecs.words import split_options
from layerctl.errors import RefusedError
from layerctl.model import Stack
from layerctl.mounting.plan import paths_of, relative, renamed, size
from layerctl.rules.flags import spelled
from layerctl.rules.limits import MAX_BRANCHES_A_CALL, MAX_STRING, MAX_VALUE
from layerctl.rules.options import is_userspace


def option_string(stack: Stack) -> str:
    """Return the argument of `-o`, flags first.

    Raises RefusedError if mount(8) cannot express it.
    """
    _refuse_maps(stack)
    if stack.fstype == "aufs":
        if len(stack.layers) > MAX_BRANCHES_A_CALL:
            raise cannot(
                f"{len(stack.layers)} branches are too many for one call",
                "more than about 84 options in one call crash an aufs kernel",
            )
        try:
            own = aufs.encode(stack)
        except ValueError as error:
            raise cannot(
                f"aufs cannot express the path {error}",
                "',' ':' and '=' cannot be escaped in its option string",
            ) from None
    elif stack.fstype == "fuse-overlayfs" and any(
        char in path for path in paths_of(stack) for char in "\\:,"
    ):
        raise cannot(
            "a name contains a colon, a comma or a backslash",
            "fuse-overlayfs has no escape for it that mount(8) would pass on",
        )
    else:
        own = overlay.encode(renamed(stack, _comma_guarded))
    if size(own) > MAX_STRING:
        raise cannot(
            f"the option string has {size(own)} bytes",
            f"mount(2) reads {MAX_STRING} and would silently truncate the rest",
            too_long=True,
        )
    words = spelled(stack.flags)
    return ",".join([*words, own] if own else words)


def _refuse_maps(stack: Stack) -> None:
    if stack.is_mapped:
        raise cannot(
            "the owners of its layers are mapped",
            "mount(8) can map only the owners of a whole mount (X-mount.idmap), which overlay does "
            "not support",
        )


def type_word(stack: Stack) -> str:
    """Return the type as mount(8) needs it; for `fuse.NAME` it runs the program NAME."""
    return f"fuse.{stack.fstype}" if stack.fstype == "fuse-overlayfs" else stack.fstype


def for_mount8(stack: Stack) -> str:
    """Return an option string that mount(8) passes on unchanged. Raises RefusedError."""
    options = option_string(stack)
    refuse_quotes(options, escapes=stack.fstype != "aufs")
    return options


def refuse_quotes(options: str, *, escapes: bool = True) -> None:
    """Raise RefusedError for options that mount(8) would not split where they should be."""
    if any(word.count('"') % 2 for word in split_options(options, escapes=escapes)):
        raise cannot(
            "a name contains a double quote",
            "mount(8) takes it for the start of a quoted value, and has no escape for it",
        )


def _comma_guarded(path: str) -> str:
    """Keep two commas apart: libmount 2.38 merges them into one."""
    return path + "/" if path.endswith(",") else path


def cannot(what: str, why: str, *, too_long: bool = False) -> RefusedError:
    """Return the error for a mount that mount(8) cannot express."""
    return RefusedError(
        "option-string-too-long" if too_long else "mount8-cannot-express",
        f"mount(8) cannot express this mount: {what}",
        why=why,
        hint="use layerctl mount, which passes the layers in another way",
    )


def command(stack: Stack, source: str, target: str, make: Sequence[str] = ()) -> str:
    """Return the mount(8) command, quoted for a POSIX shell; it creates `make` first."""
    prefix = f"mkdir -p {' '.join(map(quoted, make))} && " if make else ""
    try:
        options = for_mount8(stack)
    except RefusedError:
        named = relative(stack) if stack.fstype == "overlay" else None
        if named is None:
            raise
        stack, parent = named
        options = for_mount8(stack)
        prefix += f"cd {quoted(parent)} && "
    if long_values(options):
        prefix += "LIBMOUNT_FORCE_MOUNT2=always "
    words = ["mount", "-t", type_word(stack), *(["-o", options] if options else [])]
    words += ["--", source, target] if source.startswith("-") else [source, target]
    return prefix + " ".join(map(quoted, words))


def long_values(options: str) -> bool:
    """Tell whether an option is too long for fsconfig(2); mount(8) does not pass on its own."""
    words = split_options(options, escapes=True)
    return any(size(word) > MAX_VALUE and not is_userspace(word) for word in words)


def quoted(word: str) -> str:
    """Quote one word for a POSIX shell; every byte is kept."""
    return shlex.quote(word)
