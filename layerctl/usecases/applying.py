"""Apply what a run wrote to the host, unless that would lose what the host changed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

from layerctl.errors import RefusedError, RequestError
from layerctl.kernel import changing, layers, mounts, paths
from layerctl.kernel.process import close, raise_open_files
from layerctl.kernel.supervising import coarse_time
from layerctl.rules.words import count
from layerctl.running.plan import is_in
from layerctl.running.record import Place
from layerctl.usecases.keeping import Kept, changed_places, look, write_record
from layerctl.working.applying import Applier, Conflict, Since
from layerctl.working.steps import Step, Verb

#: How many descriptors applying may need: two for each directory down, and for hard links.
_FILES = 65536
#: How many conflicts an error names.
_NAMED = 10


class Application:
    """The layers of a run over their directories, all of them open."""

    def __init__(self, kept: Kept, chosen: Sequence[str]) -> None:
        self._kept = kept
        self._chosen = tuple(paths.absolute(path) for path in chosen)
        self._closing = ExitStack()
        self._open: list[tuple[Place, int, int]] = []
        record = kept.record
        assert record is not None  # noqa: S101 - it has been run
        self._record = record
        since = Since(
            record.applying or record.started, bool(record.applying),
            f".layerctl-{record.started:x}",
        )  # fmt: skip
        self._applier = Applier(record.prefix, since, self._wants, opens=self._opens)
        self._closing.callback(self._applier.close)

    def open(self) -> None:
        """Open all. Raises LayerctlError if a directory is not the one that was layered."""
        raise_open_files(_FILES)
        for place in changed_places(self._kept):
            upper = layers.open_root(self._kept.upper(place))
            self._closing.callback(close, upper)
            self._open.append((place, upper, self._host(place)))

    def close(self) -> None:
        """Close all."""
        self._closing.close()

    def _host(self, place: Place) -> int:
        try:
            fd = layers.open_root(place.target)
        except OSError as error:
            raise _lost(place, error.strerror or "") from None
        self._closing.callback(close, fd)
        identity = layers.identity(place.target)
        if identity is None or identity[1] != place.identity[1] or not self._is_there(place, fd):
            raise _lost(place, "another directory is there now")
        try:
            without = layers.open_without_mounts(fd)
        except OSError:
            return fd  # only root can
        self._closing.callback(close, without)
        return without

    @staticmethod
    def _is_there(place: Place, fd: int) -> bool:
        """Tell whether the filesystem is the same; its device number may be another by now."""
        identity = mounts.mount_id_of(fd)
        for entry in mounts.entries():
            if entry.mount_id == identity:
                return (entry.fstype, entry.source) == (place.fstype, place.source)
        return False

    def _wants(self, path: str) -> bool:
        return not self._chosen or any(is_in(path, one) for one in self._chosen)

    def _opens(self, path: str) -> bool:
        return self._wants(path) or any(is_in(one, path) for one in self._chosen)

    # What is done

    def conflicts(self) -> list[Conflict]:
        """Return what the host changed since the run began, of what would be changed."""
        found = []
        for place, upper, host in self._open:
            found += list(self._applier.conflicts(upper, host, place.target))
        return found

    def begin(self) -> None:
        """Note that applying begins, so that a second run knows what it finds."""
        if not self._record.applying:
            write_record(self._kept._replace(record=self._record._replace(
                applying=coarse_time())))  # fmt: skip

    def steps(self) -> Iterator[Step]:
        """Yield the steps, each to be done before the next one is asked for."""
        for place, upper, host in self._open:
            differs = look(upper, self._record.prefix) != place.look
            changed = False
            for step in self._applier.steps(upper, host, place.target, root_changed=differs):
                changed = True
                yield step
            if changed:
                yield Step(Verb.SYNC, place.target, "so that it is on the disk",
                           lambda fd=host: changing.sync(fd),  # type: ignore[misc]
                           (("sync", "-f", "--", place.target),))  # fmt: skip


@contextmanager
def applying(
    kept: Kept, chosen: Sequence[str], *, force: bool, dry_run: bool
) -> Iterator[Iterator[Step]]:
    """Yield the steps that apply a run, or the chosen paths of it. Raises LayerctlError.

    Nothing is changed before all was checked.
    """
    if kept.record is None:
        raise RequestError("usage", f"{kept.path} holds no run yet", hint="run a command first")
    application = Application(kept, chosen)
    try:
        application.open()
        found = [] if force else application.conflicts()
        if found:
            raise _conflict(found)
        if not dry_run:
            application.begin()
        yield application.steps()
    finally:
        application.close()


def _conflict(found: Sequence[Conflict]) -> RefusedError:
    lines = [f"{one.path}: {one.what}" for one in found[:_NAMED]]
    if len(found) > _NAMED:
        lines.append(f"and {count(len(found) - _NAMED, 'more path')}")
    return RefusedError(
        "host-changed",
        f"the host has changed what the run changed as well: {found[0].path}"
        + (f", and {count(len(found) - 1, 'more path')}" if len(found) > 1 else ""),
        why="applying the run would lose that; nothing was changed",
        hint="apply other paths only, or use --force to let the run win",
        details=tuple(lines),
    )


def _lost(place: Place, why: str) -> RefusedError:
    return RefusedError(
        "place-changed", f"{place.target} is not the directory that the run was over: {why}",
        why="its filesystem may not be mounted; nothing was changed",
        hint="mount what was mounted there, then run the command again",
    )  # fmt: skip
