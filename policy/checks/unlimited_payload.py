"""The check for trails that keep all bytes of calls that nothing limits.

Limits that are lifted are found by `unlimited.py`. How much of one call is kept at most is known to the
monitor; here it is about how many calls there may be.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from policy.audit_terms import PAYLOAD_CALLS
from policy.errors import Severity
from policy.plan import UNLIMITED
from policy.plan_audit import Kept
from policy.sections_audit import audit

if TYPE_CHECKING:
    from collections.abc import Iterator

    from policy.document import PolicyDocument
    from policy.errors import Finding

ID = "unlimited-payload"
SUMMARY = "all bytes are kept, and nothing limits how many calls move some"
WHY = "one module can then fill the disk of the log"


def check(document: PolicyDocument) -> Iterator[Finding]:
    """Yield a warning where `full` meets a number of host calls without a limit."""
    model = document.model
    terms = audit(model.audit)
    is_full = any(terms.terms(call).payload.kept is Kept.FULL for call in PAYLOAD_CALLS)
    if is_full and model.resources.limits.host_calls == UNLIMITED:
        problem = f"payload full, and resources.limits.host_calls is unlimited: {WHY}"
        finding = document.source.finding(ID, ("audit", "payload"), problem=problem)
        yield replace(finding, severity=Severity.WARNING)
