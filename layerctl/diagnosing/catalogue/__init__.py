"""The catalogue of causes: why layered mounts fail or surprise users, and the fixes.

One table feeds `doctor`, the errors of `mount`, `explain` and the docs. Only here a clue becomes a
finding.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping

from layerctl.diagnosing.catalogue import (
    aufs,
    containers,
    failing,
    layers,
    marks,
    options,
    storage,
    support,
    surprises,
)
from layerctl.diagnosing.catalogue.cause import Cause
from layerctl.diagnosing.clue import Clue, Raw
from layerctl.model import Certainty, Finding, Fix

__all__ = ["CAUSES", "Cause", "fill", "finding"]

CAUSES: dict[str, Cause] = {
    **support.CAUSES,
    **layers.CAUSES,
    **marks.CAUSES,
    **storage.CAUSES,
    **options.CAUSES,
    **surprises.CAUSES,
    **aufs.CAUSES,
    **containers.CAUSES,
    **failing.CAUSES,
}

_PLACE = re.compile(r"\{([a-z_]+)\}")


def fill(template: str, values: Mapping[str, str], *, quoted: bool = False) -> str:
    """Fill a template; a placeholder without a value becomes its name in capitals.

    `quoted` makes the values words of a shell command.
    """

    def value(match: re.Match[str]) -> str:
        name = match[1]
        if name not in values:
            return name.upper()
        text = values[name]
        return shlex.quote(text) if quoted and not isinstance(text, Raw) else text

    return _PLACE.sub(value, template)


def finding(clue: Clue, certainty: Certainty = Certainty.CERTAIN) -> Finding:
    """Return the finding of a clue: its cause with its texts, filled with the clue's values.

    Raises KeyError for a cause that the catalogue does not have.
    """
    cause, values = CAUSES[clue.cause], clue.values
    lines = cause.commands if clue.commands is None else clue.commands
    commands = (
        fill(line, values, quoted=True)
        for line in lines
        if line != "{command}" or values.get("command")
    )
    return Finding(
        cause.id,
        cause.severity if clue.severity is None else clue.severity,
        cause.title,
        cause.why,
        clue.evidence,
        Fix(fill(cause.fix if clue.fix is None else clue.fix, values), tuple(commands)),
        certainty,
    )
