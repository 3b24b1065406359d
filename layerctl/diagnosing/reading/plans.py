"""What is wrong with a mount in a text, judging by its options."""

from __future__ import annotations

import os
from collections.abc import Iterator

from layerctl.diagnosing.clue import Clue
from layerctl.diagnosing.reading.attempts import Attempt, is_real
from layerctl.errors import RequestError
from layerctl.model import Layer, Role, Severity, Stack
from layerctl.rules import validity
from layerctl.rules.limits import MAX_STRING, MAX_VALUE
from layerctl.rules.options import find as find_option
from layerctl.rules.releases import Release, release


def clues(
    attempt: Attempt,
    errnos: set[str],
    kernel: Release | None,
    util_linux: Release | None,
) -> Iterator[Clue]:
    """Yield the clues of the options of one mount; `errnos` are those of the text."""
    line = _short(attempt.options or attempt.line)
    if "\\," in attempt.options and errnos & {"ENOENT", "EINVAL"}:
        seen = f"{line}: a comma behind a backslash is cut all the same by Linux 6.5 and libmount"
        yield Clue("comma-in-path", (seen,), weight=86)
    if attempt.by == "other":
        return
    if attempt.by == "fuse-overlayfs" and "\\:" in attempt.options and "ENOENT" in errnos:
        seen = f"{line}: fuse-overlayfs before 1.15 knows no backslash"
        yield Clue("colon-in-path", (seen,), weight=90)
    if attempt.type_word == "overlayfs":
        weight = 88 if "ENODEV" in errnos else 45
        yield Clue("fstype-name-overlayfs-obsolete", (attempt.line,), weight=weight)
    if attempt.error is not None:
        yield from _malformed(attempt, attempt.error, errnos)
    elif attempt.stack is None:
        return
    elif attempt.by == "fuse-overlayfs":
        yield from _relations(attempt.stack, attempt, errnos)
    elif attempt.by == "listing":
        yield from _listed(attempt.stack, attempt, errnos)
    else:
        yield from _problems(attempt.stack, attempt, errnos)
        yield from _surprises(attempt.stack, line, errnos)
        yield from _options(attempt.stack, attempt, errnos, kernel)
        yield from _lengths(attempt, errnos, util_linux)
        yield from _relations(attempt.stack, attempt, errnos)
        yield from _colons(attempt.stack, attempt, errnos)


def _malformed(attempt: Attempt, error: RequestError, errnos: set[str]) -> Iterator[Clue]:
    """Yield the clues of an option string that cannot be parsed: malformed, or truncated."""
    line = _short(attempt.options or attempt.line)
    if not attempt.by and attempt.options.endswith((":", ".")):
        yield Clue("option-string-too-long", (line,), weight=58)
        return
    yield Clue(error.id, (error.message,), weight=85 if errnos else 70)
    if ":" in attempt.options and "EINVAL" in errnos:
        yield Clue("colon-in-path", (line,), weight=55)


def _listed(stack: Stack, attempt: Attempt, errnos: set[str]) -> Iterator[Clue]:
    """Yield the clues of a mount in a list of mounts."""
    if stack.read_only and stack.upper is not None:
        yield Clue("mounted-read-only", (attempt.line,), weight=70)
    yield from _surprises(stack, _short(attempt.options or attempt.line), errnos)


def _surprises(stack: Stack, line: str, errnos: set[str]) -> Iterator[Clue]:
    """Yield surprises of an overlay without errors, most common first."""
    if errnos or stack.fstype != "overlay" or not stack.layers:
        return
    causes = ["lowerdir-submounts-hidden"]
    if stack.upper is not None:
        if stack.options.get("redirect_dir") != "on":
            causes.append("redirect-dir-off-rename-exdev")
        if stack.options.get("index") != "on":
            causes.append("hardlink-broken-across-overlay")
    for step, cause in enumerate(causes):
        yield Clue(cause, (line,), severity=Severity.INFO, weight=22 - 2 * step)


def _short(text: str) -> str:
    return text if len(text) <= 200 else text[:120] + " ... " + text[-60:]


def _problems(stack: Stack, attempt: Attempt, errnos: set[str]) -> Iterator[Clue]:
    if not stack.layers and not (stack.options and attempt.options):
        return
    if "..." in attempt.options or any(not is_real(layer.path) for layer in stack.layers):
        return
    for problem in validity.problems(stack):
        if problem.id == "too-few-layers" and stack.fstype == "overlay" and not stack.layers:
            continue
        if problem.id == "bad-option-value" and not errnos & {"EINVAL", "EPERM"}:
            continue
        decisive = errnos & {"EINVAL", "ENODEV", "ENOENT", "ENOMEM"}
        yield Clue(problem.id, (problem.message,), weight=88 if decisive else 60)
    volatile = "volatile" in stack.options or stack.options.get("fsync") == "volatile"
    if volatile and "EIO" in errnos:  # the errno of a volatile mount after a failed write-back
        yield Clue("volatile-upper-error", (_short(attempt.options),), weight=86)


def _options(
    stack: Stack, attempt: Attempt, errnos: set[str], kernel: Release | None
) -> Iterator[Clue]:
    """Yield options that no kernel knows, or that are too new for this one."""
    weight = 75 if "EINVAL" in errnos else 30
    for name, value in stack.options.items():
        shown = name if value is None else f"{name}={value}"
        option = find_option(stack.fstype, name)
        if option is None:
            if not is_real(name) or name.startswith(("br:", "dirs:", "/")):
                if name.startswith("br:"):
                    yield Clue("aufs-br-colon-new-mount-api", (shown,), weight=80)
                continue
            yield Clue("unknown-mount-option-old-kernel", (shown,), {"option": name}, weight=weight)
            if "=" not in shown and "/" in attempt.options:
                yield Clue("comma-in-path", (shown,), weight=weight - 15)
        elif kernel is not None and option.since and kernel < (release(option.since) or kernel):
            seen = f"{shown} came with Linux {option.since}"
            sure = 85 if "EINVAL" in errnos else 60
            yield Clue("unknown-mount-option-old-kernel", (seen,), {"option": name}, weight=sure)
    if (
        stack.fstype == "aufs"
        and "EINVAL" in errnos
        and attempt.by == "mount"
        and any(word.startswith("br:") for word in attempt.options.split(","))
    ):
        yield Clue("aufs-br-colon-new-mount-api", (_short(attempt.options),), weight=82)


def _lengths(attempt: Attempt, errnos: set[str], util_linux: Release | None) -> Iterator[Clue]:
    size = len(os.fsencode(attempt.options))
    if size >= MAX_STRING:
        seen = f"the options are {size} bytes long, and mount(2) reads {MAX_STRING}"
        if errnos:
            yield Clue("option-string-too-long", (seen,), weight=86)
        else:
            yield Clue("option-string-truncated", (seen,), weight=80)
        return
    longest = max((len(os.fsencode(word)) for word in attempt.options.split(",")), default=0)
    new_calls = util_linux is None or util_linux >= (2, 39)
    if longest > MAX_VALUE and "EINVAL" in errnos and attempt.by == "mount" and new_calls:
        weight = 84 if util_linux else 55
        seen = f"an option is {longest} bytes long, and fsconfig(2) takes {MAX_VALUE}"
        yield Clue("new-mount-api-string-limit", (seen,), weight=weight)


def _norm(path: str) -> str:
    return os.path.normpath(path)


def _inside(inner: str, outer: str) -> bool:
    inner, outer = _norm(inner), _norm(outer)
    if inner.startswith("/") != outer.startswith("/"):
        return False
    return inner.startswith(outer.rstrip("/") + "/") and not outer.startswith("..")


def _relations(stack: Stack, attempt: Attempt, errnos: set[str]) -> Iterator[Clue]:
    """Yield relations of directories that the kernel refuses, judging by their names."""
    layers = [layer for layer in stack.layers if is_real(layer.path)]
    work = stack.work if stack.work is not None and is_real(stack.work) else None
    upper = stack.upper if stack.upper is not None and is_real(stack.upper) else None
    yield from _pairs(layers, work, stack.fstype, errnos)
    if upper is not None and work is not None:
        if _norm(upper) == _norm(work) or _inside(work, upper) or _inside(upper, work):
            weight = 88 if "EINVAL" in errnos else 70
            yield Clue(
                "workdir-upperdir-not-separate", (f"upper {upper}, work {work}",), weight=weight
            )
        elif "EINVAL" in errnos or "EIO" in errnos:
            weight = 34 if os.path.dirname(_norm(upper)) == os.path.dirname(_norm(work)) else 46
            seen = f"upper {upper} and work {work} may be on two mounts"
            yield Clue("workdir-upperdir-different-mount", (seen,), weight=weight)
    if attempt.target is not None and is_real(attempt.target):
        for layer in layers:
            if _norm(layer.path) == _norm(attempt.target) or _inside(attempt.target, layer.path):
                heavy = attempt.by == "fuse-overlayfs" or _norm(layer.path) == _norm(attempt.target)
                seen = f"target {attempt.target} is inside {layer.role.value} {layer.path}"
                root = _norm(layer.path) == "/"
                yield Clue(
                    "mountpoint-overlaps-layer",
                    (seen,),
                    weight=20 if root else (70 if heavy else 45),
                )


def _pairs(layers: list[Layer], work: str | None, fstype: str, errnos: set[str]) -> Iterator[Clue]:
    refused = "ELOOP" in errnos or "EINVAL" in errnos
    lowers = [layer for layer in layers if layer.role is not Role.UPPER]
    for index, lower in enumerate(lowers):
        others = [one.path for one in lowers[:index]]
        others += [one.path for one in layers if one.role is Role.UPPER]
        if work is not None:
            others.append(work)
        for other in others:
            same = _norm(lower.path) == _norm(other)
            below = _inside(lower.path, other)
            above = _inside(other, lower.path) and other in [one.path for one in lowers]
            if not (same or below or above):
                continue
            seen = f"{lower.path} and {other}"
            if fstype == "aufs":
                cause = "aufs-branch-duplicated" if same else "aufs-branch-overlapping"
            else:
                cause = "overlapping-layers"
            yield Clue(cause, (seen,), {"path": lower.path}, weight=88 if refused else 72)
    uppers = [one.path for one in layers if one.role is Role.UPPER]
    for upper in uppers:
        for lower in lowers:
            if _inside(upper, lower.path) and _norm(lower.path) != "/":
                seen = f"upper {upper} is inside lower {lower.path}"
                yield Clue("overlapping-layers", (seen,), severity=Severity.WARNING, weight=42)


def _colons(stack: Stack, attempt: Attempt, errnos: set[str]) -> Iterator[Clue]:
    """Absolute and relative names in one list are usually one name split at its colon."""
    if stack.fstype != "overlay" or "ENOENT" not in errnos:
        return
    lowers = [layer.path for layer in stack.of_role(Role.LOWER) if is_real(layer.path)]
    absolute = [path for path in lowers if path.startswith(("/", "<"))]
    relative = [path for path in lowers if not path.startswith(("/", "<"))]
    raw = [layer.path for layer in stack.of_role(Role.LOWER)]
    mixed = any(path.startswith("/") for path in raw) and any(
        not path.startswith("/") and "/" not in path for path in raw
    )
    if (absolute and relative) or mixed:
        cut = relative[0] if relative else raw[-1]
        yield Clue(
            "colon-in-path", (f"'{cut}' follows a colon and is not an absolute path",), weight=87
        )
    elif len(raw) > 1:
        yield Clue("colon-in-path", (_short(attempt.options),), weight=36)
