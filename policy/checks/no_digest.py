"""The check for policies that name their modules by name only.

That a stored policy says what it is for at all is checked in `match_missing.py`. A digest is the
only name that a module can't choose for itself, so one that is labelled untrusted needs it.
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
    """Yield a finding when `match` has no digest.

    An error for a module that is labelled untrusted, and for one that is to be trusted with a process.
    """
    match = document.model.match
    if document.model.runtime.isolation == "in-process" and (match is None or not match.digest):
        problem = "a module with the isolation in-process is one that was reviewed, and no digest names it"
        suggestion = "add match.digest: [sha256:…] of what was reviewed, or write `isolation: confined`"
        yield document.source.finding(ID, ("runtime", "isolation"), problem=problem, suggestion=suggestion)
    if match is None or match.digest:
        return
    finding = document.source.finding(ID, ("match",), problem=f"no digest: {WHY}")
    if document.model.metadata.labels.get("trust") == "untrusted":
        problem = "the module is labelled `trust: untrusted` and has no digest: " + WHY
        yield replace(
            finding, problem=problem, suggestion="add match.digest: [sha256:…] of what was reviewed"
        )
    else:
        yield replace(finding, severity=Severity.WARNING)
