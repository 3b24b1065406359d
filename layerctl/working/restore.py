"""Undo what the upper layer did at some paths: what lies below shows there again.

Each path changes in one step: an unlink, an rmdir, or a rename that moves a whole tree aside or
puts a whole copy in its place. Everything else in the merged tree stays the same. Whatever stops
the work, running it again completes it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack

from layerctl.errors import RefusedError, RequestError
from layerctl.inspecting.opening import Opened
from layerctl.inspecting.resolvers.overlay import Overlay
from layerctl.inspecting.resolvers.resolver import descend, look_up
from layerctl.inspecting.resolvers.tree import noun
from layerctl.kernel import changing, layers
from layerctl.model import Role, Stack
from layerctl.working import copying
from layerctl.working.aside import Aside, of_layers
from layerctl.working.references import is_in
from layerctl.working.sites import WAS, Site, Sites, Upper, Wish
from layerctl.working.steps import Folder, Step, Verb, sync


def demand(stack: Stack, wish: Wish) -> None:
    """Raise LayerctlError where there is nothing to restore from."""
    if stack.fstype != "overlay" or stack.upper is None or len(stack.layers) < 2:
        raise RefusedError(
            "no-upper-layer",
            "there is no upper layer above a lower one",
            why="restore undoes what the upper layer of an overlay did",
            hint="name the upper layer with -u and the lower ones with -l",
        )
    regular = sum(layer.role is not Role.DATA for layer in stack.layers)
    if wish.layer is not None and not 1 <= wish.layer < regular:
        raise RequestError(
            "no-such-layer",
            f"nothing can be restored from layer {wish.layer}",
            hint=f"use 1 (the first below the upper layer) to {regular - 1}",
        )
    if "" in wish.paths:
        raise RequestError(
            "usage",
            "the root of the merged tree cannot be restored",
            hint="name paths below it, with -r for directories",
        )


def at_rest(view: Opened, wish: Wish, closing: ExitStack) -> Restoring:
    """Return the plan for layers that are not mounted. Raises LayerctlError."""
    prefix = view.prefix or ""
    upper = Upper(view.resolver.roots[0], view.layers[0].rstrip("/"), prefix, closing)
    hidden = of_layers(view, closing)
    sites = Sites(view, wish, upper, hidden.entries())
    return Restoring(view, wish, closing, (upper, upper, hidden), sites)


class Restoring:
    """The plan for some paths; `missing` are those that no layer has.

    `places` are the upper layer, where names are changed, and the place aside.
    """

    #: Whether a copied directory hides what is below it.
    opaque = True

    def __init__(
        self,
        view: Opened,
        wish: Wish,
        closing: ExitStack,
        places: tuple[Upper, Upper, Aside],
        sites: Sites,
    ) -> None:
        assert isinstance(view.resolver, Overlay)  # noqa: S101 - `demand` saw to that
        self._overlay = view.resolver
        self._prefix = view.resolver.settings.prefix
        self._wish = wish
        self._closing = closing
        self._layer, self._upper, self._aside = places
        self._top = self._upper.top
        self._sites = sites
        self.missing = sites.missing

    def steps(self) -> Iterator[Step]:
        """Yield the steps, each to be done before the next one is asked for, or none of them."""
        moves = [site for site in self._sites.found.values() if site.source or self._moves(site)]
        if self._sites.found:
            yield from self._free_copies()
        if moves:
            yield from self._aside.create()
        for site in self._sites.found.values():
            yield from self._one(site)
        for path in self._ancestors():
            yield from self._upper.folder(path).restore()
        yield from self._finish()
        if moves or self._aside.exists:
            yield sync(self._upper.root, self._top, "before what was dropped is removed")
            yield from self._aside.remove()
        yield from self._end()

    def _end(self) -> Iterator[Step]:
        """Yield what is to be done at the very end."""
        yield from ()

    def _finish(self) -> Iterator[Step]:
        """Yield what is to be done once all paths are restored."""
        yield from ()

    def _one(self, site: Site) -> Iterator[Step]:
        above, _, name = site.path.rpartition("/")
        if site.source is not None:
            yield from self._copy(site, *site.source)
            return
        folder = self._upper.folder(above)
        if site.there is None:
            return
        if self._moves(site):
            yield from self._move_aside(site, folder, name)
        elif site.letter != "d":
            what = "a whiteout" if site.letter == "w" else f"a {noun(site.letter)}"
            yield folder.remove(name, site.there, f"{what}; {site.below}")
        else:
            yield folder.rmdir(name, f"a directory; {site.below}")
        if site.path in self._sites.was:
            yield sync(self._upper.root, self._top, "before its old place shows it again")

    def _moves(self, site: Site) -> bool:
        """Tell whether a path is moved aside, not only removed."""
        return bool(self._layer.count(site)) or site.path in self._sites.was

    def _move_aside(self, site: Site, folder: Folder, name: str) -> Iterator[Step]:
        path, attribute = folder.inside(name), self._prefix + WAS
        if site.path in self._sites.was:
            value = os.fsencode(f"{site.path}\0{self._sites.was[site.path]}")
            words = ("setfattr", "-n", attribute, "-v", f"0x{value.hex()}", "--", path)
            yield Step(Verb.MARK, path, f"it was renamed from '{self._sites.was[site.path]}'",
                       lambda: changing.set_attribute(attribute, value, folder.fd, name),
                       (words,))  # fmt: skip
        aside = self._aside.free()

        def run() -> None:
            changing.rename(name, folder.fd, aside, self._aside.folder().fd)

        count = self._layer.count(site)
        inside = f" with {count:,} {'names' if count > 1 else 'name'}" if count else ""
        move = ("mv", "-T", "--", path, f"{self._aside.path}/{aside}")
        why = f"a {noun(site.letter)}{inside}; {site.below}"
        yield folder.step(Verb.MOVE, name, why, run, move)

    def _free_copies(self) -> Iterator[Step]:
        """Yield the steps that let renamed files forget the lower file that they are copies of.

        If that shows again, the kernel would take both for one.
        """
        attribute = f"{self._prefix}origin"
        for place in self._sites.references.copies:
            if any(is_in(place, path) for path in self._sites.found):
                continue
            above, _, name = place.rpartition("/")
            folder = self._upper.folder(above)
            path = folder.inside(name)

            def run(folder: Folder = folder, name: str = name) -> None:
                if layers.attribute(attribute, folder.fd, name) is not None:  # as of another link
                    changing.remove_attribute(attribute, folder.fd, name)

            yield Step(Verb.UNMARK, path, "it is a copy of a file that may show again", run,
                       (("setfattr", "-h", "-x", attribute, "--", path),))  # fmt: skip

    # Copies

    def _copy(self, site: Site, number: int, place: str) -> Iterator[Step]:
        """Yield the steps that put a copy of what a layer has, and those below it, at a path."""
        above, _, name = site.path.rpartition("/")
        aside, found = self._aside.free(), look_up(self._overlay.below(number), place)
        found.close()
        copier = self._sites.copier(number, self._aside.folder())
        yield from copier.at(place, aside, opaque=self.opaque)
        yield from self._copy_up(above)
        yield sync(self._upper.root, self._top, "before the copy takes its place")

        def run() -> None:
            folder = self._upper.folder(above)
            folder.keep()
            folder.touched = True
            letter = self._letter(folder, name)
            put = changing.exchange if letter and "d" in (letter, found.letter) else changing.rename
            put(aside, self._aside.folder().fd, name, folder.fd)

        path = f"{self._top}/{site.path}"
        words: list[tuple[str, ...]] = [("mv", "-T", "--", f"{self._aside.path}/{aside}", path)]
        if self._letter(self._upper.folder(above), name):
            words.insert(0, ("mv", "-T", "--", path, f"{self._aside.path}/{aside}.old"))
        yield Step(Verb.MOVE, path, f"the copy; {site.below}", run, tuple(words))

    @staticmethod
    def _letter(folder: Folder, name: str) -> str:
        """Return the letter of a name, an empty one for nothing."""
        status = layers.status(name, folder.fd) if folder.fd >= 0 else None
        return "" if status is None else layers.letter_of(status)

    def _copy_up(self, path: str) -> Iterator[Step]:
        """Yield the steps that create the directories that the upper layer does not have yet."""
        if not path or self._upper.folder(path).fd >= 0:
            return
        above, _, name = path.rpartition("/")
        yield from self._copy_up(above)
        aside = self._aside.free()
        directory, _, _ = descend(self._overlay, path)
        self._closing.callback(directory.close)
        source, status = (".", directory.parts[0].fd), os.fstat(directory.parts[0].fd)
        times = status.st_atime_ns, status.st_mtime_ns

        def run() -> None:
            folder, hidden = self._upper.folder(above), self._aside.folder().fd
            changing.mkdir(aside, hidden)
            copying.copy_attributes(source, (aside, hidden), self._prefix, times)
            folder.keep()
            folder.touched = True
            changing.rename(aside, hidden, name, folder.fd)

        place = f"{self._top}/{path}"
        words = copying.attribute_words(source, (name, -1), place, self._prefix, times)
        yield Step(Verb.CREATE, place, "a directory, as below", run,
                   (("mkdir", "--", place), *words))  # fmt: skip

    def _ancestors(self) -> Sequence[str]:
        """Return the directories above the paths, in which names may have changed."""
        found: dict[str, None] = {}
        for path in (*self._sites.found, *self._wish.paths):
            names = path.split("/")
            found.update(dict.fromkeys("/".join(names[:count]) for count in range(len(names))))
        return sorted(found, reverse=True)
