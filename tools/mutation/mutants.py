"""Mutants of a module: its source with one line broken, as by a careless change."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol, cast

_COMPARE: dict[type[ast.cmpop], str] = {
    ast.Eq: "!=",
    ast.NotEq: "==",
    ast.Lt: "<=",
    ast.LtE: "<",
    ast.Gt: ">=",
    ast.GtE: ">",
    ast.Is: "is not",
    ast.IsNot: "is",
    ast.In: "not in",
    ast.NotIn: "in",
}
_HOPELESS = (ast.Import, ast.ImportFrom, ast.Pass, ast.Global, ast.Nonlocal, ast.ClassDef)


@dataclass(frozen=True, slots=True)
class Mutant:
    """One change: `line` of the module and its text, what was done, and the whole new source."""

    line: int
    text: str
    what: str
    source: str

    @property
    def compiles(self) -> bool:
        """Whether it is valid Python."""
        try:
            compile(self.source, "mutant", "exec")
        except SyntaxError:
            return False
        return True


class _Located(Protocol):
    lineno: int
    col_offset: int
    end_lineno: int
    end_col_offset: int


def mutants(source: str) -> list[Mutant]:
    """Return every mutant of a module's source, including those that do not compile.

    Only code in functions is changed: the tables and declarations of a module are data, mostly
    text.
    """
    lines = source.encode().splitlines(keepends=True)
    found = []
    tree = ast.parse(source)
    for function in ast.walk(tree):
        if isinstance(function, ast.FunctionDef):
            for node, new, what in _changes(function, lines):
                changed = _replaced(lines, node, new)
                text = lines[node.lineno - 1].decode()
                found.append(Mutant(node.lineno, text, what, changed.decode()))
    return sorted({(m.line, m.what): m for m in found}.values(), key=lambda m: (m.line, m.what))


def _changes(function: ast.FunctionDef, lines: list[bytes]) -> Iterator[tuple[_Located, str, str]]:
    for top in function.body:
        for node in _running(top):
            if isinstance(node, ast.stmt):
                yield from _statement(node, lines)
            yield from _expression(node, lines)


def _running(node: ast.AST) -> Iterator[ast.AST]:
    """Yield a node and its descendants, except annotations, which have no effect at run time."""
    yield node
    for name, value in ast.iter_fields(node):
        if name in ("annotation", "returns"):
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST):
                yield from _running(child)


def _statement(node: ast.stmt, lines: list[bytes]) -> Iterator[tuple[_Located, str, str]]:
    if isinstance(node, _HOPELESS) or _is_text(node):
        return
    place = cast(_Located, node)
    if isinstance(node, ast.Return):
        # False is equivalent to None here, and is changed to True elsewhere
        if node.value is not None and not (_is(node.value, None) or _is(node.value, False)):
            yield place, "return None", "return None instead"
    elif isinstance(node, ast.Expr | ast.Raise | ast.AugAssign | ast.Delete | ast.Assert):
        yield place, "pass", f"drop: {_text(lines, place)}"
    elif isinstance(node, ast.Continue | ast.Break):
        other = "break" if isinstance(node, ast.Continue) else "continue"
        yield place, other, f"{other} instead"
    if isinstance(node, ast.If | ast.While) and not _is(node.test, True):
        test = cast(_Located, node.test)
        yield test, f"not ({_text(lines, test)})", f"negate: {_text(lines, test)}"
    if isinstance(node, ast.Try):
        for handler in node.handlers:
            if handler.type is not None:
                kind = cast(_Located, handler.type)
                yield kind, "()", f"do not catch {_text(lines, kind)}"


def _expression(node: ast.AST, lines: list[bytes]) -> Iterator[tuple[_Located, str, str]]:
    place = cast(_Located, node)
    if isinstance(node, ast.Compare) and len(node.ops) == 1:
        left, right = (
            _text(lines, cast(_Located, side)) for side in (node.left, node.comparators[0])
        )
        new = f"{left} {_COMPARE[type(node.ops[0])]} {right}"
        yield place, new, f"{new}  # compare otherwise"
    elif isinstance(node, ast.BoolOp):
        glue = " or " if isinstance(node.op, ast.And) else " and "
        parts = [f"({_text(lines, cast(_Located, value))})" for value in node.values]
        yield place, f"({glue.join(parts)})", f"{glue.strip()} instead"
    elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr | ast.Add | ast.Sub):
        for side, other in ((node.left, node.right), (node.right, node.left)):
            if _closes_on_exec(other):
                continue
            text = _text(lines, cast(_Located, side))
            yield place, f"({text})", f"only: {text}"
    elif isinstance(node, ast.IfExp | ast.comprehension):
        tests = [node.test] if isinstance(node, ast.IfExp) else node.ifs
        for one in tests:
            test = cast(_Located, one)
            yield test, f"(not ({_text(lines, test)}))", f"negate: {_text(lines, test)}"
    elif isinstance(node, ast.Constant) and type(node.value) is int:
        yield place, str(node.value + 1), f"{node.value + 1} instead of {node.value}"
    elif isinstance(node, ast.Constant) and type(node.value) is bool:
        yield place, str(not node.value), f"{not node.value} instead"


def _is(node: ast.expr, value: object) -> bool:
    return isinstance(node, ast.Constant) and node.value is value


def _closes_on_exec(node: ast.expr) -> bool:
    """Tell whether it is O_CLOEXEC, which Python sets anyway (PEP 446)."""
    return isinstance(node, ast.Attribute) and node.attr == "O_CLOEXEC"


def _is_text(node: ast.stmt) -> bool:
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


def _text(lines: list[bytes], node: _Located) -> str:
    first, last = node.lineno - 1, node.end_lineno - 1
    if first == last:
        return lines[first][node.col_offset : node.end_col_offset].decode()
    middle = b"".join(lines[first + 1 : last])
    return (lines[first][node.col_offset :] + middle + lines[last][: node.end_col_offset]).decode()


def _replaced(lines: list[bytes], node: _Located, text: str) -> bytes:
    first, last = node.lineno - 1, node.end_lineno - 1
    return b"".join(
        [
            *lines[:first],
            lines[first][: node.col_offset],
            text.encode(),
            lines[last][node.end_col_offset :],
            *lines[last + 1 :],
        ]
    )
