"""Canonical JSON: equal values, equal bytes; reading checks types."""

from __future__ import annotations

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from audit.canonical import Json, dumps, loads
from audit.errors import FormatError

SCALARS = st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.text(max_size=8)


@given(st.dictionaries(st.text(max_size=5), SCALARS | st.lists(SCALARS, max_size=3), max_size=5))
def test_values_come_back_and_order_does_not_matter(value):
    text = dumps(value)
    assert dict(loads("x", text).fields) == value
    assert dumps(dict(reversed(value.items()))) == text


VALUES = st.recursive(
    SCALARS | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
)


@given(VALUES)
def test_the_faster_way_writes_what_the_other_one_does(value):
    assert dumps(value) == rfc8785.dumps(value)


def test_values_beyond_what_the_faster_way_takes_are_written_or_refused_as_ever():
    deep: list[Json] = [1]
    for _ in range(280):
        deep = [deep]
    assert dumps(deep) == rfc8785.dumps(deep)
    assert dumps({"n": 2**53 - 1}) == b'{"n":9007199254740991}'
    with pytest.raises(rfc8785.IntegerDomainError):
        dumps({"n": 2**53})


def test_text_that_is_no_unicode_is_stored_spelt_out():
    assert dumps({"a": "x\udcff"}) == b'{"a":"x\\\\xff"}'


DOCUMENT = loads("it", b'{"t":"x","i":1,"b":true,"n":null,"o":{"k":"v"},"l":[{"k":"v"}],"s":["a"]}')


def test_fields_are_read_with_their_types():
    assert (DOCUMENT.text("t"), DOCUMENT.integer("i"), DOCUMENT.optional_text("n")) == ("x", 1, None)
    assert (DOCUMENT.optional_integer("i"), DOCUMENT.optional_integer("none")) == (1, None)
    assert DOCUMENT.child("o").text("k") == DOCUMENT.children("l")[0].text("k") == "v"
    assert DOCUMENT.texts("s") == ("a",)


@pytest.mark.parametrize(
    ("method", "key"),
    [
        ("text", "i"),
        ("text", "none"),
        ("integer", "t"),
        ("integer", "b"),
        ("child", "l"),
        ("children", "o"),
        ("children", "s"),
        ("texts", "l"),
        ("texts", "t"),
    ],
)
def test_a_field_of_another_type_is_refused_by_name(method, key):
    with pytest.raises(FormatError, match="it"):
        getattr(DOCUMENT, method)(key)


@pytest.mark.parametrize("text", [b"", b"[]", b"{", b'{"a":"\\ud800"}', b"\xff"])
def test_what_is_no_object_is_refused(text):
    with pytest.raises(FormatError):
        loads("it", text)
