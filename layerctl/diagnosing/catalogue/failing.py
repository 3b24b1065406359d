"""Causes around a mount: limits, servers of layers, permission to pass mappings."""

from __future__ import annotations

from layerctl.diagnosing.catalogue.cause import OVERLAY_DOC, Cause, table
from layerctl.model import Severity

_F, _W = Severity.FAILURE, Severity.WARNING

CAUSES = table(
    Cause(
        "mount-count-limit",
        _F,
        "Too many mounts (fs.mount-max)",
        "A mount namespace holds at most fs.mount-max mounts, 100,000 by default. Beyond that, "
        "mount(2) fails with ENOSPC even though every disk has space. Mounts that are never "
        "unmounted, and propagation that duplicates them, use up the limit.",
        "Find out what leaves mounts behind, and unmount them; until then, raise the limit.",
        ("sysctl fs.mount-max=200000",),
        ("wc -l < /proc/self/mountinfo", "sysctl fs.mount-max"),
        since="4.9",
        links=("https://docs.kernel.org/admin-guide/sysctl/fs.html#mount-max",),
    ),
    Cause(
        "mount-point-not-mounted",
        _F,
        "There is no mount to change at this path",
        "A remount changes the mount at exactly this path. mount(8) reports 'mount point not "
        "mounted or bad option' if the path is not a mount point, often because the overlay was "
        "never mounted or another mount covers it.",
        "Remount the path that findmnt names, or mount it first.",
        ("findmnt -T {target}",),
        ("findmnt -T {target}",),
    ),
    Cause(
        "already-mounted",
        _F,
        "The target already has this mount",
        "mount(8) reports EBUSY as 'already mounted or mount point busy': the target already has "
        "this mount, or another overlay uses the upper or work directory.",
        "Check what is mounted at the target, and unmount it if it is not what you want.",
        ("findmnt {target}",),
        ("findmnt {target}",),
    ),
    Cause(
        "fuse-overlayfs-crashed",
        _F,
        "fuse-overlayfs is no longer running",
        "The process that serves the mount crashed or was killed (by the OOM killer, or at the end "
        "of the session). Every access then fails with 'Transport endpoint is not connected', and "
        "one that was in progress with 'Software caused connection abort'.",
        "Unmount what is left and restart the container; then find out why the process ended.",
        ("fusermount3 -u {target}",),
        ("dmesg | grep -i -e fuse-overlayfs -e 'killed process'", "pgrep -a fuse-overlayfs"),
        links=("https://github.com/containers/fuse-overlayfs",),
    ),
    Cause(
        "apparmor-denies-layer-path",
        _F,
        "AppArmor denies a path of a layer",
        "Overlay opens files in its layers with the mounter's credentials, and AppArmor checks the "
        "path in the layer: a profile must allow that path as well as the merged one.",
        "Allow the layer directories in the profile, and reload it.",
        ("apparmor_parser -r /etc/apparmor.d/PROFILE",),
        ("dmesg | grep apparmor=",),
    ),
    Cause(
        "remote-lower-misbehaves",
        _W,
        "The remote filesystem of a lower layer does not behave as overlay expects",
        "GPFS, 9p, virtiofs, Lustre and similar filesystems have their own ideas of file handles, "
        "attributes and directory listings. The result is errno 524 (ENOTSUPP), EINVAL or empty "
        "directories.",
        "Copy the layer to a local filesystem, or update the client of the remote filesystem.",
        (),
        ("findmnt -T {lower}", "dmesg | tail -20"),
        links=(OVERLAY_DOC,),
    ),
    Cause(
        "idmapping-refused",
        _F,
        "The kernel refused to idmap a mount",
        "An idmapped mount needs a filesystem that supports idmapping, a user namespace with the "
        "ids, and the privilege to mount in the user namespace that owns the filesystem.",
        "Map ids that the namespace has, on a filesystem that supports idmapping (ext4, xfs, "
        "btrfs, tmpfs, ...), as root on the host.",
        (),
        ("cat /proc/self/uid_map", "findmnt -T {lower}"),
        since="5.12",
    ),
    Cause(
        "orphaned-layers",
        _W,
        "An engine's store holds layers that no record refers to",
        "Each layer directory belongs to an image, a container or a build. After a crash or an "
        "interrupted removal, directories without a record remain; they only take up space.",
        "Let the engine clean its store; do not remove the directories yourself.",
    ),
    Cause(
        "mount-leaked",
        _W,
        "A merged tree is mounted only in another mount namespace",
        "A process that was started while a container ran has a copy of its mounts. The engine "
        "has unmounted its own, and cannot remove the directory while the copy is there.",
        "Restart the service that has the copy, which systemctl names; then the engine can remove "
        "the container.",
        ("systemctl status {pid}",),
        ("grep {target} /proc/{pid}/mountinfo",),
    ),
)
