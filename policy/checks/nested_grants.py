"""The check for grants that lie inside one another under different mounts.

Rules of one mount are put together by `policy/path_rules.py`, so they can't contradict each other. Two
mounts are two ways to one file, and each decides for itself.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from policy.errors import Severity, quoted
from policy.uris import Extent, Space, parse_allow

if TYPE_CHECKING:
    from collections.abc import Iterator

    from policy.document import PolicyDocument
    from policy.errors import Finding
    from policy.schema import StorageAllow

ID = "nested-grants"
SUMMARY = "a directory is granted twice, under two mounts, with different rights"
WHY = "a program reaches the inner one through the outer one, with the rights of the outer one"


def check(document: PolicyDocument) -> Iterator[Finding]:
    """Yield a warning for each grant that withholds what an outer mount gives at the same place."""
    grants = [
        (index, allow, parse_allow(allow.uri))
        for index, allow in enumerate(document.model.permissions.storage.allow)
    ]
    trees: dict[tuple[bool, tuple[str, ...]], list[StorageAllow]] = {}
    for _, allow, target in grants:
        if (
            target.space is Space.HOST
            and target.extent is Extent.TREE
            and not (allow.include or allow.exclude)
        ):
            trees.setdefault((target.is_relative, target.segments), []).append(allow)
    for index, inner, target in grants:
        if target.space is not Space.HOST:
            continue
        around = (
            outer
            for depth in range(len(target.segments))
            for outer in trees.get((target.is_relative, target.segments[:depth]), ())
        )
        for outer in around:
            more = [right for right in outer.access if right not in inner.access]
            if more and (inner.mount or inner.uri) != (outer.mount or outer.uri):
                path = ("permissions", "storage", "allow", index, "uri")
                finding = document.source.finding(
                    ID,
                    path,
                    problem=f"{quoted(outer.uri)} also grants {', '.join(more)} here: {WHY}",
                    suggestion="deny what nobody may do here with a rule in permissions.storage.deny",
                )
                yield replace(finding, severity=Severity.WARNING)
