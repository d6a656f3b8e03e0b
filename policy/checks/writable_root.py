"""The check for grants that change what a whole machine lives on.

Grants of the whole file system are found by `whole_filesystem.py`, whatever their rights. Only a host
directory right below the root is reported here: a deeper one was chosen by somebody.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from policy.errors import Severity
from policy.uris import Extent, Space, parse_allow

if TYPE_CHECKING:
    from collections.abc import Iterator

    from policy.document import PolicyDocument
    from policy.errors import Finding

ID = "writable-root"
SUMMARY = "a rule lets the module change everything below a top-level directory"
WHY = "programs, libraries and other people's files lie there"

_CHANGES = {"create", "write", "append", "delete", "symlink"}


def check(document: PolicyDocument) -> Iterator[Finding]:
    """Yield a warning for each allow rule that changes a tree of at most one segment."""
    for index, allow in enumerate(document.model.permissions.storage.allow):
        target = parse_allow(allow.uri)
        changes = [right for right in allow.access if right in _CHANGES]
        if (
            changes
            and target.space is Space.HOST
            and target.extent is Extent.TREE
            and not target.is_relative
            and len(target.segments) <= 1
            and not allow.include
        ):
            path = ("permissions", "storage", "allow", index, "uri")
            finding = document.source.finding(
                ID,
                path,
                problem=f"{', '.join(changes)} on a top-level directory: {WHY}",
                suggestion="grant a directory made for this module, or scratch with tmp://name",
            )
            yield replace(finding, severity=Severity.WARNING)
