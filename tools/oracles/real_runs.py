"""Install and remove packages over a debootstrap in a run: `make real-runs`.

The tree is the same after the run; applied, it is as if apt-get had worked on it directly, but for
logs and caches, which hold the time of day. As root, with a network.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from tests.support.running import digest

ROOT = Path(__file__).resolve().parents[2]
_WORK = """
export DEBIAN_FRONTEND=noninteractive; apt-get update -qq
apt-get install -y -qq --no-install-recommends cowsay tree; apt-get remove -y -qq tree
"""
#: What holds times of day, below var.
_TIMES = ("log/", "cache/apt/", "cache/ldconfig/", "lib/apt/")


def _run(*words: str | Path) -> None:
    subprocess.run(words, check=True, env={"PYTHONPATH": str(ROOT), "PATH": _PATH})


_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def main(given: str | None) -> int:
    """Do it; return 1 if the trees differ."""
    layerctl = (sys.executable, "-m", "layerctl")
    with tempfile.TemporaryDirectory(prefix="layerctl-real-", dir="/var/tmp") as top:
        tree, direct, kept = (Path(top, name) for name in ("tree", "direct", "kept"))
        if given is None:
            _run("debootstrap", "--variant=minbase", "stable", tree)
        else:
            _run("cp", "-a", given, tree)
        _run("cp", "-a", tree, direct)
        before = digest(tree)
        _run(*layerctl, "run", "--keep", kept, "--", "chroot", tree, "sh", "-ec", _WORK)
        same = digest(tree) == before
        _run(*layerctl, "apply", kept)
        _run("chroot", direct, "sh", "-ec", _WORK)
        one, other = digest(tree), digest(direct)
        differ = [
            path
            for path in sorted({*one, *other})
            if one.get(path) != other.get(path)
            and not path.startswith(tuple(f"var/{name}" for name in _TIMES))
        ]
    print(f"the same after the run: {same}; {len(one)} paths, different: {differ or 'none'}")
    return int(bool(differ) or not same)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1] if len(sys.argv) > 1 else None))
