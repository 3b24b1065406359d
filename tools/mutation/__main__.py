"""Break one important line at a time, and see whether the tests notice.

python -m tools.mutation [--count N] [--seed N] [--room ROOM]... [--again] [--also TESTS]...

First the whole suite runs under coverage, which records the tests that run each line; then, for
each mutant of a random sample (determined by the seed), only those tests run. A mutant that none of
them notices is printed: write the missing test, or explain in explained.txt why none is needed.
Everything happens in copies of the project.
"""

from __future__ import annotations

import argparse
import contextlib
import difflib
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from queue import SimpleQueue

from coverage.numbits import numbits_to_nums

from tools.mutation import explained
from tools.mutation.contexts import REPORT
from tools.mutation.mutants import Mutant, mutants

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT / ".mutation"
ROOMS = ("kernel", "mounting", "inspecting", "codecs")
#: A mutant that does not end counts as noticed once its tests take this many times as long as
#: without it, plus this many seconds, as the machine may be busy.
_SLOWER, _PATIENCE = 6, 120
#: Exit codes of pytest: a test failed, or a test module could not be imported.
_NOTICED = (1, 2)
_PYTEST = ("-p", "no:cacheprovider", "-p", "no:randomly")
_SETTINGS = """\
[run]
source_pkgs = layerctl
data_file = {data}/coverage
parallel = true
context = ${{PYTEST_CURRENT_TEST-}}
patch =
    _exit
    execv
    fork
disable_warnings = no-data-collected, module-not-imported, context-overlap
"""


@dataclass(frozen=True, slots=True)
class Result:
    """Whether the tests noticed a mutant of the module `file`; `why` explains why none does."""

    file: str
    mutant: Mutant
    noticed: bool
    tests: int
    why: str | None = None

    @property
    def line(self) -> str:
        """The result as one line of text."""
        verdict = "noticed " if self.noticed else "explained" if self.why else "SURVIVED"
        what = " ".join(self.mutant.what.split())
        return f"{verdict} {self.file}:{self.mutant.line}: {what} ({self.tests} tests)"


@dataclass(frozen=True, slots=True)
class Suite:
    """The tests that pass: how long each takes, and which of them run a line of a module."""

    seconds: Mapping[str, float]
    lines: Mapping[str, Mapping[int, Sequence[str]]]

    def of(self, file: str, mutant: Mutant, there: Collection[str]) -> list[str]:
        """Return the existing tests that run what a mutant changes."""
        tests = self.lines.get(file, {}).get(mutant.line, ())
        return [test for test in tests if test in there]


@dataclass(frozen=True, slots=True)
class Copy:
    """A copy of the project, and the tests in it."""

    path: Path
    tests: frozenset[str]


def measure(tests: Sequence[str] = ()) -> None:
    """Run every test once and record the lines that each runs; or run additional tests."""
    if not tests:
        shutil.rmtree(DATA, ignore_errors=True)
    kept = DATA / str(len(list(DATA.glob("*"))))
    with tempfile.TemporaryDirectory(prefix="layerctl-mutation-") as name:
        directory = Path(name)
        directory.chmod(0o755)
        copy = next(copies(directory, 1)).path
        data = directory / "data"
        data.mkdir()
        data.chmod(0o1777)  # some tests run as other users
        settings = data / "coveragerc"
        settings.write_text(_SETTINGS.format(data=data))
        environment = {
            **_environment(copy),
            "COVERAGE_PROCESS_START": str(settings),
            REPORT: str(data / "report"),
        }
        pytest = [sys.executable, "-m", "pytest", "-q", "-n", "2", "-p", "tools.mutation.contexts"]
        pytest += tests
        done = subprocess.run(pytest, cwd=copy, env=environment, check=False)
        if done.returncode not in (0, 1):
            raise SystemExit(f"the tests do not run: pytest ended with {done.returncode}")
        combine = [sys.executable, "-m", "coverage", "combine", "-q", f"--rcfile={settings}"]
        subprocess.run(combine, cwd=copy, check=True)
        shutil.copytree(copy / "layerctl", kept / "layerctl")
        shutil.copy2(data / "coverage", kept)
        shutil.copy2(data / "report", kept)
        (kept / "copy").write_text(str(copy))


def suite() -> Suite:
    """Return the tests that run each line of each module, those that cover least first."""
    seconds: dict[str, float] = {}
    lines: dict[str, dict[int, set[str]]] = {}
    sizes: Counter[str] = Counter()
    for kept in sorted(DATA.iterdir()):
        for line in (kept / "report").read_text().splitlines():
            test, _, text = line.rpartition("\t")
            seconds[test] = float(text)
        copy = (kept / "copy").read_text()
        with sqlite3.connect(kept / "coverage") as database:
            rows = database.execute(
                "SELECT path, context, numbits FROM line_bits"
                " JOIN file ON file.id = file_id JOIN context ON context.id = context_id"
            ).fetchall()
        moved: dict[str, dict[int, int]] = {}
        for path, contexts, numbits in rows:
            numbers = numbits_to_nums(numbits)
            file = str(Path(path).relative_to(copy))
            if file not in moved:
                moved[file] = _moved(kept / file, ROOT / file)
            module = lines.setdefault(file, {})
            for test in _tests(contexts, seconds):
                sizes[test] += len(numbers)
                for number in numbers:
                    if number in moved[file]:
                        module.setdefault(moved[file][number], set()).add(test)
    ordered = {
        file: {
            number: sorted(tests, key=lambda test: (sizes[test], test))
            for number, tests in module.items()
        }
        for file, module in lines.items()
    }
    return Suite(seconds, ordered)


def _moved(old: Path, new: Path) -> dict[int, int]:
    """Map lines of a module that are unchanged since the measurement to their new numbers."""
    if not new.exists():
        return {}
    one, other = old.read_text().splitlines(), new.read_text().splitlines()
    blocks = difflib.SequenceMatcher(None, one, other, autojunk=False).get_matching_blocks()
    return {
        block.a + number: block.b + number
        for block in blocks
        for number in range(1, block.size + 1)
    }


def _tests(context: str, known: Mapping[str, float]) -> list[str]:
    """Return the tests of a context, which was set explicitly or by PYTEST_CURRENT_TEST."""
    names = [context, *context.split("|")]
    phases = (" (call)", " (setup)")
    names += [name.removesuffix(phase) for name in names for phase in phases]
    return sorted({name for name in names if name in known})


def everything(rooms: Sequence[str]) -> list[tuple[str, Mutant]]:
    """Return every mutant of the rooms."""
    return [
        (str(file.relative_to(ROOT)), mutant)
        for room in rooms
        for file in sorted((ROOT / "layerctl" / room).rglob("*.py"))
        for mutant in mutants(file.read_text())
    ]


def sample(rooms: Sequence[str], count: int, seed: int) -> list[tuple[str, Mutant]]:
    """Return `count` mutants of the rooms, at most one per line."""
    pool = everything(rooms)
    random.Random(seed).shuffle(pool)
    chosen: dict[tuple[str, int], tuple[str, Mutant]] = {}
    for file, mutant in pool:
        if len(chosen) == count:
            break
        if (file, mutant.line) not in chosen and mutant.compiles:
            chosen[file, mutant.line] = (file, mutant)
    return sorted(chosen.values(), key=lambda one: (one[0], one[1].line))


def copies(directory: Path, number: int) -> Iterator[Copy]:
    """Copy the project, so that mutants do no harm."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    files = subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout.decode()
    for one in range(number):
        copy = directory / str(one) / "project"
        for file in filter(None, files.split("\0")):
            if not (ROOT / file).exists():
                continue
            (copy / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / file, copy / file, follow_symlinks=False)
        # Compile once, since the tests start the program many times.
        compiled = [sys.executable, "-m", "compileall", "-q", "layerctl", "tests"]
        collect = [sys.executable, "-m", "pytest", "-q", "--collect-only", *_PYTEST]
        env = {**_environment(copy), "PYTHONDONTWRITEBYTECODE": ""}
        subprocess.run(compiled, cwd=copy, env=env, check=True)
        listed = subprocess.run(collect, cwd=copy, env=env, capture_output=True, check=True)
        yield Copy(copy, frozenset(listed.stdout.decode().splitlines()))


def _environment(copy: Path) -> dict[str, str]:
    """Return an environment in which the copy is imported instead of the installed program."""
    return {
        **os.environ,
        "PYTHONPATH": str(copy),
        "PYTHONDONTWRITEBYTECODE": "1",
        "HYPOTHESIS_STORAGE_DIRECTORY": str(copy / ".hypothesis"),
    }


def judge(copy: Path, file: str, mutant: Mutant, tests: Sequence[str], seconds: float) -> bool:
    """Run the tests of the line on the mutant; `seconds` is how long they take without it."""
    if not tests:
        return False
    path = copy / file
    original, status = path.read_text(), path.stat()
    path.write_text(mutant.source)
    os.utime(path, (status.st_atime, status.st_mtime + 10))  # so that no outdated bytecode is used
    command = [sys.executable, "-m", "pytest", "-q", "-x", *_PYTEST, *tests]
    process = subprocess.Popen(
        command,
        cwd=copy,
        env=_environment(copy),
        start_new_session=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        code = process.wait(seconds * _SLOWER + _PATIENCE)
        if code not in (0, *_NOTICED):
            raise RuntimeError(f"{file}:{mutant.line}: pytest ended with {code}")
        return code in _NOTICED
    except subprocess.TimeoutExpired:
        return True
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        path.write_text(original)
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=100, help="how many mutants (100)")
    parser.add_argument("--seed", type=int, default=1, help="another sample (1)")
    parser.add_argument("--room", action="append", help="only these rooms")
    parser.add_argument("--again", action="store_true", help="keep the coverage of the last run")
    parser.add_argument("--also", action="append", help="and measure these tests besides")
    parser.add_argument("--jobs", type=int, default=2, help="how many at a time (2)")
    return parser.parse_args()


def _try(
    tests: Suite,
    reasons: dict[explained.Key, str],
    free: SimpleQueue[Copy],
    job: tuple[str, Mutant],
) -> Result:
    """Run the tests of one mutant in a free copy, unless it is explained; print the result."""
    file, mutant = job
    why = reasons.get(explained.key(file, mutant))
    noticed, mine = False, []
    if why is None:
        copy = free.get()
        try:
            mine = tests.of(file, mutant, copy.tests)
            seconds = sum(tests.seconds[test] for test in mine)
            noticed = judge(copy.path, file, mutant, mine, seconds)
        finally:
            free.put(copy)
    result = Result(file, mutant, noticed, len(mine), why)
    print(result.line, flush=True)
    return result


def main() -> int:
    """Print each mutant of the sample and the share that the tests notice."""
    wanted = _arguments()
    if not (wanted.again and DATA.exists()):
        measure()
    if wanted.also:
        measure(wanted.also)
    tests = suite()
    reasons = explained.read()
    rooms = wanted.room or ROOMS
    chosen = sample(rooms, wanted.count, wanted.seed)
    for place, what in reasons.keys() - {explained.key(*one) for one in everything(ROOMS)}:
        print(f"explained.txt: no such mutant: {place}: {what}")
    with tempfile.TemporaryDirectory(prefix="layerctl-mutation-") as directory:
        Path(directory).chmod(0o755)
        free: SimpleQueue[Copy] = SimpleQueue()
        for copy in copies(Path(directory), wanted.jobs):
            free.put(copy)
        with ThreadPoolExecutor(wanted.jobs) as pool:
            results = list(pool.map(partial(_try, tests, reasons, free), chosen))
    print()
    for room in rooms:
        print(_share(room, [one for one in results if one.file.startswith(f"layerctl/{room}/")]))
    print(_share("all", results))
    return 0


def _share(name: str, results: Sequence[Result]) -> str:
    noticed = sum(one.noticed for one in results)
    why = sum(one.why is not None for one in results)
    return f"{name}: {noticed} of {len(results)} noticed, {why} explained"


if __name__ == "__main__":
    sys.exit(main())
