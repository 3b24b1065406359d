"""Check the rules of the code that no other tool checks: `make check` runs this.

- No module has more than 450 lines, except tables; no function has more than 40.
- Only the rooms and modules named here use os for more than names, or fork.
- An import inside a function has a comment before it that says why, or the module's docstring does.
- The rooms in docs/architecture.md are those of the contract in pyproject.toml, and of layerctl/.
- Nothing is imported from a test module; what tests share is in tests/support/.
"""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
MODULE_LINES, FUNCTION_LINES = 450, 40

#: Modules that may be longer, with the reason.
TABLES = {
    "layerctl/errors.py": "the table of errors",
    "layerctl/render/tables.py": "the table of columns",
}

#: What any room may use of os: it works on names, and does not access files.
NAMING = """
    PathLike environ fsdecode fsencode fspath pardir sep stat_result strerror path.basename
    path.commonpath path.dirname path.isabs path.join path.normpath path.relpath path.samestat
    path.sep path.split
"""
#: Reads through a descriptor, or a name below one.
READING = """
    access close dup fdopen fstat listdir lstat major minor open readlink scandir stat statvfs
    O_CLOEXEC O_DIRECTORY O_NOFOLLOW O_PATH O_RDONLY ST_RDONLY R_OK W_OK X_OK
"""
#: About the process itself.
PROCESS = "_exit devnull getcwd geteuid getpid kill open path.abspath uname O_RDONLY"
#: What else rooms and single modules may use of os; None allows everything.
ROOMS: dict[str, str | None] = {
    "kernel": None,
    "inspecting": READING,
    "stores": READING + "pread",  # a database of pages
    "usecases": "fstat open",  # a file named by the user
    "layerctl/diagnosing/reading/errnos.py": "open",  # its own table
    "working": READING,
    "cli": PROCESS,
    "render": PROCESS,
}


def modules(*directories: str) -> Iterator[tuple[str, str]]:
    """Yield each module's path from the root, and its text."""
    for directory in directories:
        for file in sorted((ROOT / directory).rglob("*.py")):
            yield str(file.relative_to(ROOT)), file.read_text(encoding="utf-8")


def lengths() -> Iterator[str]:
    """Yield modules and functions that are too long."""
    for path, text in modules("layerctl", "tools", "tests"):
        count = text.count("\n")
        if count > MODULE_LINES and path not in TABLES:
            yield f"{path}: too long ({count} lines, at most {MODULE_LINES})"
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef):
                count = (node.end_lineno or node.lineno) - node.lineno + 1
                if count > FUNCTION_LINES:
                    yield f"{path}: {node.name}: too long ({count} lines, at most {FUNCTION_LINES})"


def _touches(node: ast.AST) -> str:
    """Return the name that a node uses of os, as `path.exists`; or `open`."""
    if isinstance(node, ast.Attribute) and ast.unparse(node.value) in ("os", "os.path"):
        return ast.unparse(node).removeprefix("os.")
    if isinstance(node, ast.ImportFrom) and node.module in ("os", "os.path"):
        return f"{node.module}: imported from"
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "open":
        return "open"
    return ""


def system_calls() -> Iterator[str]:
    """Yield forbidden uses of os."""
    for path, text in modules("layerctl"):
        room = ROOMS.get(path, ROOMS.get(path.split("/")[1], ""))
        if room is not None:
            allowed = {"", "path", *NAMING.split(), *room.split()}
            used = {_touches(node) for node in ast.walk(ast.parse(text))} - allowed
            yield from (f"{path}: os.{name}" for name in sorted(used))


def late_imports() -> Iterator[str]:
    """Yield functions that import and do not say why."""
    for path, text in modules("layerctl"):
        tree, lines = ast.parse(text), text.splitlines()
        if "import" in (ast.get_docstring(tree) or ""):
            continue
        for function in ast.walk(tree):
            if isinstance(function, ast.FunctionDef):
                for node in ast.walk(function):
                    if isinstance(node, (ast.Import, ast.ImportFrom)):
                        before = lines[function.lineno : node.lineno]
                        if not any("#" in line for line in before):
                            yield f"{path}: {function.name}: imports without a reason"


def picture() -> Iterator[str]:
    """Yield differences between the picture of the rooms, the contract and the directory."""
    page = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    drawn = re.findall(r"^  (\w+)(?:/|\.py) ", page, re.MULTILINE)
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    (contract,) = (
        one for one in settings["tool"]["importlinter"]["contracts"] if one["type"] == "layers"
    )
    level = {
        room.strip().removeprefix("layerctl."): number
        for number, layer in enumerate(contract["layers"])
        for room in layer.split("|")
    }
    there = {
        file.stem
        for file in (ROOT / "layerctl").iterdir()
        if not file.name.startswith("__") and (file.is_dir() or file.suffix == ".py")
    }
    if set(drawn) != set(level):
        yield f"docs/architecture.md and pyproject.toml: rooms {set(drawn) ^ set(level)}"
    if there != set(level):
        yield f"layerctl/ and pyproject.toml: rooms {there ^ set(level)}"
    if [level.get(room, -1) for room in drawn] != sorted(level.get(room, -1) for room in drawn):
        yield "docs/architecture.md: the rooms are not in the order of pyproject.toml"


def shared() -> Iterator[str]:
    """Yield imports from test modules, and imports of tools in tests/support/."""
    for path, text in modules("tests", "tools"):
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.ImportFrom):
                module = node.module or ""
                if re.search(r"^tests\.(\w+\.)*(test_|conftest)", module):
                    yield f"{path}: imports {module}"
                if path.startswith("tests/support/") and module.partition(".")[0] == "tools":
                    yield f"{path}: imports {module}"


def main() -> int:
    """Print every violation; return 1 if there is one."""
    found = [*lengths(), *system_calls(), *late_imports(), *picture(), *shared()]
    print("".join(f"{one}\n" for one in found), end="")
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
