"""How much the kernel reads of what a mount is told. One place for every room."""

from __future__ import annotations

#: fsconfig(2) copies 256 bytes of a value, its NUL included (fs/fsopen.c).
MAX_VALUE = 255
#: mount(2) copies a page and puts a NUL on its last byte (copy_mount_options): longer is cut.
MAX_STRING = 4095
