"""Run the test cases of binpash/try with layerctl in its place: `make try-tests`.

The checkout is only read. As root.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
#: Cases about what is try's own, with the reason why they do not apply.
OTHERS = {
    "check_env": "its variables",
    "check_shell": "how it finds a shell",
    "empty_summary": "the words of its summary",
    "summary": "the words of its summary",
    "explore": "its subcommand for a shell",
    "hidden_variables": "its variables",
    "hide_flag": "it removes what is hidden; layerctl shows an empty file",
    "interactive_include": "its editor",
    "merge_multiple_dirs": "several sandboxes at once",
    "missing_unionfs_mergerfs": "programs that it needs",
    "network": "it needs curl and a network",
    "tempfiles": "how its directories are laid out",
    "trace_flag": "its tracer",
    "try-commit-c": "its helper in C",
    "reuse_problematic_sandbox": "what is wrong in its own directories",
    "unzip_N_flag_commit_without_cleanup": "it keeps what was applied",
}

_MAKE_SOCKET = """#!/usr/bin/env python3
import socket, sys
socket.socket(socket.AF_UNIX).bind(sys.argv[1])
"""


def _script(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o755)


def main(checkout: Path) -> int:
    """Run each case; return 1 if one fails."""
    failed = []
    with tempfile.TemporaryDirectory(prefix="layerctl-try-", dir="/var/tmp") as top:
        shutil.copytree(checkout / "test", Path(top, "test"))
        shim = Path(top, "try")
        words = f'PYTHONPATH={ROOT} exec {sys.executable} -m tools.oracles.try_shim "$@"'
        _script(shim, f"#!/bin/sh\n{words}\n")
        _script(Path(top, "make-socket"), _MAKE_SOCKET)
        for case in sorted(Path(top, "test").glob("*.sh")):
            if case.stem in OTHERS:
                print(f"{case.stem:<40} not about layers: {OTHERS[case.stem]}")
                continue
            environment = {**os.environ, "TRY_TOP": top, "SHELL": "/bin/bash"}
            environment["PATH"] = f"{top}:{environment['PATH']}"
            done = subprocess.run(
                ["sh", str(case)], cwd=top, env=environment, capture_output=True, timeout=300
            )
            print(f"{case.stem:<40} {'ok' if done.returncode == 0 else 'FAILED'}", flush=True)
            if done.returncode:
                failed.append(case.stem)
                print((done.stdout + done.stderr).decode("utf-8", "replace"))
    print(f"failed: {', '.join(failed) or 'none'}")
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
