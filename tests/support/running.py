"""What tests of runs share: trees to change, digests of them, scripts that change them."""

from __future__ import annotations

import hashlib
import json  # noqa: F401 - so that it is there in `as_user`
import os
import resource  # noqa: F401 - as above
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import TextIO

from layerctl.cli.main import main
from layerctl.kernel import syscalls
from tests.support import import_everything

#: An old time: what has it, has been given it.
OLD = 1_000_000_000

TREE = f"""
mkdir -p d e f/in deep/x deep/y home/user/.config
echo 1 >d/1; echo 2 >d/2; echo 3 >e/3; ln e/3 e/hard; ln -s d/1 l; mkfifo p; mknod n c 1 3
echo a >f/1; echo b >f/2; echo c >f/3; chmod 4755 f/1; setfattr -n user.x -v y f/2
setfattr -n trusted.t -v y f/2; echo z >deep/x/z; chown -h 5:6 l
echo one >home/user/.config/rc; echo two >'home/user/with space'
find . -exec touch -h -d @{OLD} {{}} +
"""

#: Everything that a command can do to files.
WORK = {
    "files": "echo more >>d/1; rm d/2; : >f/in/new; truncate -s 9M sparse; echo x >'a\nb c'",
    "directories": "rm -r e; mkdir e; echo new >e/3; mkdir -p q/w/e; rmdir f/in; mkdir -m 2770 g",
    "types": "rm -r deep/x; echo file >deep/x; rm p; mkdir p; echo i >p/i; rm f/3; mkdir f/3",
    "renames": "mv deep/y deep/z; mv f g; mv d/1 e/one; mv l l2; mv home/user home/other",
    "links": "ln f/2 f/two; ln f/1 one; ln d/1 e/1; echo i >i; ln i j; ln j k; rm e/hard",
    "symlinks": "ln -sfn nowhere l; chown -h 7:8 l; ln -s /etc abs; touch -h -d @99 l",
    "metadata": "chmod 700 f; chmod 711 f/3; chown 3:4 d f/2; touch -d @77 f/1; chmod 1777 .",
    "attributes": "setfattr -n user.z -v q f/1 d; setfattr -x user.x f/2; "
    "setfattr -x trusted.t f/2",
    "special": "mknod b b 7 99; mkfifo fifo; rm n; mknod n c 1 5; python3 -c 'import socket; "
    'socket.socket(socket.AF_UNIX).bind("sock")\'',
    "home": "rm -rf home",
    "twice": "rm -r d; mkdir d; echo 1 >d/1; rm -r d; mkdir d; mkdir d/2; echo >d/2/3; rm -r e; >e",
    "sed": "find . -type f -exec sed -i s/e/E/ {} +",
}


def build(directory: Path) -> None:
    """Create the tree in a directory."""
    directory.mkdir()
    sh(TREE, directory)


def sh(script: str, directory: Path) -> None:
    """Run a script in a directory, which must succeed."""
    subprocess.run(["bash", "-ec", script], cwd=directory, check=True, capture_output=True)


def digest(directory: Path) -> dict[str, tuple[object, ...]]:
    """Return all that is known of each path: the times only of what has an old one."""
    found: dict[str, tuple[object, ...]] = {}
    first: dict[int, str] = {}
    for above, directories, files in os.walk(directory):
        for name in (*directories, *files, *([""] if above == str(directory) else [])):
            path = os.path.join(above, name).rstrip("/")
            status = os.lstat(path)
            inside = os.path.relpath(path, directory)
            is_dir = os.path.isdir(path) and not os.path.islink(path)
            names = (
                "" if is_dir or status.st_nlink == 1 else first.setdefault(status.st_ino, inside)
            )
            content = ""
            if os.path.islink(path):
                content = os.readlink(path)
            elif os.path.isfile(path):
                content = hashlib.sha256(Path(path).read_bytes()).hexdigest()
            attributes: tuple[tuple[str, bytes], ...] = ()
            with suppress(OSError):
                attributes = tuple(
                    sorted(
                        (one, os.getxattr(path, one, follow_symlinks=False))
                        for one in os.listxattr(path, follow_symlinks=False)
                    )
                )
            old = int(status.st_mtime) if status.st_mtime < OLD + 1 else None
            size = 0 if is_dir else status.st_size
            found[inside] = (
                oct(status.st_mode), status.st_uid, status.st_gid, size, status.st_rdev, names,
                content, attributes, old,
            )  # fmt: skip
    return found


_PR_SET_DUMPABLE = 4


def _text(fd: int) -> TextIO:
    return open(fd, "w", closefd=False)


def as_user(uid: int, *arguments: str) -> tuple[int, str, str]:
    """Run the program as an ordinary user; return its exit code and what it writes.

    It is forked, since that user may not read the interpreter and its modules.
    """
    import_everything()
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        child = os.fork()
        if child == 0:
            os.dup2(out.fileno(), 1)
            os.dup2(err.fileno(), 2)
            sys.stdout, sys.stderr = map(_text, (1, 2))
            os.setgroups([])
            os.setresgid(uid, uid, uid)
            os.setresuid(uid, uid, uid)
            syscalls.prctl(_PR_SET_DUMPABLE, 1)  # as after execve(2): /proc/self is the user's
            code = 70
            try:
                code = main(arguments)
                sys.stdout.flush()
                sys.stderr.flush()
            finally:
                os._exit(code)
        _, status = os.waitpid(child, 0)
        texts = []
        for file in (out, err):
            file.seek(0)
            texts.append(file.read().decode())
    return os.waitstatus_to_exitcode(status), texts[0], texts[1]
