"""Checks of each directory: does it exist, is it a directory, do upper and work fit."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator

from layerctl.diagnosing.clue import Clue, Raw
from layerctl.diagnosing.commands import beside, mount_command
from layerctl.kernel.facts import Directory, Facts, upper_and_work
from layerctl.model import Role, Stack
from layerctl.rules.overlay import work_beside

#: Errnos of a path that leads nowhere (path_resolution(7)).
_NOWHERE = (errno.ENOENT, errno.ENOTDIR)


def roles(stack: Stack) -> list[tuple[str, str]]:
    """Return (role, path) of every directory of a stack."""
    named = [(f"{layer.role.value} layer", layer.path) for layer in stack.layers]
    named = [
        ("branch" if layer.role is Role.BRANCH else role, path)
        for layer, (role, path) in zip(stack.layers, named, strict=True)
    ]
    if stack.work is not None:
        named.append(("work directory", stack.work))
    return named


def aufs_whiteouts(stack: Stack, facts: Facts) -> Iterator[Clue]:
    """No layer of an overlay has aufs whiteouts (among its first names)."""
    for path, example in facts.overlay.foreign:
        named = next((role for role, one in roles(stack) if one == path), "layer")
        seen = f"{named} {path} contains {path}{example}"
        yield Clue("aufs-whiteouts-in-overlay", (seen,), {"path": path})


def command(stack: Stack, facts: Facts, **changes: str | None) -> str:
    """Return the mount command of a stack with some changes, as shell text."""
    target = changes.get("target", facts.target.path if facts.target is not None else None)
    if "work" in changes:
        stack = stack._replace(work=changes["work"])
    return Raw(mount_command(stack, target))


def _strerror(number: int) -> str:
    return os.strerror(number)


def target(stack: Stack, facts: Facts) -> Iterator[Clue]:
    """The target is an existing directory."""
    place = facts.target
    if place is None or place.will_be_made:
        return
    if place.error is not None:
        cause = "target-missing" if place.error in _NOWHERE else "layer-not-reachable"
        seen = f"target {place.path}: {_strerror(place.error)}"
        yield Clue(cause, (seen,), {"target": place.path, "path": place.path})
    elif not place.is_directory:
        other = beside(place.path, ".d")
        yield Clue(
            "target-not-a-directory",
            (f"target {place.path} is {kind(place)}",),
            {
                "target": place.path,
                "newtarget": other,
                "command": command(stack, facts, target=other),
            },
        )


def kind(place: Directory) -> str:
    """Return the type of something that is not a directory, as text."""
    names = {
        stat.S_IFREG: "a file",
        stat.S_IFBLK: "a block device",
        stat.S_IFCHR: "a character device",
        stat.S_IFIFO: "a pipe",
        stat.S_IFSOCK: "a socket",
    }
    return names.get(stat.S_IFMT(place.mode), "not a directory")


def reachable(stack: Stack, facts: Facts) -> Iterator[Clue]:
    """Every layer and the work directory exist."""
    for role, path in roles(stack):
        place = facts.of(path)
        if place.error is None or place.will_be_made or _half_of_a_name(path, facts):
            continue
        seen = f"{role} {path}: {_strerror(place.error)}"
        late = _unmounted(path, facts)
        if late is not None:
            why = f"{late} is in /etc/fstab but not mounted"
            values = {"mountpoint": late, "path": path, "command": command(stack, facts)}
            yield Clue("mount-ordering-lower-not-mounted", (seen, why), values)
        else:
            known = place.error in _NOWHERE
            cause = "missing-layer-directory" if known else "layer-not-reachable"
            yield Clue(cause, (seen,), {"path": path})


def _half_of_a_name(path: str, facts: Facts) -> bool:
    """Tell whether a missing path is half of a name with a colon, which another check reports."""
    return any(
        whole.startswith(f"{path}:") or os.path.basename(path) == whole.rpartition(":")[2]
        for whole in facts.overlay.joined
    )


def _unmounted(path: str, facts: Facts) -> str | None:
    """Return the mount point in /etc/fstab that may contain a missing path, or None."""
    mounted = {entry.target for entry in facts.mounts}
    late = [one for one in facts.fstab if one not in mounted and is_in(path, one)]
    return max(late, key=len, default=None)


def directories(stack: Stack, facts: Facts) -> Iterator[Clue]:
    """Every layer and the work directory are directories."""
    for role, path in roles(stack):
        place = facts.of(path)
        if place.error is not None or place.is_directory:
            continue
        values = {"path": path}
        commands: tuple[str, ...] | None = ()
        if role not in ("upper layer", "work directory") and place.is_image:
            mounted = beside(path, ".d")
            better = stack._replace(
                layers=tuple(
                    layer._replace(path=mounted) if layer.path == path else layer
                    for layer in stack.layers
                )
            )
            values |= {"mounted": mounted, "command": command(better, facts)}
            commands = ("mkdir -p {mounted}", "mount -o loop,ro {path} {mounted}", "{command}")
        seen = f"{role} {path} is {kind(place)}"
        yield Clue("layer-not-a-directory", (seen,), values, commands=commands)


def links(stack: Stack, facts: Facts) -> Iterator[Clue]:
    """No other user can change a symbolic link on the paths."""
    for role, path in _named(stack, facts):
        exposed = facts.exposed.get(path)
        if exposed is not None and exposed.link is not None:
            link = exposed.link
            seen = f"{role} {path}: {link.path} is a symbolic link that {link.who} can change"
            yield Clue("untrusted-symlink", (seen,), {"path": path})


def swappable(stack: Stack, facts: Facts) -> Iterator[Clue]:
    """No other user can replace a directory that is written to."""
    seen: dict[str, str] = {}
    for role, path in _named(stack, facts):
        exposed = facts.exposed.get(path)
        if exposed is not None and exposed.link is None and exposed.swap is not None:
            swap = exposed.swap
            seen.setdefault(path, f"{role} {path}: {swap.who} can replace {swap.path}")
    if seen:
        yield Clue("swappable-directory", tuple(seen.values()), {"path": next(iter(seen))})


def _named(stack: Stack, facts: Facts) -> list[tuple[str, str]]:
    named = roles(stack)
    return named if facts.target is None else [*named, ("target", facts.target.path)]


def one_mount(stack: Stack, facts: Facts) -> Iterator[Clue]:
    """Upper and work are on the same mount."""
    pair = upper_and_work(stack, facts)
    if pair is None:
        return
    upper, work = pair
    if upper.mount is None or work.mount is None:
        return
    if upper.mount.mount_id == work.mount.mount_id:
        return
    better = _new_work(upper)
    same = upper.mount.device == work.mount.device
    seen = (
        f"upper {upper.path} is on the mount {upper.mount.target} ({upper.mount.fstype})",
        f"work {work.path} is on the mount {work.mount.target} ({work.mount.fstype})"
        + (", another mount of the same filesystem" if same else ""),
    )
    if better is None:
        values, commands = inside_upper(stack, facts, upper)
        yield Clue("workdir-upperdir-different-mount", seen, values, fix=INSIDE, commands=commands)
        return
    yield Clue("workdir-upperdir-different-mount", seen, _work_values(stack, facts, upper, better))


def _new_work(upper: Directory) -> str | None:
    """Return a place for a work directory on the mount of the upper directory, or None."""
    if upper.mount is not None and upper.inside == upper.mount.root:
        return None
    return work_beside(real(upper))


def real(place: Directory) -> str:
    """Return the path of a directory without symbolic links, from its mount and its place in it."""
    path = os.path.normpath(place.path)
    if place.mount is None or place.inside is None:
        return path
    root = place.mount.root.rstrip("/")
    if not is_in(place.inside, root or "/"):
        return path
    return os.path.normpath(
        place.mount.target.rstrip("/") + "/" + place.inside[len(root) :].lstrip("/")
    )


#: The fix if nothing next to the upper directory is on its mount or in its subvolume.
INSIDE = (
    "The upper directory is the root of its mount or subvolume, so the work directory cannot be "
    "next to it. Use two directories in it, and move its contents into the first."
)


def inside_upper(
    stack: Stack, facts: Facts, upper: Directory
) -> tuple[dict[str, str], tuple[str, ...]]:
    """Return values and commands that put upper and work into the current upper directory."""
    place, work = os.path.join(upper.path, "upper"), os.path.join(upper.path, "work")
    better = stack._replace(
        layers=tuple(
            layer._replace(path=place) if layer.role is Role.UPPER else layer
            for layer in stack.layers
        ),
        work=work,
    )
    values = {
        "upper": upper.path,
        "oldwork": stack.work or "WORK",
        "work": work,
        "newupper": place,
        "newwork": work,
        "command": command(better, facts),
    }
    return values, ("mkdir -p {newupper} {newwork}", "{command}")


def _work_values(stack: Stack, facts: Facts, upper: Directory, better: str) -> dict[str, str]:
    return {
        "upper": upper.path,
        "oldwork": stack.work or "WORK",
        "work": better,
        "command": command(stack, facts, work=better),
    }


def apart(stack: Stack, facts: Facts) -> Iterator[Clue]:
    """Upper and work do not contain each other (ovl_workdir_ok)."""
    pair = upper_and_work(stack, facts)
    if pair is None:
        return
    upper, work = pair
    if upper.inside is None or work.inside is None or upper.mount is None or work.mount is None:
        return
    if upper.mount.mount_id != work.mount.mount_id:
        return
    if is_in(work.inside, upper.inside):
        how = "is" if work.inside == upper.inside else "is inside"
        seen = f"work {work.path} {how} upper {upper.path}"
    elif is_in(upper.inside, work.inside):
        seen = f"upper {upper.path} is inside work {work.path}"
    else:
        return
    better = _new_work(upper)
    if better is None:
        values, commands = inside_upper(stack, facts, upper)
        yield Clue("workdir-upperdir-not-separate", (seen,), values, fix=INSIDE, commands=commands)
        return
    yield Clue("workdir-upperdir-not-separate", (seen,), _work_values(stack, facts, upper, better))


def is_in(inner: str, outer: str) -> bool:
    """Tell whether one path of a filesystem is another or inside it."""
    return inner == outer or inner.startswith(outer.rstrip("/") + "/")
