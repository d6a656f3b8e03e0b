"""What is kept of a run, in sentences.

The rest of a plan is told in `explain.py`. INVARIANT: each level, payload and mask of a plan is told.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from policy.plan_audit import Kept, Level

if TYPE_CHECKING:
    from policy.plan_audit import Audit, Payload

_LEVELS = {
    Level.CALLS: "one record each",
    Level.SUMMARY: "one record for each target and decision, with exact counts",
    Level.COUNTS: "counted, without their targets",
}


def explain_audit(audit: Audit) -> list[str]:
    """What is recorded of calls, of the bytes they move, and what is blotted out."""
    lines = [
        f"Audit: calls are {_LEVELS[audit.level]}; what is refused, does not return or ends the run has a "
        f"record of its own{_payload(audit.payload)}."
        if audit.level is Level.COUNTS
        else f"Audit: calls have {_LEVELS[audit.level]}{_payload(audit.payload)}."
    ]
    groups: dict[str, list[str]] = {}
    for each in audit.calls:
        is_counted = each.level is Level.COUNTS
        said = f"{'are' if is_counted else 'have'} {_LEVELS[each.level]}{_payload(each.payload)}"
        groups.setdefault(said, []).append(each.call)
    lines += [f"  calls of {', '.join(names)} {said}" for said, names in groups.items()]
    if audit.mask:
        lines.append(f"Masked before it is stored: {', '.join(str(mask) for mask in audit.mask)}.")
    return lines


def _payload(payload: Payload) -> str:
    match payload.kept:
        case Kept.NONE:
            return ""
        case Kept.DIGEST:
            return "; of the bytes that are read and written a SHA-256 is kept"
        case Kept.HEAD:
            return f"; of the bytes that move a SHA-256 and the first {payload.head_bytes} are kept"
        case Kept.FULL:
            return "; the bytes that are read and written are kept"
