"""Mounts and stacks, for scripts and for people."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from layerctl.codecs.escape import printable
from layerctl.kernel.mounts import Mounted
from layerctl.model import Finding, Layer, Stack
from layerctl.render.columns import original
from layerctl.render.json import Document, finding_document, path_fields, path_list_fields

if TYPE_CHECKING:
    from layerctl.stores.owners import Known
    from layerctl.stores.store import Container


def layer_document(index: int, layer: Layer) -> Document:
    """Return one layer in its published shape."""
    document: Document = {"index": index, "role": layer.role.value}
    document |= path_fields("path", layer.path)
    if layer.permission is not None:
        document["permission"] = layer.permission
    if layer.map is not None:
        from layerctl.codecs.idmap import words  # few mounts map owners

        document["map"] = words(layer.map)
    return document


def stack_document(stack: Stack, target: str | None, source: str | None) -> Document:
    """Return a stack in its published shape, one of the elements of `mounts`."""
    document: Document = path_fields("target", target)
    document["type"] = stack.fstype
    document |= path_fields("source", source)
    document["layers"] = [layer_document(index, layer) for index, layer in enumerate(stack.layers)]
    if stack.work is not None:
        document |= path_fields("work", stack.work)
    document["options"] = {
        name: True if value is None else value for name, value in stack.options.items()
    }
    document["flags"] = list(stack.flags)
    document["read_only"] = stack.read_only
    return document


def known_fields(known: Known | None) -> Document:
    """Return what a store knows of a layer, in its published shape."""
    if known is None:
        return {}
    document = path_fields("directory", known.directory) if known.directory else {}
    return document | {
        name: text for name, text in (("label", known.label), ("step", known.step)) if text
    }


def add_known(document: Document, known: Mapping[str, Known]) -> None:
    """Add to the layers of a mount's document what stores know of them, by their directories."""
    for layer in document["layers"]:
        layer.update(known_fields(known.get(original(layer, "path"))))


def layer_rows(mount: Document) -> list[Document]:
    """Return the layers of a mount's document as rows, each with its mount."""
    shared = {
        key: value
        for key, value in mount.items()
        if key.removesuffix("_bytes") in ("target", "type", "source")
    }
    return [{**layer, **shared} for layer in mount["layers"]]


def mounted_document(mounted: Mounted, stack: Stack | None = None) -> Document:
    """Return a live mount in its published shape; `stack` overrides the layers in mountinfo."""
    entry = mounted.entry
    document = stack_document(stack or mounted.stack, entry.target, entry.source)
    if mounted.notes:
        document["notes"] = list(mounted.notes)
    return document


def container_document(container: Container) -> Document:
    """Return a container in its published shape."""
    return {"engine": container.engine, "id": container.id, "name": container.name}


def changed_document(
    mounted: Mounted,
    api: Document | None,
    notes: Iterable[str],
    made: Iterable[str] = (),
    findings: Iterable[Finding] = (),
) -> Document:
    """Return what `mount` writes when it is done; `api` is the mount API and why it was chosen."""
    return {
        "mounts": [mounted_document(mounted) | {"api": api}],
        **path_list_fields("made", made),
        "notes": list(notes),
        "findings": list(map(finding_document, findings)),
    }


def listed_document(mounted: Mounted, container: Container | None) -> Document:
    """Return a live mount as `list` shows it, with the container whose root it is."""
    document = mounted_document(mounted)
    if container is not None:
        document["container"] = container_document(container)
    return document


def stack_lines(stack: Stack) -> list[str]:
    """Return a stack as lines of text: one per layer, then work, options and flags."""
    lines = []
    for index, layer in enumerate(stack.layers):
        extra = "" if layer.permission is None else f" ({layer.permission})"
        if layer.map is not None:
            from layerctl.codecs.idmap import words  # as above

            extra = f" (owners {' '.join(words(layer.map))})"
        lines.append(f"  {index:>3}  {layer.role.value:<6} {printable(layer.path)}{extra}")
    return lines + option_lines(stack)


def option_lines(stack: Stack) -> list[str]:
    """Return the work directory, the options and the flags of a stack as lines of text."""
    lines = []
    if stack.work is not None:
        lines.append(f"       work   {printable(stack.work)}")
    words = [n if v is None else f"{n}={v}" for n, v in stack.options.items()]
    if words:
        lines.append(f"       options {printable(','.join(words))}")
    if stack.flags:
        lines.append(f"       flags   {printable(','.join(stack.flags))}")
    return lines
