"""Write the files generated from the program's tables; `--check` lists those that are outdated."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))


def completions() -> dict[str, str]:
    """Return the completion scripts by their paths."""
    from layerctl.cli import shells

    scripts = (shells.Bash, shells.Zsh, shells.Fish)
    names = ("layerctl.bash", "_layerctl", "layerctl.fish")
    return {
        f"completions/{name}": script.source_template
        for name, script in zip(names, scripts, strict=True)
    }


def files() -> dict[str, str]:
    """Return every generated file by its path."""
    from tools.manual import manual
    from tools.reference import reference

    return {**completions(), **manual(), **reference()}


def main() -> int:
    """Write the files that differ; with --check only list them."""
    check = "--check" in sys.argv
    different = 0
    for name, text in files().items():
        path = ROOT / name
        if path.exists() and path.read_text() == text:
            continue
        different += 1
        sys.stderr.write(f"{name}: {'not current, run: make generate' if check else 'written'}\n")
        if not check:
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
    return 1 if different and check else 0


if __name__ == "__main__":
    sys.exit(main())
