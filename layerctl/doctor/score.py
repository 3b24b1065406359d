"""How well `doctor --from` names the causes of reports: `python -m layerctl.doctor.score FILE`.

FILE holds one report a line, as JSON: `command`, `mount_error`, `kernel_log`, `cause_id`,
`confidence`, and an `environment` whose notes say whether the report is benign.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from layerctl.doctor.reading.diagnose import read
from layerctl.model import Severity

#: What the counts must reach.
LOGGED_GOAL, ANY_GOAL = 0.90, 0.75


@dataclass(slots=True)
class Score:
    """The counts: reports of high confidence with a kernel log, all with text, benign ones."""

    logged: int = 0
    logged_found: int = 0
    told: int = 0
    told_found: int = 0
    benign: int = 0
    benign_failed: list[str] = field(default_factory=list)
    missed: list[str] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        """Whether every goal is reached."""
        return (
            self.logged_found >= LOGGED_GOAL * self.logged
            and self.told_found >= ANY_GOAL * self.told
            and not self.benign_failed
        )


def text_of(report: Mapping[str, Any]) -> str:
    """Return what a user would paste: the command, the error and the log lines alone."""
    log = report.get("kernel_log") or []
    lines = [log] if isinstance(log, str) else list(log)
    return "\n".join([report.get("command") or "", report.get("mount_error") or "", *lines])


def score(reports: Iterable[Mapping[str, Any]]) -> Score:
    """Feed every report to `--from` and count."""
    counts = Score()
    for report in reports:
        text = text_of(report)
        if not text.strip():
            continue
        findings = read(text).findings
        causes = [one.cause for one in findings]
        wanted = report["cause_id"]
        counts.told += 1
        if wanted in causes[:3]:
            counts.told_found += 1
        else:
            counts.missed.append(f"{report['id']}: {wanted}, not {', '.join(causes[:3]) or '-'}")
        if report.get("confidence") == "high" and report.get("kernel_log"):
            counts.logged += 1
            counts.logged_found += wanted in causes
        if _is_benign(report):
            counts.benign += 1
            if any(one.severity is Severity.FAILURE for one in findings):
                counts.benign_failed.append(report["id"])
    return counts


def _is_benign(report: Mapping[str, Any]) -> bool:
    environment = report.get("environment") or {}
    notes = environment.get("notes", "") if isinstance(environment, dict) else str(environment)
    return notes.startswith("outcome=benign") or report["cause_id"].startswith("benign-")


def main(arguments: list[str]) -> int:
    """Print the counts; return 0 where the goals are reached."""
    with open(arguments[0], encoding="utf-8") as file:
        counts = score(json.loads(line) for line in file if line.strip())
    lines = [
        f"high confidence with a kernel log: {counts.logged_found} of {counts.logged} named",
        f"any text: {counts.told_found} of {counts.told} among the first three",
        f"benign: {len(counts.benign_failed)} of {counts.benign} called a failure",
        *(f"  missed {one}" for one in counts.missed),
    ]
    sys.stdout.write("\n".join(lines) + "\n")
    return 0 if counts.passed else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
