"""/proc/PID/mountinfo, one line per mount (proc(5)). Pure."""

from __future__ import annotations

from layerctl.codecs.escape import octal_decode
from layerctl.model import MountEntry


def parse_line(line: str) -> MountEntry:
    """Decode one line. Raises ValueError if it is not a mountinfo line."""
    head, separator, tail = line.rstrip("\n").partition(" - ")
    fields = head.split(" ")
    ends = tail.split(" ")
    if "\0" in line or "\\000" in line:  # no path contains one, and none can be looked up with it
        raise ValueError("it contains a NUL byte, which no mountinfo has")
    if not separator or len(fields) < 6 or len(ends) < 3:
        raise ValueError(f"not a mountinfo line: {line!r}")
    return MountEntry(
        mount_id=int(fields[0]),
        parent_id=int(fields[1]),
        device=fields[2],
        root=octal_decode(fields[3]),
        target=octal_decode(fields[4]),
        mount_options=tuple(fields[5].split(",")),
        fstype=ends[0],
        source=octal_decode(ends[1]),
        super_options=" ".join(ends[2:]),
    )


def parse(text: str) -> list[MountEntry]:
    """Decode a whole mountinfo file; empty lines are ignored."""
    return [parse_line(line) for line in text.split("\n") if line]
