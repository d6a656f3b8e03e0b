"""The budget is told at each level once, on record first; pruning by itself is once a day, and only if wanted."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.disk_budget import level_of
from api.log_watch import DAY_S, LogWatch
from audit.errors import QueryError


def made(used, *, prune=None, clock=lambda: 0.0):
    heard: list[str] = []
    events: list[Any] = []
    figures = iter(used)

    def record(event):
        events.append(event)

    def tell(sentence):
        assert events[-1].details["level"]  # it is on record before anybody is told
        heard.append(sentence)

    watch = LogWatch(
        status=lambda: cast(
            "Any", SimpleNamespace(used_bytes=next(figures), budget_bytes=1000, free_bytes=5)
        ),
        record=record,
        tell=tell if prune is None else heard.append,
        prune=prune,
        clock=clock,
    )
    return watch, events, heard


def test_each_level_is_told_once_when_it_is_reached():
    watch, events, heard = made([799, 800, 801, 949, 950, 999, 2000, 790, 779, 800])
    for _ in range(10):
        watch.look()
    assert [(one.event, one.details["level"]) for one in events] == [
        ("disk", 80), ("disk", 95), ("disk", 80), ("disk", 0), ("disk", 80),
    ]  # fmt: skip
    assert heard == [
        "the audit log takes 800 of the 1000 bytes that it may take (80 %)",
        "the audit log takes 950 of the 1000 bytes that it may take (95 %)",
        "the audit log takes 800 of the 1000 bytes that it may take (80 %)",
    ]


def test_a_log_without_a_budget_has_no_alarm():
    assert level_of(1 << 60, 0) == 0
    assert level_of(1 << 60, 1) == 95


@given(st.integers(0, 2_000), st.sampled_from([0, 80, 95]))
def test_a_level_that_is_reached_is_never_missed(used, before):
    least = max([0, *(level for level in (80, 95) if used >= level * 10)])
    assert least <= level_of(used, 1000, before=before) <= max(least, before)


def test_it_prunes_once_a_day_and_only_if_wanted():
    now, pruned = [0.0], []
    watch, _, _ = made([0] * 9, prune=lambda: pruned.append(now[0]), clock=lambda: now[0])
    for at in (0.0, 60.0, DAY_S - 1, DAY_S, DAY_S + 60):
        now[0] = at
        watch.look()
    assert pruned == [0.0, DAY_S]


@pytest.mark.parametrize("err", [QueryError("x"), OSError("x")])
def test_a_look_that_fails_is_told_and_the_next_one_is_made(err):
    def fail():
        raise err

    watch, _, heard = made([0, 0], prune=fail)
    watch.look()
    watch.look()
    assert len(heard) == 1
    assert heard[0].startswith("the audit log could not be looked after")
