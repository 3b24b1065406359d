"""What sdist, wheel and `make install` hold: all that is needed and nothing besides."""

from __future__ import annotations

import importlib
import os
import re
import subprocess
import sys
import tarfile
import venv
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


def _make(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["make", "-C", str(ROOT), *words], capture_output=True, text=True)


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    """Return a Python that has no library but its own."""
    venv.create(tmp_path / "bare", with_pip=False)
    return tmp_path / "bare" / "bin" / "python"


def test_make_install_without_the_libraries_says_what_to_install(
    bare: Path, tmp_path: Path
) -> None:
    prefix = tmp_path / "prefix"
    done = _make("install", f"PREFIX={prefix}", f"PYTHON={bare}")
    assert done.returncode != 0
    assert not prefix.exists()
    assert "has click, psutil and rich" in done.stderr
    assert re.search(r"install .*click .*psutil .*rich$", done.stderr, re.MULTILINE)
    assert "Traceback" not in done.stdout + done.stderr


@pytest.mark.parametrize("library", ["click", "rich"])
def test_the_program_without_a_library_says_so(library: str, bare: Path, tmp_path: Path) -> None:
    done = _make("install", f"DESTDIR={tmp_path}/root", "PREFIX=/usr", f"PYTHON={bare}")
    assert (done.returncode, done.stderr) == (0, "")
    (package,) = (tmp_path / "root" / "usr" / "lib").glob("python3*/*-packages")
    for name in {"click", "rich", "psutil"} - {library}:
        source = importlib.import_module(name).__path__[0]
        (package / name).symlink_to(source)
    program = subprocess.run(
        [tmp_path / "root" / "usr" / "bin" / "layerctl", "explain"],
        env={"PYTHONPATH": str(package)},
        capture_output=True,
        text=True,
    )
    assert (program.returncode, program.stdout) == (32, "")
    assert program.stderr.startswith(f"layerctl: the Python library {library} is not installed")
    assert "Traceback" not in program.stderr


def test_make_uninstall_goes_by_the_python_that_was_installed_for(
    bare: Path, tmp_path: Path
) -> None:
    prefix = tmp_path / "prefix"
    done = _make("install", f"PREFIX={prefix}", f"PYTHON={sys.executable}")
    assert f"installed {prefix}/bin/layerctl" in done.stderr
    assert f"{prefix}/bin is not in PATH" in done.stderr
    shown = subprocess.run([prefix / "bin" / "layerctl", "--version"], capture_output=True)
    assert shown.returncode == 0
    _make("uninstall", f"PREFIX={prefix}", f"PYTHON={bare}")
    assert not [file for file in prefix.rglob("*") if file.is_file()]


def test_make_install_where_nothing_can_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = _make("install", f"PREFIX={tmp_path}/file/prefix", f"PYTHON={sys.executable}")
    assert done.returncode != 0
    assert f"install: {tmp_path}/file/prefix" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_program_prints_its_completions(shell: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "layerctl"],
        env={**os.environ, "_LAYERCTL_COMPLETE": f"{shell}_source", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    name = "_layerctl" if shell == "zsh" else f"layerctl.{shell}"
    assert done.stdout.rstrip() == (ROOT / "completions" / name).read_text().rstrip()
