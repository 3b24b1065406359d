"""New layers out of old ones: with the new one in their place the kernel shows the same."""

from __future__ import annotations

import os
import random
import shutil
import stat
import subprocess
from functools import partial
from pathlib import Path

import pytest

from layerctl.codecs.request import Request
from layerctl.errors import LayerctlError
from layerctl.model import Role
from layerctl.usecases import working
from layerctl.usecases.stacks import from_flags
from tests.support import first_seed, in_namespace, layerctl
from tests.support.killing import StoppedWorkError, every_change
from tests.support.stacks import Case, Mounted, make_case
from tests.support.trees import differences, look, shown
from tests.support.working import build


def replaced(case: Case, where: str, run: range) -> Case:
    """Return the case with a new layer in the place of a run of layers."""
    paths = [layer.path for layer in case.stack.layers if layer.role is not Role.DATA]
    data = [layer.path for layer in case.stack.layers if layer.role is Role.DATA]
    upper = f"{where}/new" if run.start == 0 else paths[0]
    lowers = paths[1 : run.start] + ([f"{where}/new"] if run.start else []) + paths[run.stop :]
    shutil.rmtree(f"{where}/w")
    os.mkdir(f"{where}/w")
    if not lowers:
        os.mkdir(f"{where}/empty")
        lowers = [f"{where}/empty"]
    options = case.data.partition(f"workdir={where}/w")[2].lstrip(",")
    return make_case(where, lowers, data=data, upper=upper, options=options)


def one(seed: int, where: str, *, user: bool) -> list[str]:
    case = build(seed, where, user=user)
    rng = random.Random(seed)
    count = sum(layer.role is not Role.DATA for layer in case.stack.layers)
    start = rng.choice([0, 0, rng.randrange(count)])
    run = range(start, rng.choice([start + 1, rng.randint(start + 1, count)]))
    before = shown(case)
    try:
        with working.flattening_into(case.stack, run, f"{where}/new") as steps:
            list(working.do(steps))
    except LayerctlError as error:
        shutil.rmtree(where)
        refused.append(error.id)
        return []
    done.append(seed)
    new = replaced(case, where, run)
    found = [] if list(differences(before, shown(case))) == [] else ["the old layers changed"]
    found += differences(before, shown(new))
    shutil.rmtree(where)
    return [f"seed {seed}, {run}, {case.data}: {line}" for line in found[:6]]


refused: list[str] = []
done: list[int] = []


def many(lab: Path, *, user: bool) -> list[str]:
    start = first_seed()
    for seed in range(start, start + int(os.environ.get("LAYERCTL_CASES", "60"))):
        found = one(seed, f"{lab}/case", user=user)
        if found:
            return found
    assert len(done) > len(refused), refused
    return []


@pytest.mark.parametrize("user", [False, True], ids=["trusted", "user"])
def test_random_stacks(*, user: bool) -> None:
    assert in_namespace(partial(many, user=user), user=user) == []


def layers(lab: Path) -> tuple[str, ...]:
    for name in ("u", "w", "m", "l0/dir", "l1"):
        (lab / name).mkdir(parents=True)
    return ("-u", f"{lab}/u", "-l", f"{lab}/l0", "-l", f"{lab}/l1", "-w", f"{lab}/w")


@pytest.mark.namespace
def test_markers_stay_only_where_layers_below_have_the_name(lab: Path) -> None:
    stack = layers(lab)
    for name in ("l1/kept", "l0/dropped"):
        (lab / name).write_text("x")
    for name in ("kept", "dropped"):
        os.mknod(lab / "u" / name, stat.S_IFCHR, 0)
    assert layerctl("commit", "--into", "two", *stack).returncode == 0
    assert layerctl("commit", "--into", "all", "--layer", "0..2", *stack).returncode == 0
    assert sorted(os.listdir(lab / "two")) == ["dir", "kept"]
    assert sorted(os.listdir(lab / "all")) == ["dir"]


@pytest.mark.namespace
def test_redirects_and_metadata_only_files_become_plain(lab: Path) -> None:
    stack = layers(lab)
    (lab / "l0/dir/file").write_text("data")
    case = make_case(
        str(lab), [f"{lab}/l0", f"{lab}/l1"], upper=f"{lab}/u",
        options="redirect_dir=on,metacopy=on",
    )  # fmt: skip
    with Mounted(case):
        (lab / "m/dir").rename(lab / "m/moved")
        (lab / "m/moved/file").chmod(0o600)
    before = shown(case)
    done = layerctl("deref", "--into", "plain", *stack, "-o", "redirect_dir=on,metacopy=on")
    assert done.returncode == 0, done.stderr
    assert (lab / "plain/moved/file").read_text() == "data"
    for path in (lab / "plain").rglob("*"):
        names = os.listxattr(path, follow_symlinks=False)
        assert not [name for name in names if name.endswith(("redirect", "metacopy", "origin"))]
    (lab / "w2").mkdir()
    plain = case.data.replace(f"upperdir={lab}/u", f"upperdir={lab}/plain")
    plain = plain.replace(f"workdir={lab}/w", f"workdir={lab}/w2")
    case.data = plain.replace("redirect_dir=on,metacopy=on", "redirect_dir=nofollow")
    assert list(differences(before, shown(case))) == []


@pytest.mark.namespace
def test_an_interrupted_run_leaves_nothing_by_the_name_and_is_completed(lab: Path) -> None:
    stack = layers(lab)
    (lab / "u/file").write_text("x")
    asked = from_flags(Request(upper=stack[1], lowers=(stack[3], stack[5]), work=stack[7]))

    def work() -> None:
        with working.flattening_into(asked, range(3), f"{lab}/new") as steps:
            list(working.do(steps))

    with every_change(lambda *_: None) as calls:
        work()
    whole = look(str(lab / "new"))
    for number in range(len(calls)):
        shutil.rmtree(lab / "new")

        def stop(at: int, done: bool, number: int = number) -> None:
            if at == number and not done:
                raise StoppedWorkError

        with every_change(stop), pytest.raises(StoppedWorkError):
            work()
        assert not (lab / "new").exists()
        work()
        assert list(differences(whole, look(str(lab / "new")))) == []


@pytest.mark.namespace
def test_what_exists_is_not_touched(lab: Path) -> None:
    stack = layers(lab)
    done = layerctl("commit", "--into", "m", *stack, "--json")
    assert (done.returncode, "target-exists" in done.stderr) == (32, True)
    assert layerctl("commit", "--into", "new", "--layer", "1..5", *stack).returncode == 2
    assert layerctl("commit", "--layer", "1..2", *stack).returncode == 2


@pytest.mark.namespace
def test_a_script_does_the_same(lab: Path) -> None:
    stack = layers(lab)
    (lab / "u/dir").mkdir(mode=0o700)
    (lab / "u/dir/file").write_text("x")
    os.link(lab / "u/dir/file", lab / "u/dir/other")
    os.setxattr(lab / "u/dir", "user.note", b"x")
    script = layerctl("commit", "--into", "new", "--print", "sh", *stack).stdout
    assert not (lab / "new").exists()
    subprocess.run(["sh"], input=script, text=True, check=True)
    assert layerctl("commit", "--into", "again", *stack).returncode == 0
    assert list(differences(look(str(lab / "again")), look(str(lab / "new")))) == []
