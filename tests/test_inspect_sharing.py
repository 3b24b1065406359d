"""A search by two processes finds what one finds, in the same order, or fails as one does."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from layerctl.inspecting import sharing
from layerctl.inspecting.changes import Changes
from layerctl.inspecting.listing import Listing
from layerctl.inspecting.opening import Opened, opened
from layerctl.inspecting.walk import Search
from layerctl.inspecting.whiteouts import Whiteouts
from layerctl.model import Stack
from tests.support.stacks import make_case

SEARCHES: dict[str, Callable[[Opened], Search[Any]]] = {
    "merged": lambda view: Listing(view.resolver),
    "whiteouts": lambda view: Whiteouts(view, thorough=True),
    "changes": lambda view: Changes(view, 1, content=True),
}


@pytest.fixture
def early(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a search be shared from the first directory on, whatever the machine."""
    monkeypatch.setattr(sharing, "_WORTHWHILE", 0)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})


def stack(lab: Path) -> Stack:
    """Make directories in two levels, all in both layers, with changes and whiteouts below."""
    for top in range(5):
        for name in ("a", "b", "c"):
            for layer in ("upper", "lower"):
                below = lab / layer / f"top{top}" / name / "deep"
                below.mkdir(parents=True)
                (below / "file").write_text(f"{layer} {top} {name}")
            (lab / f"lower/top{top}/{name}/gone").write_text("")
            os.mknod(lab / f"upper/top{top}/{name}/gone", 0o20000, 0)
        (lab / f"lower/top{top}/hidden/more").mkdir(parents=True)
        os.mknod(lab / f"lower/top{top}/hidden/more/none", 0o20000, 0)
        (lab / f"upper/top{top}/hidden").write_text("")
    return make_case(str(lab), [f"{lab}/lower"], upper=f"{lab}/upper").stack


def spell(find: Any) -> list[str]:
    entries = getattr(find, "entries", find)
    return [ascii((one[0], getattr(one[1], "letter", one[1]))) for one in entries]


@pytest.mark.namespace
@pytest.mark.usefixtures("early")
@pytest.mark.parametrize("many", [0, 100], ids=["top", "one-level-down"])
@pytest.mark.parametrize("search", SEARCHES)
def test_two_processes_find_what_one_finds(
    search: str, many: int, lab: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sharing, "_MANY", many)
    forks: list[int] = []
    os.register_at_fork(after_in_parent=lambda: forks.append(1))
    with opened(stack(lab), thorough=True) as view:
        alone = [text for find in SEARCHES[search](view) for text in spell(find)]
        both = [text for texts in sharing.shared(SEARCHES[search](view), spell, "\n")
                for text in "\n".join(texts).splitlines()]  # fmt: skip
        assert len(alone) >= 15
        assert both == alone
        assert forks == [1]


class Failing(Listing):
    """Fails in the second process, when it has something to tell."""

    def state(self) -> tuple[object, ...]:
        raise self.failure

    failure: BaseException = OSError(5, "gone")


@pytest.mark.namespace
@pytest.mark.usefixtures("early")
@pytest.mark.parametrize(
    ("failure", "raised"),
    [(OSError(5, "gone"), OSError), (ZeroDivisionError("none"), RuntimeError)],
    ids=["system", "bug"],
)
def test_what_ends_the_second_process_ends_the_search(
    failure: BaseException, raised: type[BaseException], lab: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Failing, "failure", failure)
    with opened(stack(lab)) as view, pytest.raises(raised, match=str(failure.args[-1])):
        list(sharing.shared(Failing(view.resolver), spell, "\n"))
    assert no_child_is_left()


@pytest.mark.namespace
@pytest.mark.usefixtures("early")
def test_a_search_that_is_given_up_leaves_no_process(lab: Path) -> None:
    with opened(stack(lab)) as view:
        texts: Iterator[list[str]] = sharing.shared(Listing(view.resolver), spell, "\n")
        next(texts)
        next(texts)
        texts.close()  # type: ignore[attr-defined]
    assert no_child_is_left()


def no_child_is_left() -> bool:
    try:
        os.waitpid(-1, os.WNOHANG)
    except ChildProcessError:
        return True
    return False
