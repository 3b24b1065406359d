"""How to pass an aufs to the kernel: as strings, never too long for one call. Pure."""

from __future__ import annotations

from layerctl.codecs import aufs
from layerctl.errors import RefusedError
from layerctl.kernel.beneath import FD_DIRECTORY
from layerctl.model import Stack
from layerctl.mounting.plan import Plan, placeholder, size
from layerctl.rules.limits import MAX_BRANCHES_A_CALL, MAX_STRING
from layerctl.rules.words import count


def plan_aufs(stack: Stack) -> Plan:
    """Return the plan for an aufs stack: at most 64 branches per call, the rest by remount.

    Each directory is named by a descriptor; sysfs shows its path all the same.

    Raises RefusedError if a string cannot hold an option.
    """
    opened = [layer.path for layer in stack.layers]
    branches = [
        layer._replace(path=f"{FD_DIRECTORY}/{placeholder(number)}")
        for number, layer in enumerate(stack.layers)
    ]
    xino = stack.options.get("xino")
    if xino is not None and xino.startswith("/"):
        directory, name = xino.rsplit("/", 1)
        place = f"{FD_DIRECTORY}/{placeholder(len(opened))}/{name}"
        stack = stack._replace(options={**stack.options, "xino": place})
        opened.append(directory or "/")
    for name, value in stack.options.items():
        if value is not None and "," in value:
            raise RefusedError(
                "comma-in-path",
                f"aufs does not support the comma in '{name}={value}'",
                why="its option string has no escape",
                hint="use a path without a comma",
            )
    rest = aufs.encode(stack._replace(layers=()))
    words = [aufs.branch_word(branch) for branch in branches]
    first, remaining = _batch(words, ":", size("br=,") + size(rest))
    string = ",".join(filter(None, ["br=" + ":".join(first), rest]))
    appends = []
    while remaining:
        batch, remaining = _batch(["append=" + word for word in remaining], ",", 0)
        remaining = [word.removeprefix("append=") for word in remaining]
        appends.append(",".join(batch))
    why = "aufs takes its branches as a string"
    if appends:
        why += f"; {count(len(first), 'branch')} in the first call, "
        why += f"the rest by {count(len(appends), 'remount')}"
    return Plan(stack, "mount", why, string=string, appends=tuple(appends), opened=tuple(opened))


def _batch(words: list[str], separator: str, taken: int) -> tuple[list[str], list[str]]:
    count = 0
    for word in words[:MAX_BRANCHES_A_CALL]:
        taken += size(word) + size(separator)
        if taken > MAX_STRING:
            break
        count += 1
    if not count and words:
        raise RefusedError(
            "option-string-too-long",
            "the options of one call are too long for the kernel",
            why=f"mount(2) reads {MAX_STRING} bytes and would silently truncate the rest",
            hint="use fewer and shorter options",
        )
    return words[:count], words[count:]
