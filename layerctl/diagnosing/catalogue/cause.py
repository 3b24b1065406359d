"""The rows of the catalogue: one row per cause."""

from __future__ import annotations

from typing import NamedTuple

from layerctl.model import Severity
from layerctl.rules.releases import Release, release

OVERLAY_DOC = "https://docs.kernel.org/filesystems/overlayfs.html"
AUFS_DOC = "https://github.com/sfjro/aufs-standalone"
MOUNT_API_DOC = "https://man7.org/linux/man-pages/man2/fsconfig.2.html"
USERNS_DOC = "https://man7.org/linux/man-pages/man7/user_namespaces.7.html"


class Cause(NamedTuple):
    """One cause: what it is, why it happens, how to confirm it and how to fix it.

    `fix` and the commands are templates: `{upper}` becomes the upper directory, or UPPER if it is
    unknown. `confirm` are commands that show whether this is the cause. `since` is the first
    release of Linux that can have it, `until` the first that no longer can; `--from`, `explain` and
    the reference use them. `of_upper` marks causes that need an upper layer, `foreseen` causes that
    the checks of every mount find: if they did not, an errno does not point to it.
    """

    id: str
    severity: Severity
    title: str
    why: str
    fix: str
    commands: tuple[str, ...] = ()
    confirm: tuple[str, ...] = ()
    since: str = ""
    until: str = ""
    links: tuple[str, ...] = ()
    of_upper: bool = False
    foreseen: bool = False

    def concerns(self, kernel: Release) -> bool:
        """Tell whether a release of Linux can have this cause."""
        since, until = release(self.since), release(self.until)
        return (since is None or kernel >= since) and (until is None or kernel < until)


class Explained(NamedTuple):
    """A row of the catalogue, or one of the table of errors in the same form.

    `exit_code` is an error's, None for a cause.
    """

    cause: Cause
    exit_code: int | None = None


def table(*causes: Cause) -> dict[str, Cause]:
    """Return causes by their ids. Raises ValueError if two have the same id."""
    found: dict[str, Cause] = {}
    for cause in causes:
        if cause.id in found:
            raise ValueError(f"two causes are called {cause.id}")
        found[cause.id] = cause
    return found
