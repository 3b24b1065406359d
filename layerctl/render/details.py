"""Size, date, owner and other details of entries and changes, as shown in columns."""

from __future__ import annotations

import stat
import time
from collections.abc import Collection
from datetime import datetime
from typing import TYPE_CHECKING

from layerctl.codecs.escape import printable
from layerctl.render.json import Document, path_fields
from layerctl.rules.words import size_of

if TYPE_CHECKING:
    from layerctl.inspecting.details import Details

#: Details that need a lookup in the layers below, not only a stat of the object.
ORIGINS = frozenset({"data", "redirect"})
KEYS = frozenset({"size", "allocated", "mode", "owner", "mtime", "links", "target"}) | ORIGINS

#: The unit of st_blocks (stat(2)).
BLOCK = 512


def detail_fields(details: Details | None, wanted: Collection[str]) -> Document:
    """Return the requested fields of an object that have a value."""
    if details is None:
        return {}
    status = details.status
    made: Document = {
        "size": status.st_size,
        "allocated": status.st_blocks * BLOCK,
        "mode": f"{stat.S_IMODE(status.st_mode):04o}",
        "owner": {"uid": status.st_uid, "gid": status.st_gid},
        "mtime": moment(status.st_mtime_ns),
        "links": status.st_nlink,
    }
    if details.link is not None:
        made |= path_fields("target", details.link)
    if details.data is not None:
        made["data"] = {"layer": details.data[0], **path_fields("path", details.data[1])}
    if details.redirect is not None:
        made |= path_fields("redirect", details.redirect)
    return {name: value for name, value in made.items() if name.removesuffix("_bytes") in wanted}


def moment(nanoseconds: int) -> str:
    """Return a time in UTC in ISO 8601, of constant length until the year 9999."""
    seconds, fraction = divmod(nanoseconds, 10**9)
    try:
        year, month, day, hour, minute, second, *_ = time.gmtime(seconds)
    except (OverflowError, OSError, ValueError):  # out of range of a date
        return f"@{seconds}.{fraction:09}"
    return f"{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{fraction:09}Z"


def local(moment: str) -> str:
    """Return a time in the local time zone, to the minute."""
    try:
        return datetime.fromisoformat(moment).astimezone().strftime("%Y-%m-%d %H:%M")
    except (OverflowError, OSError, ValueError):
        return moment


def long_mode(letter: str, mode: str) -> str:
    """Return the type and permissions as in ls(1); `letter` is the letter of the type."""
    return letter + stat.filemode(int(mode, 8))[1:]


def brief(details: Details, *, is_marker: bool, exact: bool) -> str:
    """Return an object's mode, size and date in a few words; for a marker only the date."""
    status = details.status
    if is_marker:
        return local(moment(status.st_mtime_ns))
    words = [stat.filemode(status.st_mode)]
    if stat.S_ISREG(status.st_mode):
        words.append(str(status.st_size) if exact else size_of(status.st_size))
    if details.link is not None:
        words.append(f"to {printable(details.link)}")
    return "  ".join([*words, local(moment(status.st_mtime_ns))])
