"""What sdist, wheel and `make install` hold: all that is needed and nothing besides."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
from hatchling.builders.sdist import SdistBuilder
from hatchling.builders.wheel import WheelBuilder

from layerctl import __version__
from tests.support import ROOT

TOP = {
    ".ci", ".gitignore", "CHANGELOG.md", "LICENSE", "Makefile", "README.md", "completions", "docs",
    "layerctl", "man", "pyproject.toml", "tests", "tools",
}  # fmt: skip
SHARED = {
    "share/bash-completion/completions/layerctl",
    "share/zsh/site-functions/_layerctl",
    "share/fish/vendor_completions.d/layerctl.fish",
    *(f"share/man/man1/{page.name}" for page in (ROOT / "man").iterdir()),
}


def _files(name: str) -> set[str]:
    """Return the files of a part of the repository that belong to it."""
    path = ROOT / name
    found = [path] if path.is_file() else path.rglob("*")
    return {
        str(file.relative_to(ROOT))
        for file in found
        if file.is_file() and "__pycache__" not in file.parts
    }


def test_the_wheel(tmp_path: Path) -> None:
    (path,) = WheelBuilder(str(ROOT)).build(directory=str(tmp_path), versions=["standard"])
    base = f"layerctl-{__version__}"
    with zipfile.ZipFile(path) as archive:
        names = set(archive.namelist())
        metadata = archive.read(f"{base}.dist-info/METADATA").decode()
    assert names == {
        *_files("layerctl"),
        *(f"{base}.data/data/{name}" for name in SHARED),
        *(
            f"{base}.dist-info/{name}"
            for name in ("METADATA", "WHEEL", "RECORD", "entry_points.txt", "licenses/LICENSE")
        ),
    }
    needed = {line for line in metadata.splitlines() if line.startswith("Requires-Dist")}
    assert {line.split()[1].partition(">")[0] for line in needed} == {"click", "psutil", "rich"}


def test_the_sdist(tmp_path: Path) -> None:
    (path,) = SdistBuilder(str(ROOT)).build(directory=str(tmp_path), versions=["standard"])
    with tarfile.open(path) as archive:
        names = {Path(*Path(one.name).parts[1:]) for one in archive if one.isfile()}
    expected = {"PKG-INFO"}.union(*map(_files, TOP))
    assert {str(name) for name in names} == expected
    assert "layerctl/py.typed" in expected


@pytest.mark.parametrize("prefix", ["/usr", "/usr/local", "/opt/layered"])
def test_make_install(prefix: str, tmp_path: Path) -> None:
    make = ["make", "-C", str(ROOT), f"DESTDIR={tmp_path}", f"PREFIX={prefix}"]
    make.append(f"PYTHON={sys.executable}")
    subprocess.run([*make, "install"], check=True)
    root = tmp_path / prefix.lstrip("/")
    assert {*SHARED, "bin/layerctl", "share/doc/layerctl/LICENSE"} <= {
        str(file.relative_to(root)) for file in root.rglob("*") if file.is_file()
    }
    (package,) = root.glob("lib/python3*/*-packages")
    assert {str(file.relative_to(package)) for file in package.rglob("*") if file.is_file()} == {
        *_files("layerctl"),
        f"layerctl-{__version__}.dist-info/METADATA",
    }
    assert os.stat(root / "bin" / "layerctl").st_mode & 0o777 == 0o755
    done = subprocess.run(
        [root / "bin" / "layerctl", "--version"],
        env={"PYTHONPATH": str(package)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.stdout.startswith(f"layerctl {__version__} (Python 3."), done.stderr
    subprocess.run([*make, "uninstall"], check=True)
    assert not [file for file in tmp_path.rglob("*") if file.is_file()]
