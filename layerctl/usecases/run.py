"""Run a command over layers: plan them, keep a record, and start it."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import NamedTuple

from layerctl.errors import (
    LayerctlError,
    NoCommandError,
    NotExecutableError,
    NotFoundError,
    RefusedError,
    RequestError,
    RunError,
)
from layerctl.kernel import layers, mounts, paths, process, supervising, syscalls
from layerctl.kernel.beneath import identity
from layerctl.kernel.facts.common import caller
from layerctl.kernel.making import resemble
from layerctl.kernel.process import close
from layerctl.kernel.sandbox import How, Point, Tree
from layerctl.model import MountEntry
from layerctl.rules.filesystems import suits_upper
from layerctl.rules.words import shell, with_article
from layerctl.running.plan import Planner, is_in, visible
from layerctl.running.record import Place, Record
from layerctl.usecases.keeping import Kept, drop, look, open_run, write_record
from layerctl.working.copying import copy_attributes


class RunRequest(NamedTuple):
    """What was asked for; `apart` sends the command's output to standard error."""

    words: Sequence[str]
    over: Sequence[str] = ()
    keep: str | None = None
    hide: Sequence[str] = ()
    read_only: bool = False
    no_net: bool = False
    directory: str | None = None
    size: str | None = None
    keep_processes: bool = False
    apart: bool = False


class Prepared(NamedTuple):
    """A run that is planned: its tree, its places, and whether it needs a user namespace."""

    request: RunRequest
    tree: Tree
    places: tuple[Place, ...]
    namespaces: int
    identity: tuple[int, int] | None
    kept: Kept | None


class Running(NamedTuple):
    """A run that has been started: more commands can be run in it; and what it wrote."""

    session: supervising.Session
    kept: Kept
    prepared: Prepared

    def run(self, words: Sequence[str]) -> int:
        """Run a command; return its exit code. Raises LayerctlError if it cannot be run."""
        request = self.prepared.request
        directory = paths.absolute(request.directory or ".")
        try:
            return self.session.run(supervising.Command(words, directory, request.apart))
        except supervising.FailedError as error:
            raise _not_started(error, words[0], directory) from None


def prepare(request: RunRequest, *, dry_run: bool) -> Prepared:
    """Plan a run. Raises LayerctlError.

    Nothing is changed; but a directory to keep it in is created, unless it is a `dry_run`.
    """
    me = caller()
    locked = me.in_user_namespace or not me.sys_admin
    shown = _shown()
    over = _over(request.over)
    hide = tuple(_existing(path) for path in request.hide)
    kept = None
    if request.keep is not None and not (dry_run and not paths.taken(request.keep)):
        kept = _opened(request.keep, shown)
    known = {} if kept is None or kept.record is None else kept.record.numbers
    planner = Planner(
        shown, paths.directories_in, paths.is_plain_directory, paths.shared_in,
        locked=locked, read_only=request.read_only and over == ["/"], known=known,
    )  # fmt: skip
    points = planner.points(over)
    if over != ["/"] and any(entry.target == "/proc" for entry in shown):
        points.append(Point("/proc", How.PROC))
    tree = Tree(tuple(points), size=request.size or "", hide=hide, whole=over != ["/"],
                read_only=request.read_only, user=locked)  # fmt: skip
    if kept is not None:
        tree = tree._replace(base=kept.path, identity=identity(kept.fd), hide=(*hide, kept.path))
    spaces = syscalls.CLONE_NEWNS | syscalls.CLONE_NEWPID
    spaces |= syscalls.CLONE_NEWNET if request.no_net else 0
    spaces |= 0 if me.sys_admin else syscalls.CLONE_NEWUSER
    user = None if me.sys_admin else process.user()
    return Prepared(request, tree, _places(points, shown), spaces, user, kept)


def _shown() -> list[MountEntry]:
    """Return the mounts that paths lead to. Raises RefusedError if the root is none."""
    shown = visible(mounts.shown(mounts.SELF_MOUNTINFO), mounts.mount_id("/"))
    if not shown:
        raise RefusedError(
            "mount-not-found",
            "the root directory is not a mount point",
            why="its mount cannot be replaced by a layer",
            hint="bind the directory to itself before changing the root to it",
        )
    return shown


def _opened(path: str, shown: Sequence[MountEntry]) -> Kept:
    """Open the directory that a run is kept in. Raises LayerctlError."""
    above = paths.real(os.path.dirname(paths.absolute(path)))
    fstype = _holder(above, shown).fstype
    if not suits_upper(fstype):
        raise RunError(
            "run-failed",
            f"{path} is on {with_article(fstype)}, which cannot hold an upper layer",
            why="the kernel refuses one there",
            hint="name a directory on another filesystem",
        )
    return open_run(path, create=True)


def _holder(path: str, shown: Sequence[MountEntry]) -> MountEntry:
    """Return the mount that a path without links is on."""
    return max((one for one in shown if is_in(path, one.target)), key=lambda one: len(one.target))


def _over(given: Sequence[str]) -> list[str]:
    """Return the directories to layer, none inside another."""
    found: list[str] = []
    for path in sorted({_existing(one) for one in given} or {"/"}):
        if not paths.is_directory(path):
            raise RefusedError(
                "layer-not-a-directory", f"--over {path} is not a directory",
                why="a layer covers a directory", hint="name the directory that it is in",
            )  # fmt: skip
        if any(is_in(path, one) for one in ("/proc", "/sys", "/dev")):
            raise RequestError(
                "usage", f"{path} cannot be layered", why="the kernel makes up what is in it",
                hint="name a directory that holds files",
            )  # fmt: skip
        if not any(is_in(path, one) for one in found):
            found.append(path)
    return found


def _existing(path: str) -> str:
    if not paths.exists(path):
        raise NotFoundError("target-missing", f"{path}: No such file or directory",
                            hint="name something that exists")  # fmt: skip
    return paths.real(paths.absolute(path))


def _places(points: Sequence[Point], shown: Sequence[MountEntry]) -> tuple[Place, ...]:
    found = []
    for point in points:
        place = layers.identity(point.target) if point.how is How.LAYER else None
        if place is not None:
            holder = _holder(point.target, shown)
            found.append(Place(point.number, point.target, place, holder.fstype,
                               holder.source, ""))  # fmt: skip
    return tuple(found)


@contextmanager
def started(prepared: Prepared) -> Iterator[Running]:
    """Set the layers up, and take all down again at the end. Raises LayerctlError."""
    request, kept = prepared.request, prepared.kept
    user = prepared.tree.user

    def dress(target: str, fd: int) -> str:
        return _dress(target, fd, user=user)

    job = supervising.Job(prepared.tree, dress, prepared.namespaces, prepared.identity,
                          request.keep_processes)  # fmt: skip
    try:
        session = supervising.Session(job)
    except supervising.FailedError as error:
        if kept is not None and kept.record is None:
            drop(kept)  # only what was created for this run is in it
        raise _not_built(error, prepared) from None
    try:
        old = None if kept is None else kept.record
        record = _record(prepared, session, old)
        if kept is None:
            kept = Kept(f"/proc/self/fd/{session.built_fd}", session.built_fd, record, memory=True)
        else:
            kept = kept._replace(record=record)
            write_record(kept)
        yield Running(session, kept, prepared)
    finally:
        session.close()


def _record(prepared: Prepared, session: supervising.Session, old: Record | None) -> Record:
    """Return the record of a run: of a run on top of an older one, since that began."""
    known = {} if old is None else {place.number: place for place in old.places}
    for place in prepared.places:
        if place.number in session.looks:
            known[place.number] = place._replace(look=session.looks[place.number])
    places = tuple(known[number] for number in sorted(known))
    since = session.started if old is None else old.started
    return Record(since, prepared.tree.user, places, tuple(prepared.request.words))


def _dress(target: str, fd: int, *, user: bool) -> str:
    """Let the root of an upper directory look like what it covers; return how it looks then."""
    prefix = "user.overlay." if user else "trusted.overlay."
    with ExitStack() as closing:
        try:
            source = layers.open_root(target)
            closing.callback(close, source)
            status = os.fstat(source)
            times = status.st_atime_ns, status.st_mtime_ns
            copy_attributes((".", source), (".", fd), prefix, times)
        except OSError:  # it is closed to the caller, or belongs to a user without a number here
            resemble(fd, target)
    return look(fd, prefix)


def _not_started(error: supervising.FailedError, word: str, directory: str) -> LayerctlError:
    words = os.strerror(error.errno)
    if error.stage == "enter the directory":
        return RunError("run-failed", f"{directory}: {words}",
                        why="the command cannot start in a directory that is not in the layers",
                        hint="choose another one with -C")  # fmt: skip
    if error.stage != "start the command":
        return RunError("run-failed", f"the run ended early: {words}", why=f"at: {error.stage}",
                        hint="read the kernel log", commands=("dmesg | tail",))  # fmt: skip
    if error.errno in (errno.ENOENT, errno.ENOTDIR):
        return NoCommandError("command-not-found", f"{word}: {words}",
                              why="no such program is in the layers, or its interpreter is not",
                              hint="check the spelling, and PATH")  # fmt: skip
    return NotExecutableError("command-not-executable", f"{word}: {words}",
                              hint="check the mode and the first line of the file")  # fmt: skip


def _not_built(error: supervising.FailedError, prepared: Prepared) -> LayerctlError:
    words = os.strerror(error.errno)
    refused = error.stage in ("create the namespaces", "map the user")
    if refused and prepared.identity is not None:
        return RunError(
            "missing-user-namespace", f"a user namespace cannot be created: {words}",
            why="an ordinary user needs one to mount layers, and this system does not permit it",
            hint="run the command as root, or permit user namespaces",
        )  # fmt: skip
    why = f"{error.path}: {words}" if error.path else words
    hint = "read the kernel log"
    commands: tuple[str, ...] = ("dmesg | tail",)
    if error.stage.startswith("keep attributes"):
        why = "a tmpfs holds attributes of users only since Linux 6.6"
        hint, commands = "keep the layers on a disk, with --keep", ()
    elif error.stage.startswith("layer ") and error.errno == errno.EINVAL:
        hint = "run it outside of other runs: the kernel refuses an overlay over two others"
        commands = (shell("findmnt", "-T", error.stage.removeprefix("layer ")),)
    return RunError("run-failed", f"cannot {error.stage}: {words}", why=why, hint=hint,
                    commands=commands)  # fmt: skip
