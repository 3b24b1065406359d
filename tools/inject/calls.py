"""The errnos with which `make inject` makes each system call fail, from its manual page."""

from __future__ import annotations

#: Errnos for any call, whatever its manual page says.
ANY = ("EIO", "EPERM", "ENOSYS", "EMFILE", "ENOMEM", "EAGAIN", "EINTR")

_PATH = ("EACCES", "ELOOP", "ENAMETOOLONG", "ENOENT", "ENOTDIR")
_XATTR = ("ENODATA", "EOPNOTSUPP", "ERANGE", *_PATH)
_WRITTEN = ("EBADF", "EDQUOT", "EFBIG", "ENOSPC", "EINVAL")

#: Further errnos from the manual pages: those that a correct program can meet.
MANUAL: dict[str, tuple[str, ...]] = {
    "access": (*_PATH, "EROFS"),
    "chdir": _PATH,
    "clone": ("EINVAL", "ENOSPC", "EUSERS"),
    "clone3": ("EINVAL", "ENOSPC", "EUSERS"),
    "close": ("EBADF", "ENOSPC", "EDQUOT"),
    "dup": ("EBADF",),
    "faccessat": (*_PATH, "EROFS"),
    "faccessat2": (*_PATH, "EROFS"),
    "fchdir": ("EACCES", "ENOTDIR"),
    "fchmod": ("EROFS",),
    "fchown": ("EROFS",),
    "fchownat": (*_PATH, "EROFS"),
    "fcntl": ("EACCES", "EBUSY", "EINVAL"),
    "fgetxattr": ("ENODATA", "EOPNOTSUPP", "ERANGE"),
    "flistxattr": ("EOPNOTSUPP", "ERANGE"),
    "fsconfig": ("EACCES", "EBUSY", "EFAULT", "EINVAL", "ENODEV", "ENOENT", "ENOTBLK", "EROFS"),
    "fsmount": ("EBUSY", "EINVAL", "ENOSPC"),
    "fsopen": ("EINVAL", "ENFILE", "ENODEV"),
    "fstat": ("EBADF", "EOVERFLOW"),
    "fstatfs": ("EOVERFLOW",),
    "fsync": ("EBADF", "EDQUOT", "EINVAL", "ENOSPC", "EROFS"),
    "getcwd": ("EACCES", "ENOENT", "ERANGE"),
    "getdents64": ("EINVAL", "ENOENT", "ENOTDIR"),
    "getxattr": _XATTR,
    "ioctl": ("EBADF", "EINVAL", "ENOTTY"),
    "kill": ("EINVAL", "ESRCH"),
    "lgetxattr": _XATTR,
    "listxattr": _XATTR,
    "llistxattr": _XATTR,
    "lseek": ("EINVAL", "ESPIPE"),
    "lstat": _PATH,
    "mkdir": (*_PATH, "EDQUOT", "EEXIST", "EINVAL", "EMLINK", "ENOSPC", "EROFS"),
    "mkdirat": (*_PATH, "EDQUOT", "EEXIST", "EINVAL", "EMLINK", "ENOSPC", "EROFS"),
    "mount": (*_PATH, "EBUSY", "EINVAL", "EMFILE", "ENODEV", "ENOTBLK", "ENXIO", "EROFS"),
    "move_mount": (*_PATH, "EBUSY", "EINVAL"),
    "name_to_handle_at": (*_PATH, "EOPNOTSUPP", "EOVERFLOW"),
    "newfstatat": (*_PATH, "EOVERFLOW"),
    "open_tree": (*_PATH, "EINVAL", "ENFILE", "ENOSPC"),
    "openat": (*_PATH, "EBUSY", "EEXIST", "EINVAL", "EISDIR", "ENFILE", "ENODEV", "ENOSPC",
               "ENXIO", "EOVERFLOW", "EROFS", "ETXTBSY"),
    "openat2": (*_PATH, "E2BIG", "EINVAL", "ENFILE", "EXDEV"),
    "pipe2": ("EINVAL", "ENFILE"),
    "prlimit64": ("EINVAL", "ESRCH"),
    "read": ("EBADF", "EINVAL", "EISDIR"),
    "readlink": (*_PATH, "EINVAL"),
    "readlinkat": (*_PATH, "EINVAL"),
    "renameat2": (*_PATH, "EBUSY", "EINVAL", "ENOSPC", "EROFS"),
    "rmdir": (*_PATH, "EBUSY", "EINVAL", "ENOTEMPTY", "EROFS"),
    "rt_sigaction": ("EINVAL",),
    "rt_sigpending": ("EFAULT",),
    "rt_sigprocmask": ("EINVAL",),
    "sched_getaffinity": ("EINVAL", "ESRCH"),
    "setxattr": (*_XATTR, "EDQUOT", "EEXIST", "ENOSPC"),
    "stat": _PATH,
    "statfs": (*_PATH, "EOVERFLOW"),
    "statx": (*_PATH, "EINVAL"),
    "symlink": (*_PATH, "EDQUOT", "EEXIST", "ENOSPC", "EROFS"),
    "umount2": (*_PATH, "EBUSY", "EINVAL"),
    "unlink": (*_PATH, "EBUSY", "EISDIR", "EROFS"),
    "unlinkat": (*_PATH, "EBUSY", "EISDIR", "ENOTEMPTY", "EROFS"),
    "unshare": ("EINVAL", "ENOSPC", "EUSERS"),
    "wait4": ("ECHILD", "EINVAL"),
    "write": _WRITTEN,
}  # fmt: skip

#: Calls of the interpreter itself: memory, locks, time, exit.
NOT_OURS = frozenset(
    """
    mmap munmap mremap brk mprotect madvise futex rt_sigreturn exit exit_group getpid gettid
    getrandom clock_gettime clock_nanosleep restart_syscall sched_yield set_robust_list rseq
    execve arch_prctl getuid getgid geteuid getegid uname umask membarrier sysinfo poll
    """.split()  # noqa: SIM905 - a column of strings would be longer
)
