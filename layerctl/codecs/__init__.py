"""Text to data types and back: options, escapes, mountinfo, sysfs of aufs. Pure."""
