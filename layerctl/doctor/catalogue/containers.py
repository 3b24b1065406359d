"""Causes that container engines and fuse-overlayfs bring."""

from __future__ import annotations

from layerctl.doctor.catalogue.cause import Cause, table
from layerctl.model import Severity

_F, _W = Severity.FAILURE, Severity.WARNING
_FUSE = ("https://github.com/containers/fuse-overlayfs",)
_STORAGE = ("https://github.com/containers/storage/blob/main/docs/containers-storage.conf.5.md",)

CAUSES = table(
    Cause(
        "container-policy-denies-overlay-mount",
        _F,
        "A container's policy forbids the mount",
        "Inside a container mount(2) is refused by the capabilities, the seccomp filter or the "
        "AppArmor profile that it was started with, whatever uid it runs as: EPERM, or EACCES "
        "from AppArmor.",
        "Start the container with the right to mount, or use a user namespace or fuse-overlayfs "
        "with /dev/fuse inside.",
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
        "Docker and podman name layers by links in overlay2/l and overlay/l, to keep the options "
        "short. After a crash or power loss links that were not synced are missing or empty, and "
        "the mount fails with ENOENT.",
        "Let the engine rebuild its links, or remove and pull the image again.",
        ("podman system check --repair", "podman system reset"),
        ("ls -l /var/lib/containers/storage/overlay/l", "ls -l /var/lib/docker/overlay2/l"),
        links=_STORAGE,
    ),
    Cause(
        "dev-fuse-missing",
        _F,
        "/dev/fuse is not there",
        "fuse-overlayfs talks to the kernel through /dev/fuse. In a container the device must be "
        "handed in; on the host the fuse module makes it.",
        "Hand the device to the container (--device /dev/fuse), or load the module.",
        ("modprobe fuse", "podman run --device /dev/fuse IMAGE"),
        ("ls -l /dev/fuse", "grep fuse /proc/filesystems"),
        links=_FUSE,
    ),
    Cause(
        "fuse-overlayfs-not-installed",
        _F,
        "fuse-overlayfs is not installed",
        "Rootless engines mount by fuse-overlayfs where the kernel's overlay is not allowed, and "
        "call it by the path in storage.conf.",
        "Install fuse-overlayfs, or take mount_program out of storage.conf where the kernel can "
        "(5.13 and newer).",
        ("apt install fuse-overlayfs",),
        ("command -v fuse-overlayfs", "grep mount_program /etc/containers/storage.conf"),
        links=_FUSE + _STORAGE,
    ),
    Cause(
        "mount-helper-missing-fuse3",
        _F,
        "The mount helper of a FUSE filesystem is missing",
        "A type such as fuse3.fuse-overlayfs is mounted by a program, mount.fuse3, and not by the "
        "kernel: where that is not installed, the kernel is asked for the type and answers "
        "ENODEV.",
        "Install fuse3.",
        ("apt install fuse3",),
        ("ls -l /sbin/mount.fuse3",),
        links=_FUSE,
    ),
    Cause(
        "fuse-overlayfs-permission",
        _W,
        "fuse-overlayfs may not read or change a file of a layer",
        "It works with the rights of the user who started it: files of others, or ids that the "
        "namespace does not map, are out of its reach.",
        "Map enough ids (newuidmap, /etc/subuid), or use squash_to_root.",
        ("grep $USER /etc/subuid /etc/subgid",),
        ("ls -ln {lower}",),
        links=_FUSE,
    ),
    Cause(
        "fuse-overlayfs-nfs-permission",
        _W,
        "fuse-overlayfs cannot keep owners or modes on NFS",
        "It sets owners, modes and attributes on the upper filesystem, where the NFS server "
        "squashes or refuses them.",
        "Put the upper directory on a local filesystem.",
        (),
        ("findmnt -T {upper}",),
        links=_FUSE,
    ),
    Cause(
        "fuse-overlayfs-acl-unsupported",
        _W,
        "fuse-overlayfs has no POSIX ACLs",
        "getxattr of system.posix_acl_* answers 'Operation not supported' (-95). Programs that "
        "set ACLs notice; everything else goes on.",
        "Use the kernel's overlay where ACLs are needed.",
        links=_FUSE,
    ),
    Cause(
        "fuse-overlayfs-unsupported-option",
        _W,
        "fuse-overlayfs ignored an option that it does not know",
        "It takes only a part of overlay's options and drops the others with 'unknown argument "
        "ignored': metacopy and index are the kernel's own.",
        "Leave the option out, or use the kernel's overlay.",
        links=_FUSE,
    ),
    Cause(
        "benign-fuse-overlayfs-lazytime",
        Severity.INFO,
        "fuse-overlayfs reports an option that it ignores: nothing is wrong",
        "mount(8) hands on words such as lazytime or relatime that fuse-overlayfs does not know "
        "and does not need.",
        "Nothing needs to be done.",
        links=_FUSE,
    ),
)
