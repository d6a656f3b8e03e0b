"""The check for host paths that a symbolic link leads elsewhere.

What links a guest meets is the monitor's matter; here it is the path in the policy itself. Nothing in
this package looks at a disk: the caller says where a path leads, or does not ask.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from policy.errors import Severity, quoted
from policy.uris import Space, parse_allow

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from policy.document import PolicyDocument
    from policy.errors import Finding

ID = "leads-elsewhere"
SUMMARY = "a host path that is granted goes through a symbolic link"
WHY = "what is granted is what the link points to on the day of the run, not what was reviewed"


def check(
    document: PolicyDocument, *, base_dir: str, real_path: Callable[[str], str | None]
) -> Iterator[Finding]:
    """Yield a warning for each granted path whose `real_path` is another one; None: there is nothing yet."""
    for index, allow in enumerate(document.model.permissions.storage.allow):
        target = parse_allow(allow.uri)
        if target.space is not Space.HOST or "${" in allow.uri:
            continue
        written = target.host_path(base_dir)
        real = real_path(written)
        if real is not None and real != written:
            path = ("permissions", "storage", "allow", index, "uri")
            finding = document.source.finding(
                ID,
                path,
                problem=f"a link leads from {quoted(written)} to {quoted(real)}: {WHY}",
                suggestion="write the path that it leads to",
            )
            yield replace(finding, severity=Severity.WARNING)
