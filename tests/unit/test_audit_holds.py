"""Holds come from events in any order; what can't be read holds everything, and only a release ends one."""

from __future__ import annotations

from contextlib import closing
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.catalogue import Catalogue
from audit.errors import FilterError, FormatError
from audit.events import ControlEvent
from audit.holds import Scope, holds_in_force, holds_of
from audit.identity import new_uuid
from audit.recovery import recover
from audit.store import Store
from audit.writer import AuditWriter
from sandbox.monitor.decode import decode


def event(word, at_ns=1, **details):
    return ControlEvent(event_id=str(new_uuid()), at_ns=at_ns, event=word, actor="a", details=details)


def test_a_hold_lasts_until_it_is_released_and_no_other_is():
    one, two = event("hold", 1, of_tenant="x", reason="why"), event("hold", 2, of_tenant="y", reason="")
    end = event("release", 3, hold=one.event_id)
    assert [hold.scope.tenant for hold in holds_of([two, one])] == ["x", "y"]
    assert [hold.scope.tenant for hold in holds_of([end, two, one])] == ["y"]
    assert holds_of([one])[0].reason == "why"
    assert len(holds_of([one, two, event("release", 3, hold="x"), event("release", 4)])) == 2


@pytest.mark.parametrize(
    "details", [{}, {"sha256": "00"}, {"of_tenant": 7}, {"of_tenant": "x", "from": "soon"}]
)
def test_a_hold_that_cannot_be_understood_holds_everything(details):
    (found,) = holds_of([event("hold", **details)])
    assert found.scope == Scope()


def test_details_come_back():
    scope = Scope(tenant="a\u202eb", from_ns=5, to_ns=6)
    (found,) = holds_of([event("hold", **cast("Any", scope.details()))])
    assert found.scope == scope


@pytest.mark.parametrize(
    "scope",
    [
        Scope(),
        Scope(tenant="a", module="sha256:ab"),
        Scope(module="ab"),
        Scope(execution="x"),
        Scope(tenant="a", from_ns=5, to_ns=5),
    ],
)
def test_a_scope_that_nobody_can_mean_is_refused(scope):
    with pytest.raises((FilterError, FormatError)):
        scope.check()
    Scope(tenant="a", from_ns=5, to_ns=6).check()


def test_a_hold_is_in_force_before_it_is_sealed_and_after(tmp_path):
    made = event("hold", of_tenant="x")
    with closing(AuditWriter(tmp_path)) as writer:
        writer.record_event(made)
        store = Store(tmp_path)
        catalogue = Catalogue(store)
        assert [one.hold_id for one in holds_in_force(store, catalogue)] == [made.event_id]
    recover(tmp_path, decode)
    assert [one.hold_id for one in holds_in_force(store, catalogue)] == [made.event_id]
    store.catalogue.unlink()  # the log itself knows
    assert [one.hold_id for one in holds_in_force(store, Catalogue(store))] == [made.event_id]


@given(st.permutations(range(6)))
def test_the_order_of_events_does_not_matter(order):
    held = [event("hold", at, of_tenant=str(at)) for at in range(4)]
    events = [*held, *(event("release", 9, hold=held[at].event_id) for at in (1, 2))]
    assert holds_of(events[at] for at in order) == holds_of(events)
