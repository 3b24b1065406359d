"""Put the program where a packager expects it: `make install DESTDIR=... PREFIX=...` runs this.

It needs nothing but Python: what it copies is in the repository. The libraries that the program
imports (see pyproject.toml) are the packager's to depend on.
"""

from __future__ import annotations

import argparse
import compileall
import re
import shutil
import sys
import tomllib
from collections.abc import Iterator
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


def version() -> str:
    """Return the version, without importing the program."""
    match = re.search(r'__version__ = "(.*)"', (ROOT / "layerctl" / "__init__.py").read_text())
    assert match is not None
    return match[1]


def library(prefix: Path) -> tuple[Path, bool]:
    """Return where Python packages go below a prefix, and whether Python looks there by itself."""
    names = ("site-packages", "dist-packages")
    for entry in map(Path, sys.path):
        if entry.is_relative_to(prefix / "lib") and entry.name in names:
            return entry, True
    return prefix / "lib" / f"python3.{sys.version_info.minor}" / names[0], False


def files(prefix: Path) -> Iterator[tuple[Path, bytes, int]]:
    """Yield every file by its installed path, with its content and its mode."""
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
    shared = WHEEL["tool"]["hatch"]["build"]["targets"]["wheel"]["shared-data"]
    for name, target in shared.items():
        source = ROOT / name
        for file in sorted(source.iterdir()) if source.is_dir() else [source]:
            place = prefix / target / file.name if source.is_dir() else prefix / target
            yield place, file.read_bytes(), 0o644
    yield prefix / "share/doc/layerctl/LICENSE", (ROOT / "LICENSE").read_bytes(), 0o644


def main() -> int:
    """Install, or with --remove take away what was installed."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--destdir", default="")
    parser.add_argument("--prefix", default="/usr/local", type=Path)
    parser.add_argument("--remove", action="store_true")
    given = parser.parse_args()
    for path, content, mode in files(given.prefix):
        target = Path(given.destdir) / path.relative_to("/") if given.destdir else path
        if given.remove:
            target.unlink(missing_ok=True)
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
        target.chmod(mode)
    where, _ = library(given.prefix)
    if not given.remove and not given.destdir:
        # Only root may write there later; what packs a DESTDIR compiles it by itself.
        compileall.compile_dir(where / "layerctl", quiet=1)
    if given.remove:
        base = Path(given.destdir) / where.relative_to("/") if given.destdir else where
        for directory in (base / "layerctl", base / f"layerctl-{version()}.dist-info"):
            shutil.rmtree(directory, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
