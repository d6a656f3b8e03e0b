"""The check for storage rules that grant no right.

Their types are in `policy/schema.py`. A rule without rights mounts its directory and grants nothing in it,
which makes sense only where every refusal is wanted on record.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from policy.document import PolicyDocument
    from policy.errors import Finding

ID = "empty-access"
SUMMARY = "a storage rule grants no right, and the mode is not `learn`"
WHY = "a rule that grants nothing is a slip, unless what is refused there is to be learned"


def check(document: PolicyDocument) -> Iterator[Finding]:
    """Yield a finding for each grant without a right."""
    if document.model.mode == "learn":
        return
    for index, allow in enumerate(document.model.permissions.storage.allow):
        if not allow.access:
            path = ("permissions", "storage", "allow", index, "access")
            expected = "a list with something in it"
            yield document.source.finding(ID, path, expected=expected, found="an empty list")
