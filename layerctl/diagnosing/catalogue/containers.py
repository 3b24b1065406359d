"""Causes of container engines and fuse-overlayfs."""

from __future__ import annotations

from layerctl.diagnosing.catalogue.cause import Cause, table
from layerctl.model import Severity

_F, _W = Severity.FAILURE, Severity.WARNING
_FUSE = ("https://github.com/containers/fuse-overlayfs",)
_STORAGE = ("https://github.com/containers/storage/blob/main/docs/containers-storage.conf.5.md",)

CAUSES = table(
    Cause(
        "container-policy-denies-overlay-mount",
        _F,
        "The container's security policy forbids the mount",
        "The capabilities, the seccomp filter or the AppArmor profile of a container can forbid "
        "mount(2), whatever the uid: it fails with EPERM, or with EACCES if AppArmor denies it.",
        "Start the container with the privilege to mount, or use a user namespace, or "
        "fuse-overlayfs with /dev/fuse in the container.",
        (
            "docker run --cap-add SYS_ADMIN --security-opt apparmor=unconfined "
            "--security-opt seccomp=unconfined IMAGE",
            "podman run --device /dev/fuse IMAGE",
        ),
        ("grep -E 'CapEff|Seccomp' /proc/self/status", "cat /proc/self/attr/current"),
        links=("https://docs.docker.com/engine/security/seccomp/",),
    ),
    Cause(
        "layer-link-missing-after-crash",
        _F,
        "An engine's short link to a layer is gone",
        "Docker and podman refer to layers through links in overlay2/l and overlay/l, to keep the "
        "mount options short. After a crash or power loss, links that were not synced are missing "
        "or empty, and the mount fails with ENOENT.",
        "Let the engine rebuild its links, or remove the image and pull it again.",
        ("podman system check --repair", "podman system reset"),
        ("ls -l /var/lib/containers/storage/overlay/l", "ls -l /var/lib/docker/overlay2/l"),
        links=_STORAGE,
    ),
    Cause(
        "dev-fuse-missing",
        _F,
        "/dev/fuse does not exist",
        "fuse-overlayfs talks to the kernel through /dev/fuse. A container must be given the "
        "device; on the host, the fuse module creates it.",
        "Give the container the device (--device /dev/fuse), or load the module.",
        ("modprobe fuse", "podman run --device /dev/fuse IMAGE"),
        ("ls -l /dev/fuse", "grep fuse /proc/filesystems"),
        links=_FUSE,
    ),
    Cause(
        "fuse-overlayfs-not-installed",
        _F,
        "fuse-overlayfs is not installed",
        "Rootless engines use fuse-overlayfs where the kernel's overlay is not allowed, and run it "
        "from the path in storage.conf.",
        "Install fuse-overlayfs, or remove mount_program from storage.conf if the kernel supports "
        "rootless overlay (5.13 or later).",
        ("apt install fuse-overlayfs",),
        ("command -v fuse-overlayfs", "grep mount_program /etc/containers/storage.conf"),
        links=_FUSE + _STORAGE,
    ),
    Cause(
        "mount-helper-missing-fuse3",
        _F,
        "The FUSE mount helper is missing",
        "A type such as fuse3.fuse-overlayfs is mounted by a helper program, mount.fuse3. If it is "
        "not installed, mount(8) passes the type to the kernel, which fails with ENODEV.",
        "Install fuse3.",
        ("apt install fuse3",),
        ("ls -l /sbin/mount.fuse3",),
        links=_FUSE,
    ),
    Cause(
        "fuse-overlayfs-permission",
        _W,
        "fuse-overlayfs is not permitted to read or change a file in a layer",
        "It runs with the permissions of the user who started it, so it cannot access files of "
        "other users or ids that the namespace does not map.",
        "Map enough ids (newuidmap, /etc/subuid), or use squash_to_root.",
        ("grep $USER /etc/subuid /etc/subgid",),
        ("ls -ln {lower}",),
        links=_FUSE,
    ),
    Cause(
        "fuse-overlayfs-nfs-permission",
        _W,
        "fuse-overlayfs cannot keep owners or modes on NFS",
        "It sets owners, modes and attributes on the upper filesystem, and the NFS server squashes "
        "or refuses them.",
        "Put the upper directory on a local filesystem.",
        (),
        ("findmnt -T {upper}",),
        links=_FUSE,
    ),
    Cause(
        "fuse-overlayfs-acl-unsupported",
        _W,
        "fuse-overlayfs does not support POSIX ACLs",
        "getxattr of system.posix_acl_* fails with 'Operation not supported' (-95). Only programs "
        "that set ACLs are affected.",
        "If you need ACLs, use the kernel's overlay.",
        links=_FUSE,
    ),
    Cause(
        "fuse-overlayfs-unsupported-option",
        _W,
        "fuse-overlayfs ignored an option that it does not know",
        "It supports only some of overlay's options and drops the others with 'unknown argument "
        "ignored'; metacopy and index, for example, exist only in the kernel.",
        "Remove the option, or use the kernel's overlay.",
        links=_FUSE,
    ),
    Cause(
        "benign-fuse-overlayfs-lazytime",
        Severity.INFO,
        "fuse-overlayfs reports an option that it ignores (harmless)",
        "mount(8) passes on options such as lazytime or relatime that fuse-overlayfs neither knows "
        "nor needs.",
        "No action is needed.",
        links=_FUSE,
    ),
)
