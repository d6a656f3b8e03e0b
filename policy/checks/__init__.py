"""Checks of a document as a whole, listed by hand.

Each check is one file with an id, a summary, a reason and a function; types of single fields are
checked in `policy/fields.py`. A check only reads the document, and reports all it finds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from policy.checks import (
    environment_names,
    expired,
    match_missing,
    nested_grants,
    no_digest,
    not_enforceable_yet,
    nul_byte,
    unlimited,
    unused_right,
    whole_filesystem,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from policy.document import PolicyDocument
    from policy.errors import Finding

CHECKS = (
    not_enforceable_yet,
    nul_byte,
    environment_names,
    unlimited,
    no_digest,
    whole_filesystem,
    nested_grants,
    unused_right,
)
"""Checks of every document."""

SITUATIONAL_CHECKS = (match_missing, expired)
"""Checks that also depend on what the document is used for."""


def run_checks(document: PolicyDocument, *, now_ns: int | None, is_stored: bool) -> Iterator[Finding]:
    """Everything that the checks find in `document`."""
    for each in CHECKS:
        yield from each.check(document)
    if is_stored:
        yield from match_missing.check(document)
    if now_ns is not None:
        yield from expired.check(document, now_ns=now_ns)
