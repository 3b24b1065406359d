"""The catalogue of causes: why layered mounts fail or surprise, and what to do about it.

One table feeds `doctor`, the messages of `mount`, `explain`, `--list-checks` and the docs.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable

from layerctl.diagnosing.catalogue import (
    aufs,
    containers,
    failing,
    layers,
    machine,
    options,
    storage,
    surprises,
)
from layerctl.diagnosing.catalogue.cause import Cause
from layerctl.model import Finding, Fix, Severity

__all__ = ["CAUSES", "Cause", "Raw", "fill", "finding", "gravest_first"]

CAUSES: dict[str, Cause] = {
    **machine.CAUSES,
    **layers.CAUSES,
    **storage.CAUSES,
    **options.CAUSES,
    **surprises.CAUSES,
    **aufs.CAUSES,
    **containers.CAUSES,
    **failing.CAUSES,
}

_PLACE = re.compile(r"\{([a-z_]+)\}")
_ORDER = {Severity.FAILURE: 0, Severity.WARNING: 1, Severity.INFO: 2}


class Raw(str):
    """A value that is shell text already, and not quoted again."""

    __slots__ = ()


def fill(template: str, values: dict[str, str], *, quoted: bool = False) -> str:
    """Fill a template; a place without a value becomes its name in capitals.

    `quoted` makes the values words of a shell command.
    """

    def value(match: re.Match[str]) -> str:
        name = match[1]
        if name not in values:
            return name.upper()
        text = values[name]
        return shlex.quote(text) if quoted and not isinstance(text, Raw) else text

    return _PLACE.sub(value, template)


def finding(
    cause_id: str,
    evidence: Iterable[str] = (),
    *,
    severity: Severity | None = None,
    commands: Iterable[str] | None = None,
    fix: str | None = None,
    **values: str,
) -> Finding:
    """Return a finding of a cause of the catalogue, its fix filled with `values`.

    `severity`, `fix` and `commands` replace the catalogue's where a check knows better. Raises
    KeyError for a cause that the catalogue does not have.
    """
    cause = CAUSES[cause_id]
    lines = cause.commands if commands is None else tuple(commands)
    return Finding(
        cause.id,
        cause.severity if severity is None else severity,
        cause.title,
        cause.why,
        tuple(evidence),
        Fix(
            fill(cause.fix if fix is None else fix, values),
            tuple(
                fill(line, values, quoted=True)
                for line in lines
                if line != "{command}" or values.get("command")
            ),
        ),
    )


def gravest_first(findings: Iterable[Finding]) -> list[Finding]:
    """Return findings in the order of their severity, equal ones as they came."""
    return sorted(findings, key=lambda one: _ORDER[one.severity])
