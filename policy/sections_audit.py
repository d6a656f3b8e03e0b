"""What the audit section of a document compiles to.

Its texts are read in `audit_terms.py`; the other sections are in `sections.py`. INVARIANT: what has no effect
is not in the plan: bytes are kept of single records only, so a call that is counted has no payload.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from policy.audit_terms import PAYLOAD_CALLS, calls_of, parse_mask, parse_payload
from policy.calls import CALLS
from policy.plan_audit import Audit, CallTerms, Level, Mask, Payload, Sync, Timestamps

if TYPE_CHECKING:
    from collections.abc import Iterator

    from policy.schema_run import AuditRule, AuditSection


def audit(section: AuditSection) -> Audit:
    """How the trail is kept."""
    level = Level(section.level)
    payload = parse_payload(section.payload) if level is Level.CALLS else Payload()
    return Audit(
        sync=Sync(section.sync),
        on_full_ms=section.on_full,
        timestamps=Timestamps(section.timestamps),
        retain_days=section.retain,
        level=level,
        payload=payload,
        mask=tuple(_masks(section)),
        calls=tuple(each for each in _calls(section) if (each.level, each.payload) != (level, payload)),
    )


def rule_of(section: AuditSection, call: str) -> AuditRule | None:
    """The rule that is for `call`: the first whose glob fits."""
    return next((rule for rule in section.rules if call in calls_of(rule.call)), None)


def _calls(section: AuditSection) -> Iterator[CallTerms]:
    default = parse_payload(section.payload)
    for call in CALLS:
        rule = rule_of(section, call.name)
        level = Level((rule.level if rule else None) or section.level)
        own = parse_payload(rule.payload) if rule and rule.payload else default
        if level is not Level.CALLS:
            own = Payload()
        elif call.name not in PAYLOAD_CALLS:
            own = default if Level(section.level) is Level.CALLS else Payload()
        yield CallTerms(call.name, level, own)


def _masks(section: AuditSection) -> Iterator[Mask]:
    """Each mask once; of two that fit the same paths the first counts, so their order stays."""
    seen = set[str]()
    for text in section.mask:
        mask = parse_mask(text)
        if mask is not None and mask.text not in seen:
            seen.add(mask.text)
            yield mask
