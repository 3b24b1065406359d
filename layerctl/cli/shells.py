"""Completion scripts for bash, zsh and fish, and their protocol; imported only for completion.

A script passes the line up to the cursor in COMP_LINE and reads lines back: `:dirs` and `:files`
let the shell complete a directory or a file, anything else is a word, a tab and its help. Unlike
click's own scripts, these work after `=` and `:`, where bash starts a new word, and with spaces in
names.
"""

from __future__ import annotations

import os
import shlex
from typing import Any, ClassVar

from click.shell_completion import (
    CompletionItem,
    ShellComplete,
    add_completion_class,
    split_arg_string,
)

_BASH = r"""# bash completion for layerctl

_layerctl() {
    local line word
    COMPREPLY=()
    while IFS= read -r line; do
        case $line in
            :dirs) compopt -o dirnames && continue ;;
            :files) compopt -o default && continue ;;
            '') continue ;;
        esac
        printf -v word %q "${line%%$'\t'*}"
        [[ $word == *[=/] ]] && compopt -o nospace
        COMPREPLY+=("${word//\\,/,}")
    done < <(COMP_LINE=${COMP_LINE:0:COMP_POINT} COMP_WORDBREAKS=$COMP_WORDBREAKS \
        _LAYERCTL_COMPLETE=bash_complete "$1" 2>/dev/null)
}

complete -o nosort -F _layerctl layerctl
"""

_ZSH = r"""#compdef layerctl

_layerctl() {
    local line value
    local -a plain open
    for line in "${(@f)$(COMP_LINE="${words[1,CURRENT-1]} $PREFIX" \
        _LAYERCTL_COMPLETE=zsh_complete ${words[1]} 2>/dev/null)}"; do
        value=${line%%$'\t'*}
        case $line in
            (:dirs) _files -/ ;;
            (:files) _files ;;
            (*[=/]$'\t'*) open+=("${value//:/\\:}:${line#*$'\t'}") ;;
            (*$'\t'*) plain+=("${value//:/\\:}:${line#*$'\t'}") ;;
        esac
    done
    (( $#plain )) && _describe -V word plain
    (( $#open )) && _describe -V word open -S ''
}

if [[ $funcstack[1] == _layerctl ]]; then
    _layerctl "$@"
else
    compdef _layerctl layerctl
fi
"""

_FISH = r"""# fish completion for layerctl

function __layerctl_complete
    set -lx COMP_LINE (commandline -cp)
    set -lx _LAYERCTL_COMPLETE fish_complete
    for line in (layerctl 2>/dev/null)
        switch $line
            case :dirs
                __fish_complete_directories (commandline -ct)
            case :files
                __fish_complete_path (commandline -ct)
            case '?*'
                echo $line
        end
    end
end

complete --command layerctl --no-files --keep-order --arguments '(__layerctl_complete)'
"""

#: What the shell completes itself.
_SHELLS_OWN = {"dir": ":dirs", "file": ":files"}


class _Line(ShellComplete):
    """Completion of the line in COMP_LINE."""

    def source(self) -> str:
        """Return the script."""
        return self.source_template

    def get_completion_args(self) -> tuple[list[str], str]:
        """Return the arguments before the word at the cursor, and that word."""
        line = os.environ["COMP_LINE"]
        *arguments, last = split_arg_string(line + "x")  # the cursor may be after a space
        return arguments[1:], last[:-1]

    def format_completion(self, item: CompletionItem[Any]) -> str:
        """Return one line of the answer."""
        if item.type in _SHELLS_OWN:
            return _SHELLS_OWN[item.type]
        return f"{item.value}\t{item.help or ''}"


class Bash(_Line):
    """bash 4.4 or newer, where each of COMP_WORDBREAKS starts a new word."""

    name: ClassVar[str] = "bash"
    source_template: ClassVar[str] = _BASH

    def format_completion(self, item: CompletionItem[Any]) -> str:
        """Return one line of the answer, without the part before bash's own word."""
        line = super().format_completion(item)
        return line if item.type in _SHELLS_OWN else line[self._before() :]

    def _before(self) -> int:
        """Return how much of the word at the cursor is in earlier words for bash."""
        _, word = self.get_completion_args()
        try:
            shlex.split(os.environ["COMP_LINE"])
        except ValueError:  # quoted words are not split
            return 0
        breaks = os.environ.get("COMP_WORDBREAKS", "")
        return max((word.rfind(char) + 1 for char in "=:" if char in breaks), default=0)


class Zsh(_Line):
    """zsh 5 and newer."""

    name: ClassVar[str] = "zsh"
    source_template: ClassVar[str] = _ZSH


class Fish(_Line):
    """fish 3.1 and newer."""

    name: ClassVar[str] = "fish"
    source_template: ClassVar[str] = _FISH


for _shell in (Bash, Zsh, Fish):
    add_completion_class(_shell)
