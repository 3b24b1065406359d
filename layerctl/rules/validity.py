"""What is wrong with a request whatever the system looks like. Pure."""

from __future__ import annotations

from layerctl.errors import RequestError
from layerctl.model import Role, Stack
from layerctl.rules import aufs
from layerctl.rules.options import (
    AUFS_MAX_SECONDS,
    FLAGS,
    TABLES,
    Option,
    Takes,
    find,
    flag_value,
    integer,
    nearest,
)

#: OVL_MAX_STACK (fs/overlayfs/params.h): lower layers, data-only ones included.
MAX_LOWERS = 500


def problems(stack: Stack) -> list[RequestError]:
    """Return everything that is wrong with a stack as asked for, the gravest first."""
    if stack.fstype == "aufs":
        return [*_aufs_layers(stack), *value_problems(stack), *_aufs_options(stack)]
    if stack.fstype == "fuse-overlayfs":
        return [*_fuse_layers(stack), *value_problems(stack)]
    return [*_overlay_layers(stack), *value_problems(stack), *_overlay_conflicts(stack)]


def _overlay_layers(stack: Stack) -> list[RequestError]:
    lowers = len(stack.of_role(Role.LOWER)) + len(stack.of_role(Role.DATA))
    found = []
    if not lowers:
        found.append(
            RequestError(
                "too-few-layers",
                "no lower layer was given",
                why="an overlay needs at least one lower and one upper layer, or two lower layers",
                hint="name the lower layers, topmost first: -l DIR",
            )
        )
    elif lowers < 2 and stack.upper is None:
        found.append(
            RequestError(
                "too-few-layers",
                "one lower layer without an upper is not an overlay",
                why="without an upper directory the kernel requires at least two lower layers",
                hint="add an upper (-u DIR) or a second lower layer (-l DIR), or use a bind mount "
                "to show one directory elsewhere",
            )
        )
    elif not stack.of_role(Role.LOWER):
        found.append(
            RequestError(
                "too-few-layers",
                "every layer is data-only",
                why="a data-only layer shows no names of its own; a lower layer must refer to it",
                hint="name at least one lower layer: -l DIR",
            )
        )
    if lowers > MAX_LOWERS:
        found.append(
            RequestError(
                "too-many-layers",
                f"{lowers} lower layers exceed the limit of overlay ({MAX_LOWERS})",
                why="the limit (OVL_MAX_STACK) is compiled into the kernel and includes data-only "
                "layers",
                hint="merge some layers into one directory, or mount some of them first and use "
                "that mount as one lower layer",
            )
        )
    if stack.upper is not None and stack.work is None:
        found.append(
            RequestError(
                "missing-workdir",
                "an upper directory needs a work directory",
                why="overlay prepares files there before it renames them into the upper directory",
                hint="name one next to the upper directory: -w DIR",
            )
        )
    return found


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
            RequestError(
                "too-few-layers",
                "no branch was given",
                why="an aufs needs at least one branch",
                hint="name the branches, topmost first: -b DIR=rw -b DIR=ro",
            )
        )
    if len(stack.layers) > aufs.MAX_BRANCHES:
        found.append(
            RequestError(
                "aufs-too-many-branches",
                f"{len(stack.layers)} branches exceed the limit of aufs ({aufs.MAX_BRANCHES})",
                why="the limit is compiled into the kernel (AUFS_BRANCH_MAX)",
                hint="merge some branches into one directory",
            )
        )
    for layer in stack.layers:
        if not layer.path:
            found.append(
                RequestError(
                    "aufs-br-syntax",
                    "the name of a branch is empty",
                    hint="name the branches, topmost first: -b DIR=rw -b DIR=ro",
                )
            )
        elif layer.permission is not None:
            problem = aufs.permission_problem(layer.permission)
            if problem:
                found.append(
                    RequestError(
                        "aufs-branch-permission-unknown",
                        f"branch {layer.path}: {problem}",
                        why="aufs would treat an unknown permission as ro, drop an unknown "
                        "attribute, and say so only in the kernel log",
                        hint=f"write it as: -b {layer.path}=rw (or =ro, =ro+wh)",
                    )
                )
    return found


def value_problems(stack: Stack) -> list[RequestError]:
    """Values that the table rules out; names that are not in it are for the kernel to judge."""
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
    """Say what is wrong with an option's value, empty where nothing is."""
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
    if option.name == "rdblk" and 0 < number < aufs.MIN_RDBLK:
        return f"{value} is less than {aufs.MIN_RDBLK}, and not 0"
    return ""


def _is_choice(option: Option, value: str) -> bool:
    if value in option.values:
        return True
    head, *texts = value.split(":")
    if not texts or head + ":" not in option.values:
        return False
    numbers = [integer(text) for text in texts]
    if head not in option.values:  # bytes that are to stay free come first, of any number
        free, *numbers = numbers
        if free is None or free < 0:
            return False
    elif len(numbers) != 1:
        return False
    return all(number is not None and 0 <= number <= AUFS_MAX_SECONDS for number in numbers) and (
        len(numbers) < 2
    )


def example(option: Option) -> str:
    """Return how an option is written."""
    match option.takes:
        case Takes.NOTHING:
            return option.name
        case Takes.CHOICE:
            return f"{option.name}={'|'.join(option.values)}"
        case takes:
            return f"{option.name}={takes.value.upper()}"


def suggestions(stack: Stack, name: str) -> list[str]:
    """Return what a user may have meant by an option that the table does not have."""
    known = [option.name for option in (*TABLES.get(stack.fstype, ()), *FLAGS)]
    return nearest(name, known)


def _overlay_conflicts(stack: Stack) -> list[RequestError]:
    """Options that no kernel takes together (ovl_fs_params_verify in fs/overlayfs/params.c).

    Only what was asked for in words counts: a module's defaults give way to it.
    """
    get = stack.options.get
    userxattr = "userxattr" in stack.options
    metacopy = get("metacopy") == "on"
    redirect = get("redirect_dir")
    # Without an upper layer and without redirect_dir=nofollow, nfs_export is dropped at once.
    exported = get("nfs_export") == "on" and (stack.upper is not None or redirect == "nofollow")
    pairs = []
    if (
        metacopy
        and redirect not in (None, "on")
        # Without an upper layer, following redirects is all that there is to `on`.
        and not (redirect in ("follow", "off") and stack.upper is None)
    ):
        pairs.append(
            (
                ("metacopy=on", f"redirect_dir={redirect}"),
                "metacopy uses redirects to find the data of a file",
                "remove redirect_dir, or set redirect_dir=on",
            )
        )
    if exported and metacopy:
        pairs.append(
            (
                ("nfs_export=on", "metacopy=on"),
                "a file handle cannot refer to data and metadata in two layers",
                "use only one of them",
            )
        )
    if exported and get("index") == "off":
        pairs.append(
            (
                ("nfs_export=on", "index=off"),
                "NFS export looks up file handles in the index",
                "set index=on, or remove nfs_export",
            )
        )
    if userxattr and redirect in ("on", "follow"):
        pairs.append(
            (
                ("userxattr", f"redirect_dir={redirect}"),
                "any user can write a redirect to user.overlay.*, so the kernel does not trust it",
                "remove redirect_dir, or mount as root without userxattr",
            )
        )
    if userxattr and metacopy:
        pairs.append(
            (
                ("userxattr", "metacopy=on"),
                "any user can write a metacopy marker to user.overlay.*, so the kernel does not "
                "trust it",
                "remove metacopy, or mount as root without userxattr",
            )
        )
    return [
        RequestError(
            "conflicting-options",
            f"{one} and {other} cannot be combined",
            why=why,
            hint=hint,
        )
        for (one, other), why, hint in pairs
    ]


def _aufs_options(stack: Stack) -> list[RequestError]:
    found = []
    if "xino" in stack.options and "noxino" in stack.options:
        found.append(
            RequestError(
                "conflicting-options",
                "xino=PATH and noxino cannot be combined",
                hint="use only one of them",
            )
        )
    return found
