"""What is wrong with a request on any system. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from layerctl.errors import RequestError
from layerctl.model import Layer, Role, Stack
from layerctl.rules import aufs
from layerctl.rules.limits import AUFS_MAX_SECONDS, MAX_BRANCHES, MAX_LOWERS, MIN_RDBLK
from layerctl.rules.options import FLAGS, TABLES, Option, Takes, find, flag_value, integer, nearest


def problems(stack: Stack) -> list[RequestError]:
    """Return everything that is wrong with the requested stack, worst first."""
    if stack.fstype == "aufs":
        layers = _aufs_layers(stack)
    elif stack.fstype == "fuse-overlayfs":
        layers = _fuse_layers(stack)
    else:
        layers = _overlay_layers(stack)
    return [*layers, *value_problems(stack), *_conflicts(stack)]


def _overlay_layers(stack: Stack) -> list[RequestError]:
    lowers = len(stack.of_role(Role.LOWER)) + len(stack.of_role(Role.DATA))
    found = []
    if not lowers:
        found.append(
            _too_few(
                "no lower layer was given",
                "an overlay needs at least one lower and one upper layer, or two lower layers",
                "name the lower layers, topmost first: -l DIR",
            )
        )
    elif lowers < 2 and stack.upper is None:
        found.append(
            _too_few(
                "one lower layer without an upper is not an overlay",
                "without an upper directory the kernel requires at least two lower layers",
                "add an upper (-u DIR) or a second lower layer (-l DIR), or use a bind mount to "
                "show one directory elsewhere",
            )
        )
    elif not stack.of_role(Role.LOWER):
        found.append(
            _too_few(
                "every layer is data-only",
                "a data-only layer shows no names of its own; a lower layer must refer to it",
                "name at least one lower layer: -l DIR",
            )
        )
    return [*found, *_overlay_limits(stack, lowers)]


def _too_few(what: str, why: str, hint: str) -> RequestError:
    return RequestError("too-few-layers", what, why=why, hint=hint)


def _overlay_limits(stack: Stack, lowers: int) -> Iterator[RequestError]:
    if lowers > MAX_LOWERS:
        yield RequestError(
            "too-many-layers",
            f"{lowers} lower layers exceed the limit of overlay ({MAX_LOWERS})",
            why="the limit (OVL_MAX_STACK) is compiled into the kernel and includes data-only "
            "layers",
            hint="merge some layers into one directory, or mount some of them first and use "
            "that mount as one lower layer",
        )
    if stack.upper is not None and stack.work is None:
        yield RequestError(
            "missing-workdir",
            "an upper directory needs a work directory",
            why="overlay prepares files there before it renames them into the upper directory",
            hint="name one next to the upper directory: -w DIR",
        )


def _fuse_layers(stack: Stack) -> list[RequestError]:
    if stack.of_role(Role.DATA):
        return [
            RequestError(
                "fuse-overlayfs-unsupported-option",
                "fuse-overlayfs does not support data-only layers",
                hint="remove --data, or use -t overlay",
            )
        ]
    if not stack.of_role(Role.LOWER):
        return _overlay_layers(stack)
    return []


def _aufs_layers(stack: Stack) -> list[RequestError]:
    found = []
    if not stack.layers:
        found.append(
            _too_few(
                "no branch was given",
                "an aufs needs at least one branch",
                "name the branches, topmost first: -b DIR=rw -b DIR=ro",
            )
        )
    if len(stack.layers) > MAX_BRANCHES:
        found.append(
            RequestError(
                "aufs-too-many-branches",
                f"{len(stack.layers)} branches exceed the limit of aufs ({MAX_BRANCHES})",
                why="the limit is compiled into the kernel (AUFS_BRANCH_MAX)",
                hint="merge some branches into one directory",
            )
        )
    return [*found, *filter(None, map(_branch_problem, stack.layers))]


def _branch_problem(layer: Layer) -> RequestError | None:
    if not layer.path:
        return RequestError(
            "aufs-br-syntax",
            "the name of a branch is empty",
            hint="name the branches, topmost first: -b DIR=rw -b DIR=ro",
        )
    problem = "" if layer.permission is None else aufs.permission_problem(layer.permission)
    if not problem:
        return None
    return RequestError(
        "aufs-branch-permission-unknown",
        f"branch {layer.path}: {problem}",
        why="aufs would treat an unknown permission as ro, drop an unknown attribute, and say so "
        "only in the kernel log",
        hint=f"write it as: -b {layer.path}=rw (or =ro, =ro+wh)",
    )


def value_problems(stack: Stack) -> list[RequestError]:
    """Yield values that the table excludes; unknown names are left to the kernel."""
    found = []
    for flag in stack.flags:
        given = flag_value(flag)
        if given is not None:
            name = flag.partition("=")[0]
            found.append(
                RequestError(
                    "bad-option-value",
                    f"option '{name}': it does not take a value, but got '{given}'",
                    hint=f"write it as: -o {name}",
                )
            )
    for name, value in stack.options.items():
        option = find(stack.fstype, name)
        if option is not None:
            problem = value_problem(option, value)
            if problem:
                found.append(
                    RequestError(
                        "bad-option-value",
                        f"option '{name}': {problem}",
                        hint=f"write it as: -o {example(option)}",
                    )
                )
        elif stack.fstype == "aufs" and name.startswith("dirs:"):
            found.append(
                RequestError(
                    "aufs-br-syntax",
                    f"'{name}' is not an option",
                    why="aufs accepts br: and br=, but only dirs=",
                    hint="write br= or dirs=",
                )
            )
    return found


def value_problem(option: Option, value: str | None) -> str:
    """Return what is wrong with the value of an option, or an empty string."""
    if option.takes is Takes.NOTHING:
        return f"it does not take a value, but got '{value}'" if value is not None else ""
    if not value:
        return "it needs a value"
    if option.takes is Takes.CHOICE and not _is_choice(option, value):
        close = nearest(value, option.values)
        meant = f"; did you mean '{close[0]}'?" if close else ""
        return f"'{value}' is not one of {', '.join(option.values)}{meant}"
    if option.takes is Takes.INTEGER and value not in option.values:
        return _integer_problem(option, value)
    if option.takes is Takes.NUMBER and value not in option.values and not value.isdecimal():
        return f"'{value}' is not a number"
    return ""


def _integer_problem(option: Option, value: str) -> str:
    number = integer(value)
    if number is None:
        return f"'{value}' is not a number"
    if number < option.least:
        return f"{value} is less than {option.least}"
    if number > option.most:
        return f"{value} is more than {option.most}"
    if option.name == "rdblk" and 0 < number < MIN_RDBLK:
        return f"{value} is less than {MIN_RDBLK}, and not 0"
    return ""


def _is_choice(option: Option, value: str) -> bool:
    if value in option.values:
        return True
    head, *texts = value.split(":")
    if not texts or head + ":" not in option.values:
        return False
    numbers = [integer(text) for text in texts]
    if head not in option.values:  # the number of bytes to keep free comes first
        free, *numbers = numbers
        if free is None or free < 0:
            return False
    elif len(numbers) != 1:
        return False
    return all(number is not None and 0 <= number <= AUFS_MAX_SECONDS for number in numbers) and (
        len(numbers) < 2
    )


def example(option: Option) -> str:
    """Return an option as it is written."""
    match option.takes:
        case Takes.NOTHING:
            return option.name
        case Takes.CHOICE:
            return f"{option.name}={'|'.join(option.values)}"
        case takes:
            return f"{option.name}={takes.value.upper()}"


def suggestions(stack: Stack, name: str) -> list[str]:
    """Return what the user may have meant by an unknown option."""
    known = [option.name for option in (*TABLES.get(stack.fstype, ()), *FLAGS)]
    return nearest(name, known)


#: Conflicts on every kernel (ovl_fs_params_verify in fs/overlayfs/params.c; aufs.5): an option, the
#: options that it cannot be combined with, why, what to do, and whether that holds without an upper
#: layer too. Only explicit options count: the module's defaults give way to them. Without an upper
#: layer `redirect_dir=on` only follows redirects, and the kernel turns nfs_export off unless
#: redirect_dir=nofollow.
CONFLICTS: dict[str, tuple[tuple[str, tuple[str, ...], str, str, bool], ...]] = {
    "overlay": (
        (
            "metacopy=on", ("redirect_dir=nofollow",),
            "metacopy uses redirects to find the data of a file",
            "remove redirect_dir, or set redirect_dir=on", True,
        ),
        (
            "metacopy=on", ("redirect_dir=off", "redirect_dir=follow"),
            "metacopy uses redirects to find the data of a file",
            "remove redirect_dir, or set redirect_dir=on", False,
        ),
        (
            "nfs_export=on", ("metacopy=on",),
            "a file handle cannot refer to data and metadata in two layers",
            "use only one of them", False,
        ),
        (
            "nfs_export=on", ("index=off",),
            "NFS export looks up file handles in the index",
            "set index=on, or remove nfs_export", False,
        ),
        (
            "userxattr", ("redirect_dir=on", "redirect_dir=follow"),
            "any user can write a redirect to user.overlay.*, so the kernel does not trust it",
            "remove redirect_dir, or mount as root without userxattr", True,
        ),
        (
            "userxattr", ("metacopy=on",),
            "any user can write a metacopy marker to user.overlay.*, so the kernel does not trust "
            "it",
            "remove metacopy, or mount as root without userxattr", True,
        ),
    ),
    "aufs": (("noxino", ("xino",), "", "use only one of them", True),),
}  # fmt: skip


def _conflicts(stack: Stack) -> list[RequestError]:
    words = {*stack.options, *(f"{name}={value}" for name, value in stack.options.items())}
    upper = stack.upper is not None or "redirect_dir=nofollow" in words
    return [
        RequestError(
            "conflicting-options", f"{option} and {other} cannot be combined", why=why, hint=hint
        )
        for option, others, why, hint, always in CONFLICTS.get(stack.fstype, ())
        for other in others
        if option in words and other in words and (always or upper)
    ]
