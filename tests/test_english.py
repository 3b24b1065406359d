"""Plain English: patterns that no help, error, cause, option, docstring, comment or page has.

The rules and the glossary are in docs/contributing.md.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from layerctl.diagnosing.catalogue import CAUSES
from layerctl.errors import ERRORS, EXIT_CODES
from layerctl.render.columns import Single
from layerctl.render.tables import DOCUMENTS
from layerctl.rules.options import FLAGS, TABLES
from tools import manual

ROOT = Path(__file__).parents[1]

PATTERNS = (
    r"(?<![Tt]here )(?<!-o )\bis (?:no|none) (?!longer|more|such)\w",
    r"\bgoes? with\b",
    r"\bstands? (?:together|in|on|beside|below|before|behind|between|both)\b",
    r"\bwho (?:mounts|mounted|set the mount|owns|writes)\b",
    r"\bis (?:said|told)\b",
    r"\bto be (?:had|made|told|loaded)\b",
    r"\btells? of\b",
    r"\bwhat (?:there is|is there|is well|helps here|means nothing)\b",
    r"\bthe likelie(?:r|st) first\b",
    r"\ba (?:row|line|layer|directory), a (?:row|line) each\b",
    r"\ba line each\b",
    r"\b(?:take|takes|taken) (?:away|back|along)\b",
    r"\bno more\b(?! than)",
    r"\bmount(?:ed)? anew\b",
    r"\bby itself\b",
    r"\bof (?:his|its) own kind\b",
    r"\broot of the machine\b",
    r"\bnothing (?:is wrong|bad)\b",
    r"\bcannot stand\b",
    r"\bas who\b",
    r"\b(?:[Oo]ne|a) (?:line|row|file|object|process) a (?:line|row|mount|command|layer|process)\b",
    r"\b(?:hand|hands|handed) (?:on|over)\b",
    r"\b(?:take|takes|taken) for (?:absent|empty|a|an|the|what|one)\b",
    r"\bgravest\b",
    r"\banew\b",
    r"\bby hand\b",
    r"\bbe it\b",
    r"\bto and fro\b",
    r"\b(?:None|Empty|empty|False|Raises \w+) where (?:it|there|none|nothing|that)\b",
)
WORST = re.compile("|".join(PATTERNS))


def _helps() -> Iterator[tuple[str, str]]:
    for name, command, _ in manual.commands():
        yield name, command.help or ""
        for parameter in command.params:
            if isinstance(parameter, click.Option):
                yield f"{name} {parameter.opts[0]}", parameter.help or ""


def _tables() -> Iterator[tuple[str, str]]:
    rows = [(one.id, one.title, one.why, one.fix) for one in CAUSES.values()]
    rows += [(one.id, one.title, one.why, one.fix) for one in ERRORS.values()]
    yield from ((name, text) for name, *texts in rows for text in texts)
    yield from (("exit code", row.meaning) for row in EXIT_CODES)
    for option in (*(one for table in TABLES.values() for one in table), *FLAGS):
        yield option.name, option.help
    for name, documents in DOCUMENTS.items():
        for document in documents:
            beside = () if isinstance(document, Single) else document.beside
            yield from ((f"{name} {one.name}", one.help) for one in (*document.columns, *beside))


def _messages() -> Iterator[tuple[str, str]]:
    """Yield the strings in the code that have a blank in them; docstrings are not among them."""
    for file in sorted((ROOT / "layerctl").rglob("*.py")):
        tree = ast.parse(file.read_text(encoding="utf-8"))
        docs = {
            id(node.body[0].value)
            for node in ast.walk(tree)
            if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef))
            and node.body
            and isinstance(node.body[0], ast.Expr)
        }
        for node in ast.walk(tree):
            if not isinstance(node, ast.Constant) or id(node) in docs:
                continue
            if isinstance(node.value, str) and " " in node.value:
                yield f"{file.relative_to(ROOT)}:{node.lineno}", node.value


def _notes() -> Iterator[tuple[str, str]]:
    """Yield every docstring and comment of the project, wrapped lines joined."""
    files = [
        file for room in ("layerctl", "tools", "tests") for file in (ROOT / room).rglob("*.py")
    ]
    for file in sorted(set(files) - {Path(__file__)}):
        text = file.read_text(encoding="utf-8")
        where = str(file.relative_to(ROOT))
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)):
                yield where, " ".join((ast.get_docstring(node) or "").split())
        comments = re.findall(r"(?:^ *#.*\n)+|  # .*\n", text, re.MULTILINE)
        yield from ((where, " ".join(one.replace("#", " ").split())) for one in comments)


def _pages() -> Iterator[tuple[str, str]]:
    for file in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))):
        if file.name != "contributing.md":  # which names the patterns
            yield file.name, " ".join(file.read_text(encoding="utf-8").split())


def _found(texts: Iterator[tuple[str, str]]) -> list[tuple[str, str]]:
    return [
        (where, text[max(0, hit.start() - 40) : hit.end() + 40])
        for where, text in texts
        for hit in WORST.finditer(text)
    ]


def test_help_is_plain() -> None:
    assert not _found(_helps())


def test_the_tables_are_plain() -> None:
    assert not _found(_tables())


def test_messages_are_plain() -> None:
    assert not _found(_messages())


def _halves() -> Iterator[str]:
    """Yield the strings that stand alone behind another statement: half of a sentence each."""
    for file in sorted((ROOT / "layerctl").rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            body = getattr(node, "body", None)
            for here in body[1:] if isinstance(body, list) else ():
                text = here.value if isinstance(here, ast.Expr) else None
                if isinstance(text, ast.Constant | ast.JoinedStr):
                    yield f"{file.relative_to(ROOT)}:{here.lineno}"


def test_no_sentence_is_cut_in_half() -> None:
    assert not [*_halves()]


def test_docstrings_and_comments_are_plain() -> None:
    assert not _found(_notes())


def test_the_docs_are_plain() -> None:
    assert not _found(_pages())


@pytest.mark.parametrize(
    "text",
    [
        "/ is no directory",
        "A and B cannot stand together",
        "the rights of who mounts",
        "who holds it is said",
        "Write one JSON document a row, a line each",
        "it can be mounted again no more",
        "what means nothing bad",
        "One file a command",
        "None where there is none",
    ],
)
def test_the_patterns_can_fail(text: str) -> None:
    assert WORST.search(text)
