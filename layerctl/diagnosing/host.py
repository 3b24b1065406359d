"""`doctor --host`: the whole machine on one page, its layered mounts and engines' stores."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from layerctl.diagnosing import live
from layerctl.diagnosing.catalogue import finding
from layerctl.diagnosing.checks.check import Checked, Report
from layerctl.diagnosing.clue import Clue
from layerctl.diagnosing.state import Row, State
from layerctl.errors import LayerctlError
from layerctl.kernel import host
from layerctl.kernel.mounts import Mounted
from layerctl.model import Finding, MountEntry, Stack
from layerctl.rules.engines import ENGINES, Purpose
from layerctl.rules.findings import gravest_first
from layerctl.rules.words import count, size_of


class StoreState(NamedTuple):
    """An engine's store: how many layers it has, and the directories that no record names.

    `orphans` is None if that is not known.
    """

    engine: str
    root: str
    layers: int
    orphans: tuple[str, ...] | None


class Owner(NamedTuple):
    """The container that a mount is the root of, both empty if it is none's.

    `label` names it for people, `container` for its engine's commands.
    """

    label: str = ""
    container: str = ""


def examine(
    prove: Callable[[Stack, MountEntry], None],
    stores: Sequence[StoreState],
    owner: Callable[[Mounted], Owner],
) -> State:
    """Look at every layered mount and every store. Reads only.

    `prove` sees that a mount's layers are the ones found, and raises LayerctlError where not.
    `owner` names the container that a mount belongs to.
    """
    seen = host.gather()
    found = list(map(finding, (*_orphans(stores), *_leaks(seen), *_unknown(seen))))
    checks: list[Checked] = []
    for mounted in seen.mounted:
        try:
            prove(mounted.stack, mounted.entry)
            here, made = live.examine(mounted, mounted.stack, owner(mounted).container)
        except (LayerctlError, OSError) as error:
            clue = Clue("check-failed", (f"{mounted.entry.target}: {error}",))
            here, made = [finding(clue)], []
        found += [_of(one, mounted.entry.target) for one in here]
        checks += made
    return State(tuple(_rows(seen, stores, owner)), Report(gravest_first(found), checks))


def _of(finding: Finding, target: str) -> Finding:
    """Return a finding that says of which mount it is."""
    if any(target in line for line in finding.evidence):
        return finding
    return finding._replace(evidence=(*finding.evidence, f"of the mount on {target}"))


def _rows(
    seen: host.Host, stores: Sequence[StoreState], owner: Callable[[Mounted], Owner]
) -> Iterator[Row]:
    yield Row("mounts", "layered mounts", str(len(seen.mounted)), None)
    for store in stores:
        lost = store.orphans
        state = f"{count(store.layers, 'layer')}"
        if lost is None:
            state += ", not known which are in use"
        else:
            state += f", {len(lost)} without a record" if lost else ", all in use"
        yield Row(
            "stores", f"{store.engine} in {store.root}", state, None if lost is None else not lost
        )
    for one in sorted(seen.spaces, key=lambda space: -space.size):
        least = "" if one.whole else "at least "
        whose = owner(one.mounted).label or one.mounted.entry.target
        yield Row("space", whose, f"{least}{size_of(one.size)} in {one.upper}", None)
    for name, value in seen.parameters.items():
        yield Row("module parameters", name, value, None)


def _orphans(stores: Sequence[StoreState]) -> Iterator[Clue]:
    for store in stores:
        if not store.orphans:
            continue
        paths = store.orphans
        size = sum(host.tree_size(path)[0] for path in paths[:50])
        more = f" and {len(paths) - 3} more" if len(paths) > 3 else ""
        seen = [f"{', '.join(paths[:3])}{more}: {size_of(size)}"]
        yield Clue(
            "orphaned-layers", tuple(seen), commands=ENGINES[store.engine].commands[Purpose.CHECK]
        )


def _leaks(seen: host.Host) -> Iterator[Clue]:
    for one in seen.leaks:
        where = f"the mount namespace of {one.name} (process {one.pid})"
        values = {"target": one.target, "pid": str(one.pid)}
        yield Clue("mount-leaked", (f"{one.target} is mounted only in {where}",), values)


def _unknown(seen: host.Host) -> Iterator[Clue]:
    if seen.unseen:
        hidden = f"the mounts of {count(seen.unseen, 'process')}"
        yield Clue("fact-unreadable", (hidden,))
