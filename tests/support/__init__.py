"""What tests share: a function run in namespaces of its own, and the program run as users do."""

from __future__ import annotations

import functools
import importlib
import json
import os
import pickle
import pkgutil
import signal
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from layerctl.cli.main import main
from layerctl.kernel import syscalls
from tests.support import images

ROOT = Path(__file__).resolve().parents[2]


def first_seed() -> int:
    """Return the first seed of random stacks: a fixed one, so that only a change fails a test.

    LAYERCTL_SEED has another; `make fuzz` goes through new ones all the time.
    """
    return int(os.environ.get("LAYERCTL_SEED", "20261128"))


class ChildFailedError(AssertionError):
    """The child of `in_namespace` failed; its traceback is the message."""


class NoNamespaceError(ChildFailedError):
    """The namespaces or the lab of `in_namespace` cannot be created without privilege."""


def in_namespace(
    function: Callable[[Path], Any],
    *,
    user: bool = False,
    fs: str = "tmpfs",
    place: Path | None = None,
) -> Any:
    """Run `function(lab)` in a forked child in its own mount namespace; return its value.

    `lab` is an empty directory on a new filesystem of type `fs` (`images.WRITABLE`), mounted on
    `place` if given. With `user` the child is root only in a new user namespace.
    """
    if os.environ.get("LAYERCTL_TESTS_FORK"):
        import_everything()
    lab = place or Path(tempfile.mkdtemp(prefix="layerctl-lab-"))
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        try:
            _answer(writer, function, lab, user=user, fs=fs)
        finally:
            os._exit(1)
    os.close(writer)
    try:
        with os.fdopen(reader, "rb") as file:
            raw = file.read()
        _, status = os.waitpid(child, 0)
    except BaseException:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        raise
    finally:
        if place is None:
            os.rmdir(lab)
    return _value(raw, status)


def _value(raw: bytes, status: int) -> Any:
    """Return the child's value. Raises ChildFailedError."""
    if not raw:
        raise ChildFailedError(f"the child ended without an answer, status {status}")
    failure, value = pickle.loads(raw)
    if failure is not None:
        raise failure(value)
    return value


def _answer(
    writer: int, function: Callable[[Path], Any], lab: Path, *, user: bool, fs: str
) -> NoReturn:
    """Send what the function returns, or its traceback, to the parent."""
    answer: tuple[type[ChildFailedError] | None, Any]
    failure: type[ChildFailedError] = NoNamespaceError
    try:
        _enter(lab, user=user, fs=fs)
        failure = ChildFailedError
        os.chdir(lab)
        answer = (None, function(lab))
    except BaseException:
        answer = (failure, traceback.format_exc())
    with os.fdopen(writer, "wb") as file:
        pickle.dump(answer, file)
    os._exit(0)


def _enter(lab: Path, *, user: bool, fs: str) -> None:
    if fs != "tmpfs":  # takes a loop device, so it is mounted before privilege is given up
        _unshare(user=False)
        images.mount(fs, lab)
    if user or fs == "tmpfs":
        _unshare(user=user)
    if fs == "tmpfs":
        syscalls.mount("lab", str(lab), "tmpfs", 0, "")


def _unshare(*, user: bool) -> None:
    if user:
        uid, gid = os.getuid(), os.getgid()
        syscalls.unshare(syscalls.CLONE_NEWUSER | syscalls.CLONE_NEWNS)
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"0 {uid} 1")
        Path("/proc/self/gid_map").write_text(f"0 {gid} 1")
    else:
        syscalls.unshare(syscalls.CLONE_NEWNS)
    syscalls.mount("none", "/", "", syscalls.MS_REC | syscalls.MS_PRIVATE, "")


def layerctl(
    *arguments: str | os.PathLike[str],
    cwd: str | os.PathLike[str] | None = None,
    env: Mapping[str, str] | None = None,
    stdin: str | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run the program as a process of its own, as users do.

    With LAYERCTL_TESTS_FORK in the environment it is forked instead of started again: in a virtual
    machine under emulation that is the difference between milliseconds and seconds.
    """
    if os.environ.get("LAYERCTL_TESTS_FORK"):
        return _forked([os.fspath(word) for word in arguments], cwd, env or {}, stdin or "")
    command: Sequence[str | os.PathLike[str]] = (sys.executable, "-m", "layerctl", *arguments)
    return subprocess.run(
        command,
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT), **(env or {})},
        input=stdin,
        stdin=subprocess.DEVNULL if stdin is None else None,
        capture_output=True,
        encoding="utf-8",
        errors="surrogateescape",
        check=False,
    )


@functools.cache
def import_everything() -> None:
    """Import every module once, for all the children that are forked from here."""
    import layerctl

    for module in pkgutil.walk_packages(layerctl.__path__, "layerctl."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)


def _forked(
    arguments: list[str],
    cwd: str | os.PathLike[str] | None,
    env: Mapping[str, str],
    stdin: str,
) -> subprocess.CompletedProcess[str]:
    with (
        tempfile.TemporaryFile() as given,
        tempfile.TemporaryFile() as out,
        tempfile.TemporaryFile() as err,
    ):
        given.write(os.fsencode(stdin))
        given.seek(0)
        child = os.fork()
        if child == 0:
            code = 70
            try:
                for number, file in enumerate((given, out, err)):
                    os.dup2(file.fileno(), number)
                streams = [
                    os.fdopen(number, mode, encoding="utf-8", errors="surrogateescape")
                    for number, mode in enumerate("rww")
                ]
                sys.stdin, sys.stdout, sys.stderr = streams
                os.chdir(cwd or ".")
                os.environ.update(env)
                code = main(arguments)
                sys.stdout.flush()
            finally:
                os._exit(code)
        _, status = os.waitpid(child, 0)
        texts = []
        for file in (out, err):
            file.seek(0)
            texts.append(os.fsdecode(file.read()))
    code = os.waitstatus_to_exitcode(status)
    return subprocess.CompletedProcess(arguments, code, *texts)


def program(directory: Path) -> str:
    """Put the program of this checkout there as `layerctl`; return a PATH that finds it first."""
    script = directory / "layerctl"
    script.write_text(
        f"#!/bin/sh\nPYTHONPATH='{ROOT}' exec '{sys.executable}' -m layerctl \"$@\"\n"
    )
    script.chmod(0o755)
    return f"{directory}{os.pathsep}{os.environ['PATH']}"


def layerctl_json(*arguments: str | os.PathLike[str], code: int = 0, **kwargs: Any) -> Any:
    """Run the program with --json, demand the exit code; return the document, by its schema."""
    done = layerctl(*arguments, "--json", **kwargs)
    assert done.returncode == code, done.stderr
    return valid(command_of(arguments), done.stdout)


def command_of(arguments: Sequence[str | os.PathLike[str]]) -> str:
    """Return the command that a line of arguments runs, as `layerctl schema` knows it."""
    count = 2 if arguments[0] in ("inspect", "branch") else 1
    return " ".join(map(str, arguments[:count]))


def valid(command: str, text: str, row: str = "") -> Any:
    """Return a JSON text that is just what the published schema says (or a row of it)."""
    import jsonschema

    from layerctl.render.columns import schema
    from layerctl.render.tables import DOCUMENTS

    document = json.loads(text)
    rules = schema(command, DOCUMENTS[command])
    if row:
        rules = {"$ref": f"#/$defs/{row}", "$defs": rules["$defs"]}
    jsonschema.Draft202012Validator(rules).validate(document)
    return document
