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
        until="5.11",
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
    Cause(
        "max-stacking-depth",
        Severity.FAILURE,
        "Filesystems are stacked deeper than the kernel allows",
        "An overlay on an overlay is the limit (FILESYSTEM_MAX_STACK_DEPTH is 2); ecryptfs, aufs "
        "and some /proc mounts count too. In a container the root filesystem is the first layer "
        "of that stack already.",
        "Take a layer that is not itself an overlay: a volume, a tmpfs, or a copy of it.",
        ("mount -t tmpfs tmpfs {scratch}", "cp -a {path}/. {scratch}"),
        ("findmnt -T {path}",),
        links=(OVERLAY_DOC + "#nesting-overlayfs-mounts",),
    ),
    Cause(
        "nested-overlay-kernel-bug",
        Severity.WARNING,
        "An overlay over an overlay meets a bug of this kernel",
        "Some releases broke nested overlays (inode numbers, locking, file handles, ovl_copyfile). "
        "The same stack on a plain filesystem works.",
        "Update the kernel, or do not nest.",
        (),
        ("uname -r", "findmnt -t overlay"),
        links=(OVERLAY_DOC + "#nesting-overlayfs-mounts",),
    ),
    Cause(
        "old-kernel-overlay-bug",
        Severity.WARNING,
        "This kernel's overlay has a bug that newer ones have not",
        "The overlay of early and of heavily patched kernels (RHEL 7's 3.10, Ubuntu's 3.x) lacks "
        "features and fixes that engines of today expect.",
        "Update the kernel.",
        (),
        ("uname -r", "modinfo overlay"),
        links=(OVERLAY_DOC,),
    ),
    Cause(
        "selinux-denied",
        Severity.WARNING,
        "SELinux denied an access in a layer",
        "SELinux checks the process against the merged file, and who mounted against the layers. "
        "An AVC line in the audit log names the type that was denied.",
        "Label the files for containers, mount with a context= option, or allow it in the policy.",
        ("chcon -R -t container_file_t {path}",),
        ("ausearch -m AVC -ts recent", "ls -Zd {path}"),
    ),
    Cause(
        "selinux-mislabelled-layers",
        Severity.WARNING,
        "A layer's SELinux labels do not fit",
        "An overlay shows its files with the labels of the layer that they come from, unless "
        "mounted with context=. Files that were copied or unpacked often keep the wrong type.",
        "Restore the labels of the layer, or mount with a context= option.",
        ("restorecon -R {path}",),
        ("ls -Zd {path}", "matchpathcon {path}"),
    ),
    Cause(
        "missing-user-namespace",
        Severity.WARNING,
        "User namespaces are switched off or limited here",
        "An ordinary user mounts an overlay in a user namespace of its own. A sysctl, AppArmor's "
        "restriction of Ubuntu 23.10 and later, or a limit of 0 forbids to make one.",
        "Allow user namespaces, or mount as root.",
        ("sysctl -w {sysctl}",),
        (
            "sysctl user.max_user_namespaces kernel.unprivileged_userns_clone "
            "kernel.apparmor_restrict_unprivileged_userns",
        ),
        links=(USERNS_DOC,),
    ),
    Cause(
        "mount8-drop-permissions-userns",
        Severity.FAILURE,
        "mount(8) gave up the privilege that the mount needs",
        "A set-user-ID mount(8) drops its rights where it sees options that only root may use, and "
        "some versions do so inside a user namespace too. The kernel then answers EPERM though "
        "the namespace's root may mount.",
        "Mount without mount(8), or with a util-linux that is newer.",
        ("{command}",),
        ("mount --version", "ls -l $(command -v mount)"),
    ),
    Cause(
        "wsl1-limited-overlay",
        Severity.FAILURE,
        "WSL 1 has no overlay filesystem",
        "WSL 1 is a translation of system calls, no Linux kernel: there is no overlay to mount. "
        "WSL 2 runs a real kernel that has it.",
        "Convert the distribution to WSL 2.",
        ("wsl.exe --set-version DISTRIBUTION 2",),
        ("cat /proc/version",),
        links=("https://learn.microsoft.com/windows/wsl/compare-versions",),
    ),
    Cause(
        "gvisor-overlay-limitation",
        Severity.FAILURE,
        "gVisor's own kernel limits overlay mounts",
        "Inside gVisor (runsc) the mount is served by its Go kernel, which takes fewer layers, "
        "shorter options and fewer features than Linux.",
        "Run this container with runc or a VM runtime, or merge layers.",
        (),
        ("dmesg | head", "cat /proc/version"),
        links=("https://gvisor.dev/docs/user_guide/filesystem/",),
    ),
    Cause(
        "not-enough-memory",
        Severity.FAILURE,
        "The kernel had no memory for the mount, or the option string is too large",
        "ENOMEM of a mount is mostly an option string that the kernel could not copy, or on 5.10 "
        "a missing directory or more than 500 layers. Real shortage of memory is rare.",
        "Shorten the options, or name fewer layers; then look at memory.",
        (),
        ("free -m",),
    ),
    Cause(
        "check-failed",
        Severity.WARNING,
        "A check of doctor's own failed",
        "doctor met something that it was not made for, and goes on without this check. What it "
        "would have found is not known.",
        "Report it with the output of LAYERCTL_DEBUG=1.",
    ),
    Cause(
        "fact-unreadable",
        Severity.INFO,
        "Something could not be looked at",
        "A file of /proc or /sys, or an attribute, could not be read with these rights. What "
        "depends on it is not known, which does not mean that it is well.",
        "Run it as root of the machine to know.",
    ),
    Cause(
        "userns-trusted-xattr-option",
        Severity.FAILURE,
        "An option needs trusted.* attributes, which a user namespace may not touch",
        "Redirects, metacopy and verity digests are believed only in trusted.overlay.* attributes. "
        "Root of a user namespace cannot read or set those, so the kernel answers EPERM to who "
        "asks for such a feature in words.",
        "Leave the option out and use userxattr, or mount as root of the machine.",
        ("{command}",),
        ("cat /proc/self/uid_map",),
        since="6.12",
        links=(OVERLAY_DOC + "#user-xattr",),
    ),
)
