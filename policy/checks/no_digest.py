"""The check for policies that name their modules by name only.

That a stored policy says what it is for at all is checked in `match_missing.py`. A digest is the
only name that a module can't choose for itself.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from policy.errors import Severity

if TYPE_CHECKING:
    from collections.abc import Iterator

    from policy.document import PolicyDocument
    from policy.errors import Finding

ID = "no-digest"
SUMMARY = "`match` names no digest"
WHY = "whoever can upload a module under that name gets these rights"


def check(document: PolicyDocument) -> Iterator[Finding]:
    """Yield a warning when `match` is there without a digest."""
    match = document.model.match
    if match is not None and not match.digest:
        finding = document.source.finding(ID, ("match",), problem=f"no digest: {WHY}")
        yield replace(finding, severity=Severity.WARNING)
