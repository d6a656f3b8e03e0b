"""The check for audit rules about calls that do not exist.

The calls are listed in `policy/calls.py`; rules that come too late are found by `dead_audit_rule.py`.
INVARIANT: every rule that passes is for at least one call.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from policy.audit_terms import calls_of
from policy.calls import CALLS
from policy.errors import closest, quoted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from policy.document import PolicyDocument
    from policy.errors import Finding

ID = "unknown-audit-call"
SUMMARY = "a rule of the audit is for no host call that there is"
WHY = "what it was meant for is recorded otherwise than its author thinks"


def check(document: PolicyDocument) -> Iterator[Finding]:
    """Yield a finding for each rule whose glob fits no call."""
    for index, rule in enumerate(document.model.audit.rules):
        if not calls_of(rule.call):
            path = ("audit", "rules", index, "call")
            near = closest(rule.call, [call.name for call in CALLS])
            suggestion = f"did you mean {quoted(near)}?" if near else ""
            problem = f"no host call is named {quoted(rule.call)}"
            yield document.source.finding(ID, path, problem=problem, suggestion=suggestion)
