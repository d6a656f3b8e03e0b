"""Standard output and error against their limits: one large write, very many small ones, and ways around."""

from __future__ import annotations

import pytest

from tests import limit_guests as guests
from tests.runs import exited, guest, limit, limits, says

STREAMS = [(1, "stdout"), (2, "stderr")]


@pytest.mark.parametrize(("fd", "name"), STREAMS)
def test_one_write_that_is_too_much_ends_the_guest_and_one_that_fits_is_made(shared, fd, name):
    done = shared.run(guests.prints_at_once(10_001, fd=fd), limits(**{name: 10_000}))
    assert (done.receipt.outcome, getattr(done, name)) == (limit(name), b"")
    (row,) = shared.check(done)
    assert (row["decision"], row["rule_id"]) == ("limit", f"limit.{name}")
    done = shared.run(guests.prints_at_once(10_000, fd=fd), limits(**{name: 10_000}))
    assert (done.receipt.outcome, len(getattr(done, name))) == (exited(), 10_000)


@pytest.mark.parametrize(("fd", "name"), STREAMS)
def test_many_writes_of_a_byte_end_the_guest_at_the_same_byte(shared, fd, name):
    plan = limits(**{name: 30_000}, host_calls="unlimited", timeout="60s", cpu="60s")
    done = shared.run(guests.prints(b"x", fd=fd), plan)
    assert (done.receipt.outcome, getattr(done, name)) == (limit(name), b"x" * 30_000)
    assert done.receipt.resources.bytes_written == 30_000
    done = shared.run(guests.prints(b"x", 30_000, fd=fd), plan)
    assert (done.receipt.outcome, getattr(done, name)) == (exited(), b"x" * 30_000)


def test_writes_of_nothing_are_no_output_and_end_as_host_calls(shared):
    done = shared.run(guests.prints(b""), limits(stdout=0, host_calls=1_000))
    assert (done.receipt.outcome, done.stdout) == (limit("host_calls"), b"")
    assert (
        shared.run(guests.prints(b"", 1_000), limits(stdout=0, host_calls=1_000)).receipt.outcome == exited()
    )


def test_a_stream_under_another_number_is_still_that_stream(shared):
    body, data = says(b"0123456789", fd=0)
    move = "(drop (call $fd_renumber (i32.const 1) (i32.const 0)))"
    moved = lambda times: guest(  # noqa: E731  # one guest, twice
        f"(local $i i32) {move} {guests.again(body, times)}", uses="fd_renumber fd_write", fields=data
    )
    done = shared.run(moved(11), limits(stdout=100))
    assert (done.receipt.outcome, done.stdout) == (limit("stdout"), b"0123456789" * 10)
    assert shared.run(moved(10), limits(stdout=100)).receipt.outcome == exited()


def test_both_streams_are_counted_each_for_itself(shared):
    body, data = says(b"0123456789")
    both = body + body.replace("i32.const 1) (i32.const 0)", "i32.const 2) (i32.const 0)")
    endless = guest(guests.again(both), uses="fd_write", fields=data)
    done = shared.run(endless, limits(stdout=100, stderr=55))
    assert (done.receipt.outcome, len(done.stdout), len(done.stderr)) == (limit("stderr"), 60, 50)
    done = shared.run(endless, limits(stdout=45, stderr=100))
    assert (done.receipt.outcome, len(done.stdout), len(done.stderr)) == (limit("stdout"), 40, 40)


def test_of_a_list_of_buffers_only_what_is_written_counts(shared):
    def listed(first: int) -> bytes:
        fill = f"""(i32.store (i32.const 0) (i32.const 64)) (i32.store (i32.const 4) (i32.const {first}))
          (i32.store (i32.const 8) (i32.const 64)) (i32.store (i32.const 12) (i32.const 50000))"""
        write = "(call $fd_write (i32.const 1) (i32.const 0) (i32.const 2) (i32.const 32))"
        return guest(f"{fill} (call $proc_exit {write})", uses="fd_write proc_exit")

    assert shared.run(listed(101), limits(stdout=100)).receipt.outcome == limit("stdout")
    assert shared.run(listed(0), limits(stdout=100)).receipt.outcome == limit("stdout")
    done = shared.run(listed(100), limits(stdout=100))
    assert (done.receipt.outcome, len(done.stdout)) == (exited(), 100)
