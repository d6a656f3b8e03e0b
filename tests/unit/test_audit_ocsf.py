"""Every host call has a class and an activity of OCSF."""

from __future__ import annotations

import pytest

from audit.ocsf import UNKNOWN, Activity, activity
from policy.calls import CALLS


@pytest.mark.parametrize("call", [call.name for call in CALLS])
def test_every_call_has_one(call):
    found = activity(call)
    assert found != UNKNOWN
    assert found.class_uid in {1001, 1003, 1007, 4001}
    assert found.activity_id > 0


def test_a_call_that_nobody_knows_has_none():
    assert activity("fd_teleport") == UNKNOWN


def test_opening_may_be_creating():
    assert activity("path_open") == Activity(1001, 14)
    assert activity("path_open", is_creating=True) == Activity(1001, 1)
    assert activity("fd_read", is_creating=True) == activity("fd_read")


def test_a_refused_network_call_says_so():
    assert activity("sock_accept", is_refused=True) == Activity(4001, 5)
    assert activity("sock_accept") == Activity(4001, 1)
    assert activity("fd_read", is_refused=True) == activity("fd_read")
