"""What can be known of a mount before it is made: checks over gathered facts. Pure."""

from __future__ import annotations

from layerctl.diagnosing.checks import check
from layerctl.diagnosing.checks.check import Report, When
from layerctl.diagnosing.checks.plan import CHECKS
from layerctl.kernel.facts import Facts
from layerctl.model import Finding, Stack


def run(stack: Stack, facts: Facts) -> Report:
    """Make every check that applies.

    A check that itself fails is a finding about doctor.
    """
    checks = [one for one in CHECKS if one.applies(stack, facts)]
    report = check.make(checks, facts.unknown, facts.caller.is_root, stack, facts)
    upper = None if stack.upper is None else facts.of(stack.upper)
    if upper is None or upper.error is None or upper.will_be_made:
        return report
    # of an upper directory that cannot be reached, most checks know nothing
    blind = {one.name for one in checks if When.UPPER in one.when}
    made = [one for one in report.checks if one.causes or one.name not in blind]
    return report._replace(checks=made)


def findings(stack: Stack, facts: Facts) -> list[Finding]:
    """Return everything that the facts tell against a mount, worst first."""
    return run(stack, facts).findings
