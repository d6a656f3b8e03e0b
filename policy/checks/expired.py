"""The check that a policy still holds.

It runs where the caller hands in the time. The instant named in `metadata.expires` is the first at
which the policy does not hold any more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from policy.document import PolicyDocument
    from policy.errors import Finding

ID = "expired"
SUMMARY = "the time in `metadata.expires` has come"
WHY = "somebody wanted the policy to be looked at again before it is used longer"


def check(document: PolicyDocument, *, now_ns: int) -> Iterator[Finding]:
    """Yield a finding when the policy expired at or before `now_ns`."""
    expires = document.model.metadata.expires
    if expires is not None and now_ns >= expires:
        problem = "the policy has expired"
        suggestion = "have it reviewed, then set a later time"
        yield document.source.finding(ID, ("metadata", "expires"), problem=problem, suggestion=suggestion)
