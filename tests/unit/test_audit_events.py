"""Events and gaps come back as they were, and what no log may hold is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.controls import controls
from audit.errors import FormatError
from audit.events import MAX_DETAILS, MAX_TEXT, ControlEvent, Gap
from audit.gather import CONTROL, gather
from audit.identity import execution_id
from audit.wal import NOBODY, Frame, Kind
from tests.records import T0

IDS = st.uuids().map(lambda one: execution_id(str(one)))
TIMES = st.integers(0, 253_402_300_799_999_999_999)
TEXT = st.text(st.characters(codec="utf-8"), max_size=40)
DETAILS = st.dictionaries(TEXT, TEXT | st.integers(-(2**53) + 1, 2**53 - 1) | st.none(), max_size=6)
EVENTS = st.builds(
    ControlEvent,
    event_id=IDS,
    at_ns=TIMES,
    event=st.from_regex(r"[a-z][a-z0-9-]{0,31}", fullmatch=True, alphabet="abcz09-"),
    actor=TEXT,
    tenant=st.none() | TEXT,
    details=DETAILS,
)
SEQS = st.none() | st.integers(0, 2**63 - 1)
GAPS = st.tuples(st.none() | IDS, SEQS, SEQS, TEXT, TIMES).map(
    lambda one: Gap(
        exec_id=one[0],
        first_seq=one[1],
        last_seq=None if one[2] is None else max(one[2], one[1] or 0),
        reason=one[3],
        at_ns=one[4],
    )
)


@given(EVENTS)
def test_an_event_comes_back(event):
    assert ControlEvent.from_json(event.to_json()) == event


@given(GAPS)
def test_a_gap_comes_back(gap):
    assert Gap.from_json(gap.to_json()) == gap


def event(**changes):
    values = {"event_id": NOBODY, "at_ns": T0, "event": "read", "actor": "user:x"}
    return ControlEvent(**(values | changes))  # type: ignore[arg-type]  # some are wrong on purpose


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ({"event_id": "x"}, {"event_id": "01a1ee56-5e00-7000-8000-000000000000"}),
        ({"at_ns": 1 << 80}, {"at_ns": 0}),
        ({"event": "Read"}, {"event": "audit-on"}),
        ({"event": "a" * 33}, {"event": "a" * 32}),
        ({"actor": "x" * (MAX_TEXT + 1)}, {"actor": "x" * MAX_TEXT}),
        ({"actor": "\udcff"}, {"actor": "ÿ"}),
        ({"tenant": "t" * 257}, {"tenant": "t" * 256}),
        ({"details": {"n": 2**53}}, {"details": {"n": 2**53 - 1}}),
        ({"details": {"n": True}}, {"details": {"n": 1}}),
        ({"details": {"n": 1.5}}, {"details": {"n": "1.5"}}),
        (
            {"details": {str(n): n for n in range(MAX_DETAILS + 1)}},
            {"details": {str(n): n for n in range(MAX_DETAILS)}},
        ),
    ],
)
def test_what_no_log_may_hold_is_refused_and_its_twin_is_taken(wrong, right):
    with pytest.raises(FormatError):
        event(**wrong)
    assert ControlEvent.from_json(event(**right).to_json()) == event(**right)


@pytest.mark.parametrize(
    ("first", "last", "is_right"), [(3, 2, False), (3, 3, True), (-1, 2, False), (0, 1 << 63, False)]
)
def test_a_gap_ends_where_it_begins_or_later(first, last, is_right):
    if is_right:
        Gap(exec_id=None, first_seq=first, last_seq=last, reason="", at_ns=T0)
        return
    with pytest.raises(FormatError):
        Gap(exec_id=None, first_seq=first, last_seq=last, reason="", at_ns=T0)


@pytest.mark.parametrize("text", [b"", b"[]", b"{}", b'{"event_id":1}', b'{"first_seq":"-1"}'])
def test_other_text_is_neither(text):
    for kind in (ControlEvent, Gap):
        with pytest.raises(FormatError):
            kind.from_json(text)


def test_they_are_read_beside_executions_and_are_none():
    gap = Gap(exec_id=NOBODY, first_seq=1, last_seq=None, reason="why", at_ns=T0)
    frames = [Frame(Kind.EVENT, NOBODY, event().to_json()), Frame(Kind.GAP, NOBODY, gap.to_json())]
    assert {Kind.EVENT, Kind.GAP} == CONTROL
    assert gather(frames) == {}
    found = controls(frames)
    assert (found.events, found.gaps) == ((event(),), (gap,))
