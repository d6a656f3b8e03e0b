"""The text of a query depends on which fields are set, never on what they hold."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from audit.filters import Position, RecordFilter
from audit.identity import new_execution_id
from audit.statement import conditions


def made_of(values: dict[str, Any]) -> RecordFilter:
    return RecordFilter(**values)


FIELDS = ("module", "call", "rule", "path_prefix")


@given(st.dictionaries(st.sampled_from(FIELDS), st.text(max_size=20), min_size=1))
def test_values_are_bound(values):
    plain = conditions(made_of(dict.fromkeys(values, "x")), module_ids=("x",))
    made = conditions(made_of(values), module_ids=("y",))
    assert made.text == plain.text
    assert len(made.values) == len(values)


def test_no_filter_is_no_condition():
    assert conditions(RecordFilter(), module_ids=()).text == ""


def test_a_position_is_one_more_condition():
    here = Position(t_ns=1, exec_id=new_execution_id(), seq=2)
    made = conditions(RecordFilter(), module_ids=())
    assert made.after(None, is_ascending=True) == made
    assert " > " in made.after(here, is_ascending=True).text
    assert " < " in made.after(here, is_ascending=False).text
