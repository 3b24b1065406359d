"""Run docs/demo.sh in its own namespaces, which undo everything it does."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.support import NoNamespaceError, in_namespace

SCRIPT = Path(__file__).parents[1] / "docs" / "demo.sh"


def play(directory: Path) -> int:
    """Run the script in `directory`, with the program of this environment first on PATH."""
    path = os.pathsep.join([os.path.dirname(sys.executable), os.environ.get("PATH", "")])
    return subprocess.run(
        ["sh", SCRIPT], cwd=directory, env={**os.environ, "PATH": path}, stdin=subprocess.DEVNULL
    ).returncode


def main() -> int:
    """Run as root, or else as root in a user namespace; return the script's exit code."""
    reasons = []
    for user in (False, True):
        try:
            in_namespace(lambda _: None, user=user)
        except NoNamespaceError as error:
            reasons.append(str(error).strip().splitlines()[-1])
            continue
        code = in_namespace(play, user=user)
        assert isinstance(code, int)
        return code
    sys.stderr.write(
        "demo: no mount namespace to be had, neither as this user nor in a user namespace:\n"
        f"  {'; '.join(reasons)}\n"
        "  run it as root, or allow user namespaces\n"
    )
    return 1


if __name__ == "__main__":
    sys.exit(main())
