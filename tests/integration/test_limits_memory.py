"""Memory, tables, stack and the module itself against their limits, each with a twin just within."""

from __future__ import annotations

from dataclasses import replace

import pytest

from audit.receipt import OutcomeKind
from tests import limit_guests as guests
from tests.runs import HELLO, exited, guest, limit, limits

# --- memory -----------------------------------------------------------------------------------------------


def test_a_guest_that_asks_for_memory_for_ever_gets_no_more_than_its_limit(shared):
    done = shared.run(guests.GROWS_ON, limits(memory="2Mi", cpu="50ms", timeout="60s"))
    assert done.receipt.outcome == limit("cpu")
    asks = "(loop $l (br_if $l (i32.ne (memory.grow (i32.const 1)) (i32.const -1)))) (call $proc_exit (memory.size))"
    asks_once = asks.replace("i32.const 1)", "i32.const 31)")
    for module in (guest(asks, uses="proc_exit"), guest(asks_once, uses="proc_exit")):
        done = shared.run(module, limits(memory="2Mi"))
        assert done.receipt.outcome == exited(32)
        assert done.receipt.resources.peak_memory_bytes == 2 << 20
    for pages in (65_535, -1):
        module = guest(
            f"(call $proc_exit (i32.eq (memory.grow (i32.const {pages})) (i32.const -1)))", uses="proc_exit"
        )
        assert shared.run(module, limits(memory="2Mi")).receipt.outcome == exited(1)


def test_objects_that_the_engine_collects_count_as_memory(shared):
    for module in (guests.keeps_objects(), guests.makes_array(1 << 30)):
        assert shared.run(module, limits(memory="2Mi")).receipt.outcome == limit("memory")
    for module in (guests.keeps_objects(10_000), guests.makes_array(1 << 20)):
        assert shared.run(module, limits(memory="2Mi")).receipt.outcome == exited()


def test_a_name_that_reads_like_the_want_of_memory_is_no_want_of_memory(shared):
    name = "Caused by: GC heap out of memory: exceeds memory limits"
    module = guest(f'(call $"{name}")', fields=f'(func $"{name}" (unreachable))')
    outcome = shared.run(module, limits(memory="2Mi")).receipt.outcome
    assert (outcome.kind, outcome.limit) == (OutcomeKind.TRAPPED, None)


# --- tables -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["func", "extern"])
def test_a_table_grows_to_its_limit_by_one_element_or_by_many_and_no_further(shared, kind):
    assert shared.run(guests.grows_table(1, kind), limits(table_elements=5_001)).receipt.outcome == exited(
        5_001
    )
    assert shared.run(
        guests.grows_table(1_000, kind), limits(table_elements=5_001)
    ).receipt.outcome == exited(5_001)
    assert shared.run(
        guests.grows_table(1_000, kind), limits(table_elements=5_000)
    ).receipt.outcome == exited(4_001)
    for by in (5_001, 1 << 30, -1):
        assert shared.run(
            guests.grows_table(by, kind), limits(table_elements=5_001)
        ).receipt.outcome == exited(1)


def test_each_of_several_tables_has_the_limit_for_itself(shared):
    grow = (
        "(loop $l{0} (br_if $l{0} (i32.ne (table.grow ${0} (ref.null extern) (i32.const 1)) (i32.const -1))))"
    )
    module = guest(
        f"{grow.format('a')} {grow.format('b')} (call $proc_exit (i32.add (table.size $a) (table.size $b)))",
        uses="proc_exit",
        fields="(table $a 1 externref) (table $b 1 externref)",
    )
    assert shared.run(module, limits(table_elements=77)).receipt.outcome == exited(154)


def test_a_guest_that_gives_up_over_a_table_is_told_apart_by_nobody(shared):
    module = guest(
        "(if (i32.eq (table.grow (ref.null func) (i32.const 10)) (i32.const -1)) (then (unreachable)))",
        fields="(table 1 funcref)",
    )
    assert shared.run(module, limits(table_elements=10)).receipt.outcome.kind is OutcomeKind.TRAPPED
    assert shared.run(module, limits(table_elements=11)).receipt.outcome == exited()


# --- stack ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shape", "depth"),
    [({}, 5_000), ({"locals_": 4_000}, 10), ({"calls": True}, 5_000)],
    ids=["small frames", "frames of kilobytes", "host calls"],
)
def test_recursion_ends_at_the_stack_limit_whatever_its_frames_are(shared, shape, depth):
    plan = limits(host_calls="unlimited")
    assert shared.run(guests.recurses(10_000_000, **shape), plan).receipt.outcome == limit("stack")
    assert shared.run(guests.recurses(depth, **shape), plan).receipt.outcome == exited()


@pytest.mark.parametrize("stack", ["16Ki", "4Mi"])
def test_the_smallest_and_the_largest_stack_end_in_the_limit_and_not_in_the_cell(shared, stack):
    deep = guests.recurses(10_000_000, calls=True)
    plan = limits(stack=stack, host_calls="unlimited", timeout="60s")
    assert shared.run(deep, plan).receipt.outcome == limit("stack")
    assert shared.run(guests.recurses(20, calls=True), plan).receipt.outcome == exited()


def test_one_frame_that_is_larger_than_the_stack_does_not_fit(shared):
    assert shared.run(guests.recurses(0, locals_=4_000), limits(stack="16Ki")).receipt.outcome == limit(
        "stack"
    )
    assert shared.run(guests.recurses(0, locals_=4_000), limits(stack="512Ki")).receipt.outcome == exited()


# --- before it runs ---------------------------------------------------------------------------------------

TWO_TABLES = guest("", fields="(table 5 funcref) (table 1 funcref)")
BEYOND = {
    "module": (HELLO, len(HELLO) - 1, len(HELLO)),
    "memory": (guest("", memory="33"), "2Mi", "2112Ki"),
    "memories": (guest("", fields="(memory 1)"), 1, 2),
    "tables": (TWO_TABLES, 1, 2),
    "table_elements": (TWO_TABLES, 4, 5),
    "compile": (HELLO, "1ms", "60s"),
}


@pytest.mark.parametrize("name", BEYOND)
def test_the_receipt_of_a_module_that_is_refused_names_the_limit_that_it_is_beyond(shared, name):
    module, too_little, enough = BEYOND[name]

    def outcome(value: object):
        plan = limits(**{name: value})
        return shared.run(
            module, replace(plan, runtime=replace(plan.runtime, cache=name != "compile"))
        ).receipt.outcome

    refused = outcome(too_little)
    assert (refused.kind, refused.limit) == (OutcomeKind.REFUSED, name)
    assert outcome(enough) == exited()


def test_a_module_that_is_refused_for_something_else_names_no_limit(shared):
    refused = shared.run(b"(module)").receipt.outcome
    assert (refused.kind, refused.limit) == (OutcomeKind.REFUSED, None)
