"""The story of one path: what every layer has there, and why it is shown or hidden."""

from __future__ import annotations

import errno
import os
from typing import NamedTuple

from layerctl.inspecting.details import Details
from layerctl.inspecting.opening import Opened
from layerctl.inspecting.resolvers.resolver import Found, Marker, Stop
from layerctl.inspecting.resolvers.tree import TYPES, Alias, EntryKind, MergedDir, noun
from layerctl.kernel import layers
from layerctl.rules.aliasing import Aliasing

#: The errors for a path that does not exist; symbolic links are not followed.
_NOTHING_THERE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)


class LayerStory:
    """What one layer has at the path: `state` is provides, merged, hidden, whiteout or absent.

    `file` is the object's place in the file system, `details` what it is like; None if there is
    nothing.
    """

    __slots__ = ("details", "directory", "file", "index", "reason", "state", "type")

    def __init__(
        self,
        index: int,
        directory: str,
        told: tuple[str, str],
        *,
        file: str | None,
        type: str | None,  # noqa: A002 - the name users see
        details: Details | None,
    ) -> None:
        self.index = index
        self.directory = directory
        self.state, self.reason = told
        self.file = file
        self.type = type
        self.details = details


class Story:
    """The whole story of a path; `lines` are sentences."""

    __slots__ = (
        "alias", "data", "layers", "letter", "lines", "link", "path", "provider", "reachable",
    )  # fmt: skip

    def __init__(self, path: str, letter: str | None, provider: int | None) -> None:
        self.path = path
        self.letter = letter
        self.provider = provider
        self.layers: list[LayerStory] = []
        self.lines: list[str] = []
        self.reachable = True
        self.data: tuple[int, str] | None = None
        self.link: str | None = None
        self.alias: Alias | None = None

    @property
    def visible(self) -> bool:
        """Whether the mount shows the path."""
        return self.letter is not None


def _stop_words(stop: Stop) -> str:
    match stop.kind:
        case "whiteout" | "aufs":
            return f"the whiteout in layer {stop.layer}"
        case "xattr":
            return f"the whiteout (by attribute) in layer {stop.layer}"
        case "opaque":
            return f"the opaque directory in layer {stop.layer}"
        case letter:
            return f"the {noun(letter)} in layer {stop.layer}"


class _Held(NamedTuple):
    """What a layer has at the path: the letter of its type, a whiteout for it, details.

    `where` is its place in the file system; `trouble` tells why nothing is known.
    """

    where: str
    letter: str | None = None
    trouble: str = ""
    marker: Marker | None = None
    details: Details | None = None

    @property
    def content(self) -> str | None:
        """The letter of what would be shown; None for a whiteout or nothing."""
        return None if self.marker is not None and self.marker.is_entry else self.letter


class _Trail:
    """How far the path was followed: the last directory, and where each layer ends."""

    def __init__(self, directory: MergedDir) -> None:
        self.directory = directory
        self.found: Found | None = None
        self.depth = 0
        self.excluded: dict[int, tuple[Stop, str]] = {}
        self.places: dict[int, tuple[str, int]] = {}


def tell(opened: Opened, path: str) -> Story:
    """Tell the story of `path`, which is relative to the merged root."""
    names = [name for name in path.split("/") if name]
    trail = _follow(opened, names)
    try:
        return _Teller(opened, names, trail).story()
    finally:
        if trail.found is not None:
            trail.found.close()
        trail.directory.close()


def _follow(opened: Opened, names: list[str]) -> _Trail:
    """Look the path up name by name, recording where each layer ends, and why."""
    resolver = opened.resolver
    trail = _Trail(resolver.root())
    for depth, name in enumerate(names):
        found = resolver.lookup(trail.directory, name)
        trail.found, trail.depth = found, depth
        _note_places(trail, name, found)
        if found.stop is not None:
            so_far = "/".join(names[: depth + 1])
            for index in range(found.stop.layer + 1, len(opened.layers)):
                trail.excluded.setdefault(index, (found.stop, so_far))
        if depth == len(names) - 1 or found.error or found.letter != "d":
            return trail
        below = resolver.directory(trail.directory, name, found)
        trail.directory.close()
        trail.directory = below
        trail.found = None
    return trail


def _note_places(trail: _Trail, name: str, found: Found) -> None:
    """Record the place in each layer of the path so far, and its number of names."""
    names = trail.depth + 1
    for part in trail.directory.parts:
        trail.places[part.layer] = (f"{part.path}/{name}" if part.path else name, names)
    for part in found.parts:
        trail.places[part.layer] = (part.path, names)


class _Teller:
    def __init__(self, opened: Opened, names: list[str], trail: _Trail) -> None:
        self.opened = opened
        self.names = names
        self.trail = trail
        self.path = "/".join(names)
        self.whole = not names or trail.depth == len(names) - 1
        self.found = trail.found or Found()
        self._known: dict[int, _Held] = {}

    def story(self) -> Story:
        found, opened = self.found, self.opened
        if not self.names:
            parts = [part.layer for part in self.trail.directory.parts]
            letter: str | None = "d"
        else:
            parts = [part.layer for part in found.parts] if self.whole else []
            letter = found.letter if self.whole else None
        denied = bool(found.error) and self.whole
        if denied and letter is None and (listed := self._listed()) is not None:
            letter, parts = listed.letter, parts or [listed.layer]
        visible = letter is not None and bool(parts)
        story = Story(self.path, letter if visible else None, parts[0] if visible else None)
        story.layers = [self._layer(index, parts, letter) for index in range(len(opened.layers))]
        story.reachable = not found.error
        story.data = found.data
        story.alias = found.alias if self.whole else None
        story.lines = self._lines(story)
        if visible and (details := self._held(parts[0]).details) is not None:
            story.link = details.link
        return story

    # What a layer holds

    def _place(self, index: int) -> list[str]:
        """Return the names that lead to the path in one layer, redirects followed."""
        if self.whole:
            beneath = (*self.found.between, *([self.found.data] if self.found.data else []))
            for layer, path in beneath:
                if layer == index:
                    return path.split("/")
        if index not in self.trail.places:
            return self.names
        place, followed = self.trail.places[index]
        return [*place.split("/"), *self.names[followed:]]

    def _held(self, index: int) -> _Held:
        """Return what is at the path in a layer."""
        if index not in self._known:
            self._known[index] = self._look(index)
        return self._known[index]

    def _look(self, index: int) -> _Held:
        names = self._place(index)
        where = os.path.join(self.opened.layers[index], *names)
        resolver = self.opened.resolver
        root = resolver.roots[index]
        if not names:
            return _Held(where, "d", details=Details(os.fstat(root)))
        name = names[-1]
        try:
            fd = layers.open_path("/".join(names[:-1]), root)
        except OSError as error:
            if error.errno in _NOTHING_THERE:
                return _Held(where)
            return _Held(where, trouble=self._unknown(index, names, error))
        try:
            status = layers.status(name, fd)
            marker = resolver.marker(index, fd, name, status)
            if status is None:
                return _Held(where, marker=marker)
            letter = layers.letter_of(status)
            link = os.readlink(name, dir_fd=fd) if letter == "l" else None
            return _Held(where, letter, marker=marker, details=Details(status, link))
        except OSError as error:
            return _Held(where, trouble=self._unknown(index, names, error))
        finally:
            os.close(fd)

    def _unknown(self, index: int, names: list[str], error: OSError) -> str:
        self.opened.resolver.reasons.add(index, "/".join(names), error)
        return error.strerror or str(error)

    def _listed(self) -> EntryKind | None:
        """Return what a listing shows for a name whose lookup fails."""
        resolver = self.opened.resolver
        was, resolver.thorough = resolver.thorough, True
        try:
            return dict(resolver.read(self.trail.directory)).get(self.names[-1])
        finally:
            resolver.thorough = was

    # Why

    def _layer(self, index: int, parts: list[int], letter: str | None) -> LayerStory:
        held = self._held(index)
        return LayerStory(
            index,
            self.opened.layers[index],
            self._state(index, parts, letter),
            file=None if held.letter is None else held.where,
            type=None if held.letter is None else TYPES[held.letter],
            details=held.details,
        )

    def _state(self, index: int, parts: list[int], letter: str | None) -> tuple[str, str]:
        found, held = self.found, self._held(index)
        if held.trouble:
            return "hidden", f"cannot be read ({held.trouble}); its contents are unknown"
        if index in parts:
            return self._shown(index, parts, letter or "f")
        if found.data is not None and found.data[0] == index and self.whole:
            return "merged", "has the data of the file; the metadata is in a layer above (metacopy)"
        if self.whole and any(layer == index for layer, _ in found.between):
            return "hidden", "has only metadata (metacopy), hidden by the layers above"
        whiteout = self._whiteout(index, held)
        if whiteout:
            return "whiteout", whiteout
        if held.letter is None:
            return "absent", self._why_absent(index)
        if self._is_data(index):
            return "hidden", "a data-only layer provides only data, not names"
        excluded = self.trail.excluded.get(index)
        if excluded is not None:
            stop, at = excluded
            place = "" if at == self.path else f" at '{at}'"
            return "hidden", f"hidden by {_stop_words(stop)}{place}"
        if found.error:
            return "hidden", f"a lookup fails: {found.refused}"
        if parts and letter == "d":
            return "hidden", f"a {noun(held.letter)} under the directory in layer {parts[0]}"
        return "hidden", "its directory is not merged here"

    def _is_data(self, index: int) -> bool:
        return self.opened.stack.layers[index].role.value == "data"

    def _shown(self, index: int, parts: list[int], letter: str) -> tuple[str, str]:
        opaque = self.found.opaque == index
        if index != parts[0]:
            end = "; opaque, so nothing below it is merged" if opaque else ""
            return "merged", f"merged with layer {parts[0]}{end}"
        if self.found.error:
            return "provides", f"listed, but a lookup fails: {self.found.refused}"
        alias = self.found.alias
        if alias is not None and alias.what is not Aliasing.FIRST:
            return "provides", alias.why
        if opaque:
            return "provides", "the topmost directory; opaque, so nothing below it is merged"
        if letter == "d":
            more = len(parts) > 1
            return "provides", "the topmost directory" if more else "the only directory"
        if self.found.metacopy:
            where = "" if self.found.data is None else f", data from layer {self.found.data[0]}"
            return "provides", f"the topmost {noun(letter)}; metadata only{where}"
        return "provides", f"the topmost {noun(letter)}"

    def _whiteout(self, index: int, held: _Held) -> str:
        """Return what a layer's whiteout at the path or above it does; empty if it has none."""
        stop = self.found.stop
        if stop is not None and stop.layer == index and stop.kind in ("whiteout", "xattr", "aufs"):
            at = "/".join(self.names[: self.trail.depth + 1])
            contents = (
                (n, self._held(n).content) for n in range(index + 1, len(self.opened.layers))
            )
            hidden = [f"the {noun(letter)} in layer {n}" for n, letter in contents if letter]
            what = " and ".join(hidden) if hidden else "nothing, since no lower layer has the name"
            place = "" if at == self.path else f" of '{at}'"
            return f"whiteout{place} in layer {index} hides {what}"
        if held.marker is None or (held.letter is not None and not held.marker.is_entry):
            return ""
        excluded = self.trail.excluded.get(index)
        if excluded is not None:
            here = " without effect here" if held.marker.is_entry else ""
            return f"a whiteout in layer {index}{here}, itself hidden by {_stop_words(excluded[0])}"
        match held.marker:
            case Marker.IGNORED:
                why = ": its branch is neither rw nor +wh"
            case Marker.INVALID:
                return f"its whiteout in layer {index} is not a regular file, so a lookup fails"
            case _:
                why = " here"
        return f"a whiteout in layer {index} without effect{why}"

    def _why_absent(self, index: int) -> str:
        place = "/".join(self._place(index))
        if place != self.path:
            return f"nothing at '{place}', the target of redirects"
        return "nothing there"

    # In sentences

    def _lines(self, story: Story) -> list[str]:
        lines = []
        if not self.names:
            lines.append("the root merges every layer")
        elif not self.whole:
            at = "/".join(self.names[: self.trail.depth + 1])
            found = self.found
            if found.error:
                lines.append(f"'{at}' cannot be entered: {found.refused}")
            elif found.letter == "l":
                lines.append(f"'{at}' is a symbolic link; use the path of its target")
            elif found.letter is not None:
                lines.append(f"'{at}' is a {noun(found.letter)}, so there is nothing below it")
        for layer in story.layers:
            if layer.state == "whiteout":
                lines.append(layer.reason)
        for index, target in self.found.redirects:
            lines.append(
                f"a redirect in layer {index} redirects the lookup in lower layers to '{target}'"
            )
        if story.visible and story.provider is not None:
            lines.append(
                f"it comes from layer {story.provider}, {self.opened.layers[story.provider]}"
            )
            if story.alias is not None:
                lines.append(story.alias.why)
        elif not story.visible and not any(layer.file for layer in story.layers):
            lines.append("no layer has it")
        return lines
