"""The head of a request: what is written reads back, and nothing in it can end a line."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.network.http_head import (
    FIELD,
    FORBIDDEN,
    HEAD,
    MAX_FIELDS,
    MAX_FIELDS_BYTES,
    TOKEN,
    HeadError,
    pack_fields,
    parse,
    parse_fields,
)

LINE = b"GET https://api.example.com/v1"
PLAIN = HEAD.pack(0, *(0,) * 6)
NAMES = st.text(TOKEN.decode(), min_size=1, max_size=12).filter(lambda name: name.lower() not in FORBIDDEN)
VALUES = st.text([chr(code) for code in (9, *range(32, 127), *range(128, 256))], max_size=20)


@given(st.lists(st.tuples(NAMES, VALUES), max_size=8))
def test_fields_read_back_as_they_were_written(fields):
    wanted = tuple((name.lower(), value.strip(" \t")) for name, value in fields)
    assert parse_fields(pack_fields(fields)) == wanted


@given(st.binary(max_size=200))
def test_bytes_make_no_field_that_a_line_could_end_in(block):
    with contextlib.suppress(HeadError):
        for name, value in parse_fields(block):
            assert name
            assert set(name.encode()) <= set(TOKEN)
            assert name not in FORBIDDEN
            assert not set(value) & set("\r\n\0")


@given(st.binary(max_size=60), st.binary(max_size=120))
def test_any_bytes_are_a_request_or_an_error(line, head):
    with contextlib.suppress(HeadError):
        found = parse(line, head)
        assert found.line.encode() == line
        assert found.method
        assert not set(found.line) & set("\r\n\0\t")


def test_a_head_says_how_long_to_wait():
    found = parse(LINE, HEAD.pack(1, 1, 5 * 10**9, 0, 7, 1, 250_000_000))
    assert (found.method, found.url) == ("GET", "https://api.example.com/v1")
    assert (found.connect_s, found.first_byte_s, found.between_bytes_s) == (5.0, None, 0.25)
    assert found.has_body


@pytest.mark.parametrize("name", [*FORBIDDEN, "HOST", "Transfer-Encoding"])
def test_what_is_the_hosts_is_refused(name):
    with pytest.raises(HeadError):
        parse(LINE, PLAIN + pack_fields([(name, "x")]))
    assert parse(LINE, PLAIN + pack_fields([(f"x-{name}", "x")])).fields == ((f"x-{name.lower()}", "x"),)


def test_there_is_an_end_to_fields():
    one = pack_fields([("a", "b")])
    assert len(parse_fields(one * MAX_FIELDS)) == MAX_FIELDS
    for block in (one * (MAX_FIELDS + 1), FIELD.pack(1, MAX_FIELDS_BYTES) + b"a" * MAX_FIELDS_BYTES):
        with pytest.raises(HeadError):
            parse_fields(block)


def test_what_no_header_can_hold_is_left_out_of_an_answers():
    assert parse_fields(pack_fields([("a", "x\r\ny"), ("b c", "d"), ("e", "f")])) == (("e", "f"),)
