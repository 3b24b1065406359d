"""The pictures of the docs, drawn from what the program prints: `make docs` draws them again."""

from __future__ import annotations

import html
import io
import re
from pathlib import Path

from tests.support import ROOT
from tests.support.examples import run

DIRECTORY = ROOT / "docs" / "pictures"

_LAYERS = [
    "mkdir -p top/etc middle/etc middle/usr/bin bottom/etc bottom/usr/bin bottom/var merged",
    "touch bottom/etc/fstab bottom/etc/hosts bottom/usr/bin/app bottom/var/log",
    "touch middle/usr/bin/app middle/etc/app.conf",
    "layerctl mount -u top -l middle -l bottom merged",
    "echo 10.0.0.1 db >> merged/etc/hosts; rm merged/etc/fstab; touch merged/etc/new",
]
#: What is drawn, by the name of the picture.
PICTURES = {
    "merged.svg": "layerctl inspect merged merged",
    "doctor.svg": "layerctl doctor -u top -l middle -l bottom/var/log merged",
}


def drawn(lab: Path) -> dict[str, tuple[str, str]]:
    """Return every picture's command and its coloured output."""
    commands = list(PICTURES.values())
    answers = run([*_LAYERS, *(f"{line} --color always" for line in commands)], lab)
    return {
        name: (PICTURES[name], output)
        for name, (output, _) in zip(PICTURES, answers[len(_LAYERS) :], strict=True)
    }


def svg(command: str, output: str) -> str:
    """Draw a command and its output as a terminal shows them."""
    from rich.console import Console
    from rich.text import Text

    width = max(map(len, [f"$ {command}", *Text.from_ansi(output).plain.splitlines()]))
    console = Console(record=True, width=width + 1, file=io.StringIO(), force_terminal=True)
    console.print(Text(f"$ {command}", style="bold"))
    console.print(Text.from_ansi(output.rstrip("\n")))
    picture = console.export_svg(title="layerctl", unique_id="layerctl")
    return re.sub(r"\s*@font-face \{.*?\}", "", picture, flags=re.DOTALL)  # no font from elsewhere


def words(picture: str) -> list[str]:
    """Return the words of a picture, without how they are drawn."""
    texts = re.findall(r"<text[^>]*>([^<]*)</text>", picture)
    return " ".join(html.unescape(text).replace("\xa0", " ") for text in texts).split()
