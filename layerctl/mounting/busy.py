"""What keeps a mount busy, as the details of an error."""

from __future__ import annotations

from collections.abc import Iterator

from layerctl.kernel.holders import Holders
from layerctl.kernel.processes import who


def details(found: Holders) -> Iterator[str]:
    """Yield a line for each user of a mount."""
    for process in found.processes:
        name, user = who(process.pid)
        for kind, path in process.holds:
            yield f"held by: {name} (pid {process.pid}, {user}): {kind} {path}"
    for target in found.below:
        yield f"held by: the mount {target} below it"
    for pid, name, target in found.elsewhere:
        yield f"also mounted: on {target} in the mount namespace of {name} (pid {pid})"
