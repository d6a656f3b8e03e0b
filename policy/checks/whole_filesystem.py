"""The check for grants of the whole file system.

What is refused whatever a policy says stands in `policy/builtin_denies.py`. A narrower root is
always possible, so this is a warning about the root and not about the rights.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from policy.errors import Severity
from policy.uris import Space, parse_allow

if TYPE_CHECKING:
    from collections.abc import Iterator

    from policy.document import PolicyDocument
    from policy.errors import Finding

ID = "whole-filesystem"
SUMMARY = "a rule grants everything from the root directory down"
WHY = "secrets lie in places that no list of denials knows"


def check(document: PolicyDocument) -> Iterator[Finding]:
    """Yield a warning for each allow rule with the URI `fs:///**`."""
    for index, allow in enumerate(document.model.permissions.storage.allow):
        target = parse_allow(allow.uri)
        if target.space is Space.HOST and not target.segments and not target.is_relative:
            path = ("permissions", "storage", "allow", index, "uri")
            finding = document.source.finding(ID, path, problem=f"the whole file system: {WHY}")
            yield replace(finding, severity=Severity.WARNING)
