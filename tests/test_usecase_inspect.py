"""What the inspect commands decide, without a command line."""

from __future__ import annotations

from pathlib import Path

import pytest

from layerctl.errors import RequestError
from layerctl.model import Layer, Role, Stack
from layerctl.usecases.inspect import check_layer, check_since, path_in_tree


def stack(count: int) -> Stack:
    return Stack("overlay", tuple(Layer(f"/{n}", Role.LOWER) for n in range(count)), None, {}, ())


@pytest.mark.parametrize(
    ("path", "target", "expected"),
    [
        ("etc", None, "etc"),
        ("/etc//ssh/", None, "etc/ssh"),
        ("./a/../b", None, "b"),
        ("..", None, ""),
        ("/", "m", ""),
        ("{lab}/m/etc", "m", "etc"),
        ("{lab}/m", "m", ""),
        ("{lab}/merged", "m", "{lab}/merged"),
        ("{lab}/m/etc", "link", "etc"),
        ("{lab}/m/etc", None, "{lab}/m/etc"),
    ],
)
def test_where_a_path_lies(
    path: str,
    target: str | None,
    expected: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "m").mkdir()
    (tmp_path / "link").symlink_to("m")
    lab = str(tmp_path)
    found = path_in_tree(path.format(lab=lab), target)
    assert found == expected.format(lab=lab).lstrip("/")


@pytest.mark.parametrize("layer", [None, 0, 2])
def test_a_layer_that_is_there(layer: int | None) -> None:
    check_layer(layer, stack(3))


@pytest.mark.parametrize("layer", [-1, 3])
def test_a_layer_that_is_not_there(layer: int) -> None:
    with pytest.raises(RequestError, match=f"no layer {layer}"):
        check_layer(layer, stack(3))


@pytest.mark.parametrize(
    ("since", "count", "what"),
    [
        (1, 1, "there is only one layer"),
        (0, 2, "must be 1 here"),
        (2, 2, "must be 1 here"),
        (3, 3, "between 1 and 2"),
    ],
)
def test_what_cannot_be_compared(since: int, count: int, what: str) -> None:
    with pytest.raises(RequestError, match=what):
        check_since(since, "/m", stack(count))


def test_what_can_be_compared() -> None:
    check_since(2, None, stack(3))
