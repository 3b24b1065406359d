"""Make one new branch of the topmost ones of an aufs; the old ones stay as they are."""

from __future__ import annotations

import os
from collections.abc import Iterator

from layerctl.errors import RefusedError
from layerctl.inspecting.opening import Opened
from layerctl.inspecting.resolvers.aufs import OPAQUE, PREFIX, Aufs, is_whiteout
from layerctl.inspecting.resolvers.resolver import Found
from layerctl.inspecting.resolvers.tree import MergedDir
from layerctl.kernel import changing, layers
from layerctl.working import lower
from layerctl.working.aufs.branch import WHITEOUT, directory_below, names_of, resolver_of
from layerctl.working.flattening import Flattener, made_whole
from layerctl.working.steps import Folder, Step, Verb


def steps(view: Opened, run: range, above: Folder, name: str) -> Iterator[Step]:
    """Yield the steps that make the branch `name` in a directory out of the topmost ones."""
    aufs = resolver_of(view)
    for _ in made_whole(_Squasher(view, aufs, run, Folder(-1, "", "")), run, above, name):
        pass  # nothing is done yet, and all is looked up
    yield from made_whole(_Squasher(view, aufs, run, above), run, above, name)


class _Squasher(Flattener):
    """Copies branches; their markers are files, which are created again."""

    resolver: Aufs

    def names(self, directory: MergedDir, last: int) -> set[str]:
        """Return what a merged directory has, or hides, as far as the branch `last`."""
        found: set[str] = set()
        for part in directory.parts:
            if part.layer <= last:
                counts = self.resolver.settings.honours[part.layer]
                for name, _ in names_of(part.fd):
                    if counts or not is_whiteout(name):
                        found.add(name.removeprefix(PREFIX))
        return found

    def descend(
        self, directory: MergedDir, target: Folder, name: str, found: Found, last: int
    ) -> Iterator[Step]:
        """Yield the steps that copy a directory. Raises RefusedError for what cannot be hidden."""
        if all(part.layer <= last for part in found.parts):
            under = directory_below(self.resolver, lower.rest(directory, last), name)
            under.close()
            if under.opaque is not None:
                raise RefusedError(
                    "layer-not-movable",
                    f"{directory.child_path(name)}: a branch below has an opaque directory there",
                    why="of two opaque directories aufs merges both, so the new branch cannot hide "
                    "what a whiteout hides now",
                    hint=f"make one of the branches as far as {under.parts[-1].layer}",
                )
        yield from super().descend(directory, target, name, found, last)

    def whiteout(self, target: Folder, name: str) -> Step:
        """Return the step that hides a name in a new directory."""
        path = target.inside(PREFIX + name)
        return Step(
            Verb.CREATE, path, "a whiteout, since lower branches have the name",
            lambda: changing.mknod(PREFIX + name, target.fd, WHITEOUT),
            (("install", "-m", "444", "-T", "--", "/dev/null", path),),
        )  # fmt: skip

    def opaque(self, above: Folder, name: str) -> Step:
        """Return the step that makes a new directory opaque."""
        path = f"{above.inside(name)}/{OPAQUE}"

        def run() -> None:
            fd = layers.open_dir(name, above.fd)
            try:
                changing.mknod(OPAQUE, fd, WHITEOUT)
            finally:
                os.close(fd)

        return Step(Verb.CREATE, path, "the directory is opaque", run,
                    (("install", "-m", "444", "-T", "--", "/dev/null", path),))  # fmt: skip
