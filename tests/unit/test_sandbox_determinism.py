"""The digest of a deterministic run: of all records however they come, and of nothing that is measured."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.receipt import Outcome, OutcomeKind
from policy.plan import Engine, Isolation, Plan, Random, SourceKind
from sandbox.determinism import MEASURED, Story, Told, run_digest, settled
from sandbox.monitor import layout
from sandbox.monitor.layout import RECORD
from sandbox.order import Order
from tests.runs import HELLO, policy

Records = npt.NDArray[np.void]
NAMES = tuple(name for name in RECORD.names or () if name not in MEASURED)
FD_READ = layout.PAYLOAD_CALLS[2]
PLAN = policy("runtime: {deterministic: true}\n")
FIXED = policy("runtime: {deterministic: true}\npermissions: {random: 'seeded:00'}\n")


@st.composite
def runs(draw: st.DrawFn) -> list[tuple[dict[str, int], bytes]]:
    """Records as fields and texts, in order."""
    return [
        (
            {
                "call": draw(st.sampled_from((0, 7))),
                "fd": draw(st.integers(-1, 9)),
                "t_ns": draw(st.integers(0, 9)),
            },
            draw(st.binary(max_size=9)),
        )
        for _ in range(draw(st.integers(1, 12)))
    ]


def laid_out(run: list[tuple[dict[str, int], bytes]], gap: int) -> list[tuple[Records, bytes, int]]:
    """Each record with the span of the arena that holds its text, behind `gap` unused bytes."""
    at, found = layout.ARENA_BYTES - 20, []  # it wraps
    for fields, text in run:
        record = np.zeros(1, RECORD)
        for name, value in fields.items():
            record[name] = value
        skipped = gap if text else 0
        record["target_len"] = len(text)
        record["target_at"] = (at + skipped) % layout.ARENA_BYTES if text else 0
        found.append((record, b"\xff" * skipped + text, at % layout.ARENA_BYTES))
        at += skipped + len(text)
    return found


def digests_of(pieces: list[tuple[Records, bytes, int]]) -> tuple[str, str]:
    story = Story()
    for records, arena, start in pieces:
        story.add(records, arena, start)
    return story.digests()


def joined(pieces: list[tuple[Records, bytes, int]]) -> tuple[Records, bytes, int]:
    return np.concatenate([each[0] for each in pieces]), b"".join(each[1] for each in pieces), pieces[0][2]


@given(run=runs(), cut=st.integers(0, 12), gap=st.integers(0, 3))
def test_records_are_hashed_as_one_by_one_wherever_they_are_cut(run, cut, gap):
    pieces = laid_out(run, gap)
    rows, texts = hashlib.sha256(), hashlib.sha256()
    for record, (_, text) in zip(pieces, run, strict=True):
        rows.update(b"".join(record[0][name].tobytes() for name in NAMES))
        texts.update(text)
    cuts = [part for part in (pieces[:cut], pieces[cut:]) if part]
    assert digests_of([joined(part) for part in cuts]) == (rows.hexdigest(), texts.hexdigest())
    assert digests_of(laid_out(run, gap + 1)) == digests_of(pieces)


@given(run=runs(), index=st.integers(0, 11), name=st.sampled_from([*NAMES, "t_ns", "dur_ns"]))
def test_each_field_counts_but_for_what_is_measured(run, index, name):
    pieces = laid_out(run, 0)
    record, arena, start = pieces[index % len(pieces)]
    changed = record.copy()
    changed[name] = record[name] + 1
    other = list(pieces)
    other[index % len(pieces)] = (changed, arena, start)
    assert (digests_of(other) == digests_of(pieces)) == (name in MEASURED)


def test_a_record_in_flight_counts_once_and_as_it_was_last():
    (first, second) = laid_out([({"call": 0}, b"a"), ({"call": 7}, b"b")], 0)
    story = Story()
    story.intend(*first)
    in_flight = story.digests()
    story.add(*first)
    assert story.digests() == digests_of([first]) == in_flight
    story.intend(*second)
    story.intend(*second)
    assert story.digests() == digests_of([first, second])


def test_offsets_outside_the_span_are_cut():
    record = np.zeros(3, RECORD)
    record["target_len"] = 65_535
    record["target2_len"] = 65_535
    record["target_at"] = [2**32 - 1, 5, 2**31]
    assert len(digests_of([(record, b"abc", 7)])[1]) == 64
    assert digests_of([(record, b"", 0)])[1] == hashlib.sha256().hexdigest()


# --- the whole of it ------------------------------------------------------------------------------


def order_of(plan: Plan = PLAN) -> Order:
    return Order(plan=plan, module=HELLO, module_name="m.wasm")


def told_of(**more: Any) -> Told:
    outcome = Outcome(kind=OutcomeKind.EXITED, exit_code=0)
    return replace(Told(outcome, Story("in"), "out", "err", 65_536), **more)


@pytest.mark.parametrize(
    "change",
    [
        {"stdout": "x"},
        {"stderr": "x"},
        {"memory_bytes": 0},
        {"story": Story("x")},
        {"outcome": Outcome(kind=OutcomeKind.EXITED, exit_code=1)},
        {"outcome": Outcome(kind=OutcomeKind.TRAPPED)},
    ],
)
def test_all_that_is_told_counts(change):
    assert run_digest(order_of(), told_of(**change)) != run_digest(order_of(), told_of())


@pytest.mark.parametrize(
    "more",
    [
        {"extra_args": ("x",)},
        {"invoke": "f"},
        {"module_name": "n"},
        {"module": HELLO + b"\0"},
        {"plan": FIXED},
    ],
)
def test_all_that_is_given_counts(more):
    assert run_digest(replace(order_of(), **more), told_of()) != run_digest(order_of(), told_of())


def test_words_for_people_and_the_place_of_the_run_do_not_count():
    said = told_of(outcome=Outcome(kind=OutcomeKind.EXITED, exit_code=0, message="at 0x1234"))
    assert run_digest(order_of(), said) == run_digest(order_of(), told_of())
    runtime = replace(PLAN.runtime, engine=Engine.PULLEY, isolation=Isolation.PROCESS, cache=False)
    assert run_digest(order_of(replace(PLAN, runtime=runtime)), told_of()) == run_digest(
        order_of(), told_of()
    )


@pytest.mark.parametrize(
    ("outcome", "is_given"),
    [
        (Outcome(kind=OutcomeKind.LIMIT, limit="fuel"), True),
        (Outcome(kind=OutcomeKind.LIMIT, limit="host_calls"), True),
        (Outcome(kind=OutcomeKind.LIMIT, limit="stdout"), True),
        (Outcome(kind=OutcomeKind.LIMIT, limit="cpu"), False),
        (Outcome(kind=OutcomeKind.LIMIT, limit="timeout"), False),
        (Outcome(kind=OutcomeKind.LIMIT, limit="stack"), False),
        (Outcome(kind=OutcomeKind.LIMIT, limit="memory"), False),
        (Outcome(kind=OutcomeKind.LIMIT, limit="audit"), False),
        (Outcome(kind=OutcomeKind.KILLED), False),
        (Outcome(kind=OutcomeKind.REFUSED), False),
    ],
)
def test_what_was_cut_at_no_certain_place_has_none(outcome, is_given):
    assert bool(run_digest(order_of(), told_of(outcome=outcome))) is is_given


# --- what a run is given --------------------------------------------------------------------------


def test_a_seed_is_made_of_policy_and_module():
    one, other = settled(PLAN, "sha256:a").random, settled(PLAN, "sha256:b").random
    assert one.kind is SourceKind.FIXED
    assert len(one.seed) == 32
    assert one != other
    assert settled(replace(PLAN, args=("x",)), "sha256:a").random != one
    pulley = replace(PLAN, runtime=replace(PLAN.runtime, engine=Engine.PULLEY))
    assert settled(pulley, "sha256:a").random == one


def test_a_seed_of_the_policy_stays():
    assert settled(FIXED, "sha256:a") == FIXED


def test_other_plans_stay_as_they_are():
    plan = policy()
    assert settled(plan, "sha256:a") is plan
    assert plan.random == Random()
