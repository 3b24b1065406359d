"""The ID maps of a request: from flags, from files, and of processes."""

from __future__ import annotations

from collections.abc import Iterable

from layerctl.codecs import idmap
from layerctl.codecs.idmap import Bound
from layerctl.errors import NotFoundError, RequestError
from layerctl.kernel import mounts
from layerctl.model import Extent

#: A process outside all user namespaces but the first sees every id as it is.
_EVERY_ID: Extent = (0, 0, (1 << 32) - 1)


def bound(order: Iterable[tuple[str, str]]) -> Bound:
    """Return which layers are mapped; `order` are the options of a command as given.

    Raises RequestError for a map that is not valid or applies to no layer, NotFoundError for a file
    or a process that cannot be read.
    """
    return idmap.bind(map(_as_text, order))


def _as_text(given: tuple[str, str]) -> tuple[str, str]:
    name, value = given
    if name == "map_file":
        return "map", _extents_in(value)
    if name == "map_of":
        return "map", _of_process(value)
    return given


def _extents_in(path: str) -> str:
    text = _read(path, f"the map file {path}")
    if not any(idmap.extents(text)):
        raise RequestError(
            "bad-option-value",
            f"{path} contains no ID map",
            hint="write one UID:HOST:COUNT per line",
        )
    return text


def _of_process(pid: str) -> str:
    texts = []
    for kind in "ug":
        text = _read(f"/proc/{pid}/{kind}id_map", f"process {pid}")
        found = [spelled for _, spelled in idmap.extents(text, kind=kind)]
        if found in ([], [_EVERY_ID]):
            raise RequestError(
                "bad-option-value",
                f"process {pid} maps no ids",
                why="it runs in the first user namespace, or in one without maps",
                hint="name a process of the container, such as its first one",
            )
        texts += [f"{kind}:{idmap.spelled(one)}" for one in found]
    return "\n".join(texts)


def _read(path: str, what: str) -> str:
    try:
        return mounts.read_text(path)
    except OSError as error:
        raise NotFoundError(
            "target-missing",
            f"{what} cannot be read: {error.strerror}",
            hint="name a map file, or a running process",
        ) from None
