"""A longer stack in the place of a mounted one: `layerctl mount --replace`."""

from __future__ import annotations

from layerctl.codecs.request import Request, build
from layerctl.errors import NotFoundError, RefusedError, RequestError
from layerctl.inspecting.opening import opened
from layerctl.kernel import idmap, standing
from layerctl.kernel.mounts import Mounted
from layerctl.model import Role, Stack
from layerctl.mounting.prepare import Swap
from layerctl.rules.words import shell
from layerctl.usecases.mount import MountRequest
from layerctl.usecases.stacks import absolute_stack, of_mount
from layerctl.usecases.targets import find_mount

#: Flags that the kernel shows for every mount, and that follow from others.
_SHOWN = frozenset({"rw", "ro", "relatime"})


def longer(asked: MountRequest, *, written: bool, lazy: bool) -> MountRequest:
    """Return the request for the stack on its target with the requested layers added.

    They come below the upper layer and above the lower ones; with a new upper layer (`written`
    tells that there will be one), or read-only, the old upper layer is the topmost lower one.
    `lazy` detaches the old mount even if it is in use. Raises LayerctlError if there is no such
    overlay, its layers are not certain, or nothing would change.
    """
    mounted = find_mount(asked.target)
    _demand_overlay(mounted)
    standing.demand_name(asked.target, mounted.entry)
    found = of_mount(mounted)
    with opened(found.stack, mounted.entry):
        pass  # each is proven to be the one that is mounted
    _refuse_maps(mounted, found.stack)
    new = absolute_stack(build(asked.layers))
    if not new.layers and not written and not new.read_only:
        raise RequestError(
            "usage",
            "--replace is given, but no layer to add",
            hint="name new layers with -l, -u or --data",
        )
    keeps = not (found.stack.upper is None or new.upper or written or new.read_only)
    if keeps and (lazy or found.stack.read_only):
        raise _same_upper(mounted)
    if keeps:
        new = _with_upper(new, found.stack)
    request = _request(found.stack, new, asked.layers, written=written, keeps=keeps)
    return asked._replace(
        layers=request,
        source=asked.source or mounted.entry.source,
        notes=(*asked.notes, *found.notes),
        swap=Swap(mounted, lazy, keeps),
    )


def _demand_overlay(mounted: Mounted) -> None:
    fstype, target = mounted.stack.fstype, mounted.entry.target
    if fstype == "overlay":
        return
    aufs = fstype == "aufs"
    raise RefusedError(
        "not-at-remount",
        f"--replace works only with overlay, and {target} has type {fstype}",
        why="aufs takes new branches while it is mounted" if aufs else "",
        hint="" if aufs else "unmount it, and mount it again with all layers",
        commands=(shell("layerctl", "branch", "append", target, "DIR=ro"),) if aufs else (),
    )


def _refuse_maps(mounted: Mounted, stack: Stack) -> None:
    """Raise NotFoundError if the owner of the topmost layer is mapped, which mountinfo hides."""
    if idmap.shows_other_owner(mounted.entry, stack.layers[0].path):
        raise NotFoundError(
            "layer-unknown",
            f"the owners of the layers of {mounted.entry.target} are mapped",
            why="the kernel does not show the maps, so the same stack cannot be mounted again",
            hint="unmount it, and mount it again with all layers and their --map",
        )


def _same_upper(mounted: Mounted) -> RefusedError:
    target = mounted.entry.target
    return RefusedError(
        "upper-in-use-by-replaced",
        f"the upper layer of {target} cannot be the upper layer of its replacement",
        why="the old mount is read-only, or may stay in use (--lazy), and an upper layer in two "
        "overlays is undefined",
        hint="name a new upper layer with -u DIR or --tmpfs: the old one becomes the topmost lower "
        "layer; or use -r for a read-only stack",
        commands=(shell("layerctl", "mount", "--replace", "-u", "DIR", "-l", "NEW", target),),
    )


def _with_upper(new: Stack, old: Stack) -> Stack:
    """Return the new layers with the upper and the work directory of the old stack."""
    return new._replace(layers=(*old.of_role(Role.UPPER), *new.layers), work=old.work)


def _request(old: Stack, new: Stack, given: Request, *, written: bool, keeps: bool) -> Request:
    """Return the layer flags of both stacks together."""
    uppers_below = () if keeps else old.of_role(Role.UPPER)
    as_lower = [one._replace(role=Role.LOWER) for one in uppers_below]
    lowers = [*as_lower, *new.of_role(Role.LOWER), *old.of_role(Role.LOWER)]
    data = [*new.of_role(Role.DATA), *old.of_role(Role.DATA)]
    uppers = list(new.of_role(Role.UPPER))
    flags = [word for word in old.flags if word not in _SHOWN]
    words = [*flags, *new.flags, *_kept(old, new, written=written, keeps=keeps)]
    listed = (("lowers", lowers), ("data", data), ("upper", uppers))
    return given._replace(
        fstype="overlay",
        lowers=tuple(one.path for one in lowers),
        data=tuple(one.path for one in data),
        upper=new.upper,
        work=new.work,
        options=(",".join(words),) if words else (),
        read_only=given.read_only or not (uppers or written),
        maps=tuple(
            ((name, number), layer.map)
            for name, layers in listed
            for number, layer in enumerate(layers)
            if layer.map is not None
        ),
    )


#: Options that say how the old upper layer is written.
OF_UPPER = frozenset({"index", "nfs_export", "volatile", "fsync", "uuid"})


def _kept(old: Stack, new: Stack, *, written: bool, keeps: bool) -> list[str]:
    """Return the options of both as words: those of the new one count."""
    dropped = frozenset() if keeps else OF_UPPER
    options = {name: text for name, text in old.options.items() if name not in dropped}
    if old.upper is None and (written or new.upper is not None):
        options.pop("redirect_dir", None)  # without an upper layer, `on` only follows them
    options |= new.options
    quoted = {n: f'"{text}"' if text and "," in text else text for n, text in options.items()}
    return [name if text is None else f"{name}={text}" for name, text in quoted.items()]
