"""Filters say what is wrong with them, and cursors belong to one query."""

from __future__ import annotations

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.errors import FilterError
from audit.filters import Position, RecordFilter, time_filter
from audit.identity import new_execution_id

HERE = Position(t_ns=-5, exec_id=new_execution_id(), seq=7)


@given(st.integers(-(2**63), 2**63 - 1), st.integers(0, 2**63 - 1), st.sampled_from([None, "a\udcff", "/x"]))
def test_a_cursor_comes_back(t_ns, seq, prefix):
    here = Position(t_ns=t_ns, exec_id=new_execution_id(), seq=seq)
    assert RecordFilter(path_prefix=prefix).after(here).position() == here


def test_no_cursor_is_no_position():
    assert RecordFilter().position() is None


def test_a_cursor_may_go_on_with_another_limit_but_with_no_other_filter():
    cursor = RecordFilter(decision="deny").after(HERE).cursor
    assert RecordFilter(decision="deny", limit=3, cursor=cursor).position() == HERE
    for other in (
        RecordFilter(decision="allow", cursor=cursor),
        RecordFilter(decision="deny", ascending=True, cursor=cursor),
        RecordFilter(cursor=cursor),
    ):
        with pytest.raises(FilterError, match="cursor"):
            other.position()


def cursor_of(value):
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


DIGEST = RecordFilter()._digest()
ID = HERE.exec_id


@pytest.mark.parametrize(
    "cursor",
    [
        "",
        "!",
        "a",
        "é",
        cursor_of([]),
        cursor_of({}),
        cursor_of({"v": 2, "f": DIGEST, "k": [1, ID, 2]}),
        cursor_of({"v": 1, "f": DIGEST, "k": [1, ID]}),
        cursor_of({"v": 1, "f": DIGEST, "k": [1, "x", 2]}),
        cursor_of({"v": 1, "f": DIGEST, "k": ["1", ID, 2]}),
        cursor_of({"v": 1, "f": DIGEST, "k": [True, ID, 2]}),
        cursor_of({"v": 1, "f": DIGEST, "k": [2**63, ID, 2]}),
        cursor_of({"v": 1, "f": DIGEST, "k": [1, ID, 2], "more": 1}),
        base64.urlsafe_b64encode(b"[" * 5000).decode(),
    ],
)
def test_a_cursor_that_was_not_given_out_is_refused(cursor):
    with pytest.raises(FilterError, match="cursor"):
        RecordFilter(cursor=cursor).position()


def test_its_well_formed_twin_is_taken():
    assert RecordFilter(cursor=cursor_of({"v": 1, "f": DIGEST, "k": [1, ID, 2]})).position() == Position(
        t_ns=1, exec_id=ID, seq=2
    )


@given(st.text(max_size=40))
def test_any_text_as_a_cursor_is_refused_with_the_same_error(text):
    with pytest.raises(FilterError):
        RecordFilter(cursor=text).position()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("execution", "x"),
        ("decision", "DENY"),
        ("limit", 0),
        ("limit", 10_001),
        ("from_ns", 2**63),
        ("to_ns", -(2**63) - 1),
        ("call", "x" * 9000),
        ("path_prefix", "x" * 9000),
    ],
)
def test_a_wrong_value_is_refused_by_name(field, value):
    with pytest.raises(FilterError, match=field):
        RecordFilter(**{field: value})


def test_one_execution_is_read_forwards_and_a_log_backwards():
    assert RecordFilter(execution=ID).is_ascending
    assert not RecordFilter().is_ascending
    assert not RecordFilter(execution=ID, ascending=False).is_ascending


def test_times_are_read_and_refused_by_name():
    assert time_filter("from", "1970-01-01T00:00:01Z") == time_filter("from", "1000000000") == 10**9
    with pytest.raises(FilterError, match="from"):
        time_filter("from", "yesterday")
