"""The table of errors: every id that the code can raise is in it, or is a cause."""

from __future__ import annotations

import ast
import errno
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from layerctl import errors
from layerctl.diagnosing.catalogue import CAUSES
from layerctl.diagnosing.reading.meanings import by_errno
from layerctl.errors import ERRORS, EXIT_CODES
from tests.support import ROOT, layerctl, layerctl_json

TREE = {
    name: kind
    for name, kind in vars(errors).items()
    if isinstance(kind, type) and issubclass(kind, errors.LayerctlError)
}


def _raised() -> Iterator[tuple[str, str, str]]:
    """Where an error is made: the place, its class, each literal id that it can have there."""
    for file in sorted((ROOT / "layerctl").rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                if node.func.id not in TREE or not node.args:
                    continue
                first = node.args[0]
                branches = (first.body, first.orelse) if isinstance(first, ast.IfExp) else (first,)
                for one in branches:
                    if isinstance(one, ast.Constant):
                        assert isinstance(one.value, str)
                        yield f"{file.name}:{node.lineno}", node.func.id, one.value


#: A hint that is a command, or ends with one.
COMMAND = re.compile(
    r"(^|: )(sudo |\{PROGRAM\}|layerctl |mount -|u?mount /|findmnt|apt-get|mkdir|namei|realpath|"
    r"modprobe|dmesg|ulimit|fuser)"
)


def _hints() -> Iterator[tuple[str, str]]:
    """Yield every hint in the code, a value in it as its expression in braces."""
    for file in sorted((ROOT / "layerctl").rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call):
                for keyword in node.keywords:
                    if keyword.arg == "hint":
                        for text in ast.walk(keyword.value):
                            if isinstance(text, ast.JoinedStr | ast.Constant):
                                yield f"{file.name}:{node.lineno}", ast.unparse(text).strip("f'\"")


def test_a_hint_is_a_sentence_and_no_command() -> None:
    hints = list(_hints())
    assert len(hints) > 50
    assert not [one for one in hints if COMMAND.search(one[1])]


def test_every_error_is_in_the_table_or_the_catalogue() -> None:
    raised = list(_raised())
    unknown = [one for one in raised if one[2] not in {*ERRORS, *CAUSES}]
    assert not unknown
    assert not {*ERRORS} & {*CAUSES}
    assert {*ERRORS} <= {identity for _, _, identity in raised}, "the table has no dead rows"


def test_an_error_has_the_exit_code_of_the_table() -> None:
    wrong = [
        (where, identity, TREE[kind].exit_code, ERRORS[identity].exit_code)
        for where, kind, identity in _raised()
        if identity in ERRORS and TREE[kind].exit_code != ERRORS[identity].exit_code
    ]
    assert not wrong
    assert {row.exit_code for row in ERRORS.values()} <= {row.code for row in EXIT_CODES}


@pytest.mark.parametrize("identity", sorted(ERRORS))
def test_every_error_is_explained(identity: str) -> None:
    row = ERRORS[identity]
    assert all((row.title, row.why, row.fix))
    document = layerctl_json("explain", identity)
    assert (document["cause"], document["exit_code"]) == (identity, row.exit_code)


def test_an_error_is_explained_to_people() -> None:
    shown = layerctl("explain", "not-mounted").stdout
    assert shown.startswith(f"{ERRORS['not-mounted'].title}  [not-mounted]\n")
    assert "\n  exit code:  3\n" in shown


@pytest.mark.parametrize("asked", ["EXDEV", "exdev", "18"])
def test_an_errno_is_explained_by_the_causes_it_can_have(asked: str) -> None:
    shown = layerctl("explain", asked).stdout
    assert shown.startswith(f"EXDEV (18): {os.strerror(18)}\n\nmounting an overlay:\n")
    assert "[redirect-dir-off-rename-exdev]" in shown
    rows = layerctl_json("explain", asked)["causes"]
    assert rows[0]["cause"] == "redirect-dir-off-rename-exdev"


def test_every_errno_has_an_answer() -> None:
    unknown = {
        (name, cause)
        for name in errno.errorcode.values()
        for causes in by_errno(name).values()
        for cause in causes
        if cause not in CAUSES
    }
    assert unknown == set()
    assert by_errno("ESTALE")
    assert layerctl("explain", "EUCLEAN").returncode == 0
    assert layerctl("explain", "0").returncode == 3
    assert layerctl("explain", "99999").returncode == 3


@pytest.mark.namespace
@pytest.mark.parametrize(
    ("first", "options"),
    [("target-missing", ()), ("conflicting-options", ("-o", "metacopy=on,redirect_dir=off"))],
)
def test_a_mount_that_fails_shows_what_else_the_checks_found(
    lab: Path, first: str, options: tuple[str, ...]
) -> None:
    (lab / "u").mkdir()
    arguments = ("mount", "-l", "nosuch", "-l", "nosuch", "-u", "u", *options, "m")
    error = json.loads(layerctl(*arguments, "--json").stderr)["error"]
    assert error["id"] == first
    assert "missing-layer-directory" in [one["cause"] for one in error["findings"]]
    lines = layerctl(*arguments).stderr.splitlines()
    assert lines[0].endswith(f"  [{first}]")
    seen = f"{lab}/nosuch: No such file or directory  [missing-layer-directory]"
    assert lines.count(f"  also: failure: lower layer {seen}") == 1
    if not options:
        assert f"  also: failure: lower layer {seen}" in layerctl(*arguments, "-n").stdout


@pytest.mark.namespace
def test_a_mount_that_fails_is_explained_by_what_only_doctor_would_look_at(lab: Path) -> None:
    for name in ("l/l", "u", "w"):
        (lab / name).mkdir(parents=True)
    (lab / "l" / ".wh.x").touch()
    failed = layerctl("mount", "-l", "l", "-u", "u", "-w", "w", "m")
    assert "[aufs-whiteouts-in-overlay]" in failed.stderr
