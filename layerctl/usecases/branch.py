"""Change the branches of a mounted aufs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from layerctl.codecs.request import parse_branch_flag
from layerctl.errors import NotFoundError, RequestError
from layerctl.kernel import mounts, paths, standing
from layerctl.kernel.mounts import Mounted
from layerctl.model import Layer, Role, Stack
from layerctl.mounting import branches
from layerctl.rules.branches import BranchChange
from layerctl.rules.words import shell


class Changes(NamedTuple):
    """The changes to the branches of one mount, in the order in which they are made."""

    mounted: Mounted
    changes: tuple[BranchChange, ...]

    @property
    def options(self) -> tuple[str, ...]:
        """The option of each remount."""
        return tuple(change.option(change.branch.path) for change in self.changes)

    def result(self) -> Mounted:
        """Return the mount as it would be. Raises RequestError or RefusedError."""
        return self.mounted._replace(stack=branches.planned(self.mounted, self.changes))


def find_aufs(target: str) -> Mounted:
    """Return the aufs on TARGET. Raises NotFoundError if there is none."""
    mounted = mounts.find_layered(target)
    if mounted.entry.fstype != "aufs":
        raise NotFoundError(
            "not-aufs",
            f"{target} is an {mounted.entry.fstype} mount, not an aufs",
            why="overlay cannot change its layers while it is mounted",
            hint="unmount it and mount it again with other layers",
        )
    return mounted


def plan_changes(
    target: str, word: str, names: Sequence[str], position: int | None = None
) -> Changes:
    """Return the changes that the names request, without making them.

    `word` is an option of aufs: add (at `position`), append, prepend, del or mod. A name is a
    directory, followed by `=PERM` except for del. Raises NotFoundError if there is no aufs,
    RequestError for a mod without permissions.
    """
    mounted = find_aufs(target)
    # Each is put on top of those before it, so that the first becomes the topmost.
    ordered = reversed(names) if word == "prepend" else names
    changes = []
    for name in ordered:
        branch = Layer(name, Role.BRANCH) if word == "del" else parse_branch_flag(name)
        if word == "mod" and branch.permission is None:
            raise RequestError(
                "aufs-br-syntax",
                f"'{name}' has no permission",
                commands=(shell("layerctl", "branch", "mod", target, f"{name}=ro"),),
            )
        changes.append(resolved(BranchChange(word, branch, position), mounted.stack))
    return Changes(mounted, tuple(changes))


def resolved(change: BranchChange, live: Stack) -> BranchChange:
    """Return a change with an absolute path, or the name of the branch in the mount."""
    path = paths.absolute(change.branch.path)
    if change.word in ("del", "mod"):
        path = branches.known_path(live, path) or path
    return change._replace(branch=change.branch._replace(path=path))


def carry_out(changes: Changes, target: str) -> tuple[Mounted, tuple[str, ...]]:
    """Make the changes; return the resulting mount and notes.

    Raises NotFoundError if TARGET leads to another mount now, else what `branches.apply` raises.
    """
    standing.demand_name(target, changes.mounted.entry)
    return branches.apply(changes.mounted, changes.changes)
