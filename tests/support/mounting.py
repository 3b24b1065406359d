"""What tests of `layerctl mount` share: names, mount APIs, and looks at what is mounted."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from layerctl.kernel import mounts
from layerctl.kernel.context import overlay_features
from tests.support import ROOT

FEATURES = overlay_features()
#: The ways in that this kernel has; tests run on kernels from 5.10 on.
APIS = tuple(
    api
    for api, there in (
        ("fsconfig", FEATURES.append), ("fd", FEATURES.by_descriptor), ("mount", True)
    )
    if there
)  # fmt: skip
ODD_NAMES = (
    "a:b", "a,b", "a\\b", "a b", "a\tb", "a\nb", 'a"b', "a=b", "-a", "#a", "lowerdir=", "\udcff",
    "a\\,b", "a\\:b", "\\", ":", ",", "n" * 255, "%s", "$(x)", "é", "..a", "a\\134b", "a\\054b",
)  # fmt: skip


def snapshot(lab: Path) -> set[str]:
    return {os.path.relpath(os.path.join(d, n), lab) for d, s, f in os.walk(lab) for n in (*s, *f)}


def mounted_here(lab: Path) -> list[str]:
    return [one.target for one in mounts.entries() if one.target.startswith(f"{lab}/")]


def shown(target: Path) -> list[tuple[str, str]]:
    stack = mounts.find_layered(str(target)).stack
    return [(layer.role.value, layer.path) for layer in stack.layers]


def make(lab: Path, *names: str) -> None:
    for name in names:
        (lab / name).mkdir(parents=True)


def grow(lab: Path, *names: str) -> None:
    """Make directories, and files where a name ends in .x, which is what they hold."""
    for name in names:
        path = lab / name
        if path.suffix == ".x":
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(name)
        else:
            path.mkdir(parents=True, exist_ok=True)


def traced(inject: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the program under strace, which injects what `inject` says (strace(1))."""
    calls = inject.partition(":")[0]
    return subprocess.run(
        [
            "strace", "-f", "-qq", "-o", "/dev/null", "-e", f"trace={calls}", "-e",
            f"inject={inject}", sys.executable, "-m", "layerctl", *arguments,
        ],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )  # fmt: skip
