"""Make every system call of every command fail, with every possible errno: `make inject`.

The first run of a command shows its system calls; then each is made to fail, one run per errno.
`runs` says what must hold of a run.
"""

from __future__ import annotations

import argparse
import collections
import json
import os
import sys
import tempfile
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NoReturn

from tests.support import import_everything
from tools.inject.cases import CASES
from tools.inject.runs import Site, Verdict, errnos, inject, run, sites


def verdicts(
    names: Sequence[str], only: Sequence[str], most: int, part: tuple[int, int] = (0, 1)
) -> Iterator[Verdict]:
    """Yield the verdicts of every `part[1]`-th run from `part[0]` on."""
    lab = Path(tempfile.mkdtemp(prefix="layerctl-inject-lab-"))
    count = 0
    try:
        for case in names:
            usual = run(CASES[case], lab)
            for site in sites(usual.trace, most):
                for name in only or errnos(site.call):
                    count += 1
                    if count % part[1] == part[0]:
                        yield inject(case, site, name, usual, lab)
    finally:
        lab.rmdir()


def _work(part: int, options: argparse.Namespace, writer: int) -> NoReturn:
    code = 1
    try:
        os.nice(10)
        with os.fdopen(writer, "w") as file:
            share = (part * options.every, options.jobs * options.every)
            for one in verdicts(options.commands, options.errnos, options.most, share):
                file.write(json.dumps(one) + "\n")
                file.flush()
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def main() -> int:
    """Run all cases and print the totals; return 1 if anything is wrong."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("commands", nargs="*", default=list(CASES), metavar="COMMAND")
    parser.add_argument("--errnos", nargs="*", default=[], metavar="ERRNO")
    parser.add_argument("--most", type=int, default=1, help="of calls that look alike (1)")
    parser.add_argument(
        "--every", type=int, default=1, help="of all runs make every n-th alone (1)"
    )
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--said", action="store_true", help="print every sentence that was said")
    options = parser.parse_args()
    options.commands = options.commands or list(CASES)
    import_everything()
    readers = []
    for part in range(options.jobs):
        reader, writer = os.pipe()
        if os.fork() == 0:
            os.close(reader)
            _work(part, options, writer)
        os.close(writer)
        readers.append(os.fdopen(reader))
    found = []
    for file in readers:
        for line in file:
            raw = json.loads(line)
            found.append(Verdict(*raw)._replace(site=Site(*raw[1])))
            _tell(found[-1])
    failed = any(os.waitpid(-1, 0)[1] for _ in readers)
    return _report(found, options) or failed


def _tell(one: Verdict) -> None:
    if one.wrong:
        where = f"{one.case}: {one.site.call} #{one.site.number} {one.name}"
        print(f"{where}: {one.wrong} ({one.code}): {one.said}  <- {one.site.shown}", flush=True)


def _report(found: list[Verdict], options: argparse.Namespace) -> int:
    wrong = [one for one in found if one.wrong]
    if options.said:
        said = collections.Counter((one.code, one.said) for one in found)
        for (code, text), times in sorted(said.items()):
            print(f"{times:6} {code:4} {text}")
    missed = sum(not one.hit for one in found)
    print(
        f"{len({one.case for one in found})} commands, "
        f"{len({(one.case, one.site) for one in found})} calls "
        f"({len({one.site.call for one in found})} sorts), "
        f"{len({one.name for one in found})} errnos: "
        f"{len(found)} runs, {missed} of them not reached, {len(wrong)} wrong"
    )
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
