"""Quantities: each unit, and texts that are nearly one."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policy.units import (
    UnitError,
    parse_bytes,
    parse_count,
    parse_duration,
    parse_instant,
    parse_limit,
    parse_seed,
)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0", 0),
        ("4096", 4096),
        ("64Mi", 64 * 2**20),
        ("1G", 10**9),
        ("512Ki", 2**19),
        ("1Ti", 2**40),
        ("2k", 2000),
    ],
)
def test_sizes(text, value):
    assert parse_bytes(text) == value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("10s", 10**10),
        ("250ms", 250 * 10**6),
        ("1us", 1000),
        ("1ns", 1),
        ("2m", 120 * 10**9),
        ("400d", 400 * 86400 * 10**9),
    ],
)
def test_durations(text, value):
    assert parse_duration(text) == value


def test_counts():
    assert parse_count("20G") == 20 * 10**9


@pytest.mark.parametrize(
    ("text", "suggestion"),
    [
        ("64MB", "64M"),
        ("64MiB", "64Mi"),
        ("64mi", "64Mi"),
        ("64m", "64M"),
        ("64K", "64k"),
        ("1.5G", ""),
        ("-1", ""),
        ("", ""),
        ("٣", ""),
        ("64 Mi", ""),
    ],
)
def test_sizes_that_are_nearly_right(text, suggestion):
    with pytest.raises(UnitError) as caught:
        parse_bytes(text)
    assert caught.value.suggestion == suggestion
    assert "64Mi" in caught.value.expected


def test_a_duration_needs_its_unit():
    with pytest.raises(UnitError) as caught:
        parse_duration("10")
    assert caught.value.suggestion == "10s"


@pytest.mark.parametrize(("text", "suggestion"), [("10sec", "10s"), ("10S", "10s"), ("10min", "10m")])
def test_durations_that_are_nearly_right(text, suggestion):
    with pytest.raises(UnitError) as caught:
        parse_duration(text)
    assert caught.value.suggestion == suggestion


def test_a_quantity_has_63_bits():
    assert parse_count("9223372036854775807"[:18]) < 2**63
    with pytest.raises(UnitError):
        parse_bytes("999999999999999999Ti")


def test_unlimited_is_spelt():
    assert parse_limit("unlimited", kind="bytes") == -1
    with pytest.raises(UnitError):
        parse_bytes("unlimited")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("2026-01-01T00:00:00Z", 1_767_225_600 * 10**9),
        ("2026-01-01T01:00:00+01:00", 1_767_225_600 * 10**9),
        ("2026-01-01T00:00:00.5Z", 1_767_225_600 * 10**9 + 5 * 10**8),
    ],
)
def test_instants(text, value):
    assert parse_instant(text) == value


@pytest.mark.parametrize(
    "text",
    [
        "2026-01-01",
        "2026-01-01T00:00:00",
        "2026-13-01T00:00:00Z",
        "1969-12-31T23:59:59Z",
        "3000-01-01T00:00:00Z",
        "2026-01-01T24:00:00Z",
        "now",
    ],
)
def test_what_is_no_instant(text):
    with pytest.raises(UnitError):
        parse_instant(text)


def test_a_short_seed_is_stretched_and_a_full_one_kept():
    assert parse_seed("00ff") == hashlib.sha256(b"\x00\xff").digest()
    assert parse_seed("ab" * 32) == b"\xab" * 32


@pytest.mark.parametrize("text", ["", "0", "0g", "ab" * 33, "0x00"])
def test_what_is_no_seed(text):
    with pytest.raises(UnitError):
        parse_seed(text)


@given(st.text(max_size=12))
def test_any_text_gives_a_number_or_an_error(text):
    for parse in (parse_bytes, parse_count, parse_duration, parse_instant):
        try:
            value = parse(text)
        except UnitError:
            continue
        assert 0 <= value < 2**63
