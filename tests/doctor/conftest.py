"""What is not collected here: tests of recordings, where those are not at hand."""

from __future__ import annotations

from tests.support import SHARED

collect_ignore_glob = [] if SHARED.is_dir() else ["test_recorded_*.py"]
