"""Overlay's features, each probed: in a child with a mount namespace and a tmpfs of its own.

The tmpfs covers a directory of that namespace, so nothing is created for it and nothing is left.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping

from layerctl.kernel import child, syscalls

#: What the tmpfs covers: it is there wherever layerctl runs, and only root can rename it.
_COVERED = "/proc"

#: What is probed: a name, and the options.
FEATURES: Mapping[str, str] = {
    "overlay with an upper layer": "",
    "userxattr": "userxattr",
    "redirect_dir": "redirect_dir=on",
    "index": "index=on",
    "metacopy": "metacopy=on,redirect_dir=on",
    "nfs_export": "nfs_export=on,index=on",
    "xino": "xino=on",
    "uuid": "uuid=on",
    "verity": "verity=on",
    "volatile": "volatile",
}


def probe(*, user: bool = False) -> dict[str, int]:
    """Return the errno of mounting an overlay with each feature, 0 for success.

    With `user` it is probed as root of a new user namespace, where ordinary users can. The key
    `namespace` alone means that no namespace could be made. Leaves nothing. Raises OSError if
    nothing could be probed (`child.run`).
    """
    return child.run(lambda: (-1, _try(user=user)))[1]


def _try(*, user: bool) -> dict[str, int]:
    try:
        _enter(user=user)
    except OSError as error:
        return {"namespace": error.errno or errno.EIO}
    found = {}
    for number, (name, options) in enumerate(FEATURES.items()):
        found[name] = _mount(f"{_COVERED}/{number}", options, user=user)
    return found


def _enter(*, user: bool) -> None:
    if user:
        uid, gid = os.getuid(), os.getgid()
        syscalls.unshare(syscalls.CLONE_NEWUSER | syscalls.CLONE_NEWNS)
        for path, text in (
            ("/proc/self/setgroups", "deny"),
            ("/proc/self/uid_map", f"0 {uid} 1"),
            ("/proc/self/gid_map", f"0 {gid} 1"),
        ):
            with open(path, "w", encoding="ascii") as file:
                file.write(text)
    else:
        syscalls.unshare(syscalls.CLONE_NEWNS)
    syscalls.mount("none", "/", "", syscalls.MS_REC | syscalls.MS_PRIVATE, "")
    syscalls.mount("layerctl", _COVERED, "tmpfs", 0, "")


def _mount(base: str, options: str, *, user: bool) -> int:
    try:
        for name in ("l", "u", "w", "m"):
            os.makedirs(f"{base}/{name}")
        data = f"lowerdir={base}/l,upperdir={base}/u,workdir={base}/w"
        extra = "userxattr" if user and "userxattr" not in options else ""
        words = ",".join(word for word in (data, options, extra) if word)
        syscalls.mount("layerctl", f"{base}/m", "overlay", 0, words)
    except OSError as error:
        return error.errno or errno.EIO
    return 0
