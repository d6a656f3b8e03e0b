"""The check for NUL bytes in what a program is given.

Names of environment variables are checked in `environment_names.py`. It looks at values only, and
never changes them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from policy.document import PolicyDocument
    from policy.errors import Finding

ID = "nul-byte"
SUMMARY = "an argument or an environment value holds a NUL byte"
WHY = "the guest would see the text cut off at the NUL, without a word"


def check(document: PolicyDocument) -> Iterator[Finding]:
    """Yield a finding for each argument and value with a NUL byte in it."""
    permissions = document.model.permissions
    for index, text in enumerate(permissions.args):
        if "\0" in text:
            yield document.source.finding(ID, ("permissions", "args", index), problem=f"a NUL byte: {WHY}")
    for index, allow in enumerate(permissions.environment.allow):
        if allow.value is not None and "\0" in allow.value:
            path = ("permissions", "environment", "allow", index, "value")
            yield document.source.finding(ID, path, problem=f"a NUL byte: {WHY}")
