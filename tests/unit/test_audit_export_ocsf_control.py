"""The log's own events are events that the schema admits."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from audit.export.ocsf_control import control_event, gap_event
from audit.export.ocsf_events import Source
from tests import ocsf_schema
from tests.export_rows import T0, Row

WORDS = {
    "audit-on": (1008, 9), "audit-off": (1008, 10), "policy": (3004, 3), "read": (1008, 99), "export": (1008, 3), "prune": (1008, 2),
    "hold": (1008, 99), "release": (1008, 99), "key": (3004, 3), "disk": (1008, 99), "damage": (1008, 99), "something new": (1008, 99),
}  # fmt: skip


@dataclass(frozen=True)
class Event:
    event: str
    event_id: str = "01a1ee56-5e00-7000-8000-00000000000a"
    at_ns: int = T0
    actor: str = "user:ada(1000)"
    tenant: str | None = "acme"
    details: dict[str, str | int | None] = field(
        default_factory=lambda: {"policy": "p1", "rows": 1 << 60, "none": None}
    )


@pytest.mark.parametrize("word", WORDS)
@pytest.mark.parametrize("tenant", [None, "acme"])
def test_each_word_has_a_class_and_is_admitted(word, tenant):
    found: Row = control_event(Event(word, tenant=tenant), Source())
    assert ocsf_schema.faults(found) == []
    assert (found["class_uid"], found["activity_id"]) == WORDS[word]
    assert found["unmapped"]["event"] == word
    assert found["unmapped"]["details"] == {"policy": "p1", "rows": str(1 << 60)}
    assert found["metadata"].get("tenant_uid") == tenant


@pytest.mark.parametrize(("action", "activity"), [("create", 1), ("update", 3), ("delete", 4), ("else", 3)])
def test_a_policy_is_created_changed_or_deleted(action, activity):
    found: Row = control_event(Event("policy", details={"action": action}), Source())
    assert found["activity_id"] == activity
    assert ocsf_schema.faults(found) == []


def test_an_event_without_its_log_is_refused_and_one_with_it_is_not():
    found: Row = control_event(Event("export"), Source())
    assert (
        ocsf_schema.faults({key: value for key, value in found.items() if not key.startswith("log_")}) != []
    )
    assert ocsf_schema.faults({key: value for key, value in found.items() if key != "log_name"}) == []


@pytest.mark.parametrize("exec_id", [None, "01a1ee56-5e00-7000-8000-000000000000"])
@pytest.mark.parametrize("first", [None, 7])
def test_a_gap_is_an_event_of_high_severity(exec_id, first):
    found: Row = gap_event(
        Source(), exec_id=exec_id, first_seq=first, last_seq=None, reason="disk full", at_ns=T0
    )
    assert ocsf_schema.faults(found) == []
    assert (found["severity_id"], found["status_id"]) == (4, 2)
    assert found["metadata"].get("correlation_uid") == exec_id
