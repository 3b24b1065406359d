"""Run a command in which one system call fails, and judge how it ended.

A command runs in a process that is forked with all modules imported, in its own mount namespace on
its own filesystem. strace(1) is attached before it starts, so it counts the calls of the command
and not those of the interpreter's start-up. What must hold of a run:

- it ends without a traceback, and with an exit code of the table other than that of a bug;
- with 0, its output and what it leaves are those of the undisturbed run;
- otherwise it printed a message on standard error, and left no mount, file or process behind.
"""

from __future__ import annotations

import collections
import contextlib
import ctypes
import errno
import json
import os
import re
import select
import signal
import subprocess
import sys
import tempfile
import traceback
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from layerctl.codecs import mountinfo, overlay
from layerctl.errors import EXIT_BUG, EXIT_CODES
from layerctl.kernel import syscalls
from tools.inject.calls import ANY, MANUAL, NOT_OURS
from tools.inject.cases import CASES, Case, build

_LIMIT = 20.0
_CODES = frozenset(row.code for row in EXIT_CODES) - {EXIT_BUG}


class Outcome(NamedTuple):
    """The result of one run: `left` is the state afterwards, `trace` the output of strace."""

    code: int
    out: str
    err: str
    left: list[str]
    before: list[str]
    processes: int
    trace: str


def run(case: Case, lab: Path, injection: str = "") -> Outcome:
    """Run a case once, with one call made to fail (`CALL:error=ERRNO:when=N`)."""
    reader, writer = os.pipe()
    keeper = os.fork()
    if keeper == 0:
        os.close(reader)
        try:
            answer = json.dumps(_keep(case, lab, injection))
        except BaseException:
            answer = json.dumps(traceback.format_exc())
        with os.fdopen(writer, "w") as file:
            file.write(answer)
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as file:
        raw = json.loads(file.read() or '"the keeper died"')
    os.waitpid(keeper, 0)
    if isinstance(raw, str):
        raise RuntimeError(raw)  # noqa: TRY004 - it is a traceback
    return Outcome(*raw)


def _state(lab: Path) -> list[str]:
    """Return every name below the lab with its type and mode, and every mount of the namespace."""
    found = []
    for directory, folders, files in os.walk(lab):
        if directory == f"{lab}/m":
            folders.clear()
            continue
        for name in (*folders, *files):
            path = os.path.join(directory, name)
            status = os.lstat(path)
            if "/w/" not in path and "/new/u.work/" not in path:
                found.append(f"{path} {status.st_mode:o} {status.st_uid}")
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        entry = mountinfo.parse_line(line)
        what: object = entry.super_options
        if entry.fstype == "overlay":  # in whatever way the options were passed
            stack = overlay.from_super_options(entry.super_options)
            what = (stack.layers, stack.work)
        text = f"mount {entry.target} {entry.mount_options} {entry.fstype} {what}"
        found.append(_OWN_PLACE.sub("place", text))
    found += os.listdir("/run/layerctl") if os.path.isdir("/run/layerctl") else []
    for device in Path("/sys/block").glob("loop*/loop/backing_file"):
        with contextlib.suppress(OSError):
            file = device.read_text().strip()
            if file.startswith(str(lab)):
                found.append(f"loop {file}")
    return sorted(found)


#: A place that only one mount holds, whose name is new every time.
_OWN_PLACE = re.compile(r"/\S*/layerctl[/.]\w+-[0-9a-f]{16}")


def _keep(case: Case, lab: Path, injection: str) -> list[Any]:
    syscalls.unshare(syscalls.CLONE_NEWNS)
    syscalls.mount("none", "/", "", syscalls.MS_REC | syscalls.MS_PRIVATE, "")
    syscalls.mount("lab", str(lab), "tmpfs", 0, "")
    syscalls.mount("run", "/run", "tmpfs", 0, "")
    ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER: adopt orphans
    os.chdir(lab)
    build(lab, mounted=case.mounted)
    scratch = Path(tempfile.mkdtemp(prefix="layerctl-inject-", dir="/dev/shm"))
    try:
        return _watch(case, lab, injection, scratch)
    finally:
        for file in scratch.iterdir():
            file.unlink()
        scratch.rmdir()


def _watch(case: Case, lab: Path, injection: str, scratch: Path) -> list[Any]:
    before = _state(lab)
    gate, opener = os.pipe()
    ready, announcer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(opener)
        os.close(ready)
        _command(case, lab, gate, announcer, scratch)
    os.close(gate)
    os.close(announcer)
    os.read(ready, 1)  # until all is prepared: only the command's own calls count
    os.close(ready)
    what = ["-e", f"trace={injection.partition(':')[0]}", "-e", f"inject={injection}"]
    strace = subprocess.Popen(
        ["strace", "-f", "-y", "-s", "200", "-o", str(scratch / "trace"), "-p", str(child),
         *(what if injection else [])],
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert strace.stderr is not None
    attached = strace.stderr.readline()
    assert "attached" in attached, attached
    os.close(opener)
    code = _wait(child)
    processes = _orphans(strace.pid)
    strace.wait()
    texts = [
        (scratch / name).read_bytes().decode("utf-8", "replace") for name in ("out", "err", "trace")
    ]
    return [code, *texts[:2], _state(lab), before, processes, texts[2]]


def _wait(pid: int) -> int:
    """Return the exit code of a process, 128 plus its signal, or -1 if it had to be killed."""
    fd = os.pidfd_open(pid)
    try:
        if not select.select([fd], [], [], _LIMIT)[0]:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            return -1
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    finally:
        os.close(fd)


def _orphans(strace: int) -> int:
    """Count the processes that the command left behind, and kill them."""
    left = 0
    children = Path(f"/proc/self/task/{os.getpid()}/children")
    for pid in map(int, children.read_text().split()):
        if pid == strace:
            continue
        fd = os.pidfd_open(pid)
        if not select.select([fd], [], [], 1.0)[0]:  # one that is about to end does not count
            left += 1
            os.kill(pid, signal.SIGKILL)
        os.close(fd)
        os.waitpid(pid, 0)
    return left


def _command(case: Case, lab: Path, gate: int, ready: int, scratch: Path) -> NoReturn:
    try:
        _prepare(case, lab, scratch)
        from layerctl.cli import main

        poll = select.poll()
        poll.register(gate, select.POLLHUP)
        os.close(ready)
        poll.poll()
        main.program()
    except SystemExit as end:  # click exits this way after completion
        os._exit(end.code if isinstance(end.code, int) else 0)
    except BaseException:
        os.write(2, traceback.format_exc().encode())
    os._exit(99)


def _prepare(case: Case, lab: Path, scratch: Path) -> None:
    out = os.open(scratch / "out", os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600)
    err = os.open(scratch / "err", os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600)
    null = os.open("/dev/null", os.O_RDONLY)
    for number, fd in enumerate((null, out, err)):
        os.dup2(fd, number)
        os.close(fd)
    sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", closefd=False)  # noqa: SIM115
    os.environ.update(case.environment, TMPDIR=str(lab / "tmp"), LC_ALL="C.UTF-8")
    case.patch()
    sys.argv = ["layerctl", *case.words.split()]


class Site(NamedTuple):
    """A system call of a command: its name, and its number among those of its process."""

    call: str
    number: int
    shown: str


_LINE = re.compile(r"(\d+) +(\w+)\((.*)")
_VARIES = re.compile(r"0x[0-9a-f]+|\d+")


def sites(trace: str, most: int) -> list[Site]:
    """Return the calls of an undisturbed run; of similar ones at most `most`."""
    counts: collections.Counter[tuple[str, str]] = collections.Counter()
    alike: collections.Counter[tuple[str, str]] = collections.Counter()
    found = []
    for line in trace.splitlines():
        match = _LINE.match(line)
        if match is None:
            continue
        pid, call, rest = match.groups()
        counts[pid, call] += 1
        ours = call not in NOT_OURS and not re.search(
            r"/python3?\.\d+/|/site-packages/|\.py\b", rest
        )
        key = (call, _VARIES.sub("#", rest))
        alike[key] += 1
        if ours and alike[key] <= most:
            found.append(Site(call, counts[pid, call], rest[:100]))
    return found


_MASKS = (
    (re.compile(r"\b(pid|id|ID) \d+"), r"\1 #"),
    (re.compile(r'("mount_id": )\d+|"parent_id": \d+|"device": "[\d:]+"'), "#"),
)


def _same(one: str, other: str) -> bool:
    for pattern, instead in _MASKS:
        one, other = pattern.sub(instead, one), pattern.sub(instead, other)
    return one == other


def judge(found: Outcome, usual: Outcome, call: str, number: int) -> str:
    """Return what is wrong with a run in which a call failed, or an empty string."""
    wrong = []
    if found.code == -1:
        wrong.append("hangs")
    elif found.code not in _CODES:
        wrong.append("exit 70" if found.code == EXIT_BUG else f"exit {found.code}")
    if "Traceback" in found.err or "Traceback" in found.out:
        wrong.append("traceback")
    if found.processes:
        wrong.append("a process is left")
    if found.code == 0:
        # The output names what is unknown; without some of the new calls, a mount uses mount(2).
        told = os.strerror(number) in found.out + found.err or call in ("fsopen", "fsconfig")
        if not _same(found.out, usual.out) and not told:
            wrong.append("another answer with exit 0")
        if found.left != usual.left:
            wrong.append("another state with exit 0")
    else:
        if found.left != found.before and usual.code != found.code:
            wrong.append("something is left")
        if not found.err.strip() and not (
            (found.out.strip() and found.code == usual.code) or found.code == 1
        ):
            wrong.append("nothing said")
    return ", ".join(wrong)


def errnos(call: str) -> tuple[str, ...]:
    """Return the errnos for a call."""
    return tuple(dict.fromkeys((*ANY, *MANUAL.get(call, ()))))


class Verdict(NamedTuple):
    """A judged run; `said` is the first line of its standard error."""

    case: str
    site: Site
    name: str
    code: int
    wrong: str
    said: str
    hit: bool


def inject(case: str, site: Site, name: str, usual: Outcome, lab: Path) -> Verdict:
    """Make one call of a case fail and judge the run."""
    found = run(CASES[case], lab, f"{site.call}:error={name}:when={site.number}")
    said = (found.err.strip() or "-").splitlines()[0]
    return Verdict(
        case,
        site,
        name,
        found.code,
        judge(found, usual, site.call, getattr(errno, name)),
        said,
        "INJECTED" in found.trace,
    )
