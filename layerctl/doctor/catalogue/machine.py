"""Causes that lie in the machine: the kernel, its modules, privilege and policy."""

from __future__ import annotations

from layerctl.doctor.catalogue.cause import OVERLAY_DOC, USERNS_DOC, Cause, table
from layerctl.model import Severity

CAUSES = table(
    Cause(
        "overlay-module-missing",
        Severity.FAILURE,
        "The overlay module is not loaded and cannot be",
        "This kernel has overlay as a module, and the module is not where the kernel looks for it, "
        "is blacklisted, or may not be loaded by the caller. mount(2) then answers ENODEV, as for "
        "a type that does not exist.",
        "Load the module as root on the host (a container cannot), or install the package of the "
        "running kernel's modules; in an initramfs, add the module to the image.",
        ("modprobe overlay", "grep overlay /proc/filesystems"),
        ("grep overlay /proc/filesystems", "modinfo overlay"),
        links=(OVERLAY_DOC,),
    ),
    Cause(
        "overlay-not-in-kernel",
        Severity.FAILURE,
        "This kernel has no overlay filesystem",
        "The kernel was built without CONFIG_OVERLAY_FS, or it is older than 3.18, where overlay "
        "was merged. Nothing in user space can add it.",
        "Boot a kernel that has it; until then fuse-overlayfs does the same in user space.",
        ("fuse-overlayfs -o lowerdir={lower},upperdir={upper},workdir={work} {target}",),
        ("grep overlay /proc/filesystems", "grep OVERLAY_FS /boot/config-$(uname -r)"),
        since="3.18",
        links=(OVERLAY_DOC,),
    ),
    Cause(
        "running-kernel-modules-removed",
        Severity.FAILURE,
        "The modules of the running kernel are gone",
        "An upgrade removed /lib/modules of the kernel that is still running, so that nothing new "
        "can be loaded. Whatever was not loaded before the upgrade stays missing until a reboot.",
        "Reboot into the kernel that is installed.",
        ("reboot",),
        ("uname -r", "ls /lib/modules"),
    ),
    Cause(
        "fstype-name-overlayfs-obsolete",
        Severity.FAILURE,
        "The type 'overlayfs' is a name of before Linux 3.18",
        "Ubuntu's patched kernels called the filesystem 'overlayfs' before it was merged as "
        "'overlay', with a work directory that the old one did not have. Kernels of today know "
        "only 'overlay'.",
        "Write 'overlay' for the type, and name a work directory.",
        ("mount -t overlay overlay -o lowerdir={lower},upperdir={upper},workdir={work} {target}",),
        ("grep overlay /proc/filesystems",),
        since="3.18",
    ),
    Cause(
        "missing-cap-sys-admin",
        Severity.FAILURE,
        "Mounting needs CAP_SYS_ADMIN, which this process does not have",
        "mount(2) asks for CAP_SYS_ADMIN in the user namespace that owns the mount namespace. An "
        "ordinary user, and root in an ordinary container, do not have it.",
        "Run it as root, or in a user and mount namespace of your own.",
        ("unshare -Urm {command}",),
        ("grep CapEff /proc/self/status",),
        links=(USERNS_DOC,),
    ),
    Cause(
        "userns-overlay-not-permitted-old-kernel",
        Severity.FAILURE,
        "This kernel does not let a user namespace mount overlay",
        "Overlay became mountable inside a user namespace with Linux 5.11 (Debian and Ubuntu "
        "patched it in before). Older kernels answer EPERM to root of a user namespace.",
        "Use fuse-overlayfs, a newer kernel, or mount as root of the machine.",
        ("fuse-overlayfs -o lowerdir={lower},upperdir={upper},workdir={work} {target}",),
        ("uname -r", "cat /proc/self/uid_map"),
        since="5.11",
        links=(OVERLAY_DOC,),
    ),
    Cause(
        "userns-needs-userxattr",
        Severity.WARNING,
        "In a user namespace overlay needs the option userxattr",
        "Overlay keeps its marks in trusted.overlay.* attributes, which only root of the machine "
        "may set. Without userxattr the mount works in part: opaque directories and redirects "
        "fail later with EIO.",
        "Add the option userxattr, which keeps the marks in user.overlay.* instead.",
        ("{command}",),
        ("cat /proc/self/uid_map", "dmesg | grep userxattr"),
        since="5.11",
        links=(OVERLAY_DOC + "#user-xattr",),
    ),
)
