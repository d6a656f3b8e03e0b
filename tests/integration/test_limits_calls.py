"""Host calls: how many, how large each may be, and what a guest that ends by itself leaves behind."""

from __future__ import annotations

from pathlib import Path

import pytest

from audit.receipt import OutcomeKind
from tests import limit_guests as guests
from tests.runs import exited, guest, limit, limits, policy


def calls(times: int) -> bytes:
    return guests.busy("(drop (call $sched_yield))", times, uses="sched_yield")


def test_a_hundred_thousand_calls_are_made_and_the_next_is_not(shared):
    assert shared.run(calls(100_000), limits(host_calls=100_000)).receipt.outcome == exited()
    done = shared.run(calls(100_001), limits(host_calls=100_000))
    assert done.receipt.outcome == limit("host_calls")
    assert done.receipt.records == 100_001
    assert {(one.call, one.decision): one.count for one in done.receipt.calls} == {
        ("sched_yield", "allow"): 100_000,
        ("sched_yield", "limit"): 1,
    }


def test_the_first_call_may_be_one_too_many(shared):
    done = shared.run(calls(1), limits(host_calls=0))
    assert (done.receipt.outcome, done.receipt.records) == (limit("host_calls"), 1)
    assert shared.run(guest("(nop)"), limits(host_calls=0)).receipt.outcome == exited()


def test_an_exit_is_a_call_like_any_other(shared):
    module = guest("(call $proc_exit (i32.const 7))", uses="proc_exit")
    assert shared.run(module, limits(host_calls=1)).receipt.outcome == exited(7)
    assert shared.run(module, limits(host_calls=0)).receipt.outcome == limit("host_calls")


def test_calls_that_the_plan_refuses_count_too(shared):
    body = "(drop (call $random_get (i32.const 0) (i32.const 8)))"
    given = "permissions: {random: none}\nresources: {limits: {host_calls: 300}}\n"
    done = shared.run(guests.busy(body, uses="random_get"), policy(given))
    assert done.receipt.outcome == limit("host_calls")
    assert shared.run(guests.busy(body, 300, uses="random_get"), policy(given)).receipt.outcome == exited()


ONE_CALL = {
    "random bytes": ("(call $random_get (i32.const 0) (i32.const {0}))", "random_get"),
    "random bytes elsewhere": ("(call $random_get (i32.const 64) (i32.const {0}))", "random_get"),
    "subscriptions": (
        "(call $poll_oneoff (i32.const 64) (i32.const 256) (i32.const {0}) (i32.const 8))",
        "poll_oneoff",
    ),
}


@pytest.mark.parametrize("count", [65_537, 1 << 28, 0x7FFF_FFFF, 0xFFFF_FFFF])
@pytest.mark.parametrize("name", ONE_CALL)
def test_one_call_for_more_than_the_guest_has_fails_at_once(shared, name, count):
    body, uses = ONE_CALL[name]

    def asks(count: int):
        module = guest(f"(call $proc_exit {body.format(count)})", uses=f"{uses} proc_exit")
        return shared.run(module, limits(timeout="20s"))

    done = asks(count)
    if done.receipt.outcome.kind is OutcomeKind.TRAPPED:
        (row,) = shared.check(done)
        assert (row["errno"], row["dur_ns"]) == (-1, -1)
    else:
        assert done.receipt.outcome.exit_code not in {None, 0}
    assert (done.receipt.resources.cpu_ms or 0) < 2_000
    assert asks(1).receipt.outcome == exited()


@pytest.mark.parametrize("fd", [0, 1])
def test_one_buffer_of_gigabytes_is_refused_by_the_engine(shared, fd):
    call = ("fd_read", "fd_write")[fd]

    def moves(size: int, memory: str) -> bytes:
        at = f"(i32.store (i32.const 0) (i32.const 64)) (i32.store (i32.const 4) (i32.const {size}))"
        move = f"(call ${call} (i32.const {fd}) (i32.const 0) (i32.const 1) (i32.const 8))"
        return guest(f"{at} (call $proc_exit {move})", uses=f"{call} proc_exit", memory=memory)

    plan = policy(
        "permissions: {stdio: {stdin: caller}}\nresources: {limits: {memory: 2Gi, stdout: 4Gi, timeout: 20s}}\n"
    )
    with Path("/dev/zero").open("rb") as zeros:
        huge = shared.run(moves(1 << 30, "20000"), plan, stdin_fd=zeros.fileno())
        assert (huge.receipt.outcome, huge.stdout) == (exited(48), b"")
        assert shared.run(moves(1_000, "1"), plan, stdin_fd=zeros.fileno()).receipt.outcome == exited()


@pytest.mark.parametrize(
    "code", [0, 1, 125, 126, 127, 128, 255, 256, 134, 137, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFF]
)
def test_an_exit_code_is_what_the_guest_said_and_never_a_limit(shared, code):
    module = guest(f"(call $proc_exit (i32.const {code}))", uses="proc_exit")
    assert shared.run(module).receipt.outcome == exited(code)


def test_a_trap_in_the_middle_leaves_what_was_done_on_record(shared):
    module = guest("(drop (call $sched_yield)) (unreachable)", uses="sched_yield")
    done = shared.run(module, limits(host_calls=1))
    assert (done.receipt.outcome.kind, done.receipt.outcome.limit) == (OutcomeKind.TRAPPED, None)
    assert len(shared.check(done)) == 1
