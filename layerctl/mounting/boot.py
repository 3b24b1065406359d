"""The same mount for a machine that boots: fstab line, systemd unit, tmpfiles.d lines. Pure.

How each is read: fstab(5), systemd.mount(5), systemd.syntax(7), tmpfiles.d(5), and the units that
systemd's own generator and tools make of them (252).
"""

from __future__ import annotations

import os.path
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from layerctl.codecs import helper
from layerctl.codecs.escape import backslash_escape, octal_encode
from layerctl.codecs.words import split_options
from layerctl.errors import RefusedError
from layerctl.kernel.facts import Facts
from layerctl.model import Role, Stack
from layerctl.mounting.forms import cannot, for_mount8, long_values, refuse_quotes, type_word
from layerctl.mounting.plan import paths_of, size
from layerctl.rules.aufs import is_writable, with_permissions
from layerctl.rules.filesystems import IN_MEMORY
from layerctl.rules.flags import spelled
from layerctl.rules.limits import MAX_VALUE

#: systemd takes unit names of up to 255 bytes (UNIT_NAME_MAX).
_MAX_UNIT_NAME = 255
#: What creates the directories of tmpfiles.d at boot. It comes after local-fs.target, and a mount
#: comes before that unless it has `nofail` (systemd.mount(5)).
_TMPFILES_SERVICE = "systemd-tmpfiles-setup.service"

#: What must be escaped in a field of fstab(5).
_BLANKS = " \t\n\\"


class Made(NamedTuple):
    """One directory to create: `like` is its mode and owner, None for 0755 and root."""

    path: str
    like: tuple[int, int, int] | None = None


def volatile(stack: Stack, facts: Facts) -> tuple[str, ...]:
    """Return the writable directories that a reboot removes: those on a tmpfs."""
    if stack.fstype == "aufs":
        layers = with_permissions(stack).layers
        paths = [one.path for one in layers if is_writable(one.permission or "")]
    else:
        paths = [path for path in (stack.upper, stack.work) if path is not None]
    return tuple(path for path in paths if facts.of(path).fstype in IN_MEMORY)


def needed(stack: Stack) -> list[str]:
    """Return the directories that must be mounted before: layers, work, the xino file's."""
    xino = stack.options.get("xino") if stack.fstype == "aufs" else None
    return [*paths_of(stack), *([os.path.dirname(xino)] if xino else [])]


def fstab(stack: Stack, source: str, target: str, lost: Sequence[str] = ()) -> str:
    """Return the line for fstab(5). Raises RefusedError where newer mount(8) could not do it.

    It waits for the mounts that each directory is on. `lost` are directories that are created at
    each boot: with them it waits for tmpfiles.d too.
    """
    options, kind = _by_mount8(stack)
    if kind != helper.TYPE and long_values(options):
        raise cannot(
            f"an option is longer than {MAX_VALUE} bytes",
            "util-linux 2.39 and later pass each option to fsconfig(2), which has that limit",
            too_long=True,
        )
    asked = split_options(options, escapes=stack.fstype != "aufs")
    words = [word for word in _waiting(stack, lost) if word not in asked]
    fields = [octal_encode(source, _BLANKS + "#")]  # a line that begins with it is a comment
    others = (target, kind, ",".join([*filter(None, [options]), *words]))
    # systemd reads by getmntent(3), which undoes no other escapes
    fields += [octal_encode(field, _BLANKS) for field in others]
    return " ".join([*fields, "0", "0"])


def _by_mount8(stack: Stack) -> tuple[str, str]:
    """Return the options and the type for mount(8); layerctl is its helper where it must be."""
    if not stack.is_mapped:
        return for_mount8(stack), type_word(stack)
    options = ",".join([*spelled(stack.flags), *helper.encode(stack)])
    refuse_quotes(options)
    return options, helper.TYPE


def _waiting(stack: Stack, lost: Sequence[str]) -> list[str]:
    r"""Return the options that tell systemd's generator what comes first.

    It undoes `\\` and `\,`, and writes the rest into a unit, where quotes and backslashes count.
    """
    words = []
    for path in dict.fromkeys(needed(stack)):
        if not _unfit(path):  # which a unit file cannot hold, nor anything tell systemd
            value = backslash_escape(_unit_word(path), "\\,")
            words.append(f"x-systemd.requires-mounts-for={value}")
    if lost:
        words += ["nofail", f"x-systemd.requires={_TMPFILES_SERVICE}"]
    return words


def unit(stack: Stack, source: str, target: str, lost: Sequence[str] = ()) -> str:
    """Return a systemd mount unit, its file name in a comment at the top; `lost` as for fstab.

    Raises RefusedError if a unit cannot hold the names.
    """
    options, kind = _by_mount8(stack)
    name = unit_name(target)
    if size(name) > _MAX_UNIT_NAME:
        raise _no_unit(f"its name would have {size(name)} bytes; the limit is {_MAX_UNIT_NAME}")
    if any(map(_unfit, [source, target, options, *needed(stack)])):
        raise _no_unit(
            "a name contains control characters or invalid UTF-8, or ends in a space or backslash, "
            "which a unit file cannot express"
        )
    if kind != helper.TYPE and long_values(options):
        raise _no_unit(
            f"an option is longer than {MAX_VALUE} bytes, the limit of newer versions of mount(8)"
        )
    first = [f"Requires={_TMPFILES_SERVICE}", f"After={_TMPFILES_SERVICE}"] if lost else []
    if lost and "nofail" not in options.split(","):
        options = f"nofail,{options}"
    places = " ".join(_specifiers(_unit_quoted(path)) for path in dict.fromkeys(needed(stack)))
    return "\n".join(
        [
            f"# /etc/systemd/system/{name}",
            "[Unit]",
            f"Description=Layered mount on {_specifiers(target)}",
            f"RequiresMountsFor={places}",
            *first,
            "",
            "[Mount]",
            f"What={_specifiers(source)}",
            f"Where={_specifiers(target)}",
            f"Type={kind}",
            f"Options={_specifiers(options)}",
            "",
            "[Install]",
            "WantedBy=multi-user.target",
        ]
    )


def _no_unit(why: str) -> RefusedError:
    return RefusedError(
        "unit-cannot-express",
        "a systemd unit cannot express this mount",
        why=why,
        hint="rename the directory, or run layerctl mount from a service unit",
    )


def _unfit(text: str) -> bool:
    # A backslash at the end of a line continues it, and spaces around a value are stripped.
    if text.endswith("\\") or text != text.strip():
        return True
    return any(ord(char) < 32 or 0xDC80 <= ord(char) <= 0xDCFF for char in text)


def _specifiers(text: str) -> str:
    return text.replace("%", "%%")


def _unit_quoted(text: str) -> str:
    return f'"{backslash_escape(text, _QUOTED)}"'


def _unit_word(text: str) -> str:
    """Quote a word of a list where it must be: quotes and backslashes mean something.

    So does a comma after a backslash, but only for libmount (2.38), which respects the quotes.
    """
    plain = not any(char.isspace() or char in "\"'\\," for char in text)
    return text if plain else _unit_quoted(text)


#: What needs a backslash inside double quotes.
_QUOTED = '\\"'


def tmpfiles(directories: Iterable[Made], target: str) -> str:
    """Return lines of tmpfiles.d(5) that create directories, a file name in a comment at the top.

    One that is there keeps its mode and owner. Raises RefusedError if no line can hold a name.
    """
    name = unit_name(target).removesuffix(".mount")
    lines = [f"# /etc/tmpfiles.d/layerctl-{name}.conf"]
    for path, like in directories:
        if any(char in path for char in "\n\r"):
            raise RefusedError(
                "tmpfiles-cannot-express",
                "tmpfiles.d cannot express a directory whose name contains a line break",
                hint="rename the directory, or create it yourself",
            )
        mode = "- - -" if like is None else ":{:04o} :{} :{}".format(*like)
        lines.append(f"d {_specifiers(_unit_word(path))} {mode} -")
    if len(lines) == 1:
        lines.append("# nothing to create: every directory exists and is persistent")
    return "\n".join(lines)


def to_make(
    stack: Stack, make: Sequence[str], lost: Sequence[str], facts: Facts
) -> tuple[Made, ...]:
    """Return the directories for tmpfiles.d: those that are missing, and those that a boot removes.

    A new upper directory gets the owner and mode of what it covers, as with `mount --mkdir`.
    """
    return tuple(Made(path, _look(path, stack, facts)) for path in dict.fromkeys((*make, *lost)))


def _look(path: str, stack: Stack, facts: Facts) -> tuple[int, int, int] | None:
    model = path
    if path == stack.upper and facts.of(path).will_be_made:
        model = next(one.path for one in stack.layers if one.role is not Role.UPPER)
    place = facts.place(model)
    if place is None or place.identity is None:
        return None
    look = (place.mode & 0o7777, *place.owner)
    return None if look == (0o755, 0, 0) else look


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
