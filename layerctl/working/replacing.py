"""Directories that take a name in one step, once they are whole: new layers, and empty ones.

A layer is emptied when an empty directory takes its place; then what it held is removed.
"""

from __future__ import annotations

from collections.abc import Iterator

from layerctl.kernel import beneath, changing, layers
from layerctl.working import copying
from layerctl.working.emptying import remove_tree
from layerctl.working.steps import PART, Folder, Step, Verb, changed


class Replacement:
    """An empty directory with all that a layer's own directory has, beside it.

    `layer` is the open layer, `above` the directory that it is in, `name` its name there.
    """

    def __init__(self, layer: Folder, above: Folder, name: str, prefix: str) -> None:
        self._layer = layer
        self._above = above
        self._name = name
        self._part = name + PART
        self._prefix = prefix

    def begin(self) -> Iterator[Step]:
        """Yield the steps that create it."""
        above, part = self._above, self._part
        path = above.inside(part)
        if layers.status(part, above.fd) is not None:
            yield from remove_tree(above, part, "an earlier run was interrupted")
        yield Step(Verb.CREATE, path, "to take the place of the layer",
                   lambda: changing.mkdir(part, above.fd), (("mkdir", "--", path),))  # fmt: skip
        source, target, times = (".", self._layer.fd), (part, above.fd), self._layer.times
        words = copying.attribute_words(source, (part, -1), path, self._prefix, times)
        yield Step(
            Verb.ATTRIBUTES, path, f"as those of {self._layer.path}",
            lambda: copying.copy_attributes(source, target, self._prefix, times), words,
        )  # fmt: skip

    def finish(self) -> Iterator[Step]:
        """Yield the steps that exchange the two, and remove the old one."""
        above, name, part = self._above, self._name, self._part
        old, new, aside = above.inside(name), above.inside(part), above.inside(f"{part}.old")
        words = (("mv", "-T", "--", old, aside), ("mv", "-T", "--", new, old),
                 ("mv", "-T", "--", aside, new))  # fmt: skip
        yield Step(Verb.MOVE, old, "exchanged with an empty directory", self._exchange, words)
        yield from remove_tree(above, part, "it is in the lower layer", self._layer.fd)

    def _exchange(self) -> None:
        above, name, part = self._above, self._name, self._part
        changing.exchange(part, above.fd, name, above.fd)
        status = layers.status(part, above.fd)
        expected = beneath.identity(self._layer.fd)
        if status is None or (status.st_dev, status.st_ino) != expected:
            changing.exchange(part, above.fd, name, above.fd)
            raise changed(self._layer.path)


def new_layer(above: Folder, name: str, content: Iterator[Step]) -> Iterator[Step]:
    """Yield the steps of `content`, which make NAME.layerctl-part, and the one that renames it."""
    part = name + PART
    if layers.status(part, above.fd) is not None:
        yield from remove_tree(above, part, "an earlier run was interrupted")
    yield from content

    def rename() -> None:
        changing.sync(above.fd)
        changing.rename(part, above.fd, name, above.fd)

    words = ("mv", "-T", "--", above.inside(part), above.inside(name))
    yield Step(Verb.MOVE, above.inside(part), f"to {name}, now that it is whole", rename, (words,))
