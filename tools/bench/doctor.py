"""Run time of `doctor --from` on long logs, compared with grep on the same logs."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

from tools.bench.ratio import LAYERCTL, Ratio

_LINES = (
    "kernel: usb 1-{0}: new high-speed USB device number {1} using xhci_hcd",
    "systemd[1]: Mounted /run/user/{0}.",
    "systemd[1]: Started Session {0} of user u.",
    "kernel: EXT4-fs (sda{0}): mounted filesystem with ordered data mode. Opts: (null)",
    "NetworkManager[{0}]: <info>  [17.{1}] device (eth0): state change: config -> ip-config",
    "sshd[{0}]: Accepted publickey for u from 10.0.0.1 port {1}",
    "kernel: cfg80211: failed to load regulatory.db",
    "dockerd[{0}]: time=\"17\" level=info msg=\"ignoring event\" module={1}",
    "cron[{0}]: (root) CMD (run-parts)",
)  # fmt: skip
_FAILURE = "kernel: overlayfs: workdir and upperdir must reside under the same mount"


def boot_log(path: str, size: int) -> None:
    """Write a boot log with one failure of an overlay in the middle."""
    chance = random.Random(size)
    lines, written = [], 0
    while written < size:
        words = chance.choice(_LINES).format(chance.randrange(99999), chance.randrange(99999))
        lines.append(f"Nov 25 12:{written % 60:02}:11 host {words}\n")
        written += len(lines[-1])
    lines.insert(len(lines) // 2, f"Nov 25 12:00:00 host {_FAILURE}\n")
    Path(path).write_text("".join(lines))


def ratios() -> Iterator[Ratio]:
    """Yield the comparisons."""
    boot_log("20", 20 << 20)
    boot_log("2", 2 << 20)
    # the failure is found, so the exit code is 1, which the shell turns into 0
    read = ("sh", "-c", 'shift; "$@" || [ $? -eq 1 ]', "sh", "x", *LAYERCTL, "doctor", "--from")
    grep = ("grep", "-c", "-i", "-E", "overlay|aufs|mount")
    yield Ratio("doctor --from a boot log of 20 MB / grep over it", (*read, "20"), (*grep, "20"), 6)
    yield Ratio("doctor --from 20 MB / doctor --from 2 MB", (*read, "20"), (*read, "2"), 11)
