"""`python -m layerctl` is the same program as `layerctl`."""

import gc
import signal
import sys
from typing import NoReturn

#: Objects made since the last search for cycles before the next one. The default of 700 searches
#: some hundred times while modules are imported, and in long walks, which make no cycles.
_OBJECTS_BETWEEN_COLLECTIONS = 50_000


def program() -> NoReturn:
    """Run the program; an interrupt while it is still being imported ends it without a word."""
    gc.set_threshold(_OBJECTS_BETWEEN_COLLECTIONS)
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        if sys.argv[0].endswith("/fsck.overlay"):
            from layerctl.cli import fsck  # here, so that other commands do not load it

            raise SystemExit(fsck.main(sys.argv[1:]))
        if sys.argv[0].endswith("mount.layerctl"):
            from layerctl.cli import mount_helper  # as above

            raise SystemExit(mount_helper.main(sys.argv[1:]))
        from layerctl.cli import main  # here, so that a missing library can be reported
    except ImportError as failed:
        from layerctl.cli.libraries import missing
        from layerctl.render.errors import tell

        error = missing(failed)
        if error is None:
            raise
        tell(error, as_json=False)
        raise SystemExit(error.exit_code) from None
    main.program()


if __name__ == "__main__":
    program()
