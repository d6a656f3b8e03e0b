"""Which policy is in force is on record before a run goes on under it, and only when it is another one."""

from __future__ import annotations

import threading
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import pytest

from api.audit_desk import KnownEvent
from api.in_force import PoliciesInForce
from audit.errors import WriteError

if TYPE_CHECKING:
    from sandbox.order import Order


def order(*, name="stored", digest="sha256:1", tenant="acme"):
    plan = SimpleNamespace(name=name, policy_digest=digest, plan_digest="sha256:plan")
    return cast("Order", SimpleNamespace(tenant=tenant, plan=plan))


def known(*, at_ns, digest, name="stored", tenant="acme"):
    details = {"name": name, "digest": digest}
    return KnownEvent(
        event_id="e", at_ns=at_ns, event="policy", actor="a", tenant=tenant, details=details, leaf=None
    )


def noted(of, found, *orders):
    found.clear()
    for each in orders:
        of.note(each)
    return [
        (each.tenant, each.details["name"], each.details["digest"], each.details["before"]) for each in found
    ]


@pytest.fixture
def found():
    return []


def test_the_first_run_under_a_policy_is_on_record_and_the_next_ones_are_not(found):
    of = PoliciesInForce(tuple, found.append)
    assert noted(of, found, order(), order(), order()) == [("acme", "stored", "sha256:1", None)]
    assert (found[0].event, found[0].details["plan"]) == ("policy", "sha256:plan")


def test_a_change_and_a_change_back_are_on_record_with_what_was_before(found):
    of = PoliciesInForce(tuple, found.append)
    said = noted(of, found, order(), order(digest="sha256:2"), order())
    assert [each[2:] for each in said] == [
        ("sha256:1", None),
        ("sha256:2", "sha256:1"),
        ("sha256:1", "sha256:2"),
    ]


def test_each_tenant_and_each_name_has_a_policy_of_its_own(found):
    of = PoliciesInForce(tuple, found.append)
    orders = (order(), order(tenant="globex"), order(name="other"), order())
    assert [each[:2] for each in noted(of, found, *orders)] == [
        ("acme", "stored"),
        ("globex", "stored"),
        ("acme", "other"),
    ]


def test_after_a_restart_the_newest_event_on_record_counts_in_whatever_order_they_come(found):
    events = (
        known(at_ns=3, digest="sha256:3"),
        known(at_ns=9, digest="sha256:9"),
        known(at_ns=1, digest="sha256:1"),
    )
    of = PoliciesInForce(lambda: events, found.append)
    assert noted(of, found, order(digest="sha256:9")) == []
    assert noted(of, found, order(digest="sha256:3")) == [("acme", "stored", "sha256:3", "sha256:9")]


def test_what_could_not_be_put_on_record_stops_the_run_and_is_tried_again_with_the_next(found):
    is_full = [True]

    def record(event):
        if is_full[0]:
            raise WriteError(Path("log"), "the disk is full")
        found.append(event)

    of = PoliciesInForce(tuple, record)
    with pytest.raises(WriteError):
        of.note(order())
    is_full[0] = False
    assert len(noted(of, found, order())) == 1


def test_what_is_on_record_is_asked_for_once_and_again_after_it_could_not_be_read(found):
    asked = []

    def events():
        asked.append(1)
        if len(asked) == 1:
            raise WriteError(Path("log"), "it cannot be read")
        return (known(at_ns=1, digest="sha256:1"),)

    of = PoliciesInForce(events, found.append)
    with pytest.raises(WriteError):
        of.note(order())
    assert noted(of, found, order(), order(digest="sha256:2")) == [("acme", "stored", "sha256:2", "sha256:1")]
    assert len(asked) == 2


def test_of_many_runs_that_begin_together_one_puts_it_on_record(found):
    of, begin = PoliciesInForce(tuple, found.append), threading.Barrier(8)

    def run():
        begin.wait(10)
        of.note(order())

    threads = [threading.Thread(target=run) for _ in range(8)]
    for each in threads:
        each.start()
    for each in threads:
        each.join(10)
    assert len(found) == 1
