"""What a guest writes: byte for byte to whoever asked, inert in messages, and never in the supervisor's way."""

from __future__ import annotations

import os
import threading
import time

import pytest

from audit.receipt import OutcomeKind
from tests.runs import FOREVER, HELLO, exited, guest, limit, limits, policy, says

HOSTILE = b"a\nb\r\n\x1b[2J\x1b]0;t\x07\"'</script>\xff\xfe\x00\xe2\x80\xae"


@pytest.mark.parametrize(("fd", "name"), [(1, "stdout"), (2, "stderr")])
def test_hostile_bytes_come_through_as_they_are(shared, fd, name):
    heard: list[bytes] = []
    body, data = says(HOSTILE, fd=fd)
    done = shared.run(guest(body, uses="fd_write", fields=data), **{f"on_{name}": heard.append})
    assert getattr(done, name) == b"".join(heard) == HOSTILE


def test_hostile_names_in_a_trap_come_out_inert(shared):
    name = "x\\1b[2J\\0a</script>\\e2\\80\\ae"
    module = guest(f'(call $"{name}")', fields=f'(func $"{name}" (unreachable))')
    outcome = shared.run(module).receipt.outcome
    assert outcome.kind is OutcomeKind.TRAPPED
    assert (outcome.message or "").isprintable()
    assert "unreachable" in (outcome.message or "")


def test_one_huge_write_comes_through(shared):
    size = 5 << 20
    module = guest(
        f"""(memory.fill (i32.const 1024) (i32.const 97) (i32.const {size})) (i32.store (i32.const 0) (i32.const 1024))
        (i32.store (i32.const 4) (i32.const {size}))
        (loop $l (if (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)) (then (unreachable)))
          (i32.store (i32.const 0) (i32.add (i32.load (i32.const 0)) (i32.load (i32.const 8))))
          (i32.store (i32.const 4) (i32.sub (i32.load (i32.const 4)) (i32.load (i32.const 8))))
          (br_if $l (i32.load (i32.const 4))))""",
        uses="fd_write", memory="100",
    )  # fmt: skip
    done = shared.run(module, limits(stdout="8Mi"))
    assert done.receipt.outcome == exited()
    assert done.stdout == b"a" * size
    assert done.receipt.resources.bytes_written == size


def test_a_guest_may_close_its_standard_output(shared):
    body, data = says(b"x")
    module = guest(
        f"""{body} (drop (call $fd_close (i32.const 1))) {body.replace("drop", "call $proc_exit")}""",
        uses="fd_write fd_close proc_exit", fields=data,
    )  # fmt: skip
    done = shared.run(module)
    assert (done.stdout, done.receipt.outcome) == (b"x", exited(8))
    assert done.receipt.records == 4


def endless(text: bytes = b"x" * 4_096) -> bytes:
    body, data = says(text)
    return guest(f"(loop $l {body} (br $l))", uses="fd_write", fields=data)


def test_a_reader_that_does_not_read_holds_up_the_guest_and_not_its_deadline(shared):
    release, heard = threading.Event(), list[bytes]()

    def slow(chunk: bytes) -> None:
        heard.append(chunk)
        release.wait(20)

    timer = threading.Timer(1.0, release.set)
    timer.start()
    done = shared.run(endless(), limits(timeout="300ms", stdout="unlimited"), on_stdout=slow)
    timer.join()
    assert done.receipt.outcome == limit("timeout")
    assert 250 <= (done.receipt.resources.wall_ms or 0) < 900
    assert b"".join(heard) == done.stdout  # all of it, in the end
    assert len(done.stdout) < 4 << 20
    shared.check(done)


def test_a_reader_that_went_away_ends_the_guest(shared):
    def gone(_chunk: bytes) -> None:
        raise BrokenPipeError(32, "Broken pipe")

    outcome = shared.run(endless(), limits(timeout="20s", stdout="unlimited"), on_stdout=gone).receipt.outcome
    assert outcome.kind is OutcomeKind.KILLED
    assert "stdout could not be passed on" in (outcome.message or "")


def test_what_a_caller_of_ours_raises_comes_out_once_the_end_is_on_record(shared):
    def broken(_chunk: bytes) -> None:
        raise ZeroDivisionError

    before = set((shared.root / "exec").iterdir())
    with pytest.raises(ZeroDivisionError):
        shared.run(endless(), limits(timeout="20s", stdout="unlimited"), on_stdout=broken)
    (receipt,) = set((shared.root / "exec").iterdir()) - before
    assert '"killed"' in receipt.read_text()
    assert shared.runner.running == ()


def test_streams_that_are_not_granted_are_refused(shared):
    body, data = says(b"x")
    module = guest(body.replace("drop", "call $proc_exit"), uses="fd_write proc_exit", fields=data)
    done = shared.run(module, policy("permissions: {stdio: {stdout: none}}\n"))
    assert (done.stdout, done.receipt.outcome) == (b"", exited(76))
    assert done.receipt.refusals[0].target == "stdout"
    heard: list[bytes] = []
    done = shared.run(module, policy("permissions: {stdio: {stdout: inherit}}\n"), on_stdout=heard.append)
    assert (done.stdout, heard) == (b"", [b"x"])  # passed on and not kept


def reads(fd: int = 0) -> bytes:
    return guest(
        f"""(i32.store (i32.const 0) (i32.const 1024)) (i32.store (i32.const 4) (i32.const 1000))
        (drop (call $fd_read (i32.const {fd}) (i32.const 0) (i32.const 1) (i32.const 4)))
        (drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))""",
        uses="fd_read fd_write",
    )


@pytest.mark.parametrize("kind", ["file", "file from its middle", "pipe", "socket"])
def test_standard_input_of_each_kind_is_read_from_where_it_stands(shared, tmp_path, kind):
    import socket

    plan = policy("permissions: {stdio: {stdin: caller}}\n")
    path = tmp_path / "in"
    path.write_bytes(b"12345\n")
    if kind == "pipe":
        fd, other = os.pipe()
        os.write(other, b"12345\n")
        os.close(other)
    elif kind == "socket":
        ours, theirs = socket.socketpair()
        with ours:
            ours.send(b"12345\n")
        fd = theirs.detach()
    else:
        fd = os.open(path, os.O_RDONLY)
        if kind != "file":
            os.lseek(fd, 2, os.SEEK_SET)
    try:
        done = shared.run(reads(), plan, stdin_fd=fd)
    finally:
        os.close(fd)
    assert done.stdout == (b"345\n" if kind == "file from its middle" else b"12345\n")


# --- cancelling -------------------------------------------------------------------------------------------


def test_a_run_is_cancelled_from_another_thread(shared):
    begun = time.monotonic()

    def cancel() -> None:
        while not shared.runner.running:
            time.sleep(0.01)
        time.sleep(0.1)
        assert shared.runner.cancel(shared.runner.running[0])

    thread = threading.Thread(target=cancel)
    thread.start()
    done = shared.run(guest(FOREVER), limits(timeout="60s", cpu="60s"))
    thread.join()
    assert (done.receipt.outcome.kind, done.receipt.outcome.message) == (OutcomeKind.KILLED, "cancelled")
    assert time.monotonic() - begun < 10
    assert not shared.runner.cancel(done.receipt.execution_id)


def test_a_run_that_was_cancelled_before_it_began_starts_nothing(shared):
    event = threading.Event()
    event.set()
    receipt = shared.run(HELLO, cancelled=event).receipt
    assert (receipt.outcome.kind, receipt.outcome.message, receipt.records) == (
        OutcomeKind.KILLED,
        "cancelled",
        0,
    )
