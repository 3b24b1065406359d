"""Ask what to do with the changes of a run: apply, keep, drop, or look first."""

from __future__ import annotations

import os
from typing import Protocol

import click

from layerctl.cli.kept_changes import show_changes
from layerctl.errors import LayerctlError
from layerctl.render.errors import error_text, note
from layerctl.usecases.keeping import Kept
from layerctl.usecases.run import Running

_QUESTION = "[a]pply, [k]eep DIR, [d]rop, [s]hell, di[f]f, s[t]at, or apply PATH"


class Ending(Protocol):
    """What can be done with the changes."""

    @property
    def kept(self) -> Kept:
        """The layers."""

    def apply(self, chosen: tuple[str, ...]) -> None:
        """Apply them, or the chosen paths."""

    def keep(self, path: str) -> None:
        """Keep them in a directory."""


def ask(end: Ending, running: Running) -> None:
    """Ask until the changes are applied, kept or dropped; an end of input drops them."""
    while True:
        try:
            answer = click.prompt(_QUESTION, err=True)
        except click.Abort:
            click.echo(err=True)
            return
        word, _, rest = str(answer).strip().partition(" ")
        try:
            if _do(word, rest.strip(), end, running):
                return
        except LayerctlError as error:
            click.echo(error_text(error), err=True)


def _do(word: str, rest: str, end: Ending, running: Running) -> bool:
    """Do what was answered; tell whether that was the end."""
    if word in ("d", "drop"):
        return True
    if word in ("k", "keep"):
        if not rest:
            rest = click.prompt("keep them in the directory", err=True)
        end.keep(rest)
        return True
    if word in ("a", "apply"):
        end.apply((rest,) if rest else ())
        return not rest
    if word in ("s", "shell", "l", "look"):
        note("a shell in the layers; leave it with exit")
        running.run((os.environ.get("SHELL") or "/bin/sh",))
        show_changes(end.kept, stat=False, patch=False)
    elif word in ("f", "diff", "t", "stat"):
        show_changes(end.kept, stat=word[0] in ("t", "s"), patch=word in ("f", "diff"))
    elif word.startswith("/"):
        end.apply((word,))
    else:
        note(f"'{word}' is not an answer")
    return False
