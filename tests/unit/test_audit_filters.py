"""Filters say what is wrong with them."""

from __future__ import annotations

import pytest

from audit.errors import FilterError
from audit.filters import RecordFilter, time_filter
from audit.identity import ExecutionId

ID = ExecutionId("019b0000-0000-7000-8000-000000000001")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("execution", "x"),
        ("decision", "DENY"),
        ("limit", 0),
        ("limit", 10_001),
        ("from_ns", 2**63),
        ("to_ns", -(2**63) - 1),
        ("errno", 2**63),
        ("min_bytes", 2**63),
        ("call", "x" * 9000),
        ("path_prefix", "x" * 9000),
        ("path_glob", "x" * 9000),
        ("tenant", "x" * 9000),
        ("tenants", ("x",) * 1001),
        ("fields", ()),
        ("fields", ("seq", "password")),
        ("fields", ('seq" FROM tail; --',)),
        ("q", "1 = 1"),
        ("addr", "10.0.0.1"),
        ("port", 443),
    ],
)
def test_a_wrong_value_is_refused_by_name(field, value):
    with pytest.raises(FilterError, match=field):
        RecordFilter(**{field: value})


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("execution", ID), ("decision", "deny"), ("limit", 10_000), ("from_ns", 2**63 - 1), ("errno", -1),
        ("min_bytes", 0), ("call", "x" * 8192), ("tenants", ()), ("fields", ("seq", "call")), ("q", "errno = 1"),
    ],
)  # fmt: skip
def test_its_twin_is_taken(field, value):
    assert getattr(RecordFilter(**{field: value}), field) == value


def test_addresses_are_refused_as_long_as_no_record_has_one():
    with pytest.raises(FilterError, match="no record has an address yet"):
        RecordFilter(port=0)


def test_a_scope_is_never_widened():
    assert RecordFilter().scope is None
    assert RecordFilter(tenant="a").scope == ("a",)
    assert RecordFilter(tenants=("b", "a")).scope == ("a", "b")
    assert RecordFilter(tenant="a", tenants=("a", "b")).scope == ("a",)
    assert RecordFilter(tenant="c", tenants=("a", "b")).scope == ()
    assert RecordFilter(tenant="c", tenants=()).scope == ()


def test_only_refusals_are_wanted_where_nothing_else_can_match():
    assert RecordFilter(decision="deny").wants_refusals_only
    assert RecordFilter(q="decision in ('deny', 'limit') and errno = 76").wants_refusals_only
    assert not RecordFilter(decision="allow").wants_refusals_only
    assert not RecordFilter(q="decision = 'deny' or errno = 76").wants_refusals_only
    assert not RecordFilter(q="not decision = 'deny'").wants_refusals_only
    assert not RecordFilter().wants_refusals_only


def test_one_execution_is_read_forwards_and_a_log_backwards():
    assert RecordFilter(execution=ID).is_ascending
    assert not RecordFilter().is_ascending
    assert not RecordFilter(execution=ID, ascending=False).is_ascending


def test_times_are_read_and_refused_by_name():
    assert time_filter("from", "1970-01-01T00:00:01Z") == time_filter("from", "1000000000") == 10**9
    with pytest.raises(FilterError, match="from"):
        time_filter("from", "yesterday")
