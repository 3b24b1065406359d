"""Compare a whole operating system in layers with the kernel: `make real-system`.

Debian is installed with debootstrap, and packages are installed and removed through overlay mounts,
layer by layer. This needs root, debootstrap, a Debian mirror, 2 GB of memory and some minutes.
"""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
from itertools import chain
from pathlib import Path

from layerctl.inspecting.changes import Changes
from layerctl.inspecting.opening import opened
from layerctl.inspecting.whiteouts import Whiteouts
from layerctl.kernel import syscalls
from tests.support import in_namespace
from tests.support.compare import compare, kernel_tree, wrong_changes
from tests.support.stacks import Case, Mounted, make_case

SUITE = os.environ.get("SUITE", "bookworm")
#: The command that fills each layer, and the mount options of its overlay.
LAYERS = (
    ("apt-get install -y --no-install-recommends vim-tiny less perl", ""),
    ("apt-get install -y --no-install-recommends python3 git golang-src", "redirect_dir=on"),
    ("apt-get purge -y --allow-remove-essential vim-tiny less; apt-get autoremove -y", ""),
    (
        "mv /usr/share/zoneinfo /usr/share/zones; chmod -R go-w /usr/lib/git-core; "
        "find /usr/share/go-1.* -name '*_test.go' -exec touch {} +; "
        "chmod 600 /usr/share/go-1.*/src/fmt/*; "
        "rm -rf /usr/share/doc; mkdir /usr/share/doc; echo > /usr/share/doc/README",
        "redirect_dir=on,metacopy=on",
    ),
    (
        "apt-get install -y --no-install-recommends tzdata nano file adwaita-icon-theme",
        "redirect_dir=on,metacopy=on",
    ),
)
FINAL = "redirect_dir=on,metacopy=on"


def say(text: str) -> None:
    """Print a line at once."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def run_inside(root: str, command: str) -> None:
    """Run a shell command with `root` as the root directory."""
    subprocess.run(
        ["chroot", root, "/bin/sh", "-ec", command],
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "DEBIAN_FRONTEND": "noninteractive"}
        | {name: value for name, value in os.environ.items() if name.lower().endswith("_proxy")},
    )


def install(lab: Path) -> Case:
    """Create the base and every layer; return the stack."""
    base = lab / "base"
    subprocess.run(
        ["debootstrap", "--variant=minbase", SUITE, base], check=True, stdout=subprocess.DEVNULL
    )
    (base / "usr/sbin/policy-rc.d").write_text("#!/bin/sh\nexit 101\n")
    (base / "usr/sbin/policy-rc.d").chmod(0o755)
    shutil.copy("/etc/resolv.conf", base / "etc/resolv.conf")
    shutil.copytree("/etc/apt/apt.conf.d", base / "etc/apt/apt.conf.d", dirs_exist_ok=True)
    (lab / "m").mkdir()
    stack = [str(base)]
    for number, (command, options) in enumerate(LAYERS, 1):
        upper = f"{lab}/layer{number}"
        os.mkdir(upper)
        shutil.rmtree(lab / "w", ignore_errors=True)
        (lab / "w").mkdir()
        with Mounted(make_case(str(lab), stack, upper=upper, options=options)) as merged:
            syscalls.mount("proc", f"{merged}/proc", "proc", 0, "")
            run_inside(merged, command)
            syscalls.umount2(f"{merged}/proc", syscalls.MNT_DETACH)
        stack.insert(0, upper)
        say(f"layer {number}: {command}")
    return make_case(str(lab), stack[1:], upper=stack[0], options=FINAL)


def devices(directory: str) -> int:
    """Count the character devices 0:0 below a directory."""
    count = 0
    for above, _, files in os.walk(directory):
        for name in files:
            status = os.lstat(f"{above}/{name}")
            count += stat.S_ISCHR(status.st_mode) and status.st_rdev == 0
    return count


def wrong_whiteouts(case: Case, after: dict[str, object]) -> list[str]:
    """Compare the whiteouts found with the devices in the layers, and with the merged tree."""
    with opened(case.stack) as view:
        found = [
            one
            for one in chain.from_iterable(Whiteouts(view, thorough=False))
            if one.kind == "chardev"
        ]
    there = sum(devices(layer.path) for layer in case.stack.layers)
    wrong = [] if len(found) == there else [f"{len(found)} whiteouts, but {there} devices"]
    for one in found:
        if one.effective == "yes" and one.layer == 0 and one.path in after:
            wrong.append(f"{one.path}: whited out in layer 0, but the kernel shows it")
    say(f"whiteouts: {len(found)}, {sum(one.effective == 'yes' for one in found)} with effect")
    return wrong


def wrong_in_changes(case: Case, lab: Path, after: dict[str, object]) -> list[str]:
    """Compare the changes of the top layer with the mounts without and with it."""
    lowers = [layer.path for layer in case.stack.layers[1:]]
    with Mounted(make_case(str(lab), lowers, options=FINAL)) as merged:
        before = kernel_tree(merged, ())
    with opened(case.stack) as view:
        made = {one.path: one for one in chain.from_iterable(Changes(view, 1, content=True))}
    say(f"changes: {len(made)}")
    return wrong_changes(made, before, after)


def body(lab: Path) -> list[str]:
    """Install a system in layers; return every difference between resolver and kernel."""
    case = install(lab)
    wrong = compare(case, live=True)
    with Mounted(case) as merged:
        after = kernel_tree(merged, ())
    say(f"entries: {len(after)} in {len(case.stack.layers)} layers")
    wrong += wrong_whiteouts(case, dict(after))
    wrong += wrong_in_changes(case, lab, dict(after))
    if len(after) < 20_000:
        wrong.append(f"only {len(after)} entries: too few to say much")
    return wrong


def main() -> int:
    """Build, compare and print; return 1 if anything differs."""
    wrong = in_namespace(body)
    for text in wrong[:50]:
        say(text)
    say(f"{len(wrong)} differences" if wrong else "resolver and kernel agree")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
