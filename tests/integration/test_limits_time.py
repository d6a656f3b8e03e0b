"""Wall clock, CPU time and fuel against guests that spin, sleep, wait and keep the host busy, each with a twin."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from audit.receipt import OutcomeKind
from tests import limit_guests as guests
from tests.runs import exited, guest, limit, limits, policy

NO_END = (1 << 64) - 1
LONG = 3_600 * 10**9
SHORT = 10**6


def stdin_plan(**values: object):
    inner = ", ".join(f"{name}: {value}" for name, value in values.items())
    return policy(f"permissions: {{stdio: {{stdin: caller}}}}\nresources: {{limits: {{{inner}}}}}\n")


# --- wall clock -------------------------------------------------------------------------------------------

ENDLESS = {
    "spins": guests.SPINS,
    "calls the host": guests.CALLS,
    "spins in its start section": guests.START_SPINS,
    "spins in its initializer": guests.INITIALIZER_SPINS,
    "sleeps": guests.sleeps(LONG),
    "sleeps for ever": guests.sleeps(NO_END),
    "sleeps with very many subscriptions": guests.sleeps(LONG, 200_000),
    "fills four gigabytes again and again": guests.fills(0xFFFF_0000),
}


@pytest.mark.parametrize("name", ENDLESS)
def test_the_wall_clock_ends_a_guest_that(shared, name):
    plan = limits(timeout="300ms", cpu="unlimited", host_calls="unlimited", memory="4Gi")
    invoke = "go" if "initializer" in name else None
    done = shared.run(ENDLESS[name], plan, invoke=invoke)
    assert done.receipt.outcome == limit("timeout")
    if name != "calls the host":  # a million records are not read back
        shared.check(done)


@pytest.mark.parametrize(
    "module", [guests.sleeps(SHORT), guests.sleeps(SHORT, 1_000), guests.fills(65_536, 10)]
)
def test_a_guest_that_sleeps_or_works_for_less_ends_by_itself(shared, module):
    assert shared.run(module, limits(timeout="20s", memory="4Gi")).receipt.outcome == exited()


def test_a_wait_with_more_subscriptions_than_the_engine_takes_is_the_end_of_the_guest_and_not_of_the_cell(
    shared,
):
    done = shared.run(guests.sleeps(LONG, 1_000_000), limits(timeout="20s", memory="128Mi"))
    assert done.receipt.outcome.kind is OutcomeKind.TRAPPED
    assert "no free keys" in (done.receipt.outcome.message or "")
    (row,) = shared.check(done)
    assert row["errno"] == -1


def test_a_wait_for_input_that_never_comes_is_cut_and_one_for_input_that_is_there_is_not(shared):
    silent, held = os.pipe()
    try:
        plan = stdin_plan(timeout="300ms", cpu="unlimited")
        assert shared.run(guests.WAITS_FOR_INPUT, plan, stdin_fd=silent).receipt.outcome == limit("timeout")
        os.write(held, b"line\n")
        done = shared.run(guests.WAITS_FOR_INPUT, stdin_plan(timeout="20s"), stdin_fd=silent)
        assert done.receipt.outcome == exited()
    finally:
        os.close(silent)
        os.close(held)


@pytest.mark.parametrize(
    ("given", "name"),
    [({"timeout": "300ms", "cpu": "unlimited"}, "timeout"), ({"timeout": "20s", "cpu": "50ms"}, "cpu")],
)
def test_an_input_without_end_is_read_no_longer_than_the_limits_say(shared, given, name):
    with Path("/dev/zero").open("rb") as zeros:
        plan = stdin_plan(**given, host_calls="unlimited")
        assert shared.run(guests.READS_ON, plan, stdin_fd=zeros.fileno()).receipt.outcome == limit(name)
    with Path(__file__).open("rb") as file:
        assert (
            shared.run(guests.READS_ON, stdin_plan(timeout="20s"), stdin_fd=file.fileno()).receipt.outcome
            == exited()
        )


# --- processor time ---------------------------------------------------------------------------------------

ARGUMENTS = """(drop (call $args_sizes_get (i32.const 0) (i32.const 4)))
  (drop (call $args_get (i32.const 64) (i32.const 1024)))"""
RANDOM = "(drop (call $random_get (i32.const 0) (i32.const 60000000)))"
BUSY = {
    "spins": (guests.SPINS, None),
    "spins in its start section": (guests.START_SPINS, None),
    "grows a memory that is full": (guests.GROWS_ON, None),
    "throws": (guests.throws(), guests.throws(10)),
    "fills four gigabytes at once": (guests.fills(0xFFFF_0000), guests.fills(65_536, 1)),
    "copies four gigabytes at once": (guests.copies(0xFFFE_0000), guests.copies(65_536, 1)),
    "has the host copy megabytes of arguments": (
        guests.busy(ARGUMENTS, uses="args_sizes_get args_get", memory="200"),
        guests.busy(ARGUMENTS, 1, uses="args_sizes_get args_get", memory="200"),
    ),
    "has the host make random bytes": (
        guests.busy(RANDOM, uses="random_get", memory="1000"),
        guests.busy(RANDOM.replace("60000000", "60"), 10, uses="random_get"),
    ),
}


@pytest.mark.parametrize("name", BUSY)
def test_processor_time_ends_a_guest_that(shared, name):
    module, twin = BUSY[name]
    plan = limits(
        cpu="100ms", timeout="60s", host_calls="unlimited", memory="4Gi" if "at once" in name else "70Mi"
    )
    more = {"extra_args": ("x" * (1 << 20),) * 7} if "arguments" in name else {}
    done = shared.run(module, plan, **more)
    assert done.receipt.outcome == limit("cpu")
    # processor time, so no matter of what else runs: one such instruction would take two seconds
    assert (done.receipt.resources.cpu_ms or 0) < 600
    shared.check(done)
    if twin is not None:
        assert shared.run(twin, plan, **more).receipt.outcome == exited()


def test_a_cell_that_the_kernel_ended_at_the_processor_limit_has_no_other_end(shared):
    # 3 GB are touched for the first time by one instruction: the engine does not get between
    done = shared.run(guests.fills(0xC000_0000, 1), limits(cpu="30ms", timeout="60s", memory="4Gi"))
    assert done.receipt.outcome == limit("cpu")


# --- fuel -------------------------------------------------------------------------------------------------


def ends(shared, module: bytes, fuel: int) -> bool:
    outcome = shared.run(module, limits(fuel=fuel, timeout="60s", cpu="60s")).receipt.outcome
    assert outcome in (exited(), limit("fuel"))
    return bool(outcome == exited())


def least_fuel(shared, module: bytes, low: int, high: int) -> int:
    assert not ends(shared, module, low)
    assert ends(shared, module, high)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if ends(shared, module, middle) else (middle, high)
    return high


def test_fuel_is_exact_also_where_records_are_taken_while_the_guest_runs(shared):
    """The monitor's instructions count as well: how many they are depends on the guest's calls alone."""
    count = 100_000
    few, some = (least_fuel(shared, guests.calls_with_work(n), 0, 4_000_000) for n in (500, 1_000))
    expected = few + (some - few) * (count - 500) // 500
    module = guests.calls_with_work(count)
    # beside the calls, asking for room in the ring costs a little
    needed = least_fuel(shared, module, expected - 100, expected + 2_000)
    assert [ends(shared, module, needed - one) for one in (0, 1) * 4] == [True, False] * 4


def test_with_fuel_a_guest_that_may_not_wait_for_the_log_is_not_ended_where_there_is_room(shared):
    plan = policy("resources: {limits: {fuel: 1G}}\naudit: {on_full: kill}\n")
    assert shared.run(guests.calls_with_work(40_000), plan).receipt.outcome == exited()


def test_the_monitor_is_armed_on_no_fuel_of_the_guest(shared):
    nothing = guest("(nop)")
    needed = least_fuel(shared, nothing, 0, 100)
    assert needed <= 2
    # the start section is the guest's, and so is what is left behind it
    start = guest("", fields="(func $s (drop (i32.const 1))) (start $s)")
    assert least_fuel(shared, start, 0, 100) < 10
    assert shared.run(guests.START_SPINS, limits(fuel=1_000)).receipt.outcome == limit("fuel")


def test_a_guest_that_traps_has_no_limit_to_name(shared):
    outcome = shared.run(guest("(unreachable)"), limits(fuel="1M")).receipt.outcome
    assert (outcome.kind, outcome.limit) == (OutcomeKind.TRAPPED, None)
