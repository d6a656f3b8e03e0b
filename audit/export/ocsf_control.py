"""Events of OCSF 1.9 about the log itself: what was done to it and to the policies, and what it lost.

Host calls are `ocsf_events.py`. Who writes such events is `audit.events`; only their fields are needed here.
INVARIANT: every word of an event has a class, and an unknown one is an activity that names itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from audit.export.ocsf_events import SEVERITIES, Source, classification, product
from audit.export.ocsf_objects import Object
from audit.ocsf import OTHER, EventClass
from audit.times import to_rfc3339

_MS = 1_000_000
_HIGH, _LOW, _USUAL = 4, 2, 1

_LOG = {
    "audit-on": 9,
    "audit-off": 10,
    "export": 3,
    "prune": 2,
    "read": OTHER,
    "hold": OTHER,
    "release": OTHER,
    "disk": OTHER,
    "damage": OTHER,
}
_ENTITIES = {"policy": (5, "Policy"), "key": (99, "Signing Key")}
_UPDATE = 3
_ACTIVITIES = {"create": 1, "update": 3, "delete": 4}
_SEVERITY = {"audit-off": _HIGH, "damage": _HIGH, "disk": _HIGH, "prune": _LOW, "key": _LOW}


class Control(Protocol):
    """What is told of an event: `audit.events.ControlEvent`."""

    @property
    def event_id(self) -> str:
        """Its name, a UUID."""
        ...

    @property
    def at_ns(self) -> int:
        """When it was, nanoseconds since 1970 UTC."""
        ...

    @property
    def event(self) -> str:
        """What it was, a word."""
        ...

    @property
    def actor(self) -> str:
        """Who did it."""
        ...

    @property
    def tenant(self) -> str | None:
        """Whose data it was about."""
        ...

    @property
    def details(self) -> Mapping[str, str | int | None]:
        """What else is known."""
        ...


def control_event(found: Control, source: Source) -> Object:
    """Give the OCSF event of a control event."""
    if found.event in _ENTITIES:
        kind, activity = EventClass.ENTITY, _ACTIVITIES.get(str(found.details.get("action")), _UPDATE)
    else:
        kind, activity = EventClass.EVENT_LOG, _LOG.get(found.event, OTHER)
    made = _base(kind, activity, found.event, severity=_SEVERITY.get(found.event, _USUAL))
    made |= {
        "time": found.at_ns // _MS,
        "status_id": 1,
        "status": "Success",
        "message": f"{found.event} by {found.actor}",
    }
    made["metadata"] = _metadata(source, found.event_id, found.at_ns, found.tenant)
    made["actor"] = {"user": {"name": found.actor}}
    made |= _entity(found) if kind is EventClass.ENTITY else {"log_name": "audit", "log_provider": "wasmgate"}
    details: Object = {
        key: str(value) if isinstance(value, int) else value
        for key, value in sorted(found.details.items())
        if value is not None
    }
    return made | {"unmapped": {"event": found.event, "at_ns": str(found.at_ns), "details": details}}


def gap_event(
    source: Source,
    *,
    exec_id: str | None,
    first_seq: int | None,
    last_seq: int | None,
    reason: str,
    at_ns: int,
) -> Object:
    """Give the OCSF event of records that are missing from the log; None: not known."""
    made = _base(EventClass.EVENT_LOG, OTHER, "gap", severity=_HIGH)
    made |= {
        "time": at_ns // _MS,
        "status_id": 2,
        "status": "Failure",
        "status_detail": reason,
        "message": f"records are missing from the audit log: {reason}",
    }
    ends = ":".join("unknown" if number is None else str(number) for number in (first_seq, last_seq))
    uid = f"gap:{exec_id or 'unknown'}:{ends}"
    made["metadata"] = _metadata(source, uid, at_ns, None)
    if exec_id is not None:
        made["metadata"] = _metadata(source, uid, at_ns, None) | {"correlation_uid": exec_id}
    made |= {"log_name": "audit", "log_provider": "wasmgate"}
    numbers = {"first": first_seq, "last": last_seq}
    known = {name: str(value) for name, value in numbers.items() if value is not None}
    return made | {"unmapped": {"event": "gap", "at_ns": str(at_ns), **known}}


def _base(kind: EventClass, activity: int, word: str, *, severity: int) -> Object:
    found = classification(kind, activity, word)
    return found | {"severity_id": severity, "severity": SEVERITIES[severity], "timezone_offset": 0}


def _metadata(source: Source, uid: str, at_ns: int, tenant: str | None) -> Object:
    found = product(source) | {"uid": uid, "original_time": to_rfc3339(at_ns), "profiles": ["host"]}
    return found if tenant is None else found | {"tenant_uid": tenant}


def _entity(found: Control) -> Object:
    code, caption = _ENTITIES[found.event]
    named = found.details.get("policy") or found.details.get("name") or found.details.get("new")
    entity: Object = {"type_id": code, "type": caption, "uid": str(named or found.event_id)}
    return {"entity": entity}
