"""ID maps: texts like those of /proc/PID/uid_map and of mount(8)'s X-mount.idmap. Pure."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator, Sequence

from layerctl.errors import RequestError
from layerctl.model import Extent, IdMap

#: What ends the effect of the maps before it.
NONE = "none"
#: As many extents as the kernel takes in one map (UID_GID_MAP_MAX_EXTENTS).
_MOST_EXTENTS = 340
#: One id more than the largest; that one means 'unchanged' to chown(2).
_IDS = (1 << 32) - 1
_ALL: tuple[Extent, ...] = ((0, 0, _IDS),)
_EXTENT = re.compile(r"(?:([bug]):\s*)?(\d+)[:\s]+(\d+)[:\s]+(\d+)")

#: The layers of a request that are mapped, by the name of their flag and their number among these.
Bound = tuple[tuple[tuple[str, int], IdMap], ...]
#: Flags of which a later one replaces an earlier one.
_SINGLE = ("upper",)


def extents(text: str, *, kind: str = "b") -> Iterator[tuple[str, Extent]]:
    """Yield the extents of one `[b:|u:|g:]UID:HOST:COUNT` per line, each with its kind.

    `kind` is that of extents without a letter. Blanks may take the place of the colons, and `#`
    starts a comment. Raises RequestError for anything else.
    """
    for line in re.split(r"[\n,]", text):
        words = line.partition("#")[0].strip()
        if not words:
            continue
        match = _EXTENT.fullmatch(words)
        if match is None:
            raise _invalid(words, "it must be UID:HOST:COUNT, three numbers")
        first, seen, number = (int(match[part]) for part in (2, 3, 4))
        if not number:
            raise _invalid(words, "it maps no id")
        if max(first, seen) + number > _IDS:
            raise _invalid(words, f"the largest id is {_IDS - 1}")
        yield match[1] or kind, (first, seen, number)


def join(parts: Iterable[tuple[str, Extent]]) -> IdMap:
    """Return the map of extents; ids of a kind without any stay as they are.

    Raises RequestError if two overlap or there are too many.
    """
    listed = list(parts)
    uids, gids = (tuple(one for kind, one in listed if kind in ("b", own)) for own in "ug")
    for found in (uids, gids):
        _refuse_overlaps(found)
    return IdMap(uids or _ALL, gids or _ALL)


def _refuse_overlaps(found: Sequence[Extent]) -> None:
    if len(found) > _MOST_EXTENTS:
        raise RequestError(
            "bad-option-value",
            f"an ID map with {len(found)} extents is too long",
            why=f"the kernel accepts {_MOST_EXTENTS}",
            hint="use fewer and larger extents",
        )
    for side, words in ((0, "on disk"), (1, "that are seen")):
        ordered = sorted(found, key=lambda one: one[side])
        for one, other in itertools.pairwise(ordered):
            if one[side] + one[2] > other[side]:
                raise _invalid(spelled(other), f"it maps ids {words} that {spelled(one)} maps too")


def _invalid(words: str, why: str) -> RequestError:
    return RequestError(
        "bad-option-value",
        f"'{words}' is not a valid part of an ID map: {why}",
        hint="write it as: --map 0:100000:65536 (the first id on disk, the first id seen, how many "
        "ids), with u: or g: before it for users or groups alone",
    )


def spelled(extent: Extent) -> str:
    """Return an extent as it is written."""
    return ":".join(map(str, extent))


def words(found: IdMap) -> list[str]:
    """Return a map as the arguments of --map."""
    if found.uids == found.gids:
        return [spelled(one) for one in found.uids]
    parts = (("u", found.uids), ("g", found.gids))
    return [f"{kind}:{spelled(one)}" for kind, each in parts for one in each]


def seen(disk: int, found: Iterable[Extent]) -> int | None:
    """Return the id that is seen for one on disk, None if it is not mapped."""
    for first, other, number in found:
        if first <= disk < first + number:
            return other + disk - first
    return None


def bind(order: Iterable[tuple[str, str]]) -> Bound:
    """Return which layers are mapped; `order` are the flags and their values as given.

    Maps are in the texts of `map` flags. Those in a row make one map, which applies to every
    layer that follows, up to the next of them. Raises RequestError for a map without a layer.
    """
    bound: dict[tuple[str, int], IdMap] = {}
    numbers: dict[str, int] = {}
    texts: list[str] = []
    current: IdMap | None = None
    for name, value in order:
        if name == "map":
            texts.append(value)
            continue
        if texts:
            current, texts = _one_map(texts), []
        key = (name, 0 if name in _SINGLE else numbers.get(name, 0))
        numbers[name] = key[1] + 1
        bound.pop(key, None)
        if current is not None:
            bound[key] = current
    if texts:
        _one_map(texts)
        if texts != [NONE]:
            raise without_layer()
    return tuple(bound.items())


def _one_map(texts: Sequence[str]) -> IdMap | None:
    if NONE not in texts:
        return join(one for text in texts for one in extents(text))
    if len(texts) > 1:
        raise RequestError(
            "usage",
            "--map none cannot be combined with another map",
            hint="put a layer between them",
        )
    return None


def without_layer() -> RequestError:
    """Return the error for maps that apply to no layer."""
    return RequestError(
        "usage",
        "--map is given, but no layer of an overlay comes after it",
        why="a map applies to the layers after it: -l, --data, -u, and those in -o",
        hint="give the map first, and then the layers",
    )
