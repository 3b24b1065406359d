"""Convert: each filesystem shows of the converted layer what the other one showed of it."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from layerctl.errors import LayerctlError
from layerctl.kernel import syscalls
from layerctl.model import Layer, Role, Stack
from tests.support import in_namespace, layerctl
from tests.support.branches import resolved
from tests.support.converting import Things, build, convert, meaning, things
from tests.support.killing import StoppedWorkError, every_change
from tests.support.stacks import Case, make_case
from tests.support.trees import Shown, differences, look, shown

QUIET = settings(
    max_examples=int(os.environ.get("LAYERCTL_CASES", "60")),
    deadline=None,
    database=None,
    derandomize="LAYERCTL_SEED" not in os.environ,  # so that only a change fails a test
    suppress_health_check=list(HealthCheck),
)
ATTRIBUTES = ("trusted.overlay.origin",)


def fresh(lab: Path) -> Path:
    """Return an empty directory for a case."""
    where = lab / "case"
    shutil.rmtree(where, ignore_errors=True)
    where.mkdir()
    return where


def plain(layer: Path) -> dict[str, tuple[object, ...]]:
    """Return all of a layer but what a conversion does not keep: origins, times of markers."""
    found: dict[str, tuple[object, ...]] = {}
    for path, one in look(str(layer)).items():
        device = stat.S_ISCHR(one.mode)
        is_marker = device or "/.wh." in f"/{path}"
        attributes = [pair for pair in one.attributes if pair[0] not in ATTRIBUTES]
        mode, modified = stat.S_IFCHR if device else one.mode, 0 if is_marker else one.modified
        found[path] = (mode, one.owner, modified, one.content, one.names, attributes)
    return found


#: What a layer of an overlay is converted to, one after the other, before it is one again.
WAYS: dict[str, tuple[dict[str, Any], ...]] = {
    "aufs": ({"to": "aufs"},),
    "fuse": ({"to": "fuse-overlayfs"},),
    "user": ({"to": "overlay", "user": True},),
    "all": ({"to": "aufs"}, {"to": "fuse-overlayfs"}, {"to": "overlay", "user": True}),
}


def go(layer: Path, way: str) -> None:
    for words in WAYS[way]:
        convert(layer, **words)


@pytest.mark.namespace
@pytest.mark.parametrize("way", WAYS)
def test_there_and_back(lab: Path, way: str) -> None:
    @QUIET
    @given(things())
    def check(what: Things) -> None:
        layer = fresh(lab) / "u"
        build(layer, what)
        before, said = plain(layer), meaning(layer)
        go(layer, way)
        assert meaning(layer) == said
        convert(layer, "overlay")
        assert meaning(layer) == said
        after = plain(layer)
        lost = before.keys() - after.keys()  # whiteouts in opaque directories
        assert after == {path: one for path, one in before.items() if path not in lost}
        assert not lost & said.keys()

    check()


@pytest.mark.namespace
@pytest.mark.parametrize("to", ["aufs", "fuse-overlayfs"])
def test_into_another_directory_says_the_same(lab: Path, to: str) -> None:
    @QUIET
    @given(things())
    def check(what: Things) -> None:
        layer = fresh(lab) / "u"
        build(layer, what)
        before, said = plain(layer), meaning(layer)
        convert(layer, to, into=str(lab / "case/n"))
        assert plain(layer) == before
        assert meaning(lab / "case/n") == said
        convert(layer, to)
        assert plain(layer) == plain(lab / "case/n")
        convert(layer, "overlay", into=str(lab / "case/o"))
        assert meaning(lab / "case/o") == said

    check()


def stack_of(where: Path, layers: list[Things], *, opaque: int) -> Case:
    """Make an overlay of layers; only one may have opaque directories: aufs merges below two."""
    paths = []
    for number, what in enumerate(layers):
        kinds = {"opaque": "opaque" if number == opaque else "dir"}
        path = where / f"l{number}"
        build(path, [(names, kinds.get(kind, kind)) for names, kind in what])
        paths.append(str(path))
    (where / "w").mkdir()
    (where / "m").mkdir()
    return make_case(str(where), paths[1:], upper=paths[0])


STACKS = st.tuples(st.lists(things(), min_size=2, max_size=4), st.integers(0, 3))


def without_markers(tree: dict[str, Shown]) -> dict[str, Shown]:
    """Return a tree without overlay's own attributes, which the kernel does not show either."""
    for one in tree.values():
        one.attributes = tuple(pair for pair in one.attributes if "overlay" not in pair[0])
    return tree


@pytest.mark.namespace
def test_aufs_shows_what_overlay_showed(lab: Path) -> None:
    @QUIET
    @given(STACKS)
    def check(drawn: tuple[list[Things], int]) -> None:
        case = stack_of(fresh(lab), drawn[0], opaque=drawn[1])
        before = shown(case)
        branches = []
        for number, layer in enumerate(case.stack.layers):
            convert(Path(layer.path), "aufs")
            branches.append(Layer(layer.path, Role.BRANCH, "ro+wh" if number else "rw"))
        after = resolved(Stack("aufs", tuple(branches)))
        assert list(differences(before, without_markers(after))) == []
        for layer in case.stack.layers:
            convert(Path(layer.path), "overlay")
        assert list(differences(before, shown(case))) == []

    check()


@pytest.mark.namespace
def test_fuse_overlayfs_shows_what_overlay_showed(lab: Path) -> None:
    @settings(QUIET, max_examples=20)
    @given(STACKS)
    def check(drawn: tuple[list[Things], int]) -> None:
        case = stack_of(fresh(lab), drawn[0], opaque=drawn[1])
        before = shown(case)
        for layer in case.stack.layers:
            convert(Path(layer.path), "fuse-overlayfs")
        lowers = ":".join(layer.path for layer in case.stack.layers[1:])
        upper, work = case.stack.layers[0].path, case.stack.work
        options = f"lowerdir={lowers},upperdir={upper},workdir={work}"
        subprocess.run(["fuse-overlayfs", "-o", options, case.target], check=True)
        try:
            after = look(case.target)
        finally:
            syscalls.umount2(case.target, syscalls.MNT_DETACH)
        for one in (*before.values(), *after.values()):
            one.names = frozenset()  # it has an inode for each directory of a file's names
        assert list(differences(before, after)) == []

    check()


#: A layer with all that a conversion changes, as an overlay has it.
FULL: Things = [
    (("d",), "opaque"), (("d", "f"), "whiteout"), (("d", "g"), "file"), (("e",), "dir"),
    (("e", "f"), "whiteout"), (("e", "g"), "file"), (("h",), "link"), (("f",), "whiteout"),
    (("e", "d"), "opaque"), (("e", "d", "h"), "symlink"),
]  # fmt: skip
CONVERSIONS = [
    ("overlay", "aufs"), ("overlay", "fuse-overlayfs"), ("aufs", "overlay"),
    ("fuse-overlayfs", "overlay"), ("aufs", "fuse-overlayfs"), ("overlay", "user"),
]  # fmt: skip


def made(where: Path, form: str) -> Path:
    layer = where / "u"
    build(layer, FULL)
    if form != "overlay":
        convert(layer, form)
    return layer


def to(form: str) -> dict[str, Any]:
    return {"to": "overlay", "user": True} if form == "user" else {"to": form}


def stopped(lab: Path, source: str, target: str) -> list[str]:
    """Stop a conversion before and after each change; return what is lost, or differs then."""
    layer = made(fresh(lab), source)
    with every_change(lambda *_: None) as calls:
        convert(layer, **to(target))
    whole = plain(layer)
    found = []
    for at, call in enumerate(calls):
        for done in (False, True):
            layer = made(fresh(lab), source)
            said = meaning(layer)
            _stop(layer, target, (at, done))
            if meaning(layer) != said:
                found.append(f"stopped at {call}, {done}: {meaning(layer)}")
            convert(layer, **to(target))
            if _untimed(plain(layer)) != _untimed(whole) or meaning(layer) != said:
                found.append(f"stopped at {call}, {done}, then completed: {plain(layer)}")
            if [name for name in os.listxattr(layer) if "layerctl" in name]:
                found.append(f"stopped at {call}, {done}: notes are left")
    return found


def _stop(layer: Path, target: str, when: tuple[int, bool]) -> None:
    def stop(at: int, done: bool) -> None:
        if (at, done) == when:
            raise StoppedWorkError

    with every_change(stop), pytest.raises(StoppedWorkError):
        convert(layer, **to(target))


def _untimed(tree: dict[str, tuple[object, ...]]) -> dict[str, tuple[object, ...]]:
    """Leave out times, which differ between two layers that are built one after the other."""
    return {path: (*one[:2], *one[4:]) for path, one in tree.items()}


@pytest.mark.parametrize(("source", "target"), CONVERSIONS)
def test_stopped_anywhere_and_completed(source: str, target: str) -> None:
    assert in_namespace(partial(stopped, source=source, target=target)) == []


@pytest.mark.namespace
@pytest.mark.parametrize(("source", "target"), CONVERSIONS)
def test_the_script_does_the_same(lab: Path, source: str, target: str) -> None:
    layer = made(lab, source)
    said = meaning(layer)
    options = ["--to", "overlay", "-o", "userxattr"] if target == "user" else ["--to", target]
    script = layerctl("convert", "u", *options, "--print", "sh").stdout
    assert meaning(layer) == said
    subprocess.run(["sh"], input=script, text=True, check=True)
    after, times = plain(layer), meaning(layer)
    assert times == said
    shutil.rmtree(layer)
    made(lab, source)
    assert layerctl("convert", "u", *options).returncode == 0
    assert _untimed(plain(layer)) == _untimed(after)
    assert "nothing to do" in layerctl("convert", "u", *options).stdout


def file(attribute: str) -> Callable[[Path], None]:
    def put(path: Path) -> None:
        path.touch()
        os.setxattr(path, attribute, b"y")

    return put


def directory(attribute: str) -> Callable[[Path], None]:
    def put(path: Path) -> None:
        path.mkdir()
        os.setxattr(path, attribute, b"y")

    return put


def _pair(path: Path) -> None:
    (path.parent / f".wh.{path.name}").touch()
    path.touch()


def _orphaned(path: Path) -> None:
    (path.parent / ".wh..wh.plnk").mkdir()
    (path.parent / ".wh..wh.plnk/12.34").write_text("the only name")


def _locked(path: Path) -> None:
    path.mkdir()
    (path / ".wh.x").touch()
    subprocess.run(["chattr", "+i", path], check=True)


REFUSED: list[tuple[str, str, str, Callable[[Path], object]]] = [
    ("redirect", "overlay", "aufs", directory("trusted.overlay.redirect")),
    ("metacopy", "overlay", "aufs", file("trusted.overlay.metacopy")),
    ("escaped", "overlay", "aufs", directory("trusted.overlay.overlay.opaque")),
    ("reserved", "overlay", "aufs", lambda p: (p.parent / ".wh.x").touch()),
    ("reserved", "overlay", "fuse-overlayfs", lambda p: (p.parent / ".wh.x").touch()),
    ("long name", "overlay", "aufs", lambda p: (p.parent / ("n" * 243)).touch()),
    ("long whiteout", "overlay", "fuse-overlayfs",
     lambda p: os.mknod(p.parent / ("n" * 252), stat.S_IFCHR, 0)),
    ("both", "aufs", "overlay", _pair),
    ("a device", "aufs", "overlay", lambda p: os.mknod(p, stat.S_IFCHR, 0)),
    ("foreign", "aufs", "overlay", directory("trusted.overlay.opaque")),
    ("a directory", "aufs", "overlay", lambda p: (p.parent / ".wh.x").mkdir()),
    ("unknown", "aufs", "overlay", lambda p: (p.parent / ".wh..wh.strange").touch()),
    ("no name", "aufs", "overlay", lambda p: (p.parent / ".wh.").touch()),
    ("pseudo-link", "aufs", "overlay", _orphaned),
    ("immutable", "aufs", "overlay", _locked),
    ("override", "fuse-overlayfs", "overlay", file("user.fuseoverlayfs.override_stat")),
    ("root", "fuse-overlayfs", "overlay", lambda p: (p.parent / ".wh..wh..opq").touch()),
    ("redirect", "fuse-overlayfs", "overlay", directory("trusted.overlay.redirect")),
]  # fmt: skip


@pytest.mark.namespace
@pytest.mark.usefixtures("backing")
@pytest.mark.parametrize("backing", ["ext4"])
@pytest.mark.parametrize(
    ("source", "target", "put"), [row[1:] for row in REFUSED],
    ids=[f"{what} {source} {target}" for what, source, target, _ in REFUSED],
)  # fmt: skip
def test_what_cannot_be_expressed_is_refused_whole(
    lab: Path, source: str, target: str, put: Callable[[Path], object]
) -> None:
    layer = lab / "u"
    (layer / "d").mkdir(parents=True)
    (layer / "d/.wh.w").touch() if source != "overlay" else os.mknod(layer / "d/w", stat.S_IFCHR)
    put(layer / "p")
    before = look(str(layer))
    done = layerctl("convert", "u", "--from", source, "--to", target, "--json")
    assert (done.returncode, json.loads(done.stderr)["error"]["id"]) == (
        32, "layer-not-convertible"
    )  # fmt: skip
    into = layerctl("convert", "u", "--from", source, "--to", target, "--into", "n")
    assert (into.returncode, sorted(os.listdir(lab))) == (32, ["u"])
    assert list(differences(before, look(str(layer)))) == []
    subprocess.run(["chattr", "-i", layer / "p"], check=False, capture_output=True)


@pytest.mark.namespace
def test_the_form_is_recognised_or_asked_for(lab: Path) -> None:
    layer = made(lab, "overlay")
    (layer / ".wh.x").touch()
    with pytest.raises(LayerctlError) as caught:
        convert(layer, "aufs")
    assert caught.value.id == "form-ambiguous"
    with pytest.raises(LayerctlError) as caught:
        convert(layer, "aufs", given="overlay")
    assert caught.value.id == "layer-not-convertible"
    convert(layer, "aufs", given="fuse-overlayfs")
    assert sorted(os.listdir(layer)) == [".wh..wh.aufs", ".wh.f", ".wh.x", "d", "e", "h"]


@pytest.mark.namespace
def test_an_interrupted_conversion_is_completed_before_another(lab: Path) -> None:
    layer = made(lab, "overlay")
    said = meaning(layer)
    _stop(layer, "aufs", (5, True))
    with pytest.raises(LayerctlError) as caught:
        convert(layer, "overlay")
    assert caught.value.id == "conversion-unfinished"
    convert(layer, "aufs")
    convert(layer, "overlay")
    assert meaning(layer) == said


@pytest.mark.namespace
def test_a_layer_in_use_is_refused(lab: Path) -> None:
    case = stack_of(lab, [FULL, []], opaque=0)
    syscalls.mount("o", case.target, "overlay", 0, case.data)
    done = layerctl("convert", case.stack.layers[1].path, "--to", "aufs", "--json")
    assert (done.returncode, json.loads(done.stderr)["error"]["id"]) == (32, "layer-in-use")


@pytest.mark.namespace(user=True)
def test_a_user_converts_marks_of_a_user(lab: Path) -> None:
    layer = lab / "u"
    build(layer, FULL, prefix="user.overlay.")
    said = meaning(layer)
    for form in ("aufs", "fuse-overlayfs", "overlay"):
        assert layerctl("convert", "u", "--to", form).returncode == 0
        assert meaning(layer) == said
    assert os.getxattr(layer / "d", "user.overlay.opaque") == b"y"


@pytest.mark.namespace
def test_a_new_layer_is_never_inside_the_old_one(lab: Path) -> None:
    made(lab, "overlay")
    done = layerctl("convert", "u", "--to", "aufs", "--into", "u/e/n")
    assert done.returncode == 2
    assert "inside" in done.stderr
    assert not (lab / "u/e/n").exists()
