"""Causes that lie around a mount: limits, what serves a layer, and who may pass a mapping."""

from __future__ import annotations

from layerctl.doctor.catalogue.cause import OVERLAY_DOC, Cause, table
from layerctl.model import Severity

_F, _W = Severity.FAILURE, Severity.WARNING

CAUSES = table(
    Cause(
        "mount-count-limit",
        _F,
        "There are too many mounts (fs.mount-max)",
        "A mount namespace holds at most fs.mount-max mounts, 100,000 by default. mount(2) itself "
        "then answers ENOSPC, with room on every disk. Mounts that are never unmounted, and "
        "propagation that doubles them, use it up.",
        "Find what leaves its mounts behind and unmount them; raise the limit until then.",
        ("sysctl fs.mount-max=200000",),
        ("wc -l < /proc/self/mountinfo", "sysctl fs.mount-max"),
        since="4.9",
        links=("https://docs.kernel.org/admin-guide/sysctl/fs.html#mount-max",),
    ),
    Cause(
        "mount-point-not-mounted",
        _F,
        "Nothing is mounted where a mount was to be changed",
        "A remount changes the mount at exactly this path. mount(8) answers 'mount point not "
        "mounted or bad option' where the path is no mount point, often because the overlay "
        "was never mounted, or covers the one that was meant.",
        "Remount the path that findmnt names, or mount it first.",
        ("findmnt -T {target}",),
        ("findmnt -T {target}",),
    ),
    Cause(
        "already-mounted",
        _F,
        "The same is mounted there already",
        "mount(8) says 'already mounted or mount point busy' for EBUSY: the target has this mount "
        "already, or the upper or work directory serves another overlay.",
        "See what is mounted at the target; unmount it, or leave it as it is.",
        ("findmnt {target}",),
        ("findmnt {target}",),
    ),
    Cause(
        "fuse-overlayfs-crashed",
        _F,
        "fuse-overlayfs is no longer running",
        "The process that serves the mount crashed or was killed (the OOM killer, a stop of the "
        "session). Each access then answers 'Transport endpoint is not connected', and one that "
        "was under way 'Software caused connection abort'.",
        "Unmount what is left and start the container again; then look for why it ended.",
        ("fusermount3 -u {target}",),
        ("dmesg | grep -i -e fuse-overlayfs -e 'killed process'", "pgrep -a fuse-overlayfs"),
        links=("https://github.com/containers/fuse-overlayfs",),
    ),
    Cause(
        "apparmor-denies-layer-path",
        _F,
        "AppArmor denies a path of a layer",
        "Overlay opens the files of its layers with the rights of who mounted it, and AppArmor "
        "checks the layer's own path: a profile must allow that as well as the merged one.",
        "Allow the layers' directory in the profile, and load it again.",
        ("apparmor_parser -r /etc/apparmor.d/PROFILE",),
        ("dmesg | grep apparmor=",),
    ),
    Cause(
        "remote-lower-misbehaves",
        _W,
        "A lower layer's remote filesystem answers as overlay does not expect",
        "GPFS, 9p, virtiofs, Lustre and their like serve handles, attributes or listings in ways "
        "of their own: errno 524 (ENOTSUPP), EINVAL or empty directories come through.",
        "Copy the layer to a local filesystem, or update the client of the remote one.",
        (),
        ("findmnt -T {lower}", "dmesg | tail -20"),
        links=(OVERLAY_DOC,),
    ),
    Cause(
        "idmapping-refused",
        _F,
        "The kernel refuses to map the owners of a mount",
        "An idmapped mount needs a filesystem that can be mapped, a user namespace with the ids, "
        "and the right to mount in the filesystem's own namespace.",
        "Map ids that the namespace has, on a filesystem that can be mapped (ext4, xfs, btrfs, "
        "tmpfs ...), as root of the machine.",
        (),
        ("cat /proc/self/uid_map", "findmnt -T {lower}"),
        since="5.12",
    ),
    Cause(
        "orphaned-layers",
        _W,
        "An engine's store holds layers that nothing of it names",
        "Each layer directory belongs to an image, a container or a build. After a crash, or a "
        "removal that ended halfway, directories stay that no record names: they only take space.",
        "Let the engine clean its store; do not remove directories of it by hand.",
    ),
    Cause(
        "mount-leaked",
        _W,
        "A merged tree is mounted in another namespace alone",
        "A process that was started while a container ran has a copy of its mounts. The engine "
        "has unmounted its own, and cannot remove the directory while the copy is there.",
        "Restart the service that has it, or unmount it inside its namespace.",
        ("nsenter -t {pid} -m umount {target}",),
        ("grep {target} /proc/{pid}/mountinfo",),
    ),
)
