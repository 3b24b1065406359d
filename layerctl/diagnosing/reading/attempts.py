"""The mounts in a text: commands, fstab lines, and the options that engines print."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from typing import NamedTuple

from layerctl.codecs import aufs, overlay
from layerctl.diagnosing.reading.lazy import Lazy
from layerctl.errors import RequestError
from layerctl.model import Stack
from layerctl.rules.options import TYPE_NAMES

_KEY = r"(?:(?:lowerdir\+?|upperdir|workdir|datadir\+|dirs|br)=|br:)"
_HAS_KEY = Lazy(rf"(?:^|[,\s'\"\[({{:=]|-o)({_KEY})")
#: A line of what is mounted, as mount(8) lists it.
_LISTED = Lazy(r"\S+ on (\S+) type (overlay|aufs) \((\S+)\)")
_AUFS_KEY = Lazy(r"(?:^|,)(?:dirs|br|append|prepend|add|ins)[=:]")
_TYPE = Lazy(
    r"(?:-t[\s=]*|--types?[\s=]+|fs-?type[\"'\s:=]+|\btype\s+|Type[:=])['\"]?"
    r"(overlayfs|overlay2?|aufs|fuse(?:3)?\.fuse-overlayfs|fuse-overlayfs)\b"
)
#: Options before the first layer, up to the end of the searched part.
_OPTION_TAIL = Lazy(r"(?:[a-z_]+(?:=[\w.]+)?,)+$")
_OPEN = Lazy(r'="[^"]*$')
_NEXT_OPTION = Lazy(r"^[a-z_]+\+?(=\S*)?$")
_PROGRAM = Lazy(r"(?:\S*/)?(?:mount(?:\.\w+)?|fuse-overlayfs)")
_PLACEHOLDER = Lazy(r"[$<>{}*]|\.\.\.|\u2026|^$")
_VALUED = ("-t", "--types", "--type", "-o", "--options", "-O", "-L", "-U", "-N", "--namespace")


class Attempt(NamedTuple):
    """One mount in a text.

    `options` is its option string; `error` is what is wrong with that; `stack` is None if it cannot
    be parsed. `by` is the program: mount, fuse-overlayfs, `other` for a helper of another type, or
    empty; or `listing` for a live mount.
    """

    fstype: str
    options: str
    stack: Stack | None
    error: RequestError | None = None
    target: str | None = None
    by: str = ""
    line: str = ""
    type_word: str = ""


def find(text: str) -> list[Attempt]:
    """Return every mount in a plain text, each once."""
    found: dict[tuple[str, str], Attempt] = {}
    lines = _joined(text)
    for attempt in _traced(lines):
        found.setdefault((attempt.fstype, attempt.options), attempt)
    for line in lines:
        traced = "FSCONFIG_" in line or _CALL.search(line) or line.startswith("execve(")
        other = None if traced else _of_line(line)
        if other is not None:
            found.setdefault((other.fstype, other.options), other)
    return list(found.values())


#: The new calls as strace prints them: the type, then options one by one, then the mount.
_FSOPEN = Lazy(r"fsopen\(\"(overlay|aufs)\"")
_FSCONFIG = Lazy(r"fsconfig\(\d+, FSCONFIG_SET_(\w+), \"([^\"]*)\", (?:\"([^\"]*)\"|NULL)")
_CALL = Lazy(r"\bmount\(\"[^\"]*\", \"([^\"]*)\", \"(overlay|aufs)\", [^\"]*\"([^\"]*)\"\)?")


def _traced(lines: list[str]) -> Iterator[Attempt]:
    """Yield the mounts of a strace; options truncated with ... are incomplete."""
    fstype = ""
    options: list[str] = []
    for line in lines:
        called = _CALL.search(line)
        if called is not None and not re.search(r"\"\.\.\.", line):
            yield _parsed(called[2], called[3], called[1], "mount", line)
        opened = _FSOPEN.search(line)
        if opened is not None:
            fstype, options = opened[1], []
        found = _FSCONFIG.search(line)
        if found is not None and fstype and found[2] != "source":
            options.append(found[2] if found[1] == "FLAG" else f"{found[2]}={found[3]}")
        if "FSCONFIG_CMD_CREATE" in line and options:
            yield _parsed(fstype, ",".join(options), None, "mount", line)
            options = []


def _joined(text: str) -> list[str]:
    """Return lines, one that ends with a backslash or a comma joined to the next."""
    text = re.sub(r"\\\s*\n\s*", " ", text)
    text = re.sub(r",[ \t]*\n[ \t]*(?=[a-z_]+\+?=)", ",", text)
    return [line.strip() for line in text.split("\n") if line.strip()]


def _of_line(line: str) -> Attempt | None:
    if re.search(r"\b(?:overlayfs|overlay|aufs)\b.*: (?:failed|option|conflicting|un)", line):
        return None  # messages of the kernel, which name options too
    listed = _LISTED.search(line)
    if listed is not None:
        return _parsed(listed[2], listed[3], listed[1], "listing", line)
    typed = _TYPE.search(line)
    words = _words(line)
    mounts = _is_mount(words)
    fstab = _fstab(line)
    if not _HAS_KEY.search(line) and not (mounts and typed) and fstab is None:
        return None
    by = "fuse-overlayfs" if "fuse-overlayfs" in line else ("mount" if mounts else "")
    if by == "mount" and _other_helper(words):
        by = "other"
    options = _options(words)
    if fstab is not None:
        options, by = fstab[3], "mount"
    type_word = typed[1] if typed else (fstab[2] if fstab else "")
    fstype = TYPE_NAMES.get(type_word) or ("aufs" if _AUFS_KEY.search(options) else "overlay")
    target = fstab[1] if fstab else _target(words)
    return _parsed(fstype, options, target, by, line)._replace(type_word=type_word)


def _parsed(fstype: str, options: str, target: str | None, by: str, line: str) -> Attempt:
    stack, error = None, None
    try:
        stack = (aufs if fstype == "aufs" else overlay).parse(options)
    except RequestError as problem:
        error = problem
    return Attempt(fstype, options, stack, error, target, by, line)


def _words(line: str) -> list[str]:
    """Split a line like a shell, or at spaces if it is not a command."""
    if not _is_mount(line.split()):
        return line.split()
    try:
        lexer = shlex.shlex(line, posix=True, punctuation_chars="")
        lexer.whitespace_split = True
        lexer.commenters = ""
        lexer.escape = ""  # backslashes are part of the options
        return list(lexer)
    except ValueError:
        return line.split()


def _is_mount(words: list[str]) -> bool:
    flagged = any(re.match(r"-{1,2}[a-zA-Z]", word) for word in words)
    return flagged and any(_PROGRAM.fullmatch(word) for word in words[:8])


def _other_helper(words: list[str]) -> bool:
    """Tell whether a helper of another type is run, which has different options."""
    named = [word.rpartition("/")[2] for word in words[:8] if _PROGRAM.fullmatch(word)]
    helpers = [name.removeprefix("mount.") for name in named if name.startswith("mount.")]
    return any(helper not in TYPE_NAMES for helper in helpers)


def _fstab(line: str) -> list[str] | None:
    fields = line.split()
    if len(fields) >= 4 and fields[2] in TYPE_NAMES and fields[1].startswith("/"):
        return fields
    return None


def _strip(word: str) -> str:
    """Remove what surrounds an option string: brackets, quotes, names of fields."""
    found = _HAS_KEY.search(word)
    if found is not None:
        start = found.start(1)
        before = _OPTION_TAIL.search(word, 0, start)
        word = word[before.start() if before is not None else start :]
    word = re.sub(r"(?<=[\"'`)\]}]):$", "", word)  # what follows is the error
    text = word.rstrip(")]}>;").strip("'\"`").rstrip(",.;'\"`)]}").strip("'\"`")
    if not re.match(r"(?:lowerdir|br|dirs)[=:]", text.rpartition(",")[2]):
        text = text.rstrip(":'\"`")  # of the sentence around it
    return text + '"' * bool(_OPEN.search(text))  # the quote of context="a,b" at the very end


def _options(words: list[str]) -> str:
    """Return the option string in words; several strings are joined with commas."""
    parts: list[str] = []
    follows = False
    for index, word in enumerate(words):
        before = words[index - 1] if index else ""
        after_flag = before in ("-o", "--options") or before.endswith(("data:", "options:"))
        if _HAS_KEY.search(word):
            open_bracket = "[" in word
            parts.append(_strip(word.removeprefix("-o")))
            follows = open_bracket and "]" not in word
        elif after_flag or (word.startswith("-o") and len(word) > 2 and not word.startswith("-of")):
            parts.append(_strip(word.removeprefix("-o")))
        elif follows and _NEXT_OPTION.match(word.strip("]})'\",")):
            follows = "]" not in word
            parts.append(_strip(word))
        else:
            follows = follows and "]" not in word
    return ",".join(part for part in parts if part)


def _target(words: list[str]) -> str | None:
    """Return the target of a mount command: the last word that is neither a flag nor its value."""
    programs = [i for i, word in enumerate(words) if _PROGRAM.fullmatch(word)]
    if not programs:
        return None
    plain: list[str] = []
    skip = False
    for word in words[programs[0] + 1 :]:
        if skip:
            skip = False
        elif word in _VALUED:
            skip = True
        elif word in ("&&", "||", ";", "|", "#", ">", "2>&1"):
            break
        elif not word.startswith("-"):
            plain.append(word)
    needed = 1 if "fuse-overlayfs" in words[programs[0]] else 2
    return plain[-1].rstrip(";") if len(plain) >= needed else None


def is_real(path: str) -> bool:
    """Tell whether a path in a text is a real one, not a variable or placeholder."""
    return not _PLACEHOLDER.search(path)
