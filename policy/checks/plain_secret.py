"""The check for secrets that stand in a policy as they are.

How a secret is handed over instead is said in the reference of `permissions.environment`. INVARIANT: a
finding never repeats what it found, and no finding of the same document shows the line.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

from policy.errors import Severity

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from policy.document import PolicyDocument
    from policy.errors import Finding
    from policy.places import Path

ID = "plain-secret"
SUMMARY = "a value looks like a password, a key or a token"
WHY = "policies are read by many, kept for years and copied into audits"

_NAME = re.compile(
    r"(?:^|_)(?:PASSWORD|PASSWD|PASSPHRASE|SECRET|TOKEN|CREDENTIALS?|(?:API|ACCESS|PRIVATE|AUTH)_?KEY)(?:_|$)"
)
# Prefixes that issuers publish, so that scanners find what leaked.
_SHAPE = re.compile(
    r"-----BEGIN [A-Z ]*PRIVATE KEY|\bAKIA[0-9A-Z]{16}\b|\bgh[opsur]_[A-Za-z0-9]{36}|\bglpat-[\w-]{20}|"
    r"\bxox[abps]-[\w-]{10}|\bsk_live_\w{16}|\beyJ[\w-]{8,}\.[\w-]{8,}\.|://[^/\s:@]{1,64}:[^/\s:@]{1,64}@"
)
_DENSE = re.compile(r"[A-Za-z0-9+/_=-]{32,}")
_BITS = 4.2  # a character: random base64 has about 5 at this length, words and paths below 4
_SHORTEST = 6  # of what a telling name is set to: `on`, `none` and the like are no secrets


def check(document: PolicyDocument) -> Iterator[Finding]:
    """Yield a warning for each environment value or argument that looks like a secret."""
    for path, name, value in _values(document):
        named = bool(_NAME.search(name.upper())) and len(value) >= _SHORTEST and not value.isspace()
        if named or _SHAPE.search(value) or _is_dense(value):
            finding = document.source.finding(
                ID,
                path,
                problem=f"this looks like a secret: {WHY}",
                suggestion="put it into a file that a rule grants, outside the policy",
            )
            yield replace(finding, severity=Severity.WARNING, source_line="")


def without_secrets(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """The same findings, without the text of the lines in which a secret was found."""
    kept = tuple(findings)
    lines = {(each.file, each.line) for each in kept if each.id == ID}
    return tuple(replace(each, source_line="") if (each.file, each.line) in lines else each for each in kept)


def _values(document: PolicyDocument) -> Iterator[tuple[Path, str, str]]:
    permissions = document.model.permissions
    for index, allow in enumerate(permissions.environment.allow):
        yield ("permissions", "environment", "allow", index, "value"), allow.key, allow.value or ""
    for index, text in enumerate(permissions.args):
        name, _, value = text.lstrip("-").partition("=")
        yield ("permissions", "args", index), name.replace("-", "_"), value or ""
        if not value:
            yield ("permissions", "args", index), "", text


def _is_dense(value: str) -> bool:
    for found in _DENSE.findall(value[:4096]):
        counts = Counter(found)
        bits = -sum(n / len(found) * math.log2(n / len(found)) for n in counts.values())
        if bits > _BITS and not found.startswith("sha256"):
            return True
    return False
