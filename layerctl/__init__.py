"""Mount, inspect and diagnose layered filesystems: overlayfs and aufs."""

__version__ = "0.1.0"
