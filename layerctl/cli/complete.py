"""What a shell offers at <TAB>: mounts, columns, mount options and their values, directories.

The functions are click's `shell_complete`. Every command names some of them, so what they import
is only what commands import anyway; what click needs for an answer is imported when a shell asks.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import click

from layerctl.codecs.request import Request, fstype_of
from layerctl.errors import RequestError
from layerctl.kernel import mounts, paths
from layerctl.rules.options import FLAGS, TABLES, Option, Takes, find

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from layerctl.render.columns import Listing


def _item(word: str, help_: str = "", kind: str = "plain") -> CompletionItem:
    from click.shell_completion import CompletionItem

    return CompletionItem(word, kind, help_)


def items(words: dict[str, str], incomplete: str) -> list[CompletionItem]:
    """Offer the words, each with its help, that begin with what was typed."""
    return [
        _item(word, help_)
        for word, help_ in words.items()
        if word.startswith(incomplete) and word.isprintable()
    ]


def columns(listings: tuple[Listing, ...], incomplete: str) -> list[CompletionItem]:
    """Offer the columns that a list does not name yet, in the case that is typed."""
    before = incomplete[: max(incomplete.rfind(","), incomplete.find("+")) + 1]
    typed = incomplete[len(before) :]
    named = before.lstrip("+").upper().split(",")
    words = {
        before + (column.name.lower() if typed.islower() else column.name): column.help
        for listing in listings
        for column in listing.columns
        if column.name not in named
    }
    return items(words, incomplete)


def files(_: click.Context, __: click.Parameter, ___: str) -> list[CompletionItem]:
    """Leave it to the shell to complete a file."""
    return [_item("", kind="file")]


def directories(_: click.Context, __: click.Parameter, ___: str) -> list[CompletionItem]:
    """Leave it to the shell to complete a directory."""
    return [_item("", kind="dir")]


def types(_: click.Context, __: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Offer the filesystem types, by their own names."""
    return items(dict.fromkeys(TABLES, ""), incomplete)


def targets(_: click.Context, __: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Offer the layered mounts, containers and images.

    Mounts below the working directory are offered by relative names, too.
    """
    return items({**_targets(("overlay", "aufs"), incomplete), **_stored(incomplete)}, incomplete)


def _stored(incomplete: str) -> dict[str, str]:
    """Return the names of containers and images, for what cannot be the beginning of a path."""
    if "/" in incomplete:
        return {}
    # Every command imports this module, and only completion reads the stores.
    from layerctl.stores.find import stores
    from layerctl.stores.names import names_of

    return {name: thing for store in stores() for name, thing in names_of(store)}


def aufs_targets(_: click.Context, __: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Offer the aufs mounts and the si_ID of each."""
    names = dict.fromkeys(mounts.aufs_instances(), "")
    return items({**_targets(("aufs",), incomplete), **names}, incomplete)


def _targets(fstypes: tuple[str, ...], incomplete: str) -> dict[str, str]:
    here = os.getcwd().rstrip("/") + "/"
    found = {}
    for entry in mounts.entries():
        if entry.fstype in fstypes:
            found[entry.target] = entry.fstype
            if entry.target.startswith(here) and not incomplete.startswith("/"):
                found[entry.target[len(here) :]] = entry.fstype
    return found


def merged_arguments(
    context: click.Context, parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Offer mounts, and after one the names inside it."""
    given = context.params.get("arguments") or ()
    if not given:
        return targets(context, parameter, incomplete)
    return items(_names(given[0], incomplete, directories_only=False), incomplete)


def _names(root: str, incomplete: str, *, directories_only: bool) -> dict[str, str]:
    """Return the paths below `root` that `incomplete` may become, directories with a slash."""
    head = incomplete[: incomplete.rfind("/") + 1]
    return {
        f"{head}{name}/" if is_directory else head + name: ""
        for name, is_directory in paths.names(os.path.join(root, head) or ".")
        if is_directory or not directories_only
    }


def mount_options(
    context: click.Context, _: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Offer the options of the filesystem type; after `=` the option's values or directories."""
    fstype = _fstype(context, incomplete)
    before = incomplete[: incomplete.rfind(",") + 1]
    name, equals, value = incomplete[len(before) :].partition("=")
    if not equals:
        table = (*TABLES[fstype], *FLAGS)
        words = {_word(option): option.help for option in table}
    else:
        option = find(fstype, name)
        if option is None:
            return []
        if option.takes in (Takes.PATH, Takes.LAYERS):
            start = value.rfind(":") + 1 if option.takes is Takes.LAYERS else 0
            names = _names("", value[start:], directories_only=True)
            words = {f"{name}={value[:start]}{path}": "" for path in names}
        else:
            words = {f"{name}={one}": "" for one in option.values}
    return items({before + word: help_ for word, help_ in words.items()}, incomplete)


def _word(option: Option) -> str:
    return option.name if option.takes is Takes.NOTHING else f"{option.name}="


def _fstype(context: click.Context, incomplete: str) -> str:
    given = context.params
    try:
        return fstype_of(
            Request(
                fstype=next(reversed(given.get("fstypes") or ()), None),
                branches=given.get("branches") or (),
                options=(*(given.get("options") or ()), incomplete),
            )
        )
    except RequestError:
        return "overlay"
