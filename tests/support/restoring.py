"""Restore random paths of random stacks: only these change, and to what the kernel shows below."""

from __future__ import annotations

import os
import random
import shutil
import stat
from collections.abc import Callable, Iterable, Iterator
from functools import partial

from layerctl.inspecting.opening import opened
from layerctl.inspecting.resolvers.overlay import Overlay
from layerctl.inspecting.story import tell
from layerctl.model import Role
from layerctl.usecases import working
from layerctl.usecases.targets import named
from layerctl.working.references import References, is_in
from layerctl.working.sites import Wish
from tests.support.killing import Judge, Trial, every_change, refused
from tests.support.stacks import Case, Mounted, make_case
from tests.support.trees import Shown, differences, look, shown
from tests.support.working import build, sampled


def restore(wish: Wish, case: Case) -> None:
    """Restore."""
    with working.restoring(case.stack, wish) as (_, steps):
        for _ in working.do(steps):
            pass


def random_wish(seed: int, case: Case) -> Wish:
    """Return paths of a stack to restore: mostly such as the upper layer has."""
    rng = random.Random(seed)
    upper = case.stack.layers[0].path
    paths = sorted(
        os.path.relpath(f"{above}/{name}", upper)
        for above, directories, files in os.walk(upper)
        for name in (*directories, *files)
    )
    if rng.random() < 0.3 or not paths:
        paths = sorted(path for path in shown(case) if path) or ["nothing"]
    chosen = rng.sample(paths, min(len(paths), rng.choice([1, 1, 2])))
    regular = sum(layer.role is not Role.DATA for layer in case.stack.layers)
    number = rng.randrange(1, regular) if rng.random() < 0.25 else None
    return Wish(tuple(chosen), recursive=rng.random() < 0.85, layer=number)


def without_upper(case: Case, since: int = 1) -> dict[str, Shown]:
    """Return what the kernel shows of the layers from `since` down, beneath an empty upper one."""
    where = os.path.dirname(case.target)
    empty = f"{where}/empty"
    for name in ("u", "w", "m"):
        os.makedirs(f"{empty}/{name}")
    lowers = [one.path for one in case.stack.layers[since:] if one.role is Role.LOWER]
    data = [one.path for one in case.stack.layers if one.role is Role.DATA]
    options = ",".join(
        name if value is None else f"{name}={value}" for name, value in case.stack.options.items()
    )
    other = make_case(empty, lowers, data=data, upper=f"{empty}/u", options=options)
    try:
        return shown(other)
    finally:
        shutil.rmtree(empty)


class Expected:
    """What a restored stack must show, path by path."""

    def __init__(self, case: Case, wish: Wish, *, live: bool = False) -> None:
        self._live = live
        self._before = shown(case)
        asked = [p for p in wish.paths if not any(p != q and is_in(p, q) for q in wish.paths)]
        #: By the path that changes, the tree at it afterwards.
        self._then: dict[str, dict[str, Shown]] = {}
        below = without_upper(case)
        with opened(case.stack, thorough=True) as view:
            assert isinstance(view.resolver, Overlay)
            known = References(view, view.resolver)
            places = {path: known.beneath(path) for path in asked}
            if wish.layer is not None:
                versions = [(path, tell(view, path).layers[wish.layer]) for path in asked]
                places = {
                    path: (one.file or "").removeprefix(one.directory).strip("/")
                    for path, one in versions
                }
        paths = set(asked)
        for one in known.renames if wish.layer is None and not live else ():
            if one.path in paths or one.lower in map(known.beneath, asked):
                paths |= {one.path, known.upper_of(one.lower)}
        for path in paths:
            place = places.get(path, known.beneath(path))
            source = below
            if wish.layer is not None and path in asked:
                source = without_upper(case, wish.layer)
            self._then[path] = _subtree(source, path if _is_cut(below, place) else place or "")

    def wrong(self, case: Case, *, between: bool) -> Iterator[str]:
        """Yield what is neither as before nor as it must be."""
        yield from self.wrong_in(shown(case), between=between)

    def wrong_in(self, now: dict[str, Shown], *, between: bool) -> Iterator[str]:
        """Yield what of a merged tree is neither as before nor as it must be."""
        if self._live and between:
            yield from self._wrong_alone(now)
            return
        paths = set(self._then)
        rest = [_without(tree, paths) for tree in (self._before, now)]
        yield from differences(rest[0], rest[1], between=between)
        for path, then in self._then.items():
            found = _subtree(now, path)
            wrong = list(differences(then, found))
            if wrong and not (
                between and not any(differences(_subtree(self._before, path), found))
            ):
                yield from (f"in {path}: {line}" for line in wrong)

    def _wrong_alone(self, now: dict[str, Shown]) -> Iterator[str]:
        """Yield what is wrong while a mount is changed, in which each path changes alone.

        The directory and the attributes of layerctl itself do not count.
        """
        hidden = ".layerctl-aside"
        rest = [_without(tree, [*self._then, hidden]) for tree in (self._before, now)]
        yield from differences(rest[0], _unmarked(rest[1]), between=True)
        for path, then in self._then.items():
            found, before = _unmarked(_subtree(now, path)), _subtree(self._before, path)
            for one in found.keys() | before.keys() | then.keys():
                states = [
                    {one: _linked(tree[one], ())} if one in tree else {}
                    for tree in (then, before, found)
                ]
                wrong = list(differences(states[0], states[2], between=True))
                if wrong and any(differences(states[1], states[2], between=True)):
                    yield from (f"in {path}: {line}" for line in wrong)


def _unmarked(tree: dict[str, Shown]) -> dict[str, Shown]:
    """Leave out the attributes that layerctl sets for a while."""
    copies = {path: _linked(one, one.names) for path, one in tree.items()}
    for one in copies.values():
        one.attributes = tuple(pair for pair in one.attributes if "layerctl" not in pair[0])
    return copies


def _is_cut(below: dict[str, Shown], place: str | None) -> bool:
    """Tell whether no directory lies below the one that a path is in."""
    above = None if place is None else below.get(place.rpartition("/")[0])
    return above is None or not stat.S_ISDIR(above.mode)


def _subtree(tree: dict[str, Shown], path: str) -> dict[str, Shown]:
    """Return what is at a path and below it, names relative to it; links within it alone."""
    inside = {one[len(path) + 1 :]: shown for one, shown in tree.items() if is_in(one, path)}
    return {
        one: _linked(shown, (n[len(path) + 1 :] for n in shown.names if is_in(n, path)))
        for one, shown in inside.items()
        if not shown.error
    }


def _without(tree: dict[str, Shown], paths: Iterable[str]) -> dict[str, Shown]:
    """Return what is neither at one of the paths nor below it."""
    paths = tuple(paths)

    def out(path: str) -> bool:
        return not any(is_in(path, one) for one in paths)

    return {p: _linked(one, filter(out, one.names)) for p, one in tree.items() if out(p)}


def _linked(one: Shown, names: Iterable[str]) -> Shown:
    group = frozenset(names)
    copy = Shown(*(getattr(one, field) for field in Shown.__slots__))
    copy.names = group if len(group) > 1 else frozenset()
    return copy


def restore_live(wish: Wish, case: Case) -> None:
    """Restore through a mount."""
    with Mounted(case) as target:
        found = named(target)
        with working.restoring(found.stack, wish, found.mount) as plan:
            list(working.do(plan[1]))


def as_asked(wish: Wish, *, live: bool = False) -> Judge:
    """Judge a restore: each named path is as before or as asked, in the end as asked."""

    def judge(case: Case) -> Callable[[bool], Iterable[str]]:
        expected = Expected(case, wish, live=live)
        return lambda between: expected.wrong(case, between=between)

    return judge


def check_restored(seed: int, where: str, *, user: bool) -> list[str]:
    """Restore random paths of a random stack; return what is wrong then, and after each change.

    The first line tells what was done: `done`, or the id of the error if it is refused.
    """
    case = build(seed, where, user=user)
    wish = random_wish(seed, case)
    before = shown(case)
    expected = Expected(case, wish)
    found: list[str] = []

    def look_again(number: int, done: bool) -> None:
        if done and not found:
            found.extend(f"after change {number}: {x}" for x in expected.wrong(case, between=True))

    with every_change(look_again) as calls:
        answer = refused(partial(restore, wish), case)
    if answer:
        found += [f"in the end: {line}" for line in differences(before, shown(case))]
        if calls:
            found.append(f"refused ({answer}) after {len(calls)} changes")
    else:
        found += [f"in the end: {line}" for line in expected.wrong(case, between=False)]
    shutil.rmtree(where)
    done = "changed" if calls else "done"
    return [answer or done, *(f"seed {seed}, {wish}, {case.data}: {x}" for x in found[:6])]


def check_restore_killed(seed: int, where: str, *, user: bool) -> list[str]:
    """Stop the restore of random paths at some changes, or make them fail."""
    case = build(seed, where, user=user)
    wish = random_wish(seed, case)
    answer = refused(partial(restore, wish), case)
    shutil.rmtree(where)
    if answer:
        return [answer]
    trial = Trial(
        where, partial(build, seed, where, user=user), partial(restore, wish), as_asked(wish)
    )
    return ["changed", *(f"{wish}: {line}" for line in sampled(trial, seed))]


def check_live(seed: int, where: str, *, user: bool) -> list[str]:
    """Restore random paths through a mount; look at it before and after it is unmounted."""
    case = build(seed, where, user=user)
    wish = random_wish(seed, case)
    expected = Expected(case, wish, live=True)
    before = shown(case)
    with Mounted(case) as target:
        found = named(target)

        def work(_: Case) -> None:
            with working.restoring(found.stack, wish, found.mount) as plan:
                list(working.do(plan[1]))

        with every_change(lambda *_: None) as calls:
            answer = refused(work, case)
        now = look(target)
    if answer:
        wrong = [f"refused ({answer}): {line}" for line in differences(before, now)]
    else:
        wrong = list(expected.wrong_in(now, between=False))
        wrong += [f"mounted again: {line}" for line in expected.wrong(case, between=False)]
    shutil.rmtree(where)
    done = "changed" if calls else "done"
    return [answer or done, *(f"seed {seed}, {wish}, {case.data}: {x}" for x in wrong[:6])]
