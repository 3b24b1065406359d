"""Checks of the options: what this kernel refuses, what falls back, what has no effect."""

from __future__ import annotations

import os
from collections.abc import Iterator

from layerctl.diagnosing.checks.layers import command
from layerctl.diagnosing.clue import Clue
from layerctl.kernel.facts import Facts
from layerctl.model import Role, Severity, Stack
from layerctl.rules.options import find
from layerctl.rules.overlay import redirect_mode, trusted_options
from layerctl.rules.releases import before
from layerctl.rules.validity import suggestions, value_problem


def known(stack: Stack, facts: Facts) -> Iterator[Clue]:
    """The kernel accepts every option (it was asked)."""
    if facts.overlay.probed is None:
        return
    for name, said in facts.overlay.probed.refused:
        value = stack.options.get(name)
        option = find(stack.fstype, name)
        if option is not None and value_problem(option, value):
            continue  # invalid, which another check reports
        shown = name if value is None else f"{name}={value}"
        better = stack._replace(
            options={key: text for key, text in stack.options.items() if key != name}
        )
        unknown = "Unknown parameter" in said
        cause = "unknown-mount-option-old-kernel" if unknown else "bad-option-value"
        seen = f"tried: {shown}: {said or 'Invalid argument'}"
        meant = suggestions(stack, name) if unknown else []
        if meant:
            seen += f"; did you mean {' or '.join(meant)}?"
        yield Clue(cause, (seen,), {"command": command(better, facts)})


def trusted(stack: Stack, facts: Facts) -> Iterator[Clue]:
    """In a user namespace, no option needs trusted.* attributes."""
    if not facts.caller.sys_admin or "userxattr" in stack.options:
        return
    # older kernels mount, and let the feature fall back (6.1 does, 6.12 does not)
    refuses = before(facts.kernel, (6, 12)) is False
    for name in trusted_options(stack.options):
        options = {key: text for key, text in stack.options.items() if key != name}
        better = stack._replace(options={**options, "userxattr": None})
        yield Clue(
            "userns-trusted-xattr-option",
            (f"{name}={stack.options[name]} in a user namespace",),
            {"command": command(better, facts)},
            None if refuses else Severity.WARNING,
        )


def follows(stack: Stack, facts: Facts) -> Iterator[Clue]:
    """Redirects in user.* attributes are not followed (userxattr)."""
    off = stack.options.get("redirect_dir") == "off"
    # `on` and `follow` are refused on any system: see layerctl.rules.validity.
    if off and redirect_mode("off", facts.overlay.parameters) == "follow":
        options = {key: text for key, text in stack.options.items() if key != "redirect_dir"}
        yield Clue(
            "conflicting-options",
            (
                "redirect_dir=off still follows redirects (redirect_always_follow is Y), which "
                "userxattr does not allow",
            ),
            {"command": command(stack._replace(options=options), facts)},
        )


def without_effect(stack: Stack, _: Facts) -> Iterator[Clue]:
    """Every option has an effect with these layers."""
    useless = []
    if stack.options.get("index") == "on":
        useless.append("index=on")
    if "volatile" in stack.options:
        useless.append("volatile")
    if stack.work is not None:
        useless.append(f"workdir={stack.work}")
    if useless:
        yield Clue(
            "option-without-effect", tuple(f"{one} without an upper layer" for one in useless)
        )


def export(stack: Stack, facts: Facts) -> Iterator[Clue]:
    """NFS export without an upper layer has redirect_dir=nofollow."""
    if stack.options["nfs_export"] != "on":
        return
    if stack.upper is None and stack.options.get("redirect_dir") != "nofollow":
        better = stack._replace(options={**stack.options, "redirect_dir": "nofollow"})
        yield Clue(
            "feature-fell-back",
            ("nfs_export=on without an upper layer needs redirect_dir=nofollow",),
            commands=("{command}",),
            values={"command": command(better, facts)},
        )


def inode_numbers(stack: Stack, facts: Facts) -> Iterator[Clue]:
    """xino=on is used only if the layers are on several filesystems."""
    if stack.options["xino"] != "on":
        return
    devices = {facts.of(layer.path).mount for layer in stack.layers}
    if None not in devices and len({entry.device for entry in devices if entry is not None}) == 1:
        yield Clue("option-without-effect", ("xino=on with all layers on one filesystem",))


def volatile(stack: Stack, facts: Facts) -> Iterator[Clue]:
    """The upper layer survives a crash (no volatile)."""
    if "volatile" in stack.options or stack.options.get("fsync") == "volatile":
        options = {
            name: value
            for name, value in stack.options.items()
            if name not in ("volatile", "fsync")
        }
        better = stack._replace(options=options)
        yield Clue(
            "volatile-upper",
            ("volatile is set",),
            {"command": command(better, facts)},
            Severity.INFO,
        )


def colons(stack: Stack, facts: Facts) -> Iterator[Clue]:
    """No layer name was split at a colon."""
    lowers = [layer for layer in stack.layers if layer.role is Role.LOWER]
    for whole in facts.overlay.joined:
        head = whole.partition(":")[0]
        rest = [
            layer
            for layer in lowers
            if not (whole.startswith(layer.path + ":") or _is_tail(layer.path, whole))
        ]
        merged = [layer for layer in stack.layers if layer.role is Role.UPPER]
        whole_layer = lowers[0]._replace(path=whole)
        better = stack._replace(layers=(*merged, whole_layer, *rest))
        seen = (f"{whole} is a directory, and {head} is not",)
        yield Clue("colon-in-path", seen, {"path": whole, "command": command(better, facts)})


def _is_tail(path: str, whole: str) -> bool:
    return os.path.basename(path) == whole.rpartition(":")[2]
