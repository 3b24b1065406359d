"""The limits of the kernel and of aufs for a mount, for all rooms. Pure."""

from __future__ import annotations

#: fsconfig(2) copies 256 bytes of a value, including its NUL (fs/fsopen.c).
MAX_VALUE = 255
#: mount(2) copies a page and sets its last byte to NUL (copy_mount_options): longer strings are
#: truncated.
MAX_STRING = 4095
#: OVL_MAX_STACK (fs/overlayfs/params.h): lower layers, data-only ones included.
MAX_LOWERS = 500
#: AUFS_BRANCH_MAX_127, the usual build (Kconfig knows 511, 1023 and 32767 too).
MAX_BRANCHES = 127
#: More than about 84 options in one call crash a kernel with aufs; pass the rest by remount.
MAX_BRANCHES_A_CALL = 64
#: aufs caches listings in blocks of at least one name (NAME_MAX), or of size 0.
MIN_RDBLK = 255
#: AUFS_RDCACHE_MAX and AUFS_MFS_MAX_SEC, in seconds.
AUFS_MAX_SECONDS = 3600
