"""Break important lines one at a time, and see whether the tests notice.

    python -m tools.mutation [--count N] [--seed N] [--room ROOM]... [--again]

First the whole suite runs once under coverage, which tells the tests that come by each line; then
of each mutant of a random sample (the same for the same seed) only those run. A mutant that none
of them notices is printed, for somebody to write the test or to say why none is needed.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue

from coverage.numbits import numbits_to_nums

from tools.mutation.mutants import Mutant, mutants

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT / ".mutation"
ROOMS = ("kernel", "mounting", "inspecting", "codecs")
#: A mutant that never ends is noticed too. Seconds: no test takes as long.
PATIENCE = 300
_SETTINGS = """\
[run]
source_pkgs = layerctl
data_file = {data}/coverage
parallel = true
context = ${{PYTEST_CURRENT_TEST-}}
patch = _exit
disable_warnings = no-data-collected, module-not-imported, context-overlap
"""


@dataclass(frozen=True, slots=True)
class Result:
    """What the tests said of one mutant of the module `file`."""

    file: str
    mutant: Mutant
    noticed: bool
    tests: int

    @property
    def line(self) -> str:
        """One line for a person."""
        verdict = "noticed " if self.noticed else "SURVIVED"
        what = " ".join(self.mutant.what.split())
        return f"{verdict} {self.file}:{self.mutant.line}: {what} ({self.tests} tests)"


def measure() -> None:
    """Run every test once, and keep which lines each of them comes by."""
    shutil.rmtree(DATA, ignore_errors=True)
    DATA.mkdir()
    settings = DATA / "coveragerc"
    settings.write_text(_SETTINGS.format(data=DATA))
    environment = {**os.environ, "COVERAGE_PROCESS_START": str(settings)}
    pytest = [sys.executable, "-m", "pytest", "-q", "-n", "2", "-p", "tools.mutation.contexts"]
    subprocess.run(pytest, cwd=ROOT, env=environment, check=True)
    combine = [sys.executable, "-m", "coverage", "combine", "-q", f"--rcfile={settings}"]
    subprocess.run(combine, cwd=ROOT, check=True)


def tests_by_line() -> dict[str, dict[int, list[str]]]:
    """Return the tests that come by each line of each module, those that cover least first."""
    lines: dict[str, dict[int, set[str]]] = {}
    sizes: Counter[str] = Counter()
    with sqlite3.connect(DATA / "coverage") as database:
        rows = database.execute(
            "SELECT path, context, numbits FROM line_bits"
            " JOIN file ON file.id = file_id JOIN context ON context.id = context_id"
        )
        for path, context, numbits in rows:
            test = context.removesuffix(" (call)").removesuffix(" (setup)")
            if "::" not in test or test.endswith("(teardown)"):
                continue
            module = lines.setdefault(str(Path(path).relative_to(ROOT)), {})
            numbers = numbits_to_nums(numbits)
            sizes[test] += len(numbers)
            for number in numbers:
                module.setdefault(number, set()).add(test)
    return {
        file: {
            number: sorted(tests, key=lambda test: (sizes[test], test))
            for number, tests in module.items()
        }
        for file, module in lines.items()
    }


def sample(rooms: Sequence[str], count: int, seed: int) -> list[tuple[str, Mutant]]:
    """Return `count` mutants of the rooms, not two of one line."""
    everything = [
        (str(file.relative_to(ROOT)), mutant)
        for room in rooms
        for file in sorted((ROOT / "layerctl" / room).rglob("*.py"))
        for mutant in mutants(file.read_text())
    ]
    random.Random(seed).shuffle(everything)
    chosen: dict[tuple[str, int], tuple[str, Mutant]] = {}
    for file, mutant in everything:
        chosen.setdefault((file, mutant.line), (file, mutant))
    return sorted(list(chosen.values())[:count], key=lambda one: (one[0], one[1].line))


def copies(directory: Path, number: int) -> Iterator[Path]:
    """Make copies of the project, where a mutant harms nobody."""
    files = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True
    ).stdout.decode()
    for one in range(number):
        copy = directory / str(one) / "project"
        for file in filter(None, files.split("\0")):
            if not (ROOT / file).exists():
                continue
            (copy / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / file, copy / file, follow_symlinks=False)
        yield copy


def judge(copy: Path, file: str, mutant: Mutant, tests: Sequence[str]) -> Result:
    """Run the tests of the line on the mutant."""
    if not tests:
        return Result(file, mutant, False, 0)
    original = (copy / file).read_text()
    (copy / file).write_text(mutant.source)
    command = [
        sys.executable,
        "-B",
        "-m",
        "pytest",
        "-q",
        "-x",
        "-p",
        "no:cacheprovider",
        "-p",
        "no:randomly",
        *tests,
    ]
    environment = {**os.environ, "HYPOTHESIS_STORAGE_DIRECTORY": str(copy / ".hypothesis")}
    process = subprocess.Popen(
        command,
        cwd=copy,
        env=environment,
        start_new_session=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        noticed = process.wait(PATIENCE) != 0
    except subprocess.TimeoutExpired:
        noticed = True
        os.killpg(process.pid, 9)
        process.wait()
    finally:
        (copy / file).write_text(original)
    return Result(file, mutant, noticed, len(tests))


def main() -> int:
    """Print each mutant of the sample and the share that the tests notice."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=100, help="how many mutants (100)")
    parser.add_argument("--seed", type=int, default=1, help="another sample (1)")
    parser.add_argument("--room", action="append", help="only these rooms")
    parser.add_argument("--again", action="store_true", help="keep the coverage of the last run")
    parser.add_argument("--jobs", type=int, default=2, help="how many at a time (2)")
    wanted = parser.parse_args()
    if not (wanted.again and (DATA / "coverage").exists()):
        measure()
    lines = tests_by_line()
    chosen = sample(wanted.room or ROOMS, wanted.count, wanted.seed)
    results: list[Result] = []
    with tempfile.TemporaryDirectory(prefix="layerctl-mutation-") as directory:
        free: SimpleQueue[Path] = SimpleQueue()
        for copy in copies(Path(directory), wanted.jobs):
            free.put(copy)

        def one(job: tuple[str, Mutant]) -> Result:
            file, mutant = job
            copy = free.get()
            try:
                result = judge(copy, file, mutant, lines.get(file, {}).get(mutant.line, []))
            finally:
                free.put(copy)
            print(result.line, flush=True)
            return result

        with ThreadPoolExecutor(wanted.jobs) as pool:
            results = list(pool.map(one, chosen))
    print()
    for room in wanted.room or ROOMS:
        mine = [result for result in results if result.file.startswith(f"layerctl/{room}/")]
        print(f"{room}: {sum(r.noticed for r in mine)} of {len(mine)} noticed")
    print(f"all: {sum(r.noticed for r in results)} of {len(results)} noticed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
