"""`python -m layerctl` is the same program as `layerctl`."""

import signal
from typing import NoReturn


def program() -> NoReturn:
    """Run the program; an interrupt while it is still being imported ends it without a word."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from layerctl.cli import main

    main.program()


if __name__ == "__main__":
    program()
