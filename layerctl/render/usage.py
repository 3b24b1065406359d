"""What layers and stacks take up, as rows, and in a few lines for people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from layerctl.inspecting.tally import BLOCK, StackUsage, Sums
from layerctl.render.json import Document, path_fields, path_list_fields
from layerctl.render.mounts import container_document, known_fields
from layerctl.rules.words import size_of
from layerctl.stores.owners import Known
from layerctl.stores.store import Container


def sums_fields(sums: Sums) -> Document:
    """Return the sizes of a layer or a stack in their published shape."""
    return {
        "entries": sums.entries,
        "size": sums.size,
        "hidden": sums.hidden,
        "copied": sums.copied,
        "efficiency": round(sums.efficiency, 4),
    }


def layer_documents(stacks: Sequence[StackUsage], known: Mapping[str, Known]) -> Iterator[Document]:
    """Yield a row per layer of every stack; `known` is what stores know of their directories."""
    for stack in stacks:
        for layer in stack.layers:
            yield {
                **path_fields("target", stack.target),
                "index": layer.position,
                "role": layer.role,
                **path_fields("path", layer.path),
                **sums_fields(layer.sums),
                "users": len(layer.users),
                **path_list_fields("used_by", layer.users),
                **known_fields(known.get(layer.path)),
            }


def stack_document(
    stack: StackUsage, kind: str, name: str, container: Container | None
) -> Document:
    """Return the row of a stack."""
    document: Document = {"kind": kind, **path_fields("name", name)}
    document |= path_fields("target", stack.target)
    document["type"] = stack.fstype
    if container is not None:
        document["container"] = container_document(container)
    document["depth"] = len(stack.layers)
    document["own"], document["shared"] = stack.own, stack.shared
    return document | sums_fields(stack.total)


def path_documents(stacks: Sequence[StackUsage], top: int) -> list[Document]:
    """Return a row for each of the largest paths of all stacks, the largest first."""
    rows = [
        {
            **path_fields("target", stack.target),
            "size": item.blocks * BLOCK,
            "state": item.state,
            "layer": item.layer,
            "by": item.by,
            **path_fields("path", item.path),
        }
        for stack in stacks
        for item in stack.largest
    ]
    return sorted(rows, key=lambda row: -row["size"])[:top]


def summary_lines(sums: Sums, *, exact: bool) -> list[str]:
    """Return a total in words; sizes in bytes where `exact`."""

    def size(number: int) -> str:
        return str(number) if exact else size_of(number)

    lines = [f"total {size(sums.size)}, {size(sums.hidden)} of it hidden by higher layers"]
    if sums.copied:
        lines.append(f"copied up without a change of contents: {size(sums.copied)}")
    return [*lines, f"efficiency {100 * sums.efficiency:.1f}%"]
