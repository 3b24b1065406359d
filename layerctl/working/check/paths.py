"""Faults of two paths that lead to one file or directory of a lower layer."""

from __future__ import annotations

from collections.abc import Iterator

from layerctl.inspecting.resolvers.overlay import Overlay
from layerctl.inspecting.resolvers.resolver import Found
from layerctl.working.check.fault import Fault, Mending, mark, remove
from layerctl.working.check.redirects import Redirects, cover, look

_ASK = Mending.ASK


def check(overlay: Overlay, moved: Redirects) -> Iterator[Fault]:
    """Yield each pair of paths of which the kernel shows the one that is looked up first.

    Those of directories that `moved` has found already are left out.
    """
    seen: set[frozenset[str]] = set()
    for directory, names in sorted(overlay.aliases.items()):
        for name, alias in sorted(names.items()):
            path = f"{directory}/{name}" if directory else name
            pair = frozenset((path, alias.other))
            if alias.of_two and pair not in seen:
                seen.add(pair)
                yield from _of_two(overlay, moved, *sorted(pair))


def _of_two(overlay: Overlay, moved: Redirects, *pair: str) -> Iterator[Fault]:
    found = {path: look(overlay, path) for path in pair}
    for one in found.values():
        one.close()
    if all(one.letter == "d" for one in found.values()):
        if not moved.explains(*pair):
            yield from _directories(overlay, found)
        return
    upper = [path for path, one in found.items() if one.parts and one.parts[0].layer == 0]
    redirected = [path for path in upper if found[path].redirects]
    plain = [path for path in upper if path not in redirected]
    last = (plain or upper or pair)[-1]
    other = pair[0] if last == pair[1] else pair[1]
    place = found[last].parts[0].layer, found[last].parts[0].path
    seen = f"the same origin as '{other}'"
    if plain:
        mend = mark(*place, f"{overlay.settings.prefix}origin", b"")
        yield Fault("origin-twice", *place, seen, Mending.SAFE, mend)
    elif len(redirected) > 1:
        seen = f"'{other}' and '{last}' have their data in one file"
        yield Fault("redirect-twice", *place, seen, _ASK, remove(*place))
    elif redirected:
        seen = f"'{other}' still shows the file that '{last}' has its data in"
        yield Fault("redirect-uncovered", *place, seen, Mending.SAFE, cover(overlay, 0, other))
    else:
        yield Fault("origin-twice", *place, seen)


def _directories(overlay: Overlay, found: dict[str, Found]) -> Iterator[Fault]:
    """Yield two directories that a redirect of a directory above them, or a copy, makes one."""
    upper = [path for path, one in found.items() if one.parts[0].layer == 0]
    one, other = found if not upper or next(iter(found)) in upper else reversed(found)
    place = found[one].parts[0].layer, found[one].parts[0].path
    if len(upper) == 1 and found[one].redirects:
        seen = f"'{other}' still shows the directory that '{one}' redirects to"
        yield Fault("redirect-uncovered", *place, seen, Mending.SAFE, cover(overlay, 0, other))
    else:
        seen = f"'{one}' and '{other}' lead to one directory"
        yield Fault("redirect-twice", *place, seen)
