"""Install the program: `make install DESTDIR=... PREFIX=...` runs this.

It needs only Python, since it copies files of the repository. `tools/setup python` has checked that
the libraries are installed; with DESTDIR, they are dependencies of the package instead.
"""

from __future__ import annotations

import argparse
import compileall
import os
import re
import shutil
import sys
import tomllib
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
WHEEL = tomllib.loads((ROOT / "pyproject.toml").read_text())

SCRIPT = """\
#!{python}
import sys
{path}
from layerctl.__main__ import program

program()
"""


#: What mount(8) runs for `mount -t layerctl`.
HELPER = "mount.layerctl"


def version() -> str:
    """Return the version, without importing the program."""
    match = re.search(r'__version__ = "(.*)"', (ROOT / "layerctl" / "__init__.py").read_text())
    assert match is not None
    return match[1]


def library(prefix: Path) -> tuple[Path, bool]:
    """Return the directory for Python packages below a prefix, and whether Python searches it."""
    names = ("site-packages", "dist-packages")
    for entry in map(Path, sys.path):
        if entry.is_relative_to(prefix / "lib") and entry.name in names:
            return entry, True
    return prefix / "lib" / f"python3.{sys.version_info.minor}" / names[0], False


def programs(prefix: Path) -> Path:
    """Return where helpers of mount(8) go, which it looks for in /sbin alone."""
    return Path("/sbin") if prefix in (Path("/usr"), Path("/usr/local")) else prefix / "sbin"


def files(prefix: Path) -> Iterator[tuple[Path, bytes, int]]:
    """Yield every file's installed path, content and mode."""
    where, found = library(prefix)
    for source in sorted((ROOT / "layerctl").rglob("*")):
        if source.is_file() and source.suffix != ".pyc":
            yield where / source.relative_to(ROOT), source.read_bytes(), 0o644
    project = WHEEL["project"]
    metadata = [f"Metadata-Version: 2.1\nName: layerctl\nVersion: {version()}"]
    metadata += [f"Requires-Dist: {needed}" for needed in project["dependencies"]]
    info = where / f"layerctl-{version()}.dist-info"
    yield info / "METADATA", "\n".join([*metadata, ""]).encode(), 0o644
    path = "" if found else f"\nsys.path.insert(0, {str(where)!r})"
    script = SCRIPT.format(python=sys.executable, path=path)
    yield prefix / "bin" / "layerctl", script.encode(), 0o755
    yield programs(prefix) / HELPER, script.encode(), 0o755
    shared = WHEEL["tool"]["hatch"]["build"]["targets"]["wheel"]["shared-data"]
    for name, target in shared.items():
        source = ROOT / name
        for file in sorted(source.iterdir()) if source.is_dir() else [source]:
            place = prefix / target / file.name if source.is_dir() else prefix / target
            yield place, file.read_bytes(), 0o644
    yield prefix / "share/doc/layerctl/LICENSE", (ROOT / "LICENSE").read_bytes(), 0o644


def installed_by(script: Path) -> str | None:
    """Return the Python that runs the installed program, or None if it is not installed."""
    try:
        line = script.read_text().partition("\n")[0]
    except OSError:
        return None
    python = line.removeprefix("#!")
    return python if python != line and os.access(python, os.X_OK) else None


def remove(prefix: Path, place: Callable[[Path], Path]) -> None:
    """Remove what was installed, for the Python that runs it."""
    python = installed_by(place(prefix / "bin" / "layerctl"))
    if python is not None and python != sys.executable:
        os.execv(python, [python, *sys.argv])
    for path, _, _ in files(prefix):
        place(path).unlink(missing_ok=True)
    where = place(library(prefix)[0])
    for directory in (where / "layerctl", where / f"layerctl-{version()}.dist-info"):
        shutil.rmtree(directory, ignore_errors=True)
    with suppress(OSError):
        place(prefix / "share/doc/layerctl").rmdir()


def install(prefix: Path, place: Callable[[Path], Path]) -> None:
    """Write every file."""
    for path, content, mode in files(prefix):
        target = place(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
        target.chmod(mode)


def main() -> int:
    """Install, or remove with --remove."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--destdir", default="")
    parser.add_argument("--prefix", default="/usr/local", type=Path)
    parser.add_argument("--remove", action="store_true")
    given = parser.parse_args()
    prefix = given.prefix.absolute()

    def place(path: Path) -> Path:
        return Path(given.destdir) / path.relative_to("/") if given.destdir else path

    try:
        (remove if given.remove else install)(prefix, place)
    except OSError as error:
        sys.stderr.write(f"install: {error.filename}: {error.strerror}\n")
        if isinstance(error, PermissionError):
            sys.stderr.write(
                "install: run it as root (sudo make install), or with PREFIX=$HOME/.local\n"
            )
        return 1
    if not given.remove and not given.destdir:
        # Only root can write there later; package builders compile the files of a DESTDIR
        # themselves.
        compileall.compile_dir(library(prefix)[0] / "layerctl", quiet=1)
        sys.stderr.write(f"install: installed {prefix}/bin/layerctl, for {sys.executable}\n")
        helper = programs(prefix) / HELPER
        sys.stderr.write(f"install: installed {helper}, for mount -t layerctl\n")
        if helper.parent != Path("/sbin"):
            sys.stderr.write(f"install: mount(8) looks for helpers in /sbin: link {helper} there\n")
        if str(prefix / "bin") not in os.environ.get("PATH", "").split(os.pathsep):
            sys.stderr.write(f"install: {prefix}/bin is not in PATH\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
