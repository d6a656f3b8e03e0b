"""Times turn into text and back without losing a nanosecond."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.errors import FormatError
from audit.times import day_of, from_text, to_ns, to_rfc3339


@given(st.integers(0, 253_402_300_799 * 10**9))
def test_a_time_comes_back(t_ns):
    assert to_ns(to_rfc3339(t_ns)) == t_ns


@given(st.lists(st.integers(0, 253_402_300_799 * 10**9), min_size=2, max_size=2))
def test_text_sorts_like_the_number(pair):
    assert (to_rfc3339(pair[0]) < to_rfc3339(pair[1])) == (pair[0] < pair[1])


@pytest.mark.parametrize(
    ("text", "t_ns"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("1970-01-01t00:00:01.5z", 1_500_000_000),
        ("1970-01-01 02:00:00+02:00", 0),
        ("1969-12-31T23:00:00-01:00", 0),
        ("2026-11-22T18:14:40.123456789Z", 1_795_371_280_123_456_789),
    ],
)
def test_what_is_read(text, t_ns):
    assert to_ns(text) == t_ns
    assert from_text(str(t_ns)) == t_ns


@pytest.mark.parametrize(
    "text",
    [
        "",
        "now",
        "2026-11-22",
        "2026-11-22T18:14:40",
        "2026-02-30T00:00:00Z",
        "2026-11-22T24:00:00Z",
        "2026-11-22T18:14:60Z",
        "2026-11-22T18:14:40.1234567890Z",
        "2026-11-22T18:14:40Z\n",
        "٢٠٢٦-11-22T18:14:40Z",
        "2026-11-22T18:14:40+99:00",
        "-1",
        "1" * 20,
    ],
)
def test_what_is_refused(text):
    with pytest.raises(FormatError):
        from_text(text)


def test_a_time_that_no_year_holds_is_refused():
    with pytest.raises(FormatError):
        to_rfc3339(1 << 70)


def test_days_are_those_of_utc():
    assert day_of(to_ns("2026-11-23T00:30:00+01:00")) == "2026-11-22"
