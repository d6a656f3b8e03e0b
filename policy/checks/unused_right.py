"""The check for rights that can't be used where they are granted.

Rules that decide nothing at all are found by `policy/compiler.py`. Only what is plain from one
rule is reported here.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from policy.errors import Severity
from policy.uris import Extent, parse_allow

if TYPE_CHECKING:
    from collections.abc import Iterator

    from policy.document import PolicyDocument
    from policy.errors import Finding

ID = "unused-right"
SUMMARY = "a rule for one file grants `list`, or a right stands twice"
WHY = "a reader takes it for more than it is"


def check(document: PolicyDocument) -> Iterator[Finding]:
    """Yield a warning for each right that has no use."""
    for index, allow in enumerate(document.model.permissions.storage.allow):
        for position, right in enumerate(allow.access):
            path = ("permissions", "storage", "allow", index, "access", position)
            problem = ""
            if right in allow.access[:position]:
                problem = f"{right} stands here for the second time"
            elif right == "list" and parse_allow(allow.uri).extent is Extent.FILE:
                problem = "one file has nothing to list; for a directory, end the uri in /**"
            if problem:
                finding = document.source.finding(ID, path, problem=problem)
                yield replace(finding, severity=Severity.WARNING)
