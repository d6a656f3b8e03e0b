"""The check that a baseline does not depend on the folder it lies in.

What `fs:./…` means in a policy is said in `policy/uris.py`. The rules of a baseline are used in documents of
other folders, so a path in them is absolute.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from policy.document import PolicyDocument
    from policy.errors import Finding
    from policy.places import Path

ID = "relative-baseline"
SUMMARY = "a baseline names a path relative to its own folder"
WHY = "a document in another folder extends it, and the path would mean another place there"


def check(document: PolicyDocument) -> Iterator[Finding]:
    """Yield a finding for each storage rule of a baseline that starts with `fs:./`."""
    if document.model.kind != "Baseline":
        return
    storage = document.model.permissions.storage
    uris = {"allow": [rule.uri for rule in storage.allow], "deny": [rule.uri for rule in storage.deny]}
    for key, found in uris.items():
        for index, uri in enumerate(found):
            if uri.startswith("fs:./"):
                path: Path = ("permissions", "storage", key, index, "uri")
                yield document.source.finding(ID, path, problem=f"a relative path: {WHY}")
