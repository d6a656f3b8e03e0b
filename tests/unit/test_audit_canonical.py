"""Canonical JSON: equal values, equal bytes; reading checks types."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.canonical import dumps, loads
from audit.errors import FormatError

SCALARS = st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.text(max_size=8)


@given(st.dictionaries(st.text(max_size=5), SCALARS | st.lists(SCALARS, max_size=3), max_size=5))
def test_values_come_back_and_order_does_not_matter(value):
    text = dumps(value)
    assert dict(loads("x", text).fields) == value
    assert dumps(dict(reversed(value.items()))) == text


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
