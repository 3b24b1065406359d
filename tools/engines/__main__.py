"""Compare what layerctl says of containers and images with what engines report: `make engines`.

Real Docker, podman and containerd, each in its own mount namespace, where nothing of this machine
is changed. Every form of a name must give the stack that the engine itself reports, of containers
that run, are paused and have ended, of an image and of its layers: with the engine running, without
it, and from a copy of its store. Arguments choose engines.
"""

from __future__ import annotations

import functools
import sys
from pathlib import Path

from tests.support import ChildFailedError, in_namespace
from tools.engines import archive, checks
from tools.engines.engine import Engine, run
from tools.engines.engines import ENGINES


def _check(kind: type[Engine], lab: Path) -> str:
    """Return what agrees. Raises AssertionError."""
    for place in ("/run", "/var/lib"):
        run("mount", "-t", "tmpfs", "-o", "mode=755", "engine", place)
    image = Path("/var/lib/image.tar")  # a user may read it there
    archive.write(image)
    engine = kind(lab)
    with engine.started(image):
        version, reported = engine.version(), list(engine.reported())
        checks.lists(engine)
        count = checks.stacks(reported)
        if engine.inside:
            checks.stacks(reported, inside=engine.inside)
        checks.answers(reported)
        checks.changes(engine)
        checks.sizes(reported)
        checks.mounts(engine)
        checks.archives(engine)
    checks.stacks(reported)
    disk = lab / "disk"
    engine.evidence(disk)
    checks.stacks(reported, str(disk))
    checks.answers(reported, str(disk))
    return f"{version}: {count} names of {len(reported)} stacks agree"


def main(chosen: list[str]) -> int:
    """Compare; return the exit code."""
    failed = 0
    for name in chosen or ENGINES:
        kind = ENGINES[name]
        try:
            text = f"{kind.title}: {in_namespace(functools.partial(_check, kind))}"
        except ChildFailedError as error:
            failed, text = 1, f"{kind.title}: {error}"
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()
    return failed


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
