"""What layerctl says, compared with what an engine reports."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import tarfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from tests.support import ROOT, command_of, valid
from tools.engines.archive import FILES, IMAGE, STEPS
from tools.engines.engine import CHANGES, ENDED, NAMES, PAUSED, RUNNING, Engine, Reported, run

_BLOCK = 4096


def layerctl(*arguments: str | Path, inside: Sequence[str] = ()) -> str:
    """Return what the program prints, run by the command `inside` if that is given."""
    done = subprocess.run(
        [*inside, sys.executable, "-m", "layerctl", *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        cwd="/",
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, (arguments, done.stderr.decode())
    return done.stdout.decode()


def document(*arguments: str | Path, inside: Sequence[str] = ()) -> Any:
    """Return what the program prints as JSON, by its schema."""
    return valid(command_of(arguments), layerctl(*arguments, "--json", inside=inside))


def stacks(reported: Iterable[Reported], disk: str = "", inside: Sequence[str] = ()) -> int:
    """Compare the stack of each name with the one that was reported; return how many names."""
    root = ("--root", disk) if disk else ()
    count = 0
    for one in reported:
        expected = [disk + path for path in one.directories]
        for name in one.names:
            (mount,) = document("inspect", "mount", name, *root, inside=inside)["mounts"]
            found = [os.path.realpath(layer["path"]) for layer in mount["layers"]]
            assert found == expected, (name, found, expected)
            count += 1
    return count


def answers(reported: Sequence[Reported], disk: str = "") -> None:
    """Compare what `which` knows of each name."""
    asked = [(one, name) for one in reported for name in one.names]
    root = ("--root", disk) if disk else ()
    given = document("which", *(name for _, name in asked), *root)["answers"]
    for (one, name), answer in zip(asked, given, strict=True):
        assert answer["kind"] == one.kind, (name, answer)
        if one.kind != "container":
            assert set(answer["used_by"]) == set(NAMES), (name, answer)
        if one.kind == "layer":
            place = (answer["of"], answer["index"], answer["step"])
            assert place == (IMAGE, one.position, STEPS[one.position]), (name, answer)


def changes(engine: Engine) -> None:
    """Compare what containers changed with what they did, and with what the engine says."""
    for name in (RUNNING, ENDED):
        found = set(layerctl("inspect", "changes", "--format", "docker", name).splitlines())
        assert found >= CHANGES, (name, found)
        if engine.tells:
            said = engine.changes(name)
            assert found >= said, (name, said - found)
            more = {line.split(" ", 1)[1] for line in found - said}
            assert more <= engine.silent, (name, more)


def sizes(reported: Iterable[Reported]) -> None:
    """Compare the sizes of a container's layers with du(1), within a block a file."""
    ended = next(one for one in reported if ENDED in one.names)
    rows = document("du", ENDED, "--layers")["layers"]
    for row, directory in zip(rows, ended.directories, strict=True):
        used = int(run("du", "-s", "-B1", directory).split()[0])
        assert abs(row["size"] - used) <= _BLOCK * (row["entries"] + 1), (directory, row, used)


def mounts(engine: Engine) -> None:
    """Compare what `mount` makes of a container that ended, and of the image."""
    look = engine.lab / "look"
    look.mkdir()
    for option, name in (("--container", ENDED), ("--image", IMAGE)):
        layerctl("mount", option, name, look)
        try:
            found = {str(one.relative_to(look)) for one in look.rglob("*") if not one.is_dir()}
            if option == "--image":
                assert found == FILES, found
            elif engine.tells:
                with tarfile.open(engine.export(name)) as exported:
                    shown = {one.name.lstrip("/") for one in exported if not one.isdir()}
                assert found == shown, (found, shown)
                assert (look / "etc/motd").read_text() == "container\n"
        finally:
            run("umount", look)


def archives(engine: Engine) -> None:
    """Compare what the engine saves with what is in its store; let it load what was packed."""
    saved, stored = engine.lab / "saved", engine.lab / "stored"
    layerctl("unpack", engine.save(), saved)
    layerctl("unpack", f"image:{IMAGE}", stored)
    assert _files(saved) == _files(stored), (_files(saved), _files(stored))
    if not engine.tells:  # ctr makes no image of an archive of files
        return
    packed, again = engine.open_to_all("packed.tar"), engine.lab / "again"
    layerctl("pack", "--merged", f"image:{IMAGE}", "-o", packed)
    engine.take(packed, "layerctl-packed:1")
    layerctl("unpack", "image:layerctl-packed:1", again)
    assert {path.partition("/")[2] for path in _files(again)} == FILES, _files(again)


def _files(tree: Path) -> dict[str, tuple[str, int]]:
    """Return the type and size of each file below a directory."""
    return {
        str(one.relative_to(tree)): (stat.filemode(one.lstat().st_mode)[0], one.lstat().st_size)
        for one in tree.rglob("*")
        if one.is_symlink() or not one.is_dir()
    }


def lists(engine: Engine) -> None:
    """Compare what is listed: live mounts with their containers, containers and images."""
    live = document("list", inside=engine.inside)["mounts"]
    containers = [one["container"] for one in live if "container" in one]
    named = {one["name"] or one["id"] for one in containers}  # with ctr, its id is its name
    assert named == {RUNNING, PAUSED}, named
    every = document("list", "--all", inside=engine.inside)["stacks"]
    states = {one["name"]: one["state"] for one in every if one["kind"] == "container"}
    assert states == dict(zip(NAMES, engine.states, strict=True)), states
    assert IMAGE in {one["name"] for one in every if one["kind"] == "image"}, every
