"""System calls that Python has no name for. The only module that imports ctypes.

A wrapper has the name of its call, takes Python types and raises OSError with the path. Constants
have their names in the kernel's headers (linux/mount.h, sys/mount.h, linux/sched.h).
"""

from __future__ import annotations

import ctypes
import errno
import os

AT_FDCWD = -100
AT_EMPTY_PATH = 0x1000

# Flags that are mount options are in layerctl.rules.flags.
MS_RDONLY = 1
MS_REMOUNT = 32
MS_BIND = 4096
MS_REC = 16384
MS_PRIVATE = 1 << 18

MNT_DETACH = 2
MNT_EXPIRE = 4
UMOUNT_NOFOLLOW = 8

FSOPEN_CLOEXEC = 1
FSMOUNT_CLOEXEC = 1
FSCONFIG_SET_FLAG = 0
FSCONFIG_SET_STRING = 1
FSCONFIG_SET_FD = 5
FSCONFIG_CMD_CREATE = 6
MOVE_MOUNT_F_EMPTY_PATH = 4
MOVE_MOUNT_T_EMPTY_PATH = 0x40
MOVE_MOUNT_BENEATH = 0x200
OPEN_TREE_CLONE = 1
AT_RECURSIVE = 0x8000
MOUNT_ATTR_IDMAP = 0x100000

PR_SET_SECUREBITS = 28
SECBIT_NO_SETUID_FIXUP = 4

CLONE_NEWNS = 0x00020000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000

PR_SET_PDEATHSIG = 1

RESOLVE_NO_MAGICLINKS = 0x02
RESOLVE_NO_SYMLINKS = 0x04
RESOLVE_IN_ROOT = 0x10
RESOLVE_CACHED = 0x20

RENAME_EXCHANGE = 2
RENAME_WHITEOUT = 4

# The new calls have one number on every architecture (asm-generic/unistd.h).
_NR_OPEN_TREE = 428
_NR_MOVE_MOUNT = 429
_NR_FSOPEN = 430
_NR_FSCONFIG = 431
_NR_FSMOUNT = 432
_NR_OPENAT2 = 437
_NR_MOUNT_SETATTR = 442

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mount.argtypes = (
    ctypes.c_char_p, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_ulong, ctypes.c_char_p,
)  # fmt: skip
_libc.umount2.argtypes = (ctypes.c_char_p, ctypes.c_int)
_libc.unshare.argtypes = (ctypes.c_int,)
_libc.setns.argtypes = (ctypes.c_int, ctypes.c_int)
_libc.syscall.restype = ctypes.c_long


def _check(result: int, path: str | None = None) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), path)
    return result


def mount(source: str, target: str, fstype: str, flags: int, data: str) -> None:
    """mount(2) with a data string. The kernel reads at most one page of it: check the length."""
    _check(
        _libc.mount(
            os.fsencode(source), os.fsencode(target), os.fsencode(fstype), flags, os.fsencode(data)
        ),
        target,
    )


def umount2(target: str, flags: int) -> None:
    """umount2(2)."""
    _check(_libc.umount2(os.fsencode(target), flags), target)


def unshare(flags: int) -> None:
    """unshare(2)."""
    _check(_libc.unshare(flags))


def pivot_root(new_root: str, put_old: str) -> None:
    """pivot_root(2)."""
    _check(_libc.pivot_root(os.fsencode(new_root), os.fsencode(put_old)), new_root)


def prctl(option: int, value: int) -> None:
    """prctl(2) with one argument."""
    _check(_libc.prctl(ctypes.c_int(option), ctypes.c_ulong(value)))


def setns(fd: int, nstype: int) -> None:
    """setns(2)."""
    _check(_libc.setns(fd, nstype))


def fsopen(fstype: str, flags: int = FSOPEN_CLOEXEC) -> int:
    """fsopen(2) (5.2): return a descriptor of a filesystem context."""
    return _check(
        _libc.syscall(ctypes.c_long(_NR_FSOPEN), os.fsencode(fstype), ctypes.c_uint(flags)), fstype
    )


def fsconfig(fd: int, command: int, key: str | None, value: str | None, aux: int = 0) -> None:
    """fsconfig(2) (5.2). A key or value longer than 255 bytes is refused with EINVAL."""
    _check(
        _libc.syscall(
            ctypes.c_long(_NR_FSCONFIG),
            ctypes.c_int(fd),
            ctypes.c_uint(command),
            None if key is None else os.fsencode(key),
            None if value is None else os.fsencode(value),
            ctypes.c_int(aux),
        ),
        value,
    )


def fsmount(fd: int, flags: int = FSMOUNT_CLOEXEC, attributes: int = 0) -> int:
    """fsmount(2) (5.2): return a descriptor of a mount that is attached nowhere yet."""
    return _check(
        _libc.syscall(
            ctypes.c_long(_NR_FSMOUNT),
            ctypes.c_int(fd),
            ctypes.c_uint(flags),
            ctypes.c_uint(attributes),
        )
    )


def move_mount(fd: int, target_fd: int, target: str, flags: int = 0) -> None:
    """move_mount(2) (5.2): attach the mount of `fd` to the directory of `target_fd`.

    MOVE_MOUNT_BENEATH puts it beneath the mount whose root that is (6.5).
    """
    _check(
        _libc.syscall(
            ctypes.c_long(_NR_MOVE_MOUNT),
            ctypes.c_int(fd),
            b"",
            ctypes.c_int(target_fd),
            b"",
            ctypes.c_uint(MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH | flags),
        ),
        target,
    )


def open_tree(path: str, flags: int = OPEN_TREE_CLONE) -> int:
    """open_tree(2) (5.2): return a descriptor of a clone of a mount, without what is in it."""
    return _check(
        _libc.syscall(
            ctypes.c_long(_NR_OPEN_TREE),
            ctypes.c_int(AT_FDCWD),
            os.fsencode(path),
            ctypes.c_uint(flags | os.O_CLOEXEC),
        ),
        path,
    )


class _MountAttr(ctypes.Structure):
    _fields_ = (
        ("attr_set", ctypes.c_uint64),
        ("attr_clr", ctypes.c_uint64),
        ("propagation", ctypes.c_uint64),
        ("userns_fd", ctypes.c_uint64),
    )


def mount_setattr(fd: int, attributes: int, userns_fd: int = 0, flags: int = 0) -> None:
    """mount_setattr(2) (5.12): set attributes of the mount whose root is open.

    With AT_RECURSIVE in `flags`, also of all mounts in it.
    """
    how = _MountAttr(attributes, 0, 0, userns_fd)
    _check(
        _libc.syscall(
            ctypes.c_long(_NR_MOUNT_SETATTR),
            ctypes.c_int(fd),
            b"",
            ctypes.c_uint(AT_EMPTY_PATH | flags),
            ctypes.byref(how),
            ctypes.c_size_t(ctypes.sizeof(how)),
        )
    )


def set_filesystem_ids(uid: int, gid: int) -> None:
    """setfsgid(2) and setfsuid(2), keeping capabilities (prctl(2), capabilities(7))."""
    _check(_libc.prctl(PR_SET_SECUREBITS, ctypes.c_ulong(SECBIT_NO_SETUID_FIXUP), 0, 0, 0))
    _libc.setfsgid(ctypes.c_uint(gid))
    _libc.setfsuid(ctypes.c_uint(uid))


class _OpenHow(ctypes.Structure):
    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


def openat2(dir_fd: int, path: str, flags: int, resolve: int) -> int:
    """openat2(2) (5.6): open a path under rules for how it is resolved."""
    how = _OpenHow(flags, 0, resolve)
    return _check(
        _libc.syscall(
            ctypes.c_long(_NR_OPENAT2),
            ctypes.c_int(dir_fd),
            os.fsencode(path),
            ctypes.byref(how),
            ctypes.c_size_t(ctypes.sizeof(how)),
        ),
        path,
    )


def fchownat(fd: int, uid: int, gid: int) -> None:
    """fchownat(2) with an empty path: the owner of what is open, a symbolic link too."""
    _check(
        _libc.fchownat(
            ctypes.c_int(fd),
            b"",
            ctypes.c_uint(uid & 0xFFFFFFFF),
            ctypes.c_uint(gid & 0xFFFFFFFF),
            ctypes.c_int(AT_EMPTY_PATH),
        )
    )


class _FileHandle(ctypes.Structure):
    _fields_ = (
        ("handle_bytes", ctypes.c_uint),
        ("handle_type", ctypes.c_int),
        ("f_handle", ctypes.c_ubyte * 128),
    )


def name_to_handle_at(path: str, dir_fd: int = AT_FDCWD) -> tuple[int, bytes]:
    """name_to_handle_at(2): return a file handle's type and bytes; an empty path is `dir_fd`."""
    handle = _FileHandle(handle_bytes=128)
    mount_id = ctypes.c_int()
    _check(
        _libc.name_to_handle_at(
            ctypes.c_int(dir_fd),
            os.fsencode(path),
            ctypes.byref(handle),
            ctypes.byref(mount_id),
            ctypes.c_int(0 if path else AT_EMPTY_PATH),
        ),
        path,
    )
    return handle.handle_type, bytes(handle.f_handle[: handle.handle_bytes])


def open_by_handle_at(mount_fd: int, kind: int, data: bytes) -> int:
    """open_by_handle_at(2) with O_PATH: ESTALE if the filesystem has no such file."""
    handle = _FileHandle(handle_bytes=len(data), handle_type=kind)
    if len(data) > 128:
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
    handle.f_handle[: len(data)] = data
    return _check(
        _libc.open_by_handle_at(
            ctypes.c_int(mount_fd),
            ctypes.byref(handle),
            ctypes.c_int(os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC),
        )
    )


def entry_types(directory: str) -> dict[str, int]:
    """Return each name of a directory with its d_type, as getdents64(2) gives it."""
    _libc.opendir.restype = ctypes.c_void_p
    _libc.opendir.argtypes = (ctypes.c_char_p,)
    _libc.readdir64.restype = ctypes.c_void_p
    _libc.readdir64.argtypes = (ctypes.c_void_p,)
    _libc.closedir.argtypes = (ctypes.c_void_p,)
    stream = _libc.opendir(os.fsencode(directory))
    if not stream:
        _check(-1, directory)
    found = {}
    try:
        while entry := _libc.readdir64(stream):
            # struct dirent64: 8 bytes inode, 8 offset, 2 length, 1 type, then the name
            kind = ctypes.c_ubyte.from_address(entry + 18).value
            found[os.fsdecode(ctypes.string_at(entry + 19))] = kind
    finally:
        _libc.closedir(stream)
    return found


def syncfs(fd: int) -> None:
    """syncfs(2): write everything of a filesystem to its disk."""
    _check(_libc.syncfs(ctypes.c_int(fd)))


def renameat2(
    old: str, new: str, flags: int, dir_fd: int = AT_FDCWD, new_dir_fd: int | None = None
) -> None:
    """renameat2(2), within one directory unless another is given."""
    _check(
        _libc.renameat2(
            ctypes.c_int(dir_fd),
            ctypes.c_char_p(os.fsencode(old)),
            ctypes.c_int(dir_fd if new_dir_fd is None else new_dir_fd),
            ctypes.c_char_p(os.fsencode(new)),
            ctypes.c_uint(flags),
        ),
        old,
    )


def context_log(fd: int) -> list[str]:
    """Read the messages of a filesystem context: lines of `e`, `w` or `i`, a space, and text."""
    lines: list[str] = []
    while True:
        try:
            raw = os.read(fd, 4096)
        except OSError as error:
            if error.errno not in (errno.ENODATA, errno.EMSGSIZE):
                raise
            return lines
        if not raw:
            return lines
        lines.extend(os.fsdecode(raw).rstrip("\n").split("\n"))
