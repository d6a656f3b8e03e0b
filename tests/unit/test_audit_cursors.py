"""Cursors belong to one filter, one scope and one key, and nobody makes or moves one."""

from __future__ import annotations

import base64
import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.cursors import KEY_BYTES, MAX_LIVE, Cursors, Mark, Position, Snapshot
from audit.errors import FilterError
from audit.filters import RecordFilter
from audit.identity import new_execution_id

ID = new_execution_id()
MARK = Mark(Position(t_ns=-5, exec_id=ID, seq=7), Snapshot(9, ((ID, 3), (new_execution_id(), -1))))
OURS = Cursors(b"k" * KEY_BYTES)
INT64 = st.integers(-(2**63), 2**63 - 1)


def given_out(wanted: RecordFilter, cursors: Cursors = OURS) -> RecordFilter:
    return replace(wanted, cursor=cursors.make(wanted, MARK))


@given(INT64, INT64, INT64, st.lists(INT64, max_size=MAX_LIVE), st.sampled_from([None, "a\udcff", "/x"]))
def test_a_cursor_comes_back(t_ns, seq, horizon, live, prefix):
    wanted = RecordFilter(path_prefix=prefix)
    mark = Mark(
        Position(t_ns=t_ns, exec_id=ID, seq=seq),
        Snapshot(horizon, tuple((new_execution_id(), one) for one in live), 7),
    )
    assert OURS.read(replace(wanted, cursor=OURS.make(wanted, mark))) == mark


def test_no_cursor_is_no_mark():
    assert OURS.read(RecordFilter()) is None


def test_a_cursor_goes_on_with_another_limit_and_other_columns():
    cursor = given_out(RecordFilter(decision="deny")).cursor
    assert OURS.read(RecordFilter(decision="deny", limit=3, fields=("seq",), cursor=cursor)) == MARK


@pytest.mark.parametrize(
    "changes",
    [
        {"decision": "allow"}, {"ascending": True}, {"decision": None}, {"tenant": "other"}, {"tenants": None},
        {"tenants": ("mine", "other")}, {"tenants": ("other",)}, {"q": "errno = 1"}, {"from_ns": 1},
    ],
)  # fmt: skip
def test_a_cursor_cannot_be_moved_to_another_filter_or_tenant(changes):
    own = given_out(RecordFilter(decision="deny", tenants=("mine",)))
    assert OURS.read(own) == MARK
    with pytest.raises(FilterError, match="cursor"):
        OURS.read(replace(own, **changes))


def test_a_scope_is_the_same_in_any_order_and_however_it_is_said():
    cursor = given_out(RecordFilter(tenants=("a", "b"))).cursor
    assert OURS.read(RecordFilter(tenants=("b", "a", "b"), cursor=cursor)) == MARK
    cursor = given_out(RecordFilter(tenant="a")).cursor
    assert OURS.read(RecordFilter(tenants=("a",), cursor=cursor)) == MARK


def test_a_cursor_of_another_key_is_refused():
    own = given_out(RecordFilter())
    assert Cursors(b"k" * KEY_BYTES).read(own) == MARK
    for other in (Cursors(), Cursors(b"K" * KEY_BYTES)):
        with pytest.raises(FilterError, match="cursor"):
            other.read(own)
    with pytest.raises(ValueError, match="32 bytes"):
        Cursors(b"short")


@given(st.data())
def test_one_changed_bit_is_refused(data):
    own = given_out(RecordFilter())
    raw = bytearray(base64.urlsafe_b64decode(f"{own.cursor}=="))
    raw[data.draw(st.integers(0, len(raw) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(FilterError, match="cursor"):
        OURS.read(replace(own, cursor=base64.urlsafe_b64encode(raw).decode().rstrip("=")))


@given(st.text(max_size=60) | st.binary(max_size=120).map(lambda raw: base64.urlsafe_b64encode(raw).decode()))
def test_any_text_as_a_cursor_is_refused_with_the_same_error(text):
    with pytest.raises(FilterError, match=r"^cursor: expected the cursor of a page of the same query"):
        OURS.read(RecordFilter(cursor=text))


def test_the_unsigned_form_of_before_is_refused():
    old = json.dumps({"v": 1, "f": "0" * 16, "k": [1, ID, 2]}).encode()
    with pytest.raises(FilterError, match="cursor"):
        OURS.read(RecordFilter(cursor=base64.urlsafe_b64encode(old).decode().rstrip("=")))
