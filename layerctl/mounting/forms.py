"""The same mount in other words: option string, mount(8) command, fstab line, systemd unit. Pure.

mount(8) of util-linux 2.38 hands everything to mount(2); 2.39 and newer use the new calls, which
take 255 bytes a value, unless LIBMOUNT_FORCE_MOUNT2 tells them otherwise.
"""

from __future__ import annotations

import os.path
from collections.abc import Sequence

from layerctl.codecs import aufs, overlay
from layerctl.codecs.escape import octal_encode
from layerctl.codecs.words import split_options
from layerctl.errors import RefusedError
from layerctl.model import Stack
from layerctl.mounting.plan import MAX_STRING, MAX_VALUE, paths_of, relative, renamed, size
from layerctl.rules.aufs import MAX_BRANCHES_A_CALL
from layerctl.rules.flags import spelled

FORMS = ("options", "command", "fstab", "unit")
#: systemd takes unit names of up to 255 bytes (UNIT_NAME_MAX).
_MAX_UNIT_NAME = 255


def option_string(stack: Stack) -> str:
    """Return everything that stands behind `-o`, flags first.

    Raises RefusedError where mount(8) cannot be told.
    """
    if stack.fstype == "aufs":
        if len(stack.layers) > MAX_BRANCHES_A_CALL:
            raise _cannot(
                f"{len(stack.layers)} branches are too many for one call",
                "more than about 84 options in one call crash an aufs kernel",
            )
        try:
            own = aufs.encode(stack)
        except ValueError as error:
            raise _cannot(
                f"aufs has no way to write the path {error}",
                "',' ':' and '=' cannot be escaped in its option string",
            ) from None
    else:
        own = overlay.encode(renamed(stack, _comma_guarded))
    if size(own) > MAX_STRING:
        raise _cannot(
            f"the option string has {size(own)} bytes",
            f"mount(2) reads {MAX_STRING} and would cut off the rest in silence",
        )
    words = spelled(stack.flags)
    return ",".join([*words, own] if own else words)


def for_mount8(stack: Stack) -> str:
    """Return the option string where mount(8) hands it on as it is. Raises RefusedError."""
    options = option_string(stack)
    if any(word.count('"') % 2 for word in split_options(options, escapes=stack.fstype != "aufs")):
        raise _cannot(
            "a name holds a double quote",
            "mount(8) takes it for the start of a quoted value, and knows no escape for it",
        )
    return options


def _comma_guarded(path: str) -> str:
    """Keep two commas from standing together: libmount 2.38 makes one of them."""
    return path + "/" if path.endswith(",") else path


def _cannot(what: str, why: str) -> RefusedError:
    return RefusedError(
        "option-string-too-long" if "bytes" in what else "mount8-cannot-express",
        f"mount(8) cannot make this mount: {what}",
        why=why,
        hint="leave --print out: layerctl mount reaches the layers by other names",
    )


def command(stack: Stack, source: str, target: str, make: Sequence[str] = ()) -> str:
    """Return the mount(8) command, quoted for a POSIX shell; it makes `make` first."""
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
    if _long_values(options):
        prefix += "LIBMOUNT_FORCE_MOUNT2=always "
    words = ["mount", "-t", stack.fstype, *(["-o", options] if options else [])]
    words += ["--", source, target] if source.startswith("-") else [source, target]
    return prefix + " ".join(map(quoted, words))


def _long_values(options: str) -> bool:
    return any(size(word) > MAX_VALUE for word in split_options(options, escapes=True))


def quoted(word: str) -> str:
    """Quote one word for a POSIX shell; every byte is kept."""
    import shlex

    return shlex.quote(word)


def fstab(stack: Stack, source: str, target: str) -> str:
    """Return the line for fstab(5). Raises RefusedError where newer mount(8) could not do it."""
    options = for_mount8(stack)
    if _long_values(options):
        raise _cannot(
            f"an option is longer than {MAX_VALUE} bytes",
            "util-linux 2.39 and newer give each option to fsconfig(2), which takes no more",
        )
    fields = (source, target, stack.fstype, options or "defaults")
    return " ".join([*(octal_encode(field, " \t\n\\#") for field in fields), "0", "0"])


def unit(stack: Stack, source: str, target: str) -> str:
    """Return a systemd mount unit, its file name in a comment at the top.

    Raises RefusedError where a unit cannot hold the names.
    """
    options = for_mount8(stack)
    name = unit_name(target)
    if size(name) > _MAX_UNIT_NAME:
        raise _no_unit(f"its name would have {size(name)} bytes, and may have {_MAX_UNIT_NAME}")
    lines = [source, target, options, *paths_of(stack)]
    if any(map(_unfit, lines)):
        raise _no_unit(
            "a name holds control characters or bytes that are no UTF-8, or ends in a blank or a "
            "backslash, which a unit file reads otherwise"
        )
    if _long_values(options):
        raise _no_unit(f"an option is longer than the {MAX_VALUE} bytes of newer mount(8)")
    needed = " ".join(_unit_quoted(path) for path in paths_of(stack))
    return "\n".join(
        [
            f"# /etc/systemd/system/{name}",
            "[Unit]",
            f"Description=Layered mount on {_specifiers(target)}",
            f"RequiresMountsFor={needed}",
            "",
            "[Mount]",
            f"What={_specifiers(source)}",
            f"Where={_specifiers(target)}",
            f"Type={stack.fstype}",
            f"Options={_specifiers(options)}",
            "",
            "[Install]",
            "WantedBy=multi-user.target",
        ]
    )


def _no_unit(why: str) -> RefusedError:
    return RefusedError(
        "unit-cannot-express",
        "no systemd unit can make this mount",
        why=why,
        hint="rename the directory, or run layerctl mount from a service",
    )


def _unfit(text: str) -> bool:
    # A backslash at the end of a line continues it, and blanks around a value are cut off.
    if text.endswith("\\") or text != text.strip():
        return True
    return any(ord(char) < 32 or 0xDC80 <= ord(char) <= 0xDCFF for char in text)


def _specifiers(text: str) -> str:
    return text.replace("%", "%%")


def _unit_quoted(path: str) -> str:
    escaped = _specifiers(path).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def unit_name(target: str) -> str:
    """Return the name that systemd demands for the mount unit of a target (systemd-escape)."""
    parts = [part for part in target.split("/") if part]
    text = "/".join(parts)
    out = []
    for number, byte in enumerate(os.fsencode(text)):
        char = chr(byte)
        if char == "/":
            out.append("-")
        elif (char.isascii() and char.isalnum()) or char in ":_" or (char == "." and number):
            out.append(char)
        else:
            out.append(f"\\x{byte:02x}")
    return ("".join(out) or "-") + ".mount"
