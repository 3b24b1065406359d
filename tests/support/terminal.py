"""The program on a terminal of its own."""

from __future__ import annotations

import os
import pty
import sys

from tests.support import ROOT


def on_terminal(
    *arguments: str, keys: bytes = b"", stop: int = 0, wait_for: bytes = b"", **env: str
) -> tuple[int, str]:
    """Run the program on a terminal of its own; return its exit code and all that is shown.

    `keys` are typed and the signal `stop` is sent when `wait_for` has been shown.
    """
    child, terminal = pty.fork()
    if child == 0:
        clean = {k: v for k, v in os.environ.items() if k not in ("PAGER", "LESS", "NO_COLOR")}
        settings = {"TERM": "xterm", "LC_ALL": "C.UTF-8", "PYTHONPATH": str(ROOT), **env}
        os.execve(
            sys.executable, [sys.executable, "-m", "layerctl", *arguments], {**clean, **settings}
        )
    shown = b""
    try:
        while True:
            try:
                more = os.read(terminal, 65536)
            except OSError:  # everything that had the terminal open has ended
                break
            if not more:
                break
            shown += more
            if wait_for and wait_for in shown:
                wait_for = b""
                if stop:
                    os.kill(child, stop)
                os.write(terminal, keys)
        _, status = os.waitpid(child, 0)
    finally:
        os.close(terminal)
    return os.waitstatus_to_exitcode(status), shown.decode("utf-8", "replace").replace("\r\n", "\n")
