"""The check for limits that are lifted.

The limits and their defaults stand in `policy/schema.py`. Fuel is not counted unless a policy asks
for it, so lifting it is no finding.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from policy.errors import Severity
from policy.plan import UNLIMITED

if TYPE_CHECKING:
    from collections.abc import Iterator

    from policy.document import PolicyDocument
    from policy.errors import Finding

ID = "unlimited"
SUMMARY = "a limit is lifted with `unlimited`"
WHY = "one module can then use up the machine"


def check(document: PolicyDocument) -> Iterator[Finding]:
    """Yield a warning for each limit that is `unlimited`."""
    limits = document.model.resources.limits
    for name in sorted(limits.model_fields_set - {"fuel"}):
        if getattr(limits, name) == UNLIMITED:
            path = ("resources", "limits", name)
            finding = document.source.finding(ID, path, problem=f"no limit: {WHY}")
            yield replace(finding, severity=Severity.WARNING)
