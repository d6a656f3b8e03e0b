"""Stored text turns back into the bytes that a guest gave."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.errors import FormatError
from audit.text import from_host, to_bytes, to_text


@given(st.binary(max_size=60))
def test_bytes_come_back(raw):
    text = to_text(raw)
    assert to_bytes(text) == raw
    text.encode("utf-8")


@given(st.text(max_size=30).filter(lambda text: "\\" not in text))
def test_valid_text_without_a_backslash_is_stored_as_it_is(text):
    assert to_text(text.encode()) == text


@given(st.text(max_size=20), st.text(max_size=20))
def test_a_prefix_stays_a_prefix(first, rest):
    assert to_text((first + rest).encode()).startswith(to_text(first.encode()))


def test_what_is_escaped():
    assert to_text(b"a\\b\xff\n") == "a\\\\b\\xff\n"


@pytest.mark.parametrize("text", ["\\", "a\\q", "\\x1", "\\xZZ", "\\x1F", "\ud800"])
def test_text_that_was_never_stored_is_refused(text):
    with pytest.raises(FormatError):
        to_bytes(text)


@given(st.text(st.characters(exclude_categories=()), max_size=20))
def test_text_from_the_host_can_always_be_stored(text):
    from_host(text).encode("utf-8")


def test_bytes_that_an_argument_could_not_hold_are_spelt_out():
    assert from_host("a\\b\udcff") == "a\\b\\xff"
    assert from_host("a\\b") == "a\\b"
