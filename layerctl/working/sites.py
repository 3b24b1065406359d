"""The paths that a restore changes: their state, their other names, and what stops it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from typing import NamedTuple

from layerctl.diagnosing.commands import layer_words
from layerctl.errors import RefusedError
from layerctl.inspecting.opening import Opened
from layerctl.inspecting.resolvers.overlay import Overlay
from layerctl.inspecting.resolvers.resolver import Found, descend, look_up
from layerctl.inspecting.resolvers.tree import MergedDir, noun
from layerctl.inspecting.story import tell
from layerctl.kernel import changing, layers
from layerctl.rules.words import shell
from layerctl.working import lower
from layerctl.working.flattening import Flattener, denied
from layerctl.working.references import References, is_in
from layerctl.working.steps import Folder, Step

#: Keeps, on a renamed directory that was moved aside, its path and the one it had before: an
#: interrupted run is completed with either.
WAS = "layerctl.was"


class Wish(NamedTuple):
    """The paths to restore, relative to the root of the merged tree, and how.

    `layer` is the layer whose version is copied, None for what shows without the upper layer.
    """

    paths: tuple[str, ...]
    recursive: bool = False
    layer: int | None = None


class Site(NamedTuple):
    """A path: what the upper layer has there, and what the layers below have.

    `there` is None where the upper layer has nothing; `letter` is `w` for whiteouts of both kinds.
    `source` is where what is copied to the path comes from: the first layer that it is sought in,
    and the path there; None if what lies below shows once the upper layer has nothing.
    """

    path: str
    there: os.stat_result | None
    letter: str
    below: str
    source: tuple[int, str] | None = None


class Upper:
    """Directories of the upper layer, opened once."""

    def __init__(self, root: int, top: str, prefix: str, closing: ExitStack) -> None:
        self.root = root
        self.top = top
        self._prefix = prefix
        self._closing = closing
        self._folders: dict[str, Folder] = {}

    def folder(self, path: str) -> Folder:
        """Return a directory; without a descriptor if it does not exist yet."""
        if path not in self._folders:
            place = f"{self.top}/{path}".rstrip("/")
            try:
                fd = layers.open_path(path, self.root)
            except OSError:
                return Folder(-1, place, self._prefix)
            self._closing.callback(os.close, fd)
            self._folders[path] = Folder(fd, place, self._prefix)
        return self._folders[path]

    def count(self, site: Site) -> int:
        """Return how many names there are in a directory."""
        if site.letter != "d":
            return 0
        fd = layers.open_path(site.path, self.root)
        try:
            return len(os.listdir(fd))
        finally:
            os.close(fd)


class _ThroughMount(Flattener):
    """Copies into a live mount, which takes attributes in its own terms."""

    def directory(
        self, directory: MergedDir, above: Folder, name: str, *, last: int, opaque: bool
    ) -> Iterator[Step]:
        """Yield the steps that copy a directory, unless it has attributes of another overlay."""
        demand_plain(self._prefix, directory.parts[0].fd, None, directory.path)
        yield from super().directory(directory, above, name, last=last, opaque=opaque)

    def file(self, target: Folder, name: str, found: Found) -> Iterator[Step]:
        """Yield the step that copies a file, unless it has attributes of another overlay."""
        part = found.parts[0]
        above, _, base = part.path.rpartition("/")
        fd = layers.open_path(above, self.resolver.roots[part.layer])
        try:
            demand_plain(self._prefix, fd, base, part.path)
        finally:
            os.close(fd)
        yield from super().file(target, name, found)


def demand_plain(prefix: str, fd: int, name: str | None, path: str) -> None:
    """Raise RefusedError where a file has attributes of another overlay, which a mount renames."""
    escaped = f"{prefix}overlay."
    if any(one.startswith(escaped) for one in layers.attribute_names(fd, name)):
        raise RefusedError(
            "not-restorable",
            f"'{path}' has attributes of another overlay, {escaped}*",
            why="the kernel translates their names in a mount",
            hint="unmount the overlay first, and restore with -u, -w and -l",
        )


class Sites:
    """The sites of some paths, by path, in the order in which they are restored.

    `entries` are names, with their directory, that an interrupted run has moved aside. In a `live`
    mount, what is below is copied to all of them. `missing`
    are the paths that no layer has, `was` has the old path of each renamed directory. Raises
    LayerctlError where a restore would change another path.
    """

    def __init__(
        self,
        view: Opened,
        wish: Wish,
        upper: Upper,
        entries: Iterable[tuple[str, int]],
        *,
        live: bool = False,
    ) -> None:
        assert isinstance(view.resolver, Overlay)  # noqa: S101 - `demand` saw to that
        self._view = view
        self._overlay = view.resolver
        self._prefix = view.resolver.settings.prefix
        self._wish = wish
        self._upper = upper
        self._live = live
        self.references = References(view, view.resolver)
        self.missing: list[str] = []
        self.found: dict[str, Site] = {}
        self.was: dict[str, str] = {}
        self._begun: set[str] = set()
        self._find(entries)
        self._order()

    def copier(self, number: int, target: Folder) -> Flattener:
        """Return what copies from the layers from a number down to a directory."""
        run = range(number, len(self._view.layers))
        kind = _ThroughMount if self._live else Flattener
        return kind(self._view, self._overlay.below(number), run, target)

    def _find(self, entries: Iterable[tuple[str, int]]) -> None:
        paths = [path for path in self._wish.paths if not self._is_covered(path)]
        waiting = list(dict.fromkeys(paths))
        for name, fd in entries:
            kept = layers.attribute(self._prefix + WAS, fd, name)
            pair = os.fsdecode(kept).split("\0") if kept is not None else []
            if set(pair) & set(paths):
                waiting += pair
                self._begun.update(pair)
        done = set()
        while waiting:
            path = waiting.pop(0)
            if path in done:
                continue
            done.add(path)
            site = self._site(path)
            if site is not None:
                self.found[path] = site
                waiting += self._renamed(site)
        self.missing = [path for path in self.missing if path not in self._begun]
        for site in self.found.values():
            self._demand_alone(site)

    def _is_covered(self, path: str) -> bool:
        return any(path != one and is_in(path, one) for one in self._wish.paths)

    def _site(self, path: str) -> Site | None:
        above, _, name = path.rpartition("/")
        directory, at, found = descend(self._overlay, above)
        try:
            if found is not None:
                found.close()
                self._demand_absent(path, directory.child_path(at), found)
                return None
            return self._of_name(directory, name, path)
        finally:
            directory.close()

    def _of_name(self, directory: MergedDir, name: str, path: str) -> Site | None:
        top = directory.parts[0]
        there = layers.status(name, top.fd) if top.layer == 0 else None
        letter = "" if there is None else layers.letter_of(there)
        if there is not None and self._overlay.marker(0, top.fd, name, there) is not None:
            letter = "w"
        below = lower.rest(directory, 0)
        found = lower.look(self._overlay, below, name)
        source = self._source(path, below)
        indexed = found.copied is not None  # the index shows another file in its place
        changed = there is not None or indexed
        if self._live and source is None and changed and found.parts:
            source = found.parts[0].layer, found.parts[0].path
        if source is not None:
            found.close()
            found = look_up(self._overlay.below(source[0]), source[1])
        found.close()
        if found.error:
            raise denied(path, found)
        if not changed and source is None:
            if found.letter is None:
                self.missing.append(path)
            return None
        self._demand_unindexed(path, found)
        number = found.parts[0].layer + (source[0] if source else 0) if found.parts else 0
        words = f"layer {number} has a {noun(found.letter)}" if found.letter else "no layer has it"
        site = Site(path, there, letter, words, source)
        self._demand_possible(site)
        if source is not None:
            self._demand_copiable(path, source, found)
        return site

    def _source(self, path: str, below: MergedDir) -> tuple[int, str] | None:
        """Return where a copy comes from; None if none is needed."""
        number = self._wish.layer
        if number is not None and path in self._wish.paths:
            version = tell(self._view, path).layers[number]
            if version.file is None or version.state == "whiteout":
                raise self._refused(path, f"layer {number} has nothing at '{path}'", version.reason)
            place = version.file.removeprefix(version.directory).strip("/")
            return (number, place) if place else None
        if below.parts:
            return None
        found = look_up(self._overlay.below(1), path)  # hidden by an opaque directory above it
        found.close()
        return (1, path) if found.letter is not None else None

    def _renamed(self, site: Site) -> list[str]:
        """Return the paths that are restored with a path, since one was renamed to the other."""
        if site.source is not None:  # a copy takes its place, and that of nothing else
            return []
        place = self.references.beneath(site.path)
        found = [
            one.path
            for one in self.references.renames
            if one.lower == place and one.path != site.path
        ]
        for one in self.references.renames:
            if one.path == site.path and self._exists(one.lower):
                old = self.references.upper_of(one.lower)
                found.append(old)
                self.was[site.path] = old
                self._demand_whiteout(site.path, old)
        return found

    def _exists(self, path: str) -> bool:
        found = look_up(self._overlay.below(1), path)
        found.close()
        return found.letter is not None

    # What cannot be done

    def _demand_absent(self, path: str, at: str, found: Found) -> None:
        """Note a path that no layer has; raise RefusedError where the upper layer hides it."""
        if found.error:
            raise denied(at, found)
        if found.letter is not None:
            what = noun(found.letter)
            hint = "use the path of its target" if found.letter == "l" else "restore that first"
            raise self._refused(path, f"'{at}' is a {what}, so there is nothing below it", "", hint)
        if self._exists(path):
            raise self._refused(
                path,
                f"'{path}' cannot be restored while '{at}' is deleted",
                "the directory that it was in would have to show again as well",
                f"restore '{at}', with all that it holds",
            )
        self.missing.append(path)

    def _demand_unindexed(self, path: str, found: Found) -> None:
        overlay = self._overlay
        names = overlay.origins is not None and bool(overlay.origins.names)
        apart = not names or (found.letter != "d" and not self.references.copies)
        if self._live or (apart and not overlay.settings.verify and not found.indexed):
            return
        raise RefusedError(
            "layer-indexed",
            f"'{path}' may be in the index of the overlay",
            why="the index would show the copy of the upper layer all the same",
            hint="mount the overlay, and restore through the mount",
        )

    def _demand_copiable(self, path: str, source: tuple[int, str], found: Found) -> None:
        if found.letter == "d" and not self._wish.recursive:
            raise self._refused(path, f"'{path}' is a directory in layer {source[0]}",
                           "all that it holds would be copied", "use -r to copy it")  # fmt: skip
        part = found.parts[0]
        above, _, name = part.path.rpartition("/")
        fd = layers.open_path(above, self._overlay.roots[source[0] + part.layer])
        try:
            if found.letter in ("d", "f") and changing.flags(fd, name) & changing.LOCKED:
                raise self._refused(path, f"'{path}' is immutable or append-only below",
                               "a copy of it could not be put in its place")  # fmt: skip
        finally:
            os.close(fd)
        for _ in self.copier(source[0], Folder(-1, "", self._prefix)).at(
            source[1], "", opaque=False
        ):
            pass  # nothing is done yet, and all is looked up

    def _demand_possible(self, site: Site) -> None:
        """Raise RefusedError for a directory that is not empty, and for what cannot be removed."""
        above, _, name = site.path.rpartition("/")
        folder = self._upper.folder(above)
        if folder.fd < 0 or site.there is None:
            return
        if site.letter in "df" and changing.flags(folder.fd, name) & changing.LOCKED:
            raise self._refused(site.path, f"'{site.path}' is immutable or append-only",
                           "it cannot be removed", "use chattr -ia on it")  # fmt: skip
        count = self._upper.count(site)
        if count and not self._wish.recursive:
            raise RefusedError(
                "holds-changes",
                f"'{site.path}' is a directory with changes inside",
                why=f"the upper layer has {count:,} {'names' if count > 1 else 'name'} in it, "
                "which would be dropped",
                hint="use -r to drop them, or name the paths below it",
                commands=(self._command("changes", site.path),),
            )

    def _demand_alone(self, site: Site) -> None:
        """Raise RefusedError if another path refers to what shows again, or to what is lost."""
        if site.source is not None:
            return
        place = self.references.beneath(site.path)
        for one in self.references.renames:
            if is_in(one.path, site.path):
                if self._exists(one.lower):
                    self._demand_named(one.path, self.references.upper_of(one.lower), self.found)
            elif place is not None and is_in(one.lower, place):
                self._demand_named(site.path, one.path, self.found)

    def _demand_named(self, path: str, other: str, named: Iterable[str]) -> None:
        if any(is_in(other, one) for one in named):
            return
        raise self._refused(
            path,
            f"'{path}' and '{other}' are one directory, which was renamed",
            "one cannot be restored without the other",
            "name both",
        )

    def _demand_whiteout(self, path: str, old: str) -> None:
        """Raise RefusedError where something else has the old name of a renamed directory."""
        above, _, name = old.rpartition("/")
        folder = self._upper.folder(above)
        there = layers.status(name, folder.fd) if folder.fd >= 0 else None
        if there is not None and self._overlay.marker(0, folder.fd, name, there) is None:
            self._demand_named(path, old, (*self._wish.paths,))

    def _order(self) -> None:
        """Sort the paths: a renamed directory goes before its old place shows again."""
        from graphlib import CycleError, TopologicalSorter  # only restore needs it

        graph: dict[str, list[str]] = {path: [] for path in self.found}
        for one in self.references.renames:
            for path in self.found:
                if is_in(one.lower, self.references.beneath(path) or "\0"):
                    graph[path] += [p for p in self.found if p != path and is_in(one.path, p)]
        try:
            order = list(TopologicalSorter(graph).static_order())
        except CycleError:
            raise self._refused(
                "", "directories were renamed into each other",
                "whichever is restored first, two names lead to one directory meanwhile",
                "mount the overlay, and rename them back",
            ) from None  # fmt: skip
        self.found = {path: self.found[path] for path in order}

    def _refused(
        self, path: str, message: str, why: str, hint: str = "name another path"
    ) -> RefusedError:
        return RefusedError(
            "not-restorable",
            message,
            why=why,
            hint=hint,
            commands=(self._command("merged", path),) if path else (),
        )

    def _command(self, what: str, path: str) -> str:
        return shell("layerctl", "inspect", what, *layer_words(self._view.stack), path)
