"""Causes in the system: the kernel, its modules, privilege and policy."""

from __future__ import annotations

from layerctl.diagnosing.catalogue.cause import OVERLAY_DOC, USERNS_DOC, Cause, table
from layerctl.model import Severity

CAUSES = table(
    Cause(
        "overlay-module-missing",
        Severity.FAILURE,
        "The overlay module is not loaded and cannot be loaded",
        "Overlay is a module on this kernel. The module is not where the kernel looks for it, is "
        "blacklisted, or the caller is not permitted to load it. mount(2) then fails with ENODEV, "
        "as for a type that does not exist.",
        "Load the module as root on the host (a container cannot), or install the modules package "
        "of the running kernel; in an initramfs, add the module to the image.",
        ("modprobe overlay", "grep overlay /proc/filesystems"),
        ("grep overlay /proc/filesystems", "modinfo overlay"),
        links=(OVERLAY_DOC,),
    ),
    Cause(
        "overlay-not-in-kernel",
        Severity.FAILURE,
        "This kernel has no overlay filesystem",
        "The kernel was built without CONFIG_OVERLAY_FS, or it is older than 3.18, which "
        "introduced overlay. Nothing in user space can add it.",
        "Boot a kernel that has it; until then, use fuse-overlayfs, which does the same in user "
        "space.",
        ("fuse-overlayfs -o lowerdir={lower},upperdir={upper},workdir={work} {target}",),
        ("grep overlay /proc/filesystems", "grep OVERLAY_FS /boot/config-$(uname -r)"),
        links=(OVERLAY_DOC,),
        foreseen=True,
    ),
    Cause(
        "running-kernel-modules-removed",
        Severity.FAILURE,
        "The modules of the running kernel are gone",
        "An upgrade removed /lib/modules of the kernel that is still running. Modules that were "
        "not loaded before the upgrade cannot be loaded until a reboot.",
        "Reboot into the installed kernel.",
        ("reboot",),
        ("uname -r", "ls /lib/modules"),
        foreseen=True,
    ),
    Cause(
        "fstype-name-overlayfs-obsolete",
        Severity.FAILURE,
        "The type name 'overlayfs' predates Linux 3.18",
        "Ubuntu's patched kernels called the filesystem 'overlayfs' before it was merged into "
        "Linux as 'overlay', which also needs a work directory. Current kernels know only "
        "'overlay'.",
        "Use the type 'overlay', and name a work directory.",
        ("mount -t overlay overlay -o lowerdir={lower},upperdir={upper},workdir={work} {target}",),
        ("grep overlay /proc/filesystems",),
        since="3.18",
    ),
    Cause(
        "missing-cap-sys-admin",
        Severity.FAILURE,
        "Mounting needs CAP_SYS_ADMIN, which this process does not have",
        "mount(2) requires CAP_SYS_ADMIN in the user namespace that owns the mount namespace. An "
        "ordinary user, and root in an ordinary container, do not have it.",
        "Run the command as root, or in a user and mount namespace of your own.",
        ("unshare -Urm {command}",),
        ("grep CapEff /proc/self/status",),
        links=(USERNS_DOC,),
        foreseen=True,
    ),
    Cause(
        "userns-overlay-not-permitted-old-kernel",
        Severity.FAILURE,
        "This kernel does not allow overlay mounts in a user namespace",
        "Since Linux 5.11, overlay can be mounted in a user namespace (Debian and Ubuntu patched "
        "it in earlier). Older kernels answer EPERM to root in a user namespace.",
        "Use fuse-overlayfs or a newer kernel, or mount as root on the host.",
        ("fuse-overlayfs -o lowerdir={lower},upperdir={upper},workdir={work} {target}",),
        ("uname -r", "cat /proc/self/uid_map"),
        until="5.11",
        links=(OVERLAY_DOC,),
    ),
    Cause(
        "userns-needs-userxattr",
        Severity.WARNING,
        "In a user namespace, overlay needs the userxattr option",
        "Overlay keeps its metadata in trusted.overlay.* attributes, which only root on the host "
        "can set. Without userxattr the mount only partly works: opaque directories and redirects "
        "fail later with EIO.",
        "Add the userxattr option, which keeps the metadata in user.overlay.* instead.",
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
        "and some /proc mounts count too. In a container the root filesystem is the first layer of "
        "that stack.",
        "Use a layer that is not itself on an overlay: a volume, a tmpfs, or a copy.",
        ("mount -t tmpfs tmpfs {scratch}", "cp -a {path}/. {scratch}"),
        ("findmnt -T {path}",),
        links=(OVERLAY_DOC + "#nesting-overlayfs-mounts",),
        foreseen=True,
    ),
    Cause(
        "nested-overlay-kernel-bug",
        Severity.WARNING,
        "Nested overlays hit a bug in this kernel",
        "Some releases broke nested overlays (inode numbers, locking, file handles, ovl_copyfile). "
        "The same stack on a plain filesystem works.",
        "Update the kernel, or do not nest overlays.",
        (),
        ("uname -r", "findmnt -t overlay"),
        links=(OVERLAY_DOC + "#nesting-overlayfs-mounts",),
    ),
    Cause(
        "old-kernel-overlay-bug",
        Severity.WARNING,
        "Overlay in this kernel has a bug that is fixed in newer kernels",
        "Overlay in early or heavily patched kernels (RHEL 7's 3.10, Ubuntu's 3.x) lacks features "
        "and fixes that current container engines expect.",
        "Update the kernel.",
        (),
        ("uname -r", "modinfo overlay"),
        links=(OVERLAY_DOC,),
    ),
    Cause(
        "selinux-denied",
        Severity.WARNING,
        "SELinux denied access to a layer",
        "SELinux checks the process against the merged file, and the mounter against the file in "
        "the layer. An AVC line in the audit log names the denied type.",
        "Label the files for containers, mount with a context= option, or change the policy.",
        ("chcon -R -t container_file_t {path}",),
        ("ausearch -m AVC -ts recent", "ls -Zd {path}"),
    ),
    Cause(
        "selinux-mislabelled-layers",
        Severity.WARNING,
        "A layer has the wrong SELinux labels",
        "Unless mounted with context=, an overlay shows files with the labels they have in their "
        "layer. Files that were copied or unpacked often keep the wrong type.",
        "Restore the labels of the layer, or mount with a context= option.",
        ("restorecon -R {path}",),
        ("ls -Zd {path}", "matchpathcon {path}"),
    ),
    Cause(
        "missing-user-namespace",
        Severity.WARNING,
        "User namespaces are disabled or limited",
        "An ordinary user can mount an overlay only in a user namespace. A sysctl, the AppArmor "
        "restriction of Ubuntu 23.10 and later, or a limit of 0 prevents creating one.",
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
        "mount(8) dropped the privilege that the mount needs",
        "A set-user-ID mount(8) drops its privileges when it sees options that only root can use, "
        "and some versions do so even in a user namespace. The kernel then answers EPERM although "
        "root of the namespace is permitted to mount.",
        "Mount without mount(8), or use a newer util-linux.",
        ("{command}",),
        ("mount --version", "ls -l $(command -v mount)"),
    ),
    Cause(
        "wsl1-limited-overlay",
        Severity.FAILURE,
        "WSL 1 has no overlay filesystem",
        "WSL 1 translates system calls and has no Linux kernel, and so no overlay. WSL 2 runs a "
        "real kernel, which has it.",
        "Convert the distribution to WSL 2.",
        ("wsl.exe --set-version DISTRIBUTION 2",),
        ("cat /proc/version",),
        links=("https://learn.microsoft.com/windows/wsl/compare-versions",),
        foreseen=True,
    ),
    Cause(
        "gvisor-overlay-limitation",
        Severity.FAILURE,
        "gVisor's kernel limits overlay mounts",
        "In gVisor (runsc) its own kernel, written in Go, handles the mount. It supports fewer "
        "layers, shorter options and fewer features than Linux.",
        "Run the container with runc or a VM runtime, or merge layers.",
        (),
        ("dmesg | head", "cat /proc/version"),
        links=("https://gvisor.dev/docs/user_guide/filesystem/",),
    ),
    Cause(
        "not-enough-memory",
        Severity.FAILURE,
        "The kernel had no memory for the mount, or the option string is too long",
        "ENOMEM from a mount usually means an option string that the kernel could not copy, or on "
        "5.10 a missing directory or more than 500 layers. A real shortage of memory is rare.",
        "Shorten the options or use fewer layers; then check the free memory.",
        (),
        ("free -m",),
    ),
    Cause(
        "check-failed",
        Severity.WARNING,
        "One of doctor's own checks failed",
        "doctor hit something unexpected and continued without this check. Its result is unknown.",
        "Report it, with the output of LAYERCTL_DEBUG=1.",
    ),
    Cause(
        "fact-unreadable",
        Severity.INFO,
        "Something could not be checked",
        "A file in /proc or /sys, or an attribute, could not be read with the current permissions. "
        "Whatever depends on it is unknown, which does not mean that it is fine.",
        "Run the command as root on the host.",
    ),
    Cause(
        "userns-trusted-xattr-option",
        Severity.FAILURE,
        "An option needs trusted.* attributes, which are unavailable in a user namespace",
        "The kernel trusts redirects, metacopy and verity digests only in trusted.overlay.* "
        "attributes. Root in a user namespace cannot read or set those, so the kernel answers "
        "EPERM if such a feature is requested explicitly.",
        "Remove the option and use userxattr, or mount as root on the host.",
        ("{command}",),
        ("cat /proc/self/uid_map",),
        since="6.12",
        links=(OVERLAY_DOC + "#user-xattr",),
    ),
)
