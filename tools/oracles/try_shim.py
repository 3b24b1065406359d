"""binpash/try's command line, carried out by layerctl: for `make try-tests`."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from argparse import ArgumentParser, Namespace
from typing import NoReturn

LAYERCTL = (sys.executable, "-m", "layerctl")


def _options(words: list[str]) -> Namespace:
    parser = ArgumentParser(prog="try", add_help=False)
    parser.add_argument("-n", action="store_true")
    parser.add_argument("-y", action="store_true")
    parser.add_argument("-v", action="store_true")
    parser.add_argument("-x", action="store_true")
    for option in ("-N", "-D", "-L", "-U", "-T"):
        parser.add_argument(option)
    for option in ("-E", "-I", "-i"):
        parser.add_argument(option, action="append", default=[])
    parser.add_argument("words", nargs="...")
    return parser.parse_args(words)


def _changes(kept: str) -> list[str]:
    done = subprocess.run((*LAYERCTL, "apply", "-n", "--json", kept), capture_output=True)
    return [
        step["path"]
        for step in json.loads(done.stdout)["steps"]
        if step["step"] not in ("sync", "times")
    ]


def _apply(kept: str, asked: Namespace) -> int:
    chosen = []
    if asked.E or asked.I:
        chosen = [
            path
            for path in _changes(kept)
            if not any(re.search(one, path) for one in asked.E)
            and (not asked.I or any(re.search(one, path) for one in asked.I))
        ]
    return subprocess.run((*LAYERCTL, "apply", kept, *chosen), stdout=2).returncode


def _run(asked: Namespace) -> int:
    kept = asked.N or tempfile.mkdtemp(prefix="try-", dir=os.environ.get("TRY_TOP"))
    if not os.path.isdir(kept):
        return 1
    words = asked.words[1:] if asked.words[:1] == ["--"] else asked.words
    shell = os.environ.get("TRY_SHELL") or os.environ.get("SHELL") or "/bin/sh"
    line = [*LAYERCTL, "run", "--keep", kept, *(f"--hide={one}" for one in asked.i)]
    if asked.x:
        line.append("--no-net")
    code = subprocess.run((*line, "--", shell, "-c", " ".join(words))).returncode
    if asked.y:
        code = _apply(kept, asked) or code
    elif asked.n:
        print(kept)
    return code


def main() -> NoReturn:
    """Do what try would do, and end with its exit code."""
    asked = _options(sys.argv[1:])
    what = asked.words[0] if asked.words else ""
    if what in ("commit", "summary") and len(asked.words) == 2:
        if what == "commit":
            sys.exit(_apply(asked.words[1], asked))
        sys.exit(subprocess.run((*LAYERCTL, "apply", "-n", asked.words[1])).returncode)
    sys.exit(_run(asked))


if __name__ == "__main__":
    main()
