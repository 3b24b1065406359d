"""Chosen stacks that reach every kind of step, for work that is stopped at each of its changes."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path

from layerctl.kernel import syscalls
from layerctl.usecases import working
from layerctl.working.sites import Wish
from tests.support.converting import build, convert, meaning
from tests.support.killing import Judge, Trial, same_view
from tests.support.restoring import as_asked, restore, restore_live
from tests.support.stacks import Case, Mounted, make_case

OPTIONS = "redirect_dir=on,metacopy=on"
_OVERLAY = "trusted.overlay."
_THINGS = [("d1", "f1", "file"), ("d1", "e1", "opaque"), ("d1", "e1", "f2", "link"),
           ("d1", "d2", "whiteout"), ("f3", "whiteout"), ("d3", "opaque"),
           ("d3", "g1", "symlink")]  # fmt: skip


def _files(root: Path, *names: str) -> None:
    """Create files that hold their names."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(f"{root.name}/{name}")


def _changed(where: str, middle: str, options: str) -> Case:
    """Build three layers, the topmost through a mount; `middle` is the directory of the second."""
    root, second = Path(where), Path(middle)
    shutil.rmtree(second, ignore_errors=True)
    for name in ("l1", "u", "w", "m"):
        (root / name).mkdir(parents=True)
    second.mkdir()
    _files(root / "l1", "a", "b", "c", "d/x", "d/y", "e/z", "f/deep/g", "f/h", "same", "i/j")
    _files(second, "d/x", "o/p", "k/l")
    os.mknod(second / "c", stat.S_IFCHR)
    case = make_case(where, [middle, f"{where}/l1"], upper=f"{where}/u", options=options)
    with Mounted(case) as target:
        _change(Path(target), renames="redirect_dir=on" in options)
    subprocess.run(["cp", "-a", root / "l1/same", root / "l1/i", root / "u"], check=True)
    os.mknod(root / "u/void", stat.S_IFCHR)
    return case


def _change(m: Path, *, renames: bool) -> None:
    (m / "a").unlink()
    (m / "b").chmod(0o600)
    if renames:
        (m / "f").rename(m / "renamed")
        _files(m, "renamed/more")
    _files(m, "d/x", "d/new", "c", "n/m/k", "q")
    subprocess.run(["rm", "-r", m / "e", m / "o", m / "k"], check=True)
    (m / "e").mkdir()
    _files(m, "e/own")
    (m / "n/link").symlink_to("m")
    os.link(m / "q", m / "n/q")


def _faulty(where: str) -> Case:
    """Build two layers with faults that are safe to mend, which the merged tree does not show."""
    root = Path(where)
    for name in ("l/d", "u/d", "u/lost", "w", "m"):
        (root / name).mkdir(parents=True)
    _files(root / "l", "a", "d/x")
    _files(root / "u", "b", "d/y")
    for name in ("void", "d/void"):
        os.mknod(root / "u" / name, stat.S_IFCHR)
    os.setxattr(root / "u/b", f"{_OVERLAY}opaque", b"y")
    os.setxattr(root / "u/b", f"{_OVERLAY}origin", b"bad")
    os.setxattr(root / "u/lost", f"{_OVERLAY}redirect", b"/nothing")
    os.setxattr(root / "u", f"{_OVERLAY}uuid", b"short")
    return make_case(where, [f"{where}/l"], upper=f"{where}/u", options="redirect_dir=on")


def _do_all(steps: Callable[[Case], AbstractContextManager[working.Steps]], case: Case) -> None:
    with steps(case) as some:
        for _ in working.do(some):
            pass


def _trim(case: Case) -> AbstractContextManager[working.Steps]:
    return working.trimming(case.stack, ignore_times=False)


def _commit(case: Case) -> AbstractContextManager[working.Steps]:
    return working.committing(case.stack, range(1))


def _repair(case: Case, *, quarantine: bool) -> AbstractContextManager[working.Steps]:
    return working.repairing(case.stack, "safe", quarantine=quarantine)


def _other_filesystem(lab: Path) -> str:
    other = lab / "other"
    if not other.exists():
        other.mkdir()
        syscalls.mount("other", str(other), "tmpfs", 0, "")
    return f"{other}/l0"


def _restoring(
    *paths: str, layer: int | None = None, live: bool = False
) -> Callable[[Path], Trial]:
    wish = Wish(paths, recursive=True, layer=layer)

    def trial(lab: Path) -> Trial:
        build = partial(_changed, f"{lab}/case", f"{lab}/case/l0", OPTIONS)
        work = partial(restore_live if live else restore, wish)
        return Trial(f"{lab}/case", build, work, as_asked(wish, live=live))

    return trial


def _same(
    steps: Callable[[Case], AbstractContextManager[working.Steps]],
    build: Callable[[Path], Callable[[], Case]],
    judge: Judge = same_view,
) -> Callable[[Path], Trial]:
    return lambda lab: Trial(f"{lab}/case", build(lab), partial(_do_all, steps), judge)


def _plain(lab: Path) -> Callable[[], Case]:
    return partial(_changed, f"{lab}/case", f"{lab}/case/l0", OPTIONS)


def _apart(lab: Path) -> Callable[[], Case]:
    return partial(_changed, f"{lab}/case", _other_filesystem(lab), OPTIONS)


def _to_convert(where: str) -> Case:
    """Build a layer with all that a conversion changes."""
    Path(where).mkdir()
    layer = f"{where}/u"
    build(Path(layer), [(one[:-1], one[-1]) for one in _THINGS])
    return make_case(where, [layer])


def _convert(to: str, case: Case) -> None:
    convert(Path(case.stack.layers[0].path), to)


def _same_meaning(case: Case) -> Callable[[bool], Iterable[str]]:
    layer = Path(case.stack.layers[0].path)
    before = meaning(layer)
    return lambda _: [] if meaning(layer) == before else [f"it means {meaning(layer)}"]


def _converting(to: str) -> Callable[[Path], Trial]:
    return lambda lab: Trial(
        f"{lab}/case", partial(_to_convert, f"{lab}/case"), partial(_convert, to), _same_meaning
    )


def _with_faults(lab: Path) -> Callable[[], Case]:
    return partial(_faulty, f"{lab}/case")


#: By name: makes the trial in an empty directory.
TRIALS: dict[str, Callable[[Path], Trial]] = {
    "trim": _same(_trim, _plain),
    "commit": _same(_commit, _plain),
    "commit to another filesystem": _same(_commit, _apart),
    "repair": _same(partial(_repair, quarantine=False), _with_faults),
    "repair with a quarantine": _same(partial(_repair, quarantine=True), _with_faults),
    "restore files": _restoring("a", "b", "d/x", "c", "q"),
    "restore trees": _restoring("e", "n", "d", "o"),
    "restore by the new name": _restoring("renamed"),
    "restore by the old name": _restoring("f"),
    "restore from below an opaque directory": _restoring("e/z"),
    "restore a layer's file": _restoring("b", "d/x", layer=2),
    "restore a layer's tree": _restoring("d", layer=2),
    "restore through a mount": _restoring("a", "b", "e", "n", "d", "o", live=True),
    "convert to aufs": _converting("aufs"),
    "convert to fuse-overlayfs": _converting("fuse-overlayfs"),
}
