"""Records = counters = what the guest saw: after each kind of end, and when the cell is killed at any instant."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from pathlib import Path

import pytest

from audit.receipt import OutcomeKind
from audit.writer import AuditWriter
from tests.runs import HELLO, Log, exited, guest, limits, mount_rule, open_log, policy, says

# Writes one byte at a time, and does other calls in between.
_ONE = says(b".")
COUNTS = guest(
    f"(loop $l (drop (call $sched_yield)) {_ONE[0]} (drop (call $random_get (i32.const 64) (i32.const 8))) (br $l))",
    uses="sched_yield fd_write random_get",
    fields=_ONE[1],
)
# Asks for what it must not have, then says so in a file: the file outlives whatever is killed.
TELLS = guest(
    f"""(local $fd i32) (drop (call $path_open (i32.const 3) (i32.const 0) (i32.const 900) (i32.const 4) (i32.const 1)
          (i64.const 64) (i64.const 0) (i32.const 0) (i32.const 512)))
        (local.set $fd (i32.load (i32.const 512)))
        (loop $l
          (if (i32.ne (call $path_open (i32.const 3) (i32.const 0) (i32.const 910) (i32.const 4) (i32.const 0)
                 (i64.const 2) (i64.const 0) (i32.const 0) (i32.const 512)) (i32.const 63)) (then (unreachable)))
          {_ONE[0].replace("call $fd_write (i32.const 1)", "call $fd_write (local.get $fd)")} (br $l))""",
    uses="path_open fd_write",
    fields=says(b".")[1] + '(data (i32.const 900) "seen") (data (i32.const 910) "../x")',
)


def children(pid: int) -> list[int]:
    return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def zygote_of(log: Log) -> int:
    zygote = log.runner._cells._zygote
    assert zygote is not None
    return zygote.process.pid


def has_begun(pid: int) -> bool:
    """Whether the guest of a cell runs: it has a second thread, which counts its processor time."""
    try:
        return len([*Path(f"/proc/{pid}/task").iterdir()]) > 1
    except OSError:
        return False


def kill_a_cell(log: Log, delay_s: float) -> threading.Thread:
    """Kill the cell some time after its guest began, from outside."""

    def kill() -> None:
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            for pid in children(zygote_of(log)):
                if has_begun(pid):
                    time.sleep(delay_s)
                    os.kill(pid, signal.SIGKILL)
                    return

    thread = threading.Thread(target=kill)
    thread.start()
    return thread


def check_killed(log: Log, delay_s: float) -> int:
    killer = kill_a_cell(log, delay_s)
    done = log.run(COUNTS, limits(host_calls="unlimited", stdout="unlimited", timeout="60s", cpu="60s"))
    killer.join()
    receipt = done.receipt
    assert (receipt.outcome.kind, receipt.outcome.message) == (
        OutcomeKind.KILLED,
        "the cell ended with signal 9",
    )
    rows = log.check(done)
    in_flight = [row for row in rows if row["errno"] == -1]
    assert in_flight in ([], rows[-1:])
    # each byte that came out is on record, and nothing is on record as written that did not come out
    written = [row for row in rows if row["call"] == "wasi_snapshot_preview1.fd_write"]
    completed = sum(int(row["bytes_out"] or 0) for row in written)
    assert completed == len([row for row in written if row["errno"] == 0])
    assert completed <= len(done.stdout) <= completed + len(in_flight)
    assert receipt.resources.bytes_written in (completed, completed + 1)
    names = [str(row["call"]).rpartition(".")[2] for row in rows]
    assert names == (["sched_yield", "fd_write", "random_get"] * len(rows))[: len(rows)]
    return len(rows)


def test_a_killed_cell_leaves_exactly_what_it_did(shared):
    shared.run(HELLO)
    source = random.Random()
    found = [check_killed(shared, source.uniform(0, 0.05)) for _ in range(20)]
    assert max(found) > 100


@pytest.mark.slow
@pytest.mark.timeout(1_200)
def test_hundreds_of_killed_cells_leave_exactly_what_they_did(shared):
    shared.run(HELLO)
    source = random.Random()
    for _ in range(400):
        check_killed(shared, source.uniform(0, 0.1))


@pytest.mark.parametrize("sync", ["batch", "deny", "all"])
def test_ends_of_each_kind_leave_all_records(shared, tmp_path, sync):
    rule = mount_rule(tmp_path, "read, list, create, write") + f"audit: {{sync: {sync}}}\n"
    call = "(drop (call $sched_yield))"
    for end, kind, more in (
        ("", OutcomeKind.EXITED, 0),
        ("(call $proc_exit (i32.const 3))", OutcomeKind.EXITED, 1),
        ("(call $proc_exit (i32.const 300))", OutcomeKind.EXITED, 1),
        ("(unreachable)", OutcomeKind.TRAPPED, 0),
        # the host writes the result behind the end of memory: it traps in the middle of a call
        ("(drop (call $random_get (i32.const 65530) (i32.const 100)))", OutcomeKind.TRAPPED, 1),
    ):
        module = guest(call * 3 + end, uses="sched_yield proc_exit random_get")
        done = shared.run(module, policy(rule))
        assert done.receipt.outcome.kind is kind, done.receipt.outcome
        rows = shared.check(done)
        assert len(rows) == 3 + more
        if more:
            assert rows[-1]["errno"] == -1
    assert shared.run(guest("(call $proc_exit (i32.const 300))", uses="proc_exit")).receipt.outcome == exited(
        300
    )


def test_a_run_longer_than_the_ring_is_complete(shared):
    module = guest(
        "(local i32) (loop $l (drop (call $sched_yield)) (br_if $l (i32.lt_u (local.tee 0 (i32.add (local.get 0) (i32.const 1))) (i32.const 100000))))",
        uses="sched_yield",
    )
    done = shared.run(module)
    assert done.receipt.outcome == exited()
    assert len(shared.check(done)) == 100_000


class CountingWriter(AuditWriter):
    """Says how often it was synced, and with how many records."""

    commits = 0

    def commit(self, exec_id=None) -> None:
        self.commits += 1
        super().commit(exec_id)


@pytest.mark.parametrize(("sync", "least", "most"), [("batch", 1, 8), ("deny", 20, 30), ("all", 40, 60)])
def test_each_refusal_is_durable_before_the_guest_hears_of_it(tmp_path, cache, sync, least, most):
    made: list[CountingWriter] = []

    def writer(root: Path) -> AuditWriter:
        made.append(CountingWriter(root))
        return made[-1]

    log = open_log(tmp_path, cache, writer=writer)
    folder = tmp_path / "d"
    folder.mkdir()
    refused = """(if (i32.eqz (call $path_open (i32.const 3) (i32.const 0) (i32.const 910) (i32.const 4) (i32.const 0)
        (i64.const 2) (i64.const 0) (i32.const 0) (i32.const 512))) (then (unreachable)))"""
    module = guest(
        f"{refused} (drop (call $sched_yield))" * 20,
        uses="path_open sched_yield",
        fields='(data (i32.const 910) "../x")',
    )
    plan = policy(mount_rule(folder, "read, list") + f"audit: {{sync: {sync}}}\n")
    assert log.run(module, plan).receipt.outcome == exited()
    assert least <= made[0].commits <= most, made[0].commits
    log.close()


def test_a_cell_that_is_killed_while_it_tells_of_refusals_loses_none(shared, tmp_path):
    plan = policy(
        mount_rule(tmp_path, "read, list, create, write")
        + "resources: {limits: {host_calls: unlimited, timeout: 60s}}\naudit: {sync: deny}\n"
    )
    shared.run(HELLO)
    for delay in (0.02, 0.1):
        killer = kill_a_cell(shared, delay)
        done = shared.run(TELLS, plan)
        killer.join()
        seen = tmp_path / "seen"
        told = seen.stat().st_size if seen.exists() else 0
        refused = [row for row in shared.check(done) if row["decision"] == "deny"]
        assert told <= len(refused) <= told + 2
