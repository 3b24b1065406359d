"""Any text that a user has, read for what it says of a layered mount. Pure but for one table.

`read` finds the kernel's messages by their format strings, errnos in any language, the mount that
was tried, and what engines say around them; then it weighs the causes that these point to.
"""

from __future__ import annotations

from layerctl.doctor.reading.diagnose import read
from layerctl.doctor.reading.result import Certainty, Diagnosis, Noise, Reading

__all__ = ["Certainty", "Diagnosis", "Noise", "Reading", "read"]
