"""What the resolver says of a stack, compared with what the kernel shows."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from layerctl.inspecting.opening import Opened, opened
from layerctl.inspecting.resolvers.tree import TYPES, EntryKind, MergedDir
from layerctl.inspecting.story import Story, tell
from layerctl.kernel import mounts
from layerctl.rules.aliasing import Aliasing
from layerctl.rules.overlay import Settings
from tests.support.stacks import NAMES, Case, Mounted


@dataclass(slots=True)
class Seen:
    """One name as the kernel shows it; `error` where a lookup is denied."""

    error: int = 0
    status: os.stat_result | None = None
    link: str | None = None
    content: bytes | None = None
    content_error: int = 0
    unlisted: bool = False


def kernel_tree(target: str, ours: Collection[str]) -> dict[str, Seen]:
    """List a mounted tree, each directory sorted, going down at once into every directory.

    Where the kernel cannot list a directory, because one name in it makes a lookup fail, the
    names are those of `ours`, and it is left to the lookups to agree.
    """
    found: dict[str, Seen] = {}

    def down(path: str) -> None:
        try:
            names = os.listdir(f"{target}/{path}")
        except OSError:
            names = [p.rpartition("/")[2] for p in ours if p.rpartition("/")[0] == path]
            if path:
                found[path].unlisted = True
        for name in sorted(names):
            child = f"{path}/{name}" if path else name
            seen = found[child] = look(f"{target}/{child}")
            if seen.status is not None and stat.S_ISDIR(seen.status.st_mode):
                down(child)

    down("")
    return found


def look(path: str) -> Seen:
    """Look at one object through a mount."""
    try:
        status = os.lstat(path)
    except OSError as error:
        return Seen(error=error.errno or errno.EIO)
    seen = Seen(status=status)
    if stat.S_ISLNK(status.st_mode):
        seen.link = os.readlink(path)
    elif stat.S_ISREG(status.st_mode):
        try:
            seen.content = Path(path).read_bytes()
        except OSError as error:
            seen.content_error = error.errno or errno.EIO
    return seen


@dataclass(slots=True)
class Ours:
    """One name as the resolver has it: `objects` are all that it is made of, `data` its contents.

    An object is a layer and a place in it; data that is nowhere is (-1, "").
    """

    kind: EntryKind
    place: str
    data: tuple[int, str] | None
    objects: list[tuple[int, str]]


@dataclass(slots=True)
class Tree:
    """What the resolver shows.

    `fragile` are directories whose listing makes the kernel look names up, so that a name that
    is refused makes the listing fail. `mixed` are those of which some parts ask for whiteouts by
    attribute and some do not: whether the kernel heeds the latter depends on what it met before.
    """

    entries: dict[str, Ours] = field(default_factory=dict)
    fragile: set[str] = field(default_factory=set)
    mixed: set[str] = field(default_factory=set)

    def note(self, directory: MergedDir, *, xino: bool) -> None:
        impure = any("impure" in part.attributes for part in directory.parts)
        if directory.xattr_whiteouts or impure or xino:
            self.fragile.add(directory.path)
        if directory.xattr_whiteouts:
            self.mixed.add(directory.path)


def resolver_tree(view: Opened) -> Tree:
    """Walk the resolver as `kernel_tree` walks the kernel."""
    tree = Tree()
    found = tree.entries
    resolver = view.resolver

    def down(directory: MergedDir) -> None:
        tree.note(directory, xino=getattr(resolver, "xino", False))
        for name, listed in resolver.read(directory):
            place, data = "", None
            for part in directory.parts:
                if part.layer == listed.layer:
                    place = f"{part.path}/{name}" if part.path else name
            if listed.letter == "d":
                kind, below = resolver.enter(directory, name, listed)
                if kind is None:
                    continue
                objects = [(p.layer, p.path) for p in below.parts] if below is not None else []
                found[directory.child_path(name)] = Ours(kind, place, None, objects)
                if below is not None:
                    down(below)
                    below.close()
                continue
            if listed.alias is not None and listed.alias.what is Aliasing.SHARED:
                place = listed.alias.other
            elif listed.alias is not None and listed.alias.what is Aliasing.INDEXED:
                place = f"../w/index/{listed.alias.other}"
            if listed.letter == "f" and listed.reachable:
                looked = resolver.lookup(directory, name)
                if looked.metacopy:
                    data = looked.data or (-1, "")
            objects = [(listed.layer, place)] + ([data] if data is not None else [])
            found[directory.child_path(name)] = Ours(listed, place, data, objects)

    root = resolver.root()
    down(root)
    root.close()
    return tree


def differences(view: Opened, tree: Tree, kernel: dict[str, Seen]) -> Iterator[str]:
    """Yield everything in which resolver and kernel differ."""
    ours = tree.entries
    for path in sorted(ours.keys() | kernel.keys()):
        mixed = path.rpartition("/")[0] in tree.mixed
        if path not in kernel:
            alias = ours[path].kind.alias
            if alias is not None and path.rpartition("/")[0] in tree.fragile:
                if ours[path].kind.reachable:  # a name that is refused is not listed
                    yield f"{path}: {alias.what}, and the kernel does not list it"
            elif not (mixed and not ours[path].kind.reachable):
                yield f"{path}: only the resolver lists it ({ours[path].kind.type})"
            continue
        entry, seen = ours.get(path), kernel[path]
        if entry is None:
            if not (mixed and seen.error):
                yield f"{path}: only the kernel lists it ({seen})"
            continue
        if seen.unlisted and path not in tree.fragile:
            yield f"{path}: the kernel cannot list it"
        if entry.kind.reachable != (seen.error == 0):
            reason = f"reachable {entry.kind.reachable} ({entry.kind.why})"
            yield f"{path}: {reason}, but errno {seen.error}"
        elif seen.status is not None:
            yield from compare_object(view, path, entry, seen)


def compare_object(view: Opened, path: str, entry: Ours, seen: Seen) -> Iterator[str]:
    """Yield how one object differs from what the resolver says it comes from."""
    kind, data = entry.kind, entry.data
    assert seen.status is not None
    source = os.path.join(view.layers[kind.layer], entry.place)
    status = os.lstat(source)
    for name in ("st_mode", "st_uid", "st_gid", "st_mtime_ns"):
        if getattr(status, name) != getattr(seen.status, name):
            yield f"{path}: {name} is not that of {source}"
            return
    if kind.type != "dir" and status.st_size != seen.status.st_size:
        yield f"{path}: size is not that of {source}"
    if TYPES_OF_MODE[stat.S_IFMT(seen.status.st_mode)] != kind.type:
        yield f"{path}: type {kind.type}"
    if seen.link is not None and seen.link != os.readlink(source):
        yield f"{path}: target {seen.link}"
    if kind.type == "file":
        if data is not None:
            if data[0] < 0:
                if not seen.content_error:
                    yield f"{path}: no data, but it reads {seen.content!r}"
                return
            source = os.path.join(view.layers[data[0]], data[1])
            expected = Path(source).read_bytes()[: seen.status.st_size]
            got = (seen.content or b"")[: len(expected)]
        else:
            expected = Path(source).read_bytes()
            got = seen.content or b""
        if seen.content_error or got != expected:
            yield f"{path}: {got!r} (errno {seen.content_error}), not {expected!r} of {source}"


TYPES_OF_MODE = {
    stat.S_IFDIR: "dir", stat.S_IFREG: "file", stat.S_IFLNK: "symlink", stat.S_IFCHR: "char",
    stat.S_IFBLK: "block", stat.S_IFIFO: "fifo", stat.S_IFSOCK: "socket",
}  # fmt: skip


def compare(case: Case, *, live: bool = False) -> list[str]:
    """Compare resolver and kernel on one case; return what differs."""
    with opened(case.stack, thorough=True) as view:
        ours = resolver_tree(view)
        # Before the kernel looks anything up, since that writes origins.
        stories = {path: tell(view, path) for path in {*ours.entries, *NAMES}}
        with Mounted(case) as target:
            kernel = kernel_tree(target, ours.entries)
            found = list(differences(view, ours, kernel))
            if live:
                found += compare_live(case)
        found += list(compare_stories(stories, ours.entries, kernel))
    return found


def compare_live(case: Case) -> list[str]:
    """Check that mountinfo is read back into the same answers."""
    mounted = mounts.find_layered(case.target)
    stack = mounted.stack
    with opened(case.stack) as one, opened(stack, mounted.entry) as other:
        # xino= is not shown where the layers share a filesystem and it does nothing; where they
        # do not, uuid=off is not in effect.
        ours, theirs = (getattr(view.resolver, "settings", None) for view in (one, other))
        assert isinstance(ours, Settings)
        assert isinstance(theirs, Settings)
        if ours._replace(xino=False, uuid=True) != theirs._replace(xino=False, uuid=True):
            return [f"settings of {case.stack.options} and {stack.options} differ"]
        return list(_reachable_now(case.target, resolver_tree(other)))


def _reachable_now(target: str, tree: Tree) -> Iterator[str]:
    """Yield where a live mount's entries are not as the mount itself says just now."""
    for path, entry in tree.entries.items():
        alias = entry.kind.alias
        if alias is not None and alias.of_two:
            there = look(f"{target}/{path}").error != errno.ESTALE
            if there != entry.kind.reachable:
                yield f"{path}: {alias.what} of {alias.other}, but reachable {there} now"


def compare_stories(
    stories: dict[str, Story],
    ours: dict[str, Ours],
    kernel: dict[str, Seen],
) -> Iterator[str]:
    """Yield where a path's story differs from the tree it belongs to."""
    for path, entry in ours.items():
        kind, story = entry.kind, stories[path]
        if not kind.reachable:
            if story.reachable and story.visible:
                yield f"{path}: the story calls it reachable"
            continue
        if not story.visible or story.provider != kind.layer:
            yield f"{path}: the story has {story.provider}, the tree {kind.layer}"
        elif story.letter is None or TYPES[story.letter] != kind.type:
            yield f"{path}: the story has {story.letter}, the tree {kind.type}"
        shown = tuple(x.index for x in story.layers if x.state in ("provides", "merged"))
        if kind.type == "dir" and shown != (kind.merged or (kind.layer,)):
            yield f"{path}: the story merges {shown}, the tree {kind.merged}"
    for name in NAMES:
        story = stories[name]
        if name not in kernel and name not in ours and story.visible and story.reachable:
            yield f"{name}: the story shows what the kernel does not"


def _came_from(path: str, moved: dict[str, str | None]) -> str:
    """Return where a path was before directories were renamed."""
    for target, source in sorted(moved.items(), key=lambda pair: -len(pair[0])):
        if path == target or path.startswith(target + "/"):
            return str(source) + path[len(target) :]
    return path


def wrong_changes(made: dict[str, Any], before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """Compare changes with two trees as the kernel showed them."""
    moved = {path: one.source for path, one in made.items() if one.change == "renamed"}

    wrong = []
    for path, seen in after.items():
        one, old = made.get(path), before.get(_came_from(path, moved))
        if old is None:
            if one is None or one.change not in ("added", "renamed"):
                wrong.append(f"{path}: new, but {one}")
            continue
        same_type = stat.S_IFMT(seen.status.st_mode) == stat.S_IFMT(old.status.st_mode)
        same = same_type and (seen.content, seen.link) == (old.content, old.link)
        if same_type and not same and (one is None or one.change not in ("modified", "renamed")):
            wrong.append(f"{path}: modified, but {one}")
        if not same_type and (one is None or one.change != "replaced"):
            wrong.append(f"{path}: replaced, but {one}")
        if same and one is not None and one.change in ("modified", "replaced", "added"):
            wrong.append(f"{path}: the same, but {one}")
        mode_differs = seen.status.st_mode != old.status.st_mode
        if same and mode_differs and (one is None or one.change not in ("metadata", "renamed")):
            wrong.append(f"{path}: mode changed, but {one}")
    for path, one in made.items():
        if one.change == "deleted" and (path in after or (one.source or path) not in before):
            wrong.append(f"{path}: {one}, but it is there, or never was")
    for path in before:
        above = path.rpartition("/")[0]
        if path in after or path in moved.values():
            continue
        others = [p for p in made if made[p].change in ("renamed", "replaced")]
        if any(path.startswith(p + "/") for p in others) or (above and above not in after):
            continue  # the contents of a removed directory are not listed
        if above not in moved.values() and path not in made:
            wrong.append(f"{path}: gone, but not in the changes")
    return wrong
