"""The text of a query depends on which fields are set and on the shape of `q`, never on what they hold."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from audit.cursors import Position, Snapshot
from audit.filters import RecordFilter
from audit.identity import new_execution_id
from audit.statement import conditions


def made_of(values: dict[str, Any]) -> RecordFilter:
    return RecordFilter(**values)


FIELDS = ("module", "call", "rule", "path", "path_prefix", "path_glob", "policy", "tenant")


@given(st.dictionaries(st.sampled_from(FIELDS), st.text(max_size=20), min_size=1))
def test_values_are_bound(values):
    plain = conditions(made_of(dict.fromkeys(values, "x")), module_ids=("x",))
    made = conditions(made_of(values), module_ids=("y",))
    assert made.text == plain.text
    assert len(made.values) == len(values)


@given(st.text(st.characters(exclude_characters="\0'", exclude_categories=["Cs"]), min_size=1, max_size=20))
def test_values_of_an_expression_are_bound(text):
    plain = conditions(RecordFilter(q="rule = 'x' or not call like 'x'"), module_ids=())
    made = conditions(RecordFilter(q=f"rule = '{text}' or not call like '{text}'"), module_ids=())
    assert made.text == plain.text
    assert made.values == (("q0", text), ("q1", text))


def test_no_filter_is_no_condition():
    assert conditions(RecordFilter(), module_ids=()).text == ""


def test_a_position_is_one_more_condition():
    here = Position(t_ns=1, exec_id=new_execution_id(), seq=2)
    made = conditions(RecordFilter(), module_ids=())
    assert made.after(None, is_ascending=True) == made
    assert " > " in made.after(here, is_ascending=True).text
    assert " < " in made.after(here, is_ascending=False).text


def test_a_snapshot_is_a_horizon_and_what_was_there_of_each_execution():
    made = conditions(RecordFilter(), module_ids=())
    assert made.within(None) == made
    assert made.within(Snapshot(5)).values == (("horizon", 5),)
    assert dict(made.within(Snapshot(5, (("a", 1),))).values) == {
        "horizon": 5,
        "live": ["a"],
        "live_seqs": [1],
    }
