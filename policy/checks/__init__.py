"""Checks of a document as a whole, listed by hand.

Each check is one file with an id, a summary, a reason and a function; types of single fields are
checked in `policy/fields.py`. A check only reads the document, and reports all it finds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from policy.checks import (
    dead_audit_rule,
    empty_access,
    environment_names,
    expired,
    leads_elsewhere,
    look_alike,
    match_missing,
    nested_grants,
    no_digest,
    not_enforceable_yet,
    nul_byte,
    plain_secret,
    relative_baseline,
    shadowed_mount,
    unknown_audit_call,
    unlimited,
    unlimited_payload,
    unused_right,
    walls_without_confinement,
    whole_filesystem,
    wildcard_egress,
    writable_root,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from policy.document import PolicyDocument
    from policy.errors import Finding

CHECKS = (
    empty_access,
    relative_baseline,
    nul_byte,
    environment_names,
    unlimited,
    no_digest,
    whole_filesystem,
    writable_root,
    wildcard_egress,
    nested_grants,
    shadowed_mount,
    unused_right,
    look_alike,
    plain_secret,
    unknown_audit_call,
    dead_audit_rule,
    unlimited_payload,
    walls_without_confinement,
)
"""Checks of every document."""

SITUATIONAL_CHECKS = (match_missing, expired, leads_elsewhere, not_enforceable_yet)
"""Checks that also depend on what the document is used for."""


def run_checks(document: PolicyDocument, *, now_ns: int | None, is_stored: bool) -> Iterator[Finding]:
    """Everything that the checks find in `document`."""
    for each in CHECKS:
        yield from each.check(document)
    if is_stored:
        yield from match_missing.check(document)
    if now_ns is not None:
        yield from expired.check(document, now_ns=now_ns)
