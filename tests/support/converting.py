"""Layers to convert: random ones, and what their markers say, whatever form they have."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from hypothesis import strategies as st

from layerctl.kernel import layers
from layerctl.usecases import working
from layerctl.usecases.converting import converting
from layerctl.working.converting.forms import Form
from tests.support.stacks import stamp

#: What a name starts with tells its type in each layer: aufs merges directories across a file.
DIRECTORIES, FILES = ("d", "e"), ("f", "g", "h")
#: Names, from the top down, and what the last of them is.
Things = list[tuple[tuple[str, ...], str]]


def things(*, opaque: bool = True) -> st.SearchStrategy[Things]:
    """Return a strategy for layers; without `opaque` no directory is opaque."""
    above = st.lists(st.sampled_from(DIRECTORIES), max_size=2)
    kinds = ("dir", "dir", "whiteout", *(("opaque",) if opaque else ()))
    directory = st.tuples(above, st.sampled_from(DIRECTORIES), st.sampled_from(kinds))
    file = st.tuples(
        above, st.sampled_from(FILES),
        st.sampled_from(("file", "file", "link", "symlink", "fifo", "whiteout", "whiteout")),
    )  # fmt: skip
    named = st.one_of(directory, file).map(lambda one: ((*one[0], one[1]), one[2]))
    return st.lists(named, max_size=14)


def build(layer: Path, what: Things, *, prefix: str = "trusted.overlay.") -> None:
    """Make a layer of an overlay; leave out what has no place."""
    layer.mkdir()
    first: Path | None = None
    for names, kind in what:
        path = layer.joinpath(*names)
        if os.path.lexists(path) or not _parents(layer, names):
            continue
        if kind in ("dir", "opaque"):
            path.mkdir(mode=0o750)
            os.setxattr(path, f"{prefix}origin", b"")
            if kind == "opaque":
                os.setxattr(path, f"{prefix}opaque", b"y")
        elif kind == "whiteout":
            os.mknod(path, stat.S_IFCHR, 0)
        elif kind == "symlink":
            path.symlink_to("nowhere")
        elif kind == "fifo":
            os.mkfifo(path)
        elif kind == "link" and first is not None:
            os.link(first, path)
        else:
            path.write_text(f"{path}\n")
            os.setxattr(path, "user.note", b"x")
            first = first or path
    for path in sorted(layer.rglob("*"), reverse=True):
        if path.lstat().st_nlink == 1 or path.is_dir():
            stamp(str(path))
    stamp(str(layer))


def _parents(layer: Path, names: tuple[str, ...]) -> bool:
    above = layer
    for name in names[:-1]:
        above /= name
        if not above.is_dir():
            if os.path.lexists(above):
                return False
            above.mkdir()
    return True


def convert(
    layer: Path, to: str, *, given: str | None = None, into: str | None = None, user: bool = False
) -> None:
    """Convert a layer as the command does. Raises LayerctlError."""
    source = None if given is None else Form(given)
    with converting(str(layer), Form(to), source, into, user=user) as steps:
        list(working.do(steps))


def meaning(layer: Path) -> dict[str, tuple[object, ...]]:
    """Return what a layer says, in whichever form, and all else that its files have.

    Whiteouts in an opaque directory say nothing.
    """
    found: dict[str, tuple[object, ...]] = {}

    def down(path: Path, place: str, *, covered: bool) -> None:
        fd = os.open(path, os.O_RDONLY)
        names = os.listdir(fd)
        marks = {one for one in layers.attribute_names(fd) if one.endswith(".opaque")}
        os.close(fd)
        opaque = bool(place and (marks or ".wh..wh..opq" in names))
        found[place] = ("dir", opaque, *_rest(path))
        for name in names:
            whole = path / name
            child = f"{place}/{name}" if place else name
            status = whole.lstat()
            if name.startswith(".wh..wh."):
                continue
            if name.startswith(".wh.") or layers.letter_of(status) == "w":
                hidden = child.replace(".wh.", "", 1) if name.startswith(".wh.") else child
                if not (covered or opaque):
                    found[hidden] = ("whiteout",)
            elif stat.S_ISDIR(status.st_mode):
                down(whole, child, covered=covered or opaque)
            else:
                found[child] = ("file", status.st_mtime_ns, status.st_nlink, *_rest(whole))

    down(layer, "", covered=False)
    return found


def _rest(path: Path) -> tuple[object, ...]:
    status = path.lstat()
    attributes = {
        name: os.getxattr(path, name, follow_symlinks=False)
        for name in os.listxattr(path, follow_symlinks=False)
        if "overlay" not in name and "layerctl" not in name
    }
    content = path.read_bytes() if stat.S_ISREG(status.st_mode) else b""
    return status.st_mode, status.st_uid, status.st_gid, tuple(attributes.items()), content
