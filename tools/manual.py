"""Manual pages in man(7), from click's commands and the program's tables."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from pathlib import Path

import click

from layerctl import __version__
from layerctl.cli import mount_helper
from layerctl.cli.examples import EXAMPLES
from layerctl.cli.main import LazyGroup, cli
from layerctl.errors import EXIT_CODES
from layerctl.render.columns import Listing
from layerctl.render.tables import DOCUMENTS
from layerctl.rules.options import AUFS, FLAGS, OVERLAY, Option
from layerctl.rules.validity import example

ROOT = Path(__file__).resolve().parents[1]

FILES = (
    ("/proc/self/mountinfo", "The mounts of this process, where list and inspect read them."),
    ("/sys/fs/aufs/si_*", "The branches, permissions and xino file of each aufs."),
    ("/proc/filesystems", "What the kernel can mount without loading a module."),
    ("/dev/kmsg", "The kernel log, read for its words on a mount that failed."),
    ("UPPER.work", "The work directory that mount takes, and makes, where none is named."),
)
ENVIRONMENT = (
    ("NO_COLOR", "If it is set and not empty, nothing is coloured unless --color=always asks."),
    (
        "LAYERCTL_PAGER, PAGER",
        "What pages the output for people on a terminal, less where neither is set; cat or an "
        "empty value for nothing. Behind sudo it is less alone, which then runs no command.",
    ),
    ("LESS", "How less pages; FRX if it is not set."),
    ("LC_ALL, LC_CTYPE, LANG", "In the locale C or POSIX trees and marks are drawn in ASCII."),
    ("COLUMNS", "The width of the terminal; output to a file or a pipe is never cut."),
    ("LAYERCTL_DEBUG", "If it is set, a bug in layerctl is shown with its traceback."),
)


#: The length from which values are listed in the text instead of after the name.
_LONG = 50


def roff(text: str) -> str:
    """Return text escaped for man(7), with a possible line break after each `|`."""
    out = text.replace("\\", "\\e").replace("-", "\\-").replace("~", "\\(ti").replace("^", "\\(ha")
    return out.replace("|", "|\\:")


def fill(text: str) -> str:
    """Return a paragraph in man(7), in lines of less than 80 characters."""
    lines = textwrap.wrap(roff(text), 78, break_long_words=False, break_on_hyphens=False)
    return "\n".join("\\&" + line if line.startswith((".", "'")) else line for line in lines)


def commands(
    command: click.Command = cli, parent: click.Context | None = None, name: str = "layerctl"
) -> Iterator[tuple[str, click.Command, click.Context]]:
    """Yield every command with its full name, parents first."""
    word = name.rpartition(" ")[2]
    context = click.Context(command, parent, info_name=word, **command.context_settings)
    yield name, command, context
    if isinstance(command, click.Group):
        for inner in command.list_commands(context):
            found = command.get_command(context, inner)
            assert found is not None
            yield from commands(found, context, f"{name} {inner}")


def released() -> str:
    """Return the date of this version, from the changelog."""
    changelog = (ROOT / "CHANGELOG.md").read_text()
    match = re.search(rf"## \[{re.escape(__version__)}\] - (\S+)", changelog)
    assert match is not None, f"no release {__version__} in CHANGELOG.md"
    return match[1]


def _summary(command: click.Command, context: click.Context) -> str:
    """Return a command's one-line help, from the table of its group if it has one."""
    group = context.parent.command if context.parent is not None else None
    if isinstance(group, LazyGroup):
        return group.lazy[str(context.info_name)][1]
    return command.get_short_help_str(70)


def _title(name: str) -> str:
    return name.replace(" ", "-")


def _items(rows: Iterator[tuple[str, str]] | tuple[tuple[str, str], ...]) -> Iterator[str]:
    for term, text in rows:
        yield from (".TP", f".B {roff(term)}", fill(text))


def _options(command: click.Command, context: click.Context) -> Iterator[str]:
    for parameter in command.get_params(context):
        if isinstance(parameter, click.Option):
            record = parameter.get_help_record(context)
            assert record is not None
            names, _, metavar = record[0].partition(" ") if "," not in record[0] else _split(record)
            yield ".TP"
            yield rf"\fB{roff(names)}\fR {_italic(metavar)}".rstrip()
            yield fill(record[1])


def _split(record: tuple[str, str]) -> tuple[str, str, str]:
    """Split `-l, --lower DIR` into the names and the metavariable."""
    match = re.fullmatch(r"((?:-\S+, )*-\S+)(?: (.*))?", record[0])
    assert match is not None, record[0]
    return match[1], " ", match[2] or ""


def _italic(metavar: str) -> str:
    return rf"\fI{roff(metavar)}\fR" if metavar else ""


def _mount_options(title: str, table: tuple[Option, ...]) -> Iterator[str]:
    yield f".SS {title}"
    for option in table:
        term, text = example(option), sentence(option.help)
        if len(term) > _LONG:
            term, text = f"{option.name}=VALUE", f"{text} One of {', '.join(option.values)}."
        if option.since:
            text += f" Since Linux {option.since}."
        yield from (".TP", f".B {roff(term)}", fill(text))


#: Words that a sentence starts with as they are: names of programs, options, values and calls.
_NAMES = re.compile(r"(?:aufs|df|fuse-overlayfs|gVisor|inotify|ro|tmpfiles|xino)\b|\w+[(=_]|br:")


def sentence(text: str) -> str:
    """Return a table's help text as a sentence; a name that it starts with keeps its spelling."""
    first = text[:1] if _NAMES.match(text) else text[:1].upper()
    return first + text[1:] + ("" if text.endswith(".") else ".")


def _columns(name: str) -> Iterator[str]:
    listings = [one for one in DOCUMENTS.get(name, ()) if isinstance(one, Listing) and one.shown]
    if not listings:
        return
    yield ".SH COLUMNS"
    for listing in listings:
        if listing.when:
            yield f".SS {listing.when}"
        yield from _items((one.name, sentence(one.help)) for one in listing.columns)


def _description(command: click.Command) -> Iterator[str]:
    paragraphs = re.split(r"\n\s*\n", (command.help or "").strip())
    for number, paragraph in enumerate(paragraphs):
        if number:
            yield ".PP"
        yield fill(" ".join(paragraph.split()))


def page(name: str, command: click.Command, context: click.Context, pages: list[str]) -> str:
    """Return one manual page; `pages` are the titles of all."""
    title = _title(name)
    summary = _summary(command, context).rstrip(".")
    key = name.partition(" ")[2]
    usage = " ".join(command.collect_usage_pieces(context))
    lines = [
        r".\" Generated by tools/generate.py from the tables of the program: do not edit.",
        f'.TH {title.upper()} 1 "{released()}" "layerctl {__version__}" "layered filesystems"',
        ".SH NAME",
        fill(f"{title} - {summary[:1].lower()}{summary[1:]}"),
        ".SH SYNOPSIS",
        rf"\fB{roff(name)}\fR {_italic(usage)}",
        ".SH DESCRIPTION",
        *_description(command),
    ]
    if isinstance(command, click.Group):
        lines.append(".SH COMMANDS")
        for word in command.list_commands(context):
            inner = command.get_command(context, word)
            assert inner is not None
            inside = click.Context(inner, context, info_name=word)
            manual_page = f"{_title(name)}-{word}"
            lines += [".TP", rf"\fB{roff(manual_page)}\fR(1)", fill(_summary(inner, inside))]
    lines += [".SH OPTIONS", *_options(command, context)]
    if key in ("mount", "doctor"):
        lines += [".SH MOUNT OPTIONS", "Options for \\fB\\-o\\fR, as for \\fBmount\\fR(8)."]
        lines += _mount_options("overlay", OVERLAY)
        lines += _mount_options("aufs", AUFS)
        lines += _mount_options("any filesystem", FLAGS)
    lines += _columns(key)
    lines += [".SH EXIT STATUS"]
    lines += _items((str(row.code), sentence(row.meaning)) for row in EXIT_CODES)
    lines += [".SH ENVIRONMENT", *_items(ENVIRONMENT), ".SH FILES", *_items(FILES)]
    lines.append(".SH EXAMPLES")
    for number, shown in enumerate(EXAMPLES[key]):
        lines += [*([".PP"] if number else []), fill(shown.what), ".PP", ".RS 4", ".EX"]
        lines += [roff(shown.line), ".EE", ".RE"]
    lines += [".SH SEE ALSO", _see_also(title, pages)]
    return "\n".join(lines) + "\n"


def _see_also(title: str, pages: list[str]) -> str:
    near = [one for one in pages if one != title and (one in title or title in one)]
    others = [f"\\fB{roff(one)}\\fR(1)" for one in (near or ["layerctl"])]
    return ",\n".join([*others, "\\fBmount\\fR(8)", "\\fBmountinfo\\fR(5)"])


#: Of mount(8), whose helper it is.
_HELPER_CODES = (
    ("0", "Mounted."),
    ("1", "The request is wrong, or not permitted."),
    ("2", "The system failed."),
    ("4", "A bug in layerctl."),
    ("8", "Interrupted."),
    ("32", "The checks or the kernel refused the mount."),
)
_HELPER_EXAMPLES = (
    "mount -t layerctl -o lower=/srv/top,lower=/srv/base,upper=/srv/changes overlay /srv/merged",
    "overlay /srv/merged layerctl map=0:100000:65536,lower=/srv/image,upper=/srv/changes 0 0",
)


def _helper_page() -> str:
    """Return the page of the helper that mount(8) runs."""
    name, command = "mount.layerctl", mount_helper.command
    context = click.Context(command, info_name=name, **command.context_settings)
    spelled = {True: "{}=VALUE", False: "{}", None: "{}[=VALUE]"}
    words = sorted(spelled[takes].format(word) for word, takes in mount_helper.flags().items())
    lines = [
        r".\" Generated by tools/generate.py from the tables of the program: do not edit.",
        f'.TH {name.upper()} 1 "{released()}" "layerctl {__version__}" "layered filesystems"',
        ".SH NAME",
        fill(f"{name} - mount layers, as a helper of mount(8)"),
        ".SH SYNOPSIS",
        rf"\fBmount \-t layerctl\fR {_italic('[-o OPTIONS] SOURCE TARGET')}",
        ".SH DESCRIPTION",
        *_description(command),
        ".SH OPTIONS",
        *_options(command, context),
        ".SH MOUNT OPTIONS",
        fill(
            "Those of overlay, aufs and any filesystem (layerctl-mount(1)), and the options of "
            "layerctl mount as words. A backslash keeps a comma or a backslash in a name. The "
            "order counts: map applies to the layers after it."
        ),
        ".PP",
        fill(", ".join(words)),
        ".SH EXIT STATUS",
        *_items(_HELPER_CODES),
        ".SH FILES",
        *_items((("/sbin/mount.layerctl", "Where mount(8) looks for it."),)),
        ".SH EXAMPLES",
    ]
    for number, line in enumerate(_HELPER_EXAMPLES):
        lines += [*([".PP"] if number else []), ".RS 4", ".EX", roff(line), ".EE", ".RE"]
    lines += [".SH SEE ALSO", "\\fBlayerctl\\-mount\\fR(1),\n\\fBmount\\fR(8)"]
    return "\n".join(lines) + "\n"


def manual() -> dict[str, str]:
    """Return every page by its path."""
    found = list(commands())
    titles = sorted(_title(name) for name, _, _ in found)
    pages = {
        f"man/{_title(name)}.1": page(name, command, context, titles)
        for name, command, context in found
    }
    return {**pages, "man/mount.layerctl.1": _helper_page()}
