"""The check that a stored policy says which modules it is for.

It runs for stored policies only: a policy that is handed to one run needs no `match`. A policy
matches by digest or by name; the other keys of `match` narrow that.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from policy.document import PolicyDocument
    from policy.errors import Finding

ID = "match-missing"
SUMMARY = "a stored policy has no `match` with a digest or a name"
WHY = "it would apply to every module, or to none"


def check(document: PolicyDocument) -> Iterator[Finding]:
    """Yield a finding when `match` names neither a digest nor a name."""
    match = document.model.match
    if match is None or not (match.digest or match.name):
        problem = "a stored policy needs `match` with a `digest` or a `name`"
        yield document.source.finding(ID, ("match",), problem=problem)
