"""Entries are canonical, fit their two bytes of length, and give back the key they were made with."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit import canonical
from audit.errors import FormatError
from audit.events import ControlEvent
from audit.leaves import (
    MAX_ENTRY_BYTES,
    ExecutionTree,
    damage_leaf,
    event_leaf,
    gap_leaf,
    key_of,
    read_entry,
    receipt_leaf,
    refusal_leaves,
)
from audit.receipt import CallCount
from tests.records import receipt, start
from tests.unit.test_audit_chunks import table

OF = start()
REFUSED = {
    **dict.fromkeys(("exec_id", "call", "module_id", "policy_id", "tenant_id"), "x"),
    **dict.fromkeys(("t_ns", "t_last_ns", "flags", "bytes_in", "bytes_out", "opener_seq", "fd", "fd2"), 0),
    **dict.fromkeys(("class_uid", "activity_id", "disposition", "target_kind", "masked"), 0),
    "seq": 7, "stage": 1, "decision": 2, "errno": 76, "n": 1,
}  # fmt: skip
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8) | st.just("\1" * 30_000)


@given(target=st.none() | TEXT, guest_target=TEXT, target2=st.none() | TEXT)
def test_a_refusal_has_an_entry_whatever_the_guest_called_its_files(target, guest_target, target2):
    given_ = {"target": target, "guest_target": guest_target, "target2": target2}
    (made,) = refusal_leaves(table([{**REFUSED, **given_}]))
    assert len(made.entry) <= MAX_ENTRY_BYTES
    assert (made.kind, made.key) == ("refusal", "x:7")
    read = read_entry(made.entry)
    assert key_of(read) == made.key
    for name, text in given_.items():
        digest = None if text is None else "sha256:" + hashlib.sha256(text.encode()).hexdigest()
        assert read.optional_text(name) in {text, digest}
        if text is None or len(text) < 9:
            assert read.optional_text(name) == text


def test_a_receipt_with_more_segments_than_fit_names_none():
    counts = tuple(
        CallCount(call="fd_read", decision=word, count=3) for word in ("allow", "deny", "would_deny")
    )
    made = replace(receipt(OF, records=9), calls=counts)
    few, many = (
        receipt_leaf(made, b"x", ExecutionTree(["seg/" + "x" * 90] * count, 5, bytes(32)), at_ns=1)
        for count in (600, 700)
    )
    assert len(read_entry(few.entry).texts("segments")) == 600
    read = read_entry(many.entry)
    assert (read.fields["segments"], read.integer("chunks"), read.integer("refusals")) == (None, 5, 6)
    assert len(many.entry) <= MAX_ENTRY_BYTES
    assert few.key == many.key == OF.exec_id


def test_two_gaps_of_nothing_in_particular_are_two():
    known = gap_leaf(OF.exec_id, 3, 9, reason="full", at_ns=1)
    assert known.key == f"{OF.exec_id}:3:9"
    assert known.key == gap_leaf(OF.exec_id, 3, 9, reason="again", at_ns=2).key
    # a longer one that begins at the same call is another: what it tells must not get lost
    longer = [gap_leaf(OF.exec_id, 3, last, reason="full", at_ns=1).key for last in (10, None)]
    assert len({known.key, *longer}) == 3
    unknown = [gap_leaf(None, None, None, reason="full", at_ns=at) for at in (1, 2)]
    assert len({leaf.key for leaf in unknown}) == 2
    # a number that JSON does not hold exactly is not known
    assert read_entry(gap_leaf(OF.exec_id, 1 << 60, None, reason="", at_ns=1).entry).fields["first"] is None


def test_damage_of_one_file_is_one_event():
    one, again, other = (damage_leaf(name, {}, at_ns=at) for name, at in (("a", 1), ("a", 2), ("b", 1)))
    assert one.name == again.name != other.name
    assert read_entry(one.entry).text("event") == "damage"


def test_an_event_says_what_it_was():
    event = ControlEvent(
        event_id=str(OF.exec_id), at_ns=5, event="policy", actor="a", tenant="t", details={"n": None}
    )
    made = event_leaf(event)
    assert made.entry == canonical.dumps(
        {
            "type": "event", "v": 1, "at": "1970-01-01T00:00:00.000000005Z", "id": OF.exec_id, "event": "policy",
            "actor": "a", "tenant": "t", "details": {"n": None},
        }
    )  # fmt: skip


@pytest.mark.parametrize("entry", [b"[]", b"{", b'{"type":"segment"}', b'{"type":"gap"}'])
def test_what_is_no_entry_is_refused(entry):
    with pytest.raises(FormatError):
        key_of(read_entry(entry))
