"""Whiteouts and opaque directories: where they stand, what they hide, whether they matter.

First the merged tree is walked, which meets every marker that can have an effect. What lies in
directories that the merged tree does not show is searched afterwards, layer by layer.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field

from layerctl.inspecting.aufs import OPAQUE, PREFIX
from layerctl.inspecting.opening import Opened
from layerctl.inspecting.story import noun
from layerctl.inspecting.view import Directory, Kind, Part, Resolver
from layerctl.kernel import layers
from layerctl.rules.overlay import FUSE, TRUSTED, USER

#: aufs's own files beside the whiteouts: .wh..wh.aufs, .wh..wh.plnk, .wh..wh.orph ...
_META = (".wh..wh.",)


@dataclass(slots=True)
class Whiteout:
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
class _Finder:
    opened: Opened
    thorough: bool
    hidden: list[_Hidden] = field(default_factory=list)
    moved: set[tuple[int, str]] = field(default_factory=set)

    @property
    def resolver(self) -> Resolver:
        return self.opened.resolver

    @property
    def overlay(self) -> bool:
        return self.opened.prefix is not None

    def find(self) -> Iterator[Whiteout]:
        """Yield every marker."""
        yield from self._merged()
        for hidden in self.hidden:
            yield from self._unseen(hidden)

    # What the merged tree is made of

    def _merged(self) -> Iterator[Whiteout]:
        resolver = self.resolver
        root = resolver.root()
        yield from self._of_root(root)
        stack = [(root, iter(resolver.read(root)))]
        yield from self._in_directory(root)
        shut = 0
        while stack:
            directory, entries = stack[-1]
            below: Directory | None = None
            for name, kind in entries:
                if kind.letter != "d":
                    continue
                _, below = resolver.enter(directory, name, kind)
                if len(directory.parts) > 1 or below is None or self._may_be_marked(below):
                    yield from self._of_directory(directory, name, below)
                if below is not None:
                    break
            if below is not None:
                stack.append((below, iter(resolver.read(below))))
                yield from self._in_directory(below)
                if len(stack) - shut > 48:
                    stack[shut][0].close()
                    shut += 1
            else:
                directory.close()
                stack.pop()
                if stack and shut == len(stack):
                    shut -= 1
                    resolver.reopen(stack[-1][0])

    def _may_be_marked(self, directory: Directory) -> bool:
        part = directory.parts[0]
        return bool(part.attributes or part.strange) or not self.overlay

    def _place(self, part: Part, *names: str) -> str:
        return os.path.join(self.opened.layers[part.layer], part.path, *names)

    def _in_directory(self, directory: Directory) -> Iterator[Whiteout]:
        """Yield the whiteouts among what was listed in one merged directory."""
        for position, part in enumerate(directory.parts):
            for name, kind in sorted(self._suspects(part).items()):
                yield from self._suspect(directory, position, name, kind)

    def _suspects(self, part: Part) -> dict[str, Kind]:
        return {
            name: kind
            for name, kind in part.names.items()
            if kind.letter == "w" or name.startswith(PREFIX) or not kind.reachable
        }

    def _suspect(
        self, directory: Directory, position: int, name: str, kind: Kind
    ) -> Iterator[Whiteout]:
        part = directory.parts[position]
        marker = self._place(part, name)
        if self.overlay:
            if name.startswith(PREFIX):
                yield self._foreign(directory, part, name, marker)
            if kind.letter == "w" or self._is_xattr(part, name, kind):
                yield self._overlay_whiteout(directory, position, name, kind, marker)
        elif name.startswith(PREFIX) and not name.startswith(_META):
            yield self._aufs_whiteout(directory, position, name, marker)

    def _is_xattr(self, part: Part, name: str, kind: Kind) -> bool:
        is_xattr = getattr(self.resolver, "is_xattr_whiteout", None)
        return kind.letter == "f" and is_xattr is not None and is_xattr(name, part.fd)

    def _foreign(self, directory: Directory, part: Part, name: str, marker: str) -> Whiteout:
        """An aufs or fuse-overlayfs marker in an overlay, where it is a file like any other."""
        reason = "a file like any other to overlay: .wh. names mean something to aufs alone"
        if name == OPAQUE:
            return Whiteout(directory.path, marker, part.layer, "opaque", (), "no", reason)
        path = directory.child_path(name[len(PREFIX) :])
        return Whiteout(path, marker, part.layer, "aufs", (), "no", reason)

    def _overlay_whiteout(
        self, directory: Directory, position: int, name: str, kind: Kind, marker: str
    ) -> Whiteout:
        parts = directory.parts
        part = parts[position]
        sort = "chardev" if self._is_device(part, name) else "xattr"
        path = directory.child_path(name)
        hides = self._below(directory, position, name)
        covered = self._above(directory, position, name)
        if covered is not None:
            by, what = covered
            return Whiteout(path, marker, part.layer, sort, (), "no", what, by)
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

    def _is_device(self, part: Part, name: str) -> bool:
        status = layers.status(name, part.fd)
        return status is not None and layers.letter_of(status) == "w"

    def _below(self, directory: Directory, position: int, name: str) -> tuple[int, ...]:
        return tuple(
            part.layer
            for part in directory.parts[position + 1 :]
            for kind in [part.names.get(name)]
            if kind is not None and kind.letter != "w" and kind.reachable
        )

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
        if not self.overlay:
            return layers.status(f"{name}/{OPAQUE}", part.fd) is not None
        value = layers.attribute(f"{self.opened.prefix}opaque", part.fd, name)
        return value == b"y"

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
            elif layers.status(OPAQUE, part.fd) is not None:
                reason = "aufs does not ask for it in a branch's own directory"
                marker = self._place(part, OPAQUE)
                yield Whiteout("", marker, part.layer, "opaque", (), "no", reason)

    def _value(self, part: Part) -> bytes | None:
        return layers.attribute(f"{self.opened.prefix}opaque", part.fd)

    def _of_directory(
        self, directory: Directory, name: str, below: Directory | None
    ) -> Iterator[Whiteout]:
        """Yield the opaque marks of a merged directory, and note which layers it leaves out."""
        path = directory.child_path(name)
        merged = {part.layer: part for part in below.parts} if below is not None else {}
        for part in merged.values():
            natural = {p.layer: f"{p.path}/{name}" if p.path else name for p in directory.parts}
            if natural.get(part.layer) != part.path:
                self.moved.add((part.layer, part.path))
            yield from self._opaque_marks(directory, name, path, part)
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
            kind = above.names.get(name)
            if kind is None:
                continue
            if self._opaque_at(above, name):
                return f"the opaque directory in layer {above.layer}", above.layer
            if kind.letter == "w" or (not self.overlay and PREFIX + name in above.names):
                return f"the whiteout in layer {above.layer}", above.layer
            if kind.letter != "d":
                return f"the {noun(kind.letter)} in layer {above.layer}", above.layer
        if last >= 0:
            return f"the directory in layer {last}", last
        return "a lookup that is denied", None

    def _opaque_marks(
        self, directory: Directory, name: str, path: str, part: Part
    ) -> Iterator[Whiteout]:
        hides = tuple(
            other.layer
            for other in directory.parts
            if other.layer > part.layer
            for kind in [other.names.get(name)]
            if kind is not None and kind.letter == "d"
        )
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
        elif layers.status(OPAQUE, part.fd) is not None:
            marker = self._place(part, OPAQUE)
            if not self._honours(part.layer):
                reason, effect, hides = self._not_honoured(part.layer), "no", ()
            elif hides:
                reason, effect = f"hides what {what} holds", "yes"
            else:
                reason = "no directory of that name lies below: it was merely made new"
                effect = "no"
            yield Whiteout(path, marker, part.layer, "opaque", hides, effect, reason)

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
    return _Finder(opened, thorough).find()
