"""What the catalogue is made of: one row a cause."""

from __future__ import annotations

from typing import NamedTuple

from layerctl.model import Severity
from layerctl.rules.releases import Release, release

OVERLAY_DOC = "https://docs.kernel.org/filesystems/overlayfs.html"
AUFS_DOC = "https://github.com/sfjro/aufs-standalone"
MOUNT_API_DOC = "https://man7.org/linux/man-pages/man2/fsconfig.2.html"
USERNS_DOC = "https://man7.org/linux/man-pages/man7/user_namespaces.7.html"


class Cause(NamedTuple):
    """One cause: what it is, why it happens, how to confirm it and what mends it.

    `fix` and the commands are templates: `{upper}` becomes the upper directory where the facts
    tell it, and UPPER where they do not. `confirm` are commands that show whether it is so.
    `since` is the first release of Linux that can have it, `until` the first that cannot any more;
    the ranking of `--from`, `explain` and the reference read them. `of_upper` marks what only a
    mount with an upper layer can have, `foreseen` what the checks of every mount find if it is
    there: where they did not, an errno is no sign of it.
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


def table(*causes: Cause) -> dict[str, Cause]:
    """Return causes by their ids. Raises ValueError if two bear one id."""
    found: dict[str, Cause] = {}
    for cause in causes:
        if cause.id in found:
            raise ValueError(f"two causes are called {cause.id}")
        found[cause.id] = cause
    return found
