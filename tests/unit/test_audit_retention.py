"""What goes is over, old enough and not held; a naive oracle and a twin for each reason to stay."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.catalogue_tables import Retained, Stay
from audit.holds import Hold, Scope
from audit.retention import DAY_NS, Rules, plan

NOW = 1_000 * DAY_NS
EXEC = "01a1ee56-5e00-7000-8000-000000000001"


def segment(*stays, t_max_ns=0, **changes):
    values = {
        "path": "seg/tenant=default/day=1970-01-01/w.parquet",
        "tenant": "default",
        "rows": 1,
        "calls": 1,
        "t_min_ns": 0,
        "t_max_ns": t_max_ns,
        "file_bytes": 10,
        "modules": ("sha256:ab",),
        "stays": stays,
    }
    return Retained(**(values | changes))


def hold(**scope):
    return Hold(hold_id="h", at_ns=1, actor="a", reason="r", scope=Scope(**scope))


def verdict(one, *holds, **rules):
    (found,) = plan([one], holds, Rules(**({"now_ns": NOW} | rules))).verdicts
    return found


def test_what_ended_longer_ago_than_it_is_kept_goes_and_the_nanosecond_before_it_stays():
    old = segment(Stay(EXEC, 90, NOW - 90 * DAY_NS))
    young = segment(Stay(EXEC, 90, NOW - 90 * DAY_NS + 1))
    assert verdict(old).is_going
    assert not verdict(young).is_going
    assert verdict(young).why == "kept until 1972-09-27"


@pytest.mark.parametrize(
    ("stay", "why"),
    [
        (Stay(EXEC, 0, None), f"execution {EXEC} is not over"),
        (Stay(EXEC, None, 0), f"execution {EXEC} has no days of retention on record"),
    ],
)
def test_what_nobody_knows_stays(stay, why):
    assert verdict(segment(stay)).why == why
    assert not verdict(segment(stay)).is_going
    assert verdict(segment(Stay(EXEC, 0, 0))).is_going
    assert not verdict(segment()).is_going


def test_one_execution_that_is_kept_keeps_the_whole_segment():
    assert not verdict(segment(Stay(EXEC, 1, 0), Stay(EXEC[:-1] + "2", 10_000, 0))).is_going
    assert verdict(segment(Stay(EXEC, 1, 0), Stay(EXEC[:-1] + "2", 2, 0))).is_going


def test_an_end_before_the_last_record_does_not_shorten_what_is_kept():
    assert not verdict(segment(Stay(EXEC, 1, 0), t_max_ns=NOW)).is_going
    assert verdict(segment(Stay(EXEC, 1, 0), t_max_ns=0)).is_going


def test_settings_only_lengthen():
    one = segment(Stay(EXEC, 90, NOW - 100 * DAY_NS))
    assert verdict(one, min_days=100).is_going
    assert not verdict(one, min_days=101).is_going
    assert verdict(one, min_days=1).is_going


def test_a_day_that_is_asked_for_only_narrows():
    one = segment(Stay(EXEC, 1, 5 * DAY_NS))
    assert verdict(one, until_ns=5 * DAY_NS + 1).is_going
    assert not verdict(one, until_ns=5 * DAY_NS).is_going
    young = segment(Stay(EXEC, 90, NOW))
    assert not verdict(young, until_ns=NOW * 2).is_going


@pytest.mark.parametrize(
    ("covers", "misses"),
    [
        ({"tenant": "default"}, {"tenant": "acme"}),
        ({"execution": EXEC}, {"execution": EXEC[:-1] + "9"}),
        ({"module": "sha256:ab"}, {"module": "sha256:cd"}),
        ({"tenant": "default", "from_ns": 10}, {"tenant": "default", "from_ns": 11}),
        ({"tenant": "default", "to_ns": 1}, {"tenant": "default", "to_ns": 0}),
        ({}, {"tenant": "acme"}),  # one that can't be understood holds everything
    ],
)
def test_a_hold_keeps_what_it_covers_and_nothing_else(covers, misses):
    one = segment(Stay(EXEC, 1, 0), t_max_ns=10)
    assert verdict(one, hold(**covers)).why == "on hold h"
    assert verdict(one, hold(**misses)).is_going


STAYS = st.builds(
    Stay,
    st.just(EXEC),
    st.none() | st.integers(0, 2_000),
    st.none() | st.integers(0, 1_200).map(lambda days: days * DAY_NS),
)


@given(st.lists(st.lists(STAYS, max_size=3), max_size=5), st.integers(0, 1_500))
def test_nothing_goes_that_anybody_could_want(stays, min_days):
    found = plan([segment(*some) for some in stays], (), Rules(now_ns=NOW, min_days=min_days))
    for some, one in zip(stays, found.verdicts, strict=True):
        ages = [(NOW - stay.ended_at_ns) // DAY_NS for stay in some if stay.ended_at_ns is not None]
        days = [max(stay.retain_days, min_days) for stay in some if stay.retain_days is not None]
        is_known = len(ages) == len(days) == len(some) > 0
        assert one.is_going == (is_known and all(age >= day for age, day in zip(ages, days, strict=True)))
