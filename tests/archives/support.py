"""Archives made for tests, and what is in a layer."""

from __future__ import annotations

import io
import os
import stat
import tarfile
from pathlib import Path
from typing import Any


def entry(name: str, kind: bytes = tarfile.REGTYPE, text: bytes = b"", **more: Any) -> Any:
    info = tarfile.TarInfo(name)
    info.type, info.size, info.mode = kind, len(text), 0o755
    for key, value in more.items():
        setattr(info, key, value)
    return info, text


def written(path: Path, *entries: Any) -> Path:
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as archive:
        for info, text in entries:
            archive.addfile(info, io.BytesIO(text))
    return path


DIR, LINK, SYM = tarfile.DIRTYPE, tarfile.LNKTYPE, tarfile.SYMTYPE
CHR = tarfile.CHRTYPE


def tree(path: Path) -> dict[str, str]:
    """Return what is below a directory: a letter of its type, and for whiteouts and opaque ones."""
    found = {}
    for one in sorted(path.rglob("*")):
        status = one.lstat()
        letter = stat.filemode(status.st_mode)[0]
        if stat.S_ISCHR(status.st_mode) and not status.st_rdev:
            letter = "w"
        if "trusted.overlay.opaque" in os.listxattr(one, follow_symlinks=False):
            letter = "o"
        found[str(one.relative_to(path))] = letter
    return found
