"""The check for names of environment variables.

Values are checked in `nul_byte.py`. A name that passes is one that every C library reads back as
it was given.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from policy.errors import quoted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from policy.document import PolicyDocument
    from policy.errors import Finding

ID = "environment-name"
SUMMARY = "the name of an environment variable is empty, holds `=` or NUL, or stands twice"
WHY = "the engine hands such names on as they are, and programs read something else out of them"


def check(document: PolicyDocument) -> Iterator[Finding]:
    """Yield a finding for each name that a program would misread."""
    seen: set[str] = set()
    for index, allow in enumerate(document.model.permissions.environment.allow):
        path = ("permissions", "environment", "allow", index, "key")
        expected = ""
        if not allow.key or "=" in allow.key or "\0" in allow.key:
            expected = "a name without `=` and NUL that is not empty"
        elif "*" in allow.key or "?" in allow.key:
            expected = "one name: wildcards are not granted"
        if expected:
            yield document.source.finding(ID, path, expected=expected, found=quoted(allow.key))
        elif allow.key in seen:
            yield document.source.finding(ID, path, problem=f"the variable {quoted(allow.key)} is set twice")
        seen.add(allow.key)
