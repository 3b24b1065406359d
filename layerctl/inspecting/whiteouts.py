"""Whiteouts and opaque directories: where they stand, what they hide, whether they matter.

First the merged tree is walked, which meets every marker that can have an effect. What lies in
directories that the merged tree does not show is searched afterwards, layer by layer.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from layerctl.inspecting.aufs import OPAQUE, PREFIX
from layerctl.inspecting.marks import BEGIN, END, HOLE
from layerctl.inspecting.opening import Opened
from layerctl.inspecting.overlay import BY_ATTRIBUTE, Overlay
from layerctl.inspecting.parallel import Team
from layerctl.inspecting.story import noun
from layerctl.inspecting.view import Directory, Entry, Kind, Part, Resolver, Step, descent
from layerctl.kernel import layers
from layerctl.rules.overlay import FUSE, TRUSTED, USER

#: aufs's own files beside the whiteouts: .wh..wh.aufs, .wh..wh.plnk, .wh..wh.orph ...
_META = (".wh..wh.",)
#: What reading a directory costs, in entries, where only few of its names are kept.
_DIRECTORY = 20


class Whiteout(NamedTuple):
    """One marker: `path` is the name it hides, `marker` the file (or directory) that does it.

    `kind` is chardev, xattr, aufs or opaque; `hides` the layers of what it hides; `effective`
    is yes, lookup-only or no, and `reason` says why. `by` is the layer of what made it
    unnecessary, None where nothing did.
    """

    path: str
    marker: str
    layer: int
    kind: str
    hides: tuple[int, ...]
    effective: str
    reason: str
    by: int | None = None


@dataclass(slots=True)
class _Hidden:
    """A directory of one layer that the merged tree does not show."""

    layer: int
    path: str
    cause: str
    by: int | None


@dataclass(slots=True)
class Finder:
    """Finds the markers of one stack."""

    opened: Opened
    thorough: bool
    hidden: list[_Hidden] = field(default_factory=list)
    moved: set[tuple[int, str]] = field(default_factory=set)

    @property
    def resolver(self) -> Resolver:
        """The stack's resolver."""
        return self.opened.resolver

    @property
    def overlay(self) -> bool:
        """Whether the stack is an overlay, else it is an aufs."""
        return self.opened.prefix is not None

    def report(self) -> object:
        """Return, in the second process of a shared walk, what the first must know of it."""
        return self.hidden, self.moved, self.resolver.reasons

    def merge(self, report: Any) -> None:
        """Take what the second process reports."""
        hidden, moved, reasons = report
        known = {(one.layer, one.path) for one in self.hidden}
        self.hidden += [one for one in hidden if (one.layer, one.path) not in known]
        self.hidden.sort(key=lambda one: (one.layer, one.path))
        self.moved |= moved
        self.resolver.reasons.merge(reasons)

    def merged(self, team: Team) -> Iterator[Whiteout | list[str]]:
        """Yield every marker in the merged tree, and the marks of a shared walk."""
        resolver = self.resolver
        if isinstance(resolver, Overlay):
            resolver.reads_all = True
        root = resolver.root()
        first = self._read(root)
        team.divide(sum(kind.letter == "d" for _, kind in first))
        yield from self._of_root(root)
        way = descent(resolver)
        way.push(Step(root, iter(first)))
        yield from self._in_directory(root)
        while way:
            directory, entries = way.last
            below: Directory | None = None
            for name, kind in entries:
                if kind.letter != "d":
                    continue
                _, below = resolver.enter(directory, name, kind)
                if len(directory.parts) > 1 or below is None or self._may_be_marked(below):
                    yield from self._of_directory(directory, name, below)
                if below is not None:
                    break
            if below is None:
                way.pop()
                if len(way) == team.depth:
                    yield END
                continue
            if len(way) == team.depth:
                if not team.mine():
                    below.close()
                    yield HOLE
                    continue
                yield BEGIN
            way.push(Step(below, iter(self._read(below))))
            team.worked(sum(len(part.names) for part in below.parts) + _DIRECTORY)
            yield from self._in_directory(below)

    def unseen(self) -> Iterator[Whiteout]:
        """Yield the markers in what the merged tree does not show, once that was walked."""
        for hidden in self.hidden:
            yield from self._unseen(hidden)

    def _read(self, directory: Directory) -> list[Entry]:
        if len(directory.parts) == 1:
            return self.resolver.read_marks(directory, PREFIX)
        return self.resolver.read(directory)

    def _may_be_marked(self, directory: Directory) -> bool:
        part = directory.parts[0]
        return bool(part.attributes or part.strange) or not self.overlay

    def _place(self, part: Part, *names: str) -> str:
        return "/".join(filter(None, (self.opened.layers[part.layer], part.path, *names)))

    def _in_directory(self, directory: Directory) -> list[Whiteout]:
        """Return the whiteouts among what was listed in one merged directory."""
        found: list[Whiteout] = []
        for position, part in enumerate(directory.parts):
            suspects = [
                name
                for name, kind in part.names.items()
                if kind.letter == "w" or not kind.reachable or name.startswith(PREFIX)
            ]
            if suspects:
                place = self._place(part) + "/"
                for name in sorted(suspects):
                    self._suspect(directory, position, name, place + name, found)
        return found

    def _suspect(
        self, directory: Directory, position: int, name: str, marker: str, found: list[Whiteout]
    ) -> None:
        part = directory.parts[position]
        kind = part.names[name]
        if not self.overlay:
            if name.startswith(PREFIX) and not name.startswith(_META):
                found.append(self._aufs_whiteout(directory, position, name, marker))
            return
        if name.startswith(PREFIX):
            found.append(self._foreign(directory, part, name, marker))
        if kind.letter == "w" or self._is_xattr(part, name, kind):
            found.append(self._overlay_whiteout(directory, position, name, marker))

    def _is_xattr(self, part: Part, name: str, kind: Kind) -> bool:
        is_xattr = getattr(self.resolver, "is_xattr_whiteout", None)
        if kind.letter != "f" or is_xattr is None:
            return False
        try:
            return bool(is_xattr(name, part.fd))
        except OSError as error:
            self.resolver.reasons.add(part.layer, f"{part.path}/{name}", error)
            return False

    def _foreign(self, directory: Directory, part: Part, name: str, marker: str) -> Whiteout:
        """An aufs or fuse-overlayfs marker in an overlay, where it is a file like any other."""
        reason = "a file like any other to overlay: .wh. names mean something to aufs alone"
        if name == OPAQUE:
            return Whiteout(directory.path, marker, part.layer, "opaque", (), "no", reason)
        path = directory.child_path(name[len(PREFIX) :])
        return Whiteout(path, marker, part.layer, "aufs", (), "no", reason)

    def _overlay_whiteout(
        self, directory: Directory, position: int, name: str, marker: str
    ) -> Whiteout:
        part = directory.parts[position]
        kind = part.names[name]
        sort = "xattr" if kind.letter == "f" or kind.why == BY_ATTRIBUTE else "chardev"
        path = directory.child_path(name)
        hides = self._below(directory, position, name)
        covered = self._above(directory, position, name)
        if covered is not None:
            by, what = covered
            return Whiteout(path, marker, part.layer, sort, (), "no", what, by)
        if not hides and directory.opaque == part.layer:
            reason = "inside an opaque directory, where nothing from below shows anyway"
            return Whiteout(path, marker, part.layer, sort, (), "no", reason, part.layer)
        if not hides:
            if not kind.reachable and sort == "chardev":
                return Whiteout(path, marker, part.layer, sort, (), "lookup-only", kind.why)
            reason = "no layer below holds the name"
            return Whiteout(path, marker, part.layer, sort, (), "no", reason)
        what = self._hidden_words(directory, name, hides)
        if not kind.reachable:
            reason = f"hides {what} from lookup; a listing shows the marker itself"
            return Whiteout(path, marker, part.layer, sort, hides, "lookup-only", reason)
        return Whiteout(path, marker, part.layer, sort, hides, "yes", f"hides {what}")

    def _below(self, directory: Directory, position: int, name: str) -> tuple[int, ...]:
        """Return the layers below whose things of that name would show, or be merged.

        Another whiteout ends them; under a directory, in overlay, so does what is none.
        """
        found: list[int] = []
        under = any(
            kind.letter == "d"
            for part in directory.parts[:position]
            for kind in [part.names.get(name)]
            if kind is not None
        )
        for part in directory.parts[position + 1 :]:
            if not self.overlay and PREFIX + name in part.names and self._honours(part.layer):
                break
            kind = part.names.get(name)
            if kind is None:
                continue
            if self.overlay and (kind.letter == "w" or (under and kind.letter != "d")):
                break
            if kind.letter == "d" or not under:
                found.append(part.layer)
            if not kind.reachable:
                break  # a whiteout that a listing shows
        return tuple(found)

    def _hidden_words(self, directory: Directory, name: str, hides: tuple[int, ...]) -> str:
        words = []
        for part in directory.parts:
            if part.layer in hides:
                words.append(f"the {noun(part.names[name].letter)} in layer {part.layer}")
        return " and ".join(words)

    def _above(self, directory: Directory, position: int, name: str) -> tuple[int, str] | None:
        """Return what in a higher layer keeps a lookup from coming down to this marker."""
        for part in directory.parts[:position]:
            kind = part.names.get(name)
            if kind is None:
                continue
            if kind.letter == "w" or not kind.reachable:
                return part.layer, f"a whiteout in layer {part.layer} already hides the name"
            if kind.letter != "d":
                return part.layer, f"the {noun(kind.letter)} in layer {part.layer} covers the name"
            if self._opaque_at(part, name):
                return part.layer, f"the directory in layer {part.layer} is opaque"
        return None

    def _opaque_at(self, part: Part, name: str) -> bool:
        try:
            if not self.overlay:
                return layers.status(f"{name}/{OPAQUE}", part.fd) is not None
            return layers.attribute(f"{self.opened.prefix}opaque", part.fd, name) == b"y"
        except OSError as error:
            self.resolver.reasons.add(part.layer, f"{part.path}/{name}", error)
            return False

    def _aufs_whiteout(
        self, directory: Directory, position: int, name: str, marker: str
    ) -> Whiteout:
        part = directory.parts[position]
        hidden = name[len(PREFIX) :]
        path = directory.child_path(hidden)
        if not self._honours(part.layer):
            reason = self._not_honoured(part.layer)
            return Whiteout(path, marker, part.layer, "aufs", (), "no", reason)
        covered = self._aufs_above(directory, position, hidden)
        if covered is not None:
            return Whiteout(path, marker, part.layer, "aufs", (), "no", covered[1], covered[0])
        hides = self._below(directory, position, hidden)
        if not hides and directory.opaque == part.layer:
            reason = "inside an opaque directory, where nothing from below shows anyway"
            return Whiteout(path, marker, part.layer, "aufs", (), "no", reason, part.layer)
        if not hides:
            reason = "no layer below holds the name"
            return Whiteout(path, marker, part.layer, "aufs", (), "no", reason)
        what = self._hidden_words(directory, hidden, hides)
        return Whiteout(path, marker, part.layer, "aufs", hides, "yes", f"hides {what}")

    def _honours(self, layer: int) -> bool:
        settings = getattr(self.resolver, "settings", None)
        return bool(settings.honours[layer]) if settings is not None else False

    def _not_honoured(self, layer: int) -> str:
        permission = self.opened.stack.layers[layer].permission
        return f"its branch is {permission}: without +wh its whiteouts do not count"

    def _aufs_above(self, directory: Directory, position: int, name: str) -> tuple[int, str] | None:
        for part in directory.parts[:position]:
            if self._honours(part.layer) and PREFIX + name in part.names:
                return part.layer, f"a whiteout in layer {part.layer} already hides the name"
        return self._above(directory, position, name)

    # Opaque directories

    def _of_root(self, root: Directory) -> Iterator[Whiteout]:
        """Yield markers on the layers' own directories, where `y` does nothing."""
        for part in root.parts:
            if self.overlay:
                reason = "it stands on a layer's own directory; the root always merges all layers"
                if "opaque" in part.attributes and self._value(part) == b"y":
                    yield Whiteout("", self._place(part), part.layer, "opaque", (), "no", reason)
                yield from self._strange_attributes(part, "")
            elif self._has(OPAQUE, part):
                reason = "aufs does not ask for it in a branch's own directory"
                marker = self._place(part, OPAQUE)
                yield Whiteout("", marker, part.layer, "opaque", (), "no", reason)

    def _has(self, name: str, part: Part) -> bool:
        try:
            return layers.status(name, part.fd) is not None
        except OSError as error:
            self.resolver.reasons.add(part.layer, part.path, error)
            return False

    def _value(self, part: Part) -> bytes | None:
        return layers.attribute(f"{self.opened.prefix}opaque", part.fd)

    def _of_directory(
        self, directory: Directory, name: str, below: Directory | None
    ) -> Iterator[Whiteout]:
        """Yield the opaque marks of a merged directory, and note which layers it leaves out."""
        merged = {part.layer: part for part in below.parts} if below is not None else {}
        for part in merged.values():
            natural = {p.layer: f"{p.path}/{name}" if p.path else name for p in directory.parts}
            if natural.get(part.layer) != part.path:
                self.moved.add((part.layer, part.path))
            yield from self._opaque_marks(directory, name, below, part)
        last = max(merged, default=-1)
        for part in directory.parts:
            kind = part.names.get(name)
            if kind is None or kind.letter != "d" or part.layer in merged:
                continue
            place = f"{part.path}/{name}" if part.path else name
            cause, by = self._why_left_out(directory, name, part, last)
            self.hidden.append(_Hidden(part.layer, place, cause, by))

    def _why_left_out(
        self, directory: Directory, name: str, part: Part, last: int
    ) -> tuple[str, int | None]:
        for above in directory.parts:
            if above.layer >= part.layer:
                break
            if not self.overlay and PREFIX + name in above.names and self._honours(above.layer):
                return f"the whiteout in layer {above.layer}", above.layer
            kind = above.names.get(name)
            if kind is None:
                continue
            if kind.letter == "d" and self._opaque_at(above, name):
                return f"the opaque directory in layer {above.layer}", above.layer
            if kind.letter == "w":
                return f"the whiteout in layer {above.layer}", above.layer
            if kind.letter != "d":
                return f"the {noun(kind.letter)} in layer {above.layer}", above.layer
        if last >= 0:
            return f"the directory in layer {last}", last
        return "a lookup that is denied", None

    def _opaque_marks(
        self, directory: Directory, name: str, below: Directory | None, part: Part
    ) -> Iterator[Whiteout]:
        path = directory.child_path(name)
        hides = self._directories_below(directory, name, part.layer)
        what = " and ".join(f"the directory in layer {layer}" for layer in hides)
        if self.overlay:
            if "opaque" in part.attributes and self._value(part) == b"y":
                if hides:
                    reason = f"hides what {what} holds"
                else:
                    reason = "no directory of that name lies below: it was merely made new"
                yield Whiteout(
                    path, self._place(part), part.layer, "opaque", hides,
                    "yes" if hides else "no", reason,
                )  # fmt: skip
            yield from self._strange_attributes(part, path)
        elif self._has(OPAQUE, part):
            marker = self._place(part, OPAQUE)
            if not self._honours(part.layer):
                reason, effect, hides = self._not_honoured(part.layer), "no", ()
            elif below is not None and below.opaque != part.layer:
                reason = f"the directory in layer {below.opaque} is opaque too, and aufs goes by it"
                effect, hides = "no", ()
            elif hides:
                reason, effect = f"hides what {what} holds", "yes"
            else:
                reason = "no directory of that name lies below: it was merely made new"
                effect = "no"
            yield Whiteout(path, marker, part.layer, "opaque", hides, effect, reason)

    def _directories_below(self, directory: Directory, name: str, layer: int) -> tuple[int, ...]:
        """Return the layers whose directories would be merged here, were it not opaque."""
        found: list[int] = []
        for part in directory.parts:
            kind = part.names.get(name)
            if part.layer <= layer:
                continue
            if not self.overlay and PREFIX + name in part.names and self._honours(part.layer):
                break
            if kind is not None and kind.letter == "d":
                found.append(part.layer)
            elif kind is not None and self.overlay:
                break
        return tuple(found)

    def _strange_attributes(self, part: Part, path: str) -> Iterator[Whiteout]:
        """Yield opaque marks in a spelling that this mount does not read."""
        ours = self.opened.prefix or ""
        other = USER if ours == TRUSTED else TRUSTED
        marker = self._place(part)
        for name in part.strange:
            if name == f"{other}opaque":
                reason = f"{name} means nothing here: this mount reads {ours}*"
            elif name == f"{ours}overlay.opaque":
                reason = "escaped: it belongs to an overlay inside this one"
            elif name == f"{FUSE}opaque":
                reason = "fuse-overlayfs's own mark, which the kernel does not read"
            else:
                continue
            yield Whiteout(path, marker, part.layer, "opaque", (), "no", reason)

    # What the merged tree does not show

    def _unseen(self, hidden: _Hidden) -> Iterator[Whiteout]:
        """Yield the markers below a directory that is not shown: none has an effect."""
        resolver = self.resolver
        layer = hidden.layer
        reason = f"inside a directory that {hidden.cause} hides"
        pending = [hidden.path]
        table = resolver.kinds.table(layer)
        while pending:
            path = pending.pop()
            if (layer, path) in self.moved:
                continue
            try:
                fd = layers.open_path(path, resolver.roots[layer])
            except OSError as error:
                resolver.reasons.add(layer, path, error)
                continue
            try:
                part = Part(layer, fd, path)
                try:
                    part.names = layers.scan(fd, table)
                except OSError as error:
                    resolver.reasons.add(layer, path, error)
                yield from self._unseen_marks(part, reason, hidden.by)
            finally:
                os.close(fd)
            names = sorted((n for n, k in part.names.items() if k.letter == "d"), reverse=True)
            pending += [f"{path}/{name}" for name in names if not name.startswith(_META)]

    def _unseen_marks(self, part: Part, reason: str, by: int | None) -> Iterator[Whiteout]:
        def made(kind: str, hides: str, *names: str) -> Whiteout:
            marker = self._place(part, *names)
            return Whiteout(hides, marker, part.layer, kind, (), "no", reason, by)

        if self.overlay and self._value(part) == b"y":
            yield made("opaque", part.path)
        for name, kind in sorted(part.names.items()):
            path = f"{part.path}/{name}"
            if name.startswith(PREFIX):
                if name == OPAQUE:
                    yield made("opaque", part.path, name)
                elif not name.startswith(_META):
                    yield made("aufs", f"{part.path}/{name[len(PREFIX) :]}", name)
            elif self.overlay and kind.letter == "w":
                yield made("chardev", path, name)
            elif self.overlay and self.thorough and self._is_xattr(part, name, kind):
                yield made("xattr", path, name)


def find(opened: Opened, *, thorough: bool) -> Iterator[Whiteout]:
    """Yield every whiteout and opaque directory of a stack, those of the merged tree first."""
    finder = Finder(opened, thorough)
    for one in finder.merged(Team(finder.report, finder.merge, alone=True)):
        if isinstance(one, Whiteout):
            yield one
    yield from finder.unseen()
