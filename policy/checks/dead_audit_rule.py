"""The check for audit rules, and payloads, that have no effect.

Rules about files that decide nothing are found by `policy/dead_rules.py`, and names that no call has by
`unknown_audit_call.py`. INVARIANT: a rule that is reported can be taken away without any change to the plan.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from policy.audit_terms import PAYLOAD_CALLS, calls_of
from policy.errors import Severity

if TYPE_CHECKING:
    from collections.abc import Iterator

    from policy.document import PolicyDocument
    from policy.errors import Finding
    from policy.places import Path
    from policy.schema_run import AuditRule

ID = "dead-audit-rule"
SUMMARY = "a rule of the audit, or what it says of payloads, has no effect"
WHY = "a reader takes the trail for more, or for less, than it is"


def check(document: PolicyDocument) -> Iterator[Finding]:
    """Yield a warning for each rule that comes too late, and for each payload that nothing is kept of."""
    audit = document.model.audit
    taken = set[str]()
    for index, rule in enumerate(audit.rules):
        path: Path = ("audit", "rules", index)
        own = frozenset(calls_of(rule.call)) - taken
        problem = _problem(rule, own, audit.level)
        if problem and calls_of(rule.call):
            place: Path = (*path, "payload" if own else "call")
            finding = document.source.finding(ID, place, problem=f"dead rule: {problem}")
            yield replace(finding, severity=Severity.WARNING)
        taken |= own
    is_kept = (
        audit.payload == "none" or audit.level == "calls" or any(r.level == "calls" for r in audit.rules)
    )
    if not is_kept:
        problem = f"no bytes are kept at the level {audit.level}"
        yield replace(
            document.source.finding(ID, ("audit", "payload"), problem=problem), severity=Severity.WARNING
        )


def _problem(rule: AuditRule, own: frozenset[str], level: str) -> str:
    if not own:
        return "rules before it are for all the calls that it is for"
    if rule.payload in {None, "none"}:
        return ""
    if (rule.level or level) != "calls":
        return f"no bytes are kept at the level {rule.level or level}"
    return "" if own & set(PAYLOAD_CALLS) else "these calls move no bytes that could be kept"
