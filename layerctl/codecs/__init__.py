"""Text to nouns and back, pure: options, escapes, mountinfo, aufs sysfs, the kernel log."""
