"""Feed mutated and random texts to `doctor --from`: no crash, and no text may take too long.

`python -m tools.fuzz.texts --count 10000` prints the slowest in seconds per megabyte. Small texts
count as 256 KB: up to 64 KB every line is read closely, and of longer texts only the relevant
lines.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections.abc import Iterator

from layerctl.diagnosing.reading.diagnose import read
from tests.support.recordings import DATA
from tools.score import load, text_of

_LEAST = 256 << 10
#: The limit for any text, in seconds per megabyte.
LIMIT = 1.0


def seeds() -> list[str]:
    """Return the texts that are mutated."""
    files = ("doctor/build.jsonl", "doctor/judge.jsonl", "failures/reports.jsonl")
    return [text_of(report) for name in files for report in load(str(DATA / name))]


def texts(count: int, seed: int = 1) -> Iterator[str]:
    """Yield texts: seeds cut, mixed, repeated, with bytes changed; and random ones."""
    chance = random.Random(seed)
    known = [text for text in seeds() if text.strip()]
    words = sorted({word for text in known for word in text.split()})
    for _ in range(count):
        kind = chance.randrange(6)
        text = chance.choice(known)
        if kind == 0:  # letters changed
            letters = list(text)
            for _ in range(1 + len(letters) // 50):
                letters[chance.randrange(len(letters))] = chr(chance.randrange(1, 0x3000))
            text = "".join(letters)
        elif kind == 1:  # cut
            text = text[chance.randrange(len(text)) :][: chance.randrange(1, 400)]
        elif kind == 2:  # two mixed, line by line
            lines = [*text.split("\n"), *chance.choice(known).split("\n")]
            chance.shuffle(lines)
            text = "\n".join(lines)
        elif kind == 3:  # words in any order, on one line or many
            text = chance.choice(" \n").join(chance.choices(words, k=chance.randrange(1, 300)))
        elif kind == 4:  # one word or line without end
            text = chance.choice([chance.choice(words), text, text.split()[0] + " "]) * 60
        else:
            text = chance.randbytes(chance.randrange(1, 4000)).decode("latin-1")
        yield text[: 60 << 10]


def main(arguments: list[str]) -> int:
    """Read all texts; return 1 if one took too long."""
    parser = argparse.ArgumentParser(description="Read mutated and random texts.")
    parser.add_argument("--count", type=int, default=10_000)
    asked = parser.parse_args(arguments)
    slowest, worst = 0.0, ""
    read("overlayfs: warm up\nmount: x: wrong fs type, bad option, bad superblock on overlay")
    for text in texts(asked.count):
        start = time.process_time()
        read(text)
        spent = (time.process_time() - start) / (max(len(text), _LEAST) / 1e6)
        if spent > slowest:
            slowest, worst = spent, text
    print(f"{asked.count} texts, the slowest {slowest:.2f} s per megabyte: {worst[:100]!r}")
    return 0 if slowest <= LIMIT else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
