"""Boot a Debian, as `make test-boot` does, and see that what the how-tos promise comes true.

`systemd`: fstab lines and units that layerctl prints, by systemd as first process of a container.
`initramfs-tools` and `dracut`: a root that forgets, with the scripts of docs/how-to, in a virtual
machine, twice. As root; the Debian (debootstrap) is kept in .boot.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from layerctl.kernel import uncover

ROOT = Path(__file__).resolve().parents[1]
HERE = ROOT / ".boot"
BASE = HERE / "root"
PAGE = ROOT / "docs" / "how-to" / "root-that-forgets.md"
PACKAGES = (
    "systemd", "systemd-sysv", "udev", "kmod", "mount", "zstd", "python3", "python3-click",
    "python3-psutil", "python3-rich", "linux-image-cloud-amd64",
)  # fmt: skip
#: What the tests of this machine run: package and program.
NEEDED = {"debootstrap": "debootstrap", "qemu-system-x86_64": "qemu-system-x86"}


def run(*words: str | Path, check: bool = True, **more: object) -> subprocess.CompletedProcess[str]:
    """Run a program; show its output if it fails."""
    done = subprocess.run(
        words, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", **more
    )  # type: ignore[call-overload]
    if check and done.returncode:
        sys.exit(f"boot: {' '.join(map(str, words))}\n{done.stdout[-3000:]}{done.stderr[-3000:]}")
    return done  # type: ignore[no-any-return]


def inside(root: Path, script: str) -> str:
    """Run a shell script in a root, with /proc, /dev, /run, /data and this repository (/src)."""
    prepare = (
        f"mount --make-rprivate /; cd {root}; mount --bind . .; cd {root}; "
        "mount -t proc proc proc; mount --rbind /dev dev; mkdir -p src data old; "
        "mount -t tmpfs -o mode=755 tmpfs run; test ! -d ../data || mount --bind ../data data; "
        f'mount --bind {ROOT} src; pivot_root . old; umount -l old; exec sh -euc "$1"'
    )
    return run("unshare", "-m", "sh", "-euc", prepare, "sh", script).stdout


def base() -> None:
    """Make the Debian that everything starts from."""
    missing = [package for name, package in NEEDED.items() if shutil.which(name) is None]
    if missing:
        run("apt-get", "-qq", "update")
        run("apt-get", "-qq", "install", "-y", "--no-install-recommends", *missing)
    if (BASE / "made").exists():
        return
    shutil.rmtree(BASE, ignore_errors=True)
    HERE.mkdir(exist_ok=True)
    print("boot: fetching a Debian into .boot", file=sys.stderr)
    release = Path("/etc/os-release").read_text()
    suite = re.search(r"^VERSION_CODENAME=(\w+)", release, re.MULTILINE)
    include = ",".join(PACKAGES)
    run("debootstrap", "--variant=minbase", f"--include={include}", suite[1] if suite else "stable",
        BASE)  # fmt: skip
    (BASE / "made").touch()


class Scratch:
    """The Debian, to be changed for one boot: an overlay on .boot/root."""

    def __init__(self) -> None:
        self.directory = Path(tempfile.mkdtemp(dir=HERE))
        self.root = self.directory / "merged"
        upper, work = self.directory / "upper", self.directory / "work"
        # An upper layer cannot be on an overlay.
        for one in (upper, work, self.root, self.directory / "data"):
            one.mkdir()
        options = f"lowerdir={BASE},upperdir={upper},workdir={work}"
        run("mount", "-t", "overlay", "-o", options, "boot", self.root)
        inside(self.root, "python3 /src/tools/install.py --prefix /usr/local")

    def write(self, path: str, text: str, mode: int = 0o644) -> None:
        """Write a file of the root."""
        place = self.root / path.lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)
        place.chmod(mode)

    def service(self, script: str) -> None:
        """Let a script run once everything else has been started."""
        self.write("/report.sh", script)
        self.write(
            "/etc/systemd/system/report.service",
            "[Unit]\nAfter=multi-user.target\n[Service]\nType=simple\nExecStart=sh -u /report.sh\n",
        )
        wants = self.root / "etc/systemd/system/multi-user.target.wants"
        wants.mkdir(parents=True, exist_ok=True)
        (wants / "report.service").symlink_to("../report.service")

    def close(self) -> None:
        """Remove everything."""
        run("umount", self.root)
        shutil.rmtree(self.directory)


def demand(report: str, *lines: str) -> None:
    """See that a report has these lines."""
    missing = [line for line in lines if line not in report.splitlines()]
    if missing:
        sys.exit(f"boot: missing in the report: {missing}\n{report}")


#: Layers on a filesystem of fstab, and on a tmpfs; a stack on another one; a unit. The lines are in
#: the wrong order, so that only what they wait for can put them right.
LAYERS = """
mkdir -p /srv/layers /srv/a /srv/b /srv/c /srv/d /srv/e
mount --bind /data /srv/layers
cd /srv/layers
mkdir -p low more up up.work ub ub.work uc uc.work ue ue.work
echo low > low/file
chown 5:6 low/file
mkdir -p /run/d/u /run/d/u.work
layerctl mount --print tmpfiles -l low -u /run/d/u /srv/d > /etc/tmpfiles.d/layers.conf
layerctl mount --print unit -l low -u uc /srv/c > /etc/systemd/system/srv-c.mount
{
    layerctl mount --print fstab -l /srv/a -l more -u ue /srv/e
    layerctl mount --print fstab -l low -u /run/d/u /srv/d
    layerctl mount --print fstab --map 0:1000:1000 -l low -u ub /srv/b
    layerctl mount --print fstab -l low -u up /srv/a
    echo "/data /srv/layers none bind 0 0"
} > /etc/fstab
systemctl enable srv-c.mount
"""
LOOK = """
systemctl is-system-running --wait
for one in a b c d e; do
    stat -c "%n %u %g" /srv/$one/file
    findmnt -no TARGET,FSTYPE /srv/$one | tr -s ' '
done
systemctl --failed --plain --no-legend
systemctl stop srv-e.mount srv-b.mount
systemctl start srv-b.mount
findmnt -no TARGET,FSTYPE /srv/b | tr -s ' '
findmnt /srv/e || echo stopped
systemctl show -p Result --value srv-b.mount
"""
#: The first process of a container: namespaces of its own, nothing of the host that can be written.
CONTAINER = """
mount --make-rprivate /
cd "$1"
mount --bind . .; cd "$1"
mount --bind ../data data
mount -t proc proc proc
mount -t tmpfs -o mode=755 tmpfs run
mount -t sysfs -o ro sysfs sys
mount -t cgroup2 cgroup2 sys/fs/cgroup
mount -t tmpfs -o mode=755 tmpfs dev
for one in null zero full random urandom tty; do
    touch dev/$one
    mount --bind /dev/$one dev/$one
done
mkdir -p dev/shm dev/pts old
ln -s /proc/self/fd dev/fd
pivot_root . old
umount -l /old
exec env -i container=layerctl PATH=/usr/sbin:/usr/bin:/sbin:/bin /lib/systemd/systemd \
    --unit=multi-user.target --log-target=console
"""


def systemd() -> None:
    """Boot a container whose fstab and units were printed by layerctl."""
    scratch = Scratch()
    cgroup = _cgroup()
    try:
        inside(scratch.root, LAYERS)
        scratch.service(f"exec >/report 2>&1\n{LOOK}systemctl exit 7\n")
        cgroup.mkdir(exist_ok=True)
        start = f'unshare -Cimnpuf sh -euc "$1" sh {scratch.root}'
        script = f"echo 0 > {cgroup}/cgroup.procs; exec timeout -k 1 100 {start}"
        done = run("sh", "-euc", script, "sh", CONTAINER, check=False)
        report = scratch.root / "report"
        if done.returncode != 7 or not report.exists():
            sys.exit(f"boot: the container ended with {done.returncode}\n{done.stdout[-3000:]}")
        lines = [f"/srv/{one}/file {'1005 1006' if one == 'b' else '5 6'}" for one in "abcde"]
        mounts = [f"/srv/{one} overlay" for one in "abcde"]
        demand(report.read_text(), *lines, *mounts, "running", "stopped", "success")
        if ".mount loaded failed" in report.read_text():
            sys.exit(f"boot: a unit failed\n{report.read_text()}")
    finally:
        scratch.close()
        for one in sorted(cgroup.rglob("*"), reverse=True):
            if one.is_dir():
                one.rmdir()
        with suppress(FileNotFoundError):
            cgroup.rmdir()


def _cgroup() -> Path:
    found = re.findall(r"^\S+ (\S+) cgroup2 ", Path("/proc/mounts").read_text(), re.MULTILINE)
    if not found:
        sys.exit("boot: no cgroup2 is mounted here")
    return Path(found[0]) / "layerctl-boot"


def _write_scripts(scratch: Scratch, word: str) -> None:
    """Write the scripts that the how-to prints, of those whose path has `word`."""
    for path, text in re.findall(r"^`(/\S+)`:\n\n```sh\n(.*?)^```", PAGE.read_text(), re.M | re.S):
        if word in path:
            scratch.write(path, text, 0o755)


FORGETS = """
test -e /etc/written && echo remembered
touch /etc/written
findmnt -no TARGET,FSTYPE,OPTIONS / | tr -s ' ' | cut -d, -f1
findmnt -no TARGET,FSTYPE /run/root/lower | tr -s ' '
test -e /run/root/lower/etc/written || echo untouched
layerctl inspect changes / --raw --noheadings --output CHANGE,PATH | grep -w etc/written
layerctl doctor / >/dev/null && echo well
systemctl --failed --plain --no-legend
"""


def root_that_forgets(packages: str, word: str, build: str) -> None:
    """Boot a machine with the scripts of the how-to, twice."""
    scratch = Scratch()
    try:
        get = "apt-get -qq update; apt-get -qq install -y --no-install-recommends"
        inside(scratch.root, f"export DEBIAN_FRONTEND=noninteractive; {get} {packages}")
        _write_scripts(scratch, word)
        scratch.write("/etc/fstab", "/dev/vda / ext4 errors=remount-ro 0 1\n")
        scratch.service(
            "exec >/run/report 2>&1\n" + FORGETS
            + "dd if=/run/report of=/dev/vdb bs=64K conv=sync 2>/dev/null\nsystemctl poweroff -ff\n"
        )  # fmt: skip
        inside(scratch.root, f"{build}; rm -rf /var/cache/apt/*.bin /var/lib/apt/lists")
        disk, out = scratch.directory / "disk", scratch.directory / "out"
        run("truncate", "-s", "2G", disk)
        run("mke2fs", "-q", "-t", "ext4", "-d", scratch.root, disk)
        for _ in range(2):
            demand(_boot(scratch.root, disk, out), "/ overlay rw", "/run/root/lower ext4",
                   "untouched", "added etc/written", "well")  # fmt: skip
            if "remembered" in out.read_text():
                sys.exit("boot: the root has not forgotten")
    finally:
        scratch.close()


def _boot(root: Path, disk: Path, out: Path) -> str:
    out.write_bytes(bytes(1 << 16))
    (kernel,) = root.glob("boot/vmlinuz-*")
    (initrd,) = root.glob("boot/initrd.img-*")
    drives = [f"file={file},if=virtio,format=raw" for file in (disk, out)]
    done = run(
        "timeout", "-k", "5", "300", "qemu-system-x86_64", "-kernel", kernel, "-initrd", initrd,
        "-append", "root=/dev/vda ro overlayroot console=ttyS0 panic=-1",
        *(word for drive in drives for word in ("-drive", drive)),
        "-nographic", "-m", "1G", "-smp", "2", "-no-reboot", check=False,
    )  # fmt: skip
    report = out.read_bytes().rstrip(b"\0").decode(errors="replace")
    if not report:
        sys.exit(f"boot: no report; the end of the console:\n{done.stdout[-3000:]}{done.stderr}")
    out.write_text(report)
    return report


BOOTS: dict[str, Callable[[], None]] = {
    "systemd": systemd,
    "initramfs-tools": lambda: root_that_forgets(
        "initramfs-tools",
        "/initramfs-tools/",
        "echo overlay >> /etc/initramfs-tools/modules; update-initramfs -u",
    ),
    "dracut": lambda: root_that_forgets(
        "dracut",
        "/dracut/",
        "rm -f /boot/initrd*; for one in $(ls /lib/modules); do dracut --quiet --force "
        "--no-hostonly --add overlay-root /boot/initrd.img-$one $one; done",
    ),
}


def main() -> int:
    """Boot those that are named, or all."""
    uncover.leave([])  # so that nothing else sees the mounts
    base()
    for name in sys.argv[1:] or BOOTS:
        BOOTS[name]()
        print(f"boot: {name}: as promised", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
