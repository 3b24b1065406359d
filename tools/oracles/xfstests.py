"""Run the overlay group of xfstests with `layerctl check` as fsck.overlay: `make xfstests`.

xfstests calls fsck.overlay in three tests of its own (045, 046, 056), and after every other test on
the layers that it leaves: a corpus of healthy layers. This needs root and a checkout of xfstests
that was built (in it: `make`); its results are written to a directory of their own.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from layerctl.kernel import syscalls

ROOT = Path(__file__).resolve().parents[2]
#: The tests that are about fsck.overlay: they must run, and pass.
OURS = ("overlay/045", "overlay/046", "overlay/056")
#: All tests but one that leaves processes behind, which keep the mounts of the next ones busy.
_ALL = ["-g", "overlay/auto", "-e", "overlay/058"]
_SIZE = 3 << 30


@contextmanager
def device(image: Path) -> Iterator[str]:
    """Yield a loop device with a new xfs in an image."""
    with open(image, "wb") as file:
        file.truncate(_SIZE)
    subprocess.run(["mkfs.xfs", "-q", image], check=True)
    done = subprocess.run(
        ["losetup", "-f", "--show", image], check=True, capture_output=True, text=True
    )
    loop = done.stdout.strip()
    try:
        yield loop
    finally:
        subprocess.run(["losetup", "-d", loop], check=True)


def shim(directory: Path) -> None:
    """Put a program named fsck.overlay into a directory."""
    program = directory / "fsck.overlay"
    program.write_text(
        f"#!{sys.executable}\nimport sys\nsys.path.insert(0, {str(ROOT)!r})\n"
        "import layerctl.__main__\nlayerctl.__main__.program()\n"
    )
    program.chmod(0o755)


def run(checkout: Path, lab: Path, tests: list[str]) -> str:
    """Run tests; return what `check` of xfstests prints."""
    lab.chmod(0o711)  # some tests are run as another user
    for name in ("bin", "test", "scratch", "results"):
        (lab / name).mkdir()
    shim(lab / "bin")
    with device(lab / "test.img") as test, device(lab / "scratch.img") as scratch:
        config = lab / "config"
        config.write_text(
            f"FSTYP=xfs\nTEST_DEV={test}\nTEST_DIR={lab}/test\nSCRATCH_DEV={scratch}\n"
            f"SCRATCH_MNT={lab}/scratch\nRESULT_BASE={lab}/results\n"
        )
        environment = os.environ | {
            "HOST_OPTIONS": str(config),
            "PATH": f"{lab}/bin:{os.environ['PATH']}",
        }
        said = []
        with subprocess.Popen(
            ["./check", "-overlay", *tests], cwd=checkout, env=environment, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, errors="replace",
        ) as process:  # fmt: skip
            assert process.stdout is not None
            for line in process.stdout:
                sys.stdout.write(line)
                sys.stdout.flush()
                said.append(line)
        for directory in (f"{lab}/test/ovl-mnt", f"{lab}/scratch/ovl-mnt", f"{lab}/test",
                          f"{lab}/scratch"):  # fmt: skip
            subprocess.run(["umount", "-l", directory], check=False, stderr=subprocess.DEVNULL)
    return "".join(said)


def wrong(text: str, tests: list[str]) -> list[str]:
    """Return what is wrong: false findings, and those of OURS that did not pass."""
    found = [line for line in text.splitlines() if "is inconsistent" in line]
    asked = [one for one in OURS if one in tests or not tests]
    passed = {
        match[1] for match in re.finditer(r"^(overlay/\d+)\s+(?:\d+s \.\.\.)?\s+\d+s$", text, re.M)
    }
    return found + [f"{one} did not pass" for one in asked if one not in passed]


def main() -> int:
    """Run the tests that are named, else the whole group overlay/auto."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkout", type=Path, help="a built checkout of xfstests")
    parser.add_argument("tests", nargs="*", help="tests (overlay/045), else the group overlay/auto")
    arguments = parser.parse_args()
    if not (arguments.checkout / "check").exists():
        parser.error(f"{arguments.checkout} is not a checkout of xfstests")
    if not (arguments.checkout / "ltp/fsstress").exists():
        parser.error(f"build it first: make -C {arguments.checkout}")
    syscalls.unshare(syscalls.CLONE_NEWNS)
    syscalls.mount("none", "/", "", syscalls.MS_REC | syscalls.MS_PRIVATE, "")
    with tempfile.TemporaryDirectory(
        prefix="layerctl-xfstests-", ignore_cleanup_errors=True
    ) as lab:
        text = run(arguments.checkout, Path(lab), arguments.tests or _ALL)
    problems = wrong(text, arguments.tests)
    sys.stdout.write("".join(f"WRONG: {one}\n" for one in problems))
    return int(bool(problems))


if __name__ == "__main__":
    sys.exit(main())
