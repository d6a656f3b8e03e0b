"""An audit log that stalls or fails ends the guest, and what was done is on record as far as it can be."""

from __future__ import annotations

import time

import pytest

from audit.errors import AuditError, WriteError
from audit.recovery import recover
from audit.writer import AuditWriter
from sandbox.monitor.decode import decode
from tests.runs import Log, exited, guest, limit, mount_rule, open_log, policy, says

CALLS = guest("(loop $l (drop (call $sched_yield)) (br $l))", uses="sched_yield")
_ONE = says(b".")
WRITES = guest(f"(loop $l {_ONE[0]} (br $l))", uses="fd_write", fields=_ONE[1])
FOREVER_RULES = "resources: {limits: {host_calls: unlimited, stdout: unlimited, timeout: 20s, cpu: 20s}}\n"


class StallingWriter(AuditWriter):
    """Takes very long over an append."""

    stall_s = 0.0

    def append(self, *arguments, **more):
        time.sleep(self.stall_s)
        super().append(*arguments, **more)


class FailingWriter(AuditWriter):
    """Refuses the `fails_at`-th append, and `fails` in all."""

    appends, fails_at, fails = 0, 1 << 60, 0

    def append(self, *arguments, **more):
        self.appends += 1
        if self.appends >= self.fails_at and self.fails:
            self.fails -= 1
            raise WriteError(self.path, "No space left on device")
        super().append(*arguments, **more)


@pytest.fixture
def opened(tmp_path, cache):
    logs: list[Log] = []

    def make(kind: type[AuditWriter]) -> Log:
        logs.append(open_log(tmp_path / str(len(logs)), cache, writer=kind))
        return logs[-1]

    yield make
    for log in logs:
        log.close()


@pytest.mark.parametrize(("on_full", "least_ms"), [("kill", 0), ('"block:300ms"', 300)])
def test_a_stalled_log_ends_a_guest_that_has_no_room_left(opened, on_full, least_ms):
    log = opened(StallingWriter)
    log.writer.stall_s = 1.2
    done = log.run(CALLS, policy(FOREVER_RULES + f"audit: {{on_full: {on_full}}}\n"))
    assert done.receipt.outcome == limit("audit")
    assert (done.receipt.resources.wall_ms or 0) >= least_ms
    assert done.receipt.records >= 16_384
    log.check(done)


def test_a_log_that_stalls_for_less_than_it_may_costs_time_only(opened):
    log = opened(StallingWriter)
    log.writer.stall_s = 0.1
    body = "(drop (call $sched_yield))"
    module = guest(
        f"(local i32) (loop $l {body} (br_if $l (i32.lt_u (local.tee 0 (i32.add (local.get 0) (i32.const 1))) (i32.const 40000))))",
        uses="sched_yield",
    )
    done = log.run(module, policy(FOREVER_RULES + 'audit: {on_full: "block:10s"}\n'))
    assert done.receipt.outcome == exited()
    assert len(log.check(done)) == 40_000


@pytest.mark.parametrize("sync", ["batch", "deny", "all"])
def test_a_log_that_fails_once_ends_the_guest_and_still_gets_everything(opened, sync):
    log = opened(FailingWriter)
    log.writer.fails_at, log.writer.fails = 3, 1
    done = log.run(WRITES, policy(FOREVER_RULES + f"audit: {{sync: {sync}}}\n"))
    assert done.receipt.outcome == limit("audit")
    rows = log.check(done)
    in_flight = [row for row in rows if row["errno"] == -1]
    assert len(rows) - len(in_flight) <= len(done.stdout) <= len(rows)


@pytest.mark.parametrize("sync", ["deny", "all"])
def test_a_log_that_takes_nothing_any_more_ends_the_guest_and_is_told(opened, tmp_path, sync):
    log = opened(FailingWriter)
    log.writer.fails_at, log.writer.fails = 4, 1 << 60
    folder = tmp_path / "d"
    folder.mkdir()
    told = guest(
        f"""(local $fd i32) (drop (call $path_open (i32.const 3) (i32.const 0) (i32.const 900) (i32.const 1) (i32.const 1)
             (i64.const 64) (i64.const 0) (i32.const 0) (i32.const 512))) (local.set $fd (i32.load (i32.const 512)))
        (loop $l (drop (call $path_open (i32.const 3) (i32.const 0) (i32.const 910) (i32.const 4) (i32.const 0)
                 (i64.const 2) (i64.const 0) (i32.const 0) (i32.const 512)))
          {_ONE[0].replace("call $fd_write (i32.const 1)", "call $fd_write (local.get $fd)")} (br $l))""",
        uses="path_open fd_write", fields=_ONE[1] + '(data (i32.const 900) "f") (data (i32.const 910) "../x")',
    )  # fmt: skip
    text = mount_rule(folder, "read, list, create, write") + FOREVER_RULES + f"audit: {{sync: {sync}}}\n"
    with pytest.raises(AuditError, match="No space left"):
        log.run(told, policy(text))
    assert log.runner.running == ()
    # no refusal was told that is not in the log; with `all`, no byte was written that is not
    log.writer.close()
    (sealed,) = recover(log.root, decode)
    (receipt,) = sealed.receipts
    refused = sum(one.count for one in receipt.calls if one.decision == "deny")
    written = sum(one.count for one in receipt.calls if one.call == "fd_write")
    size = (folder / "f").stat().st_size
    assert refused >= size > 0
    if sync == "all":
        assert written >= size
    assert (receipt.outcome.limit, receipt.records) == ("audit", sealed.rows)
    assert "could not be written" in (receipt.outcome.message or "")


def test_a_log_that_cannot_be_begun_starts_nothing(opened):
    log = opened(AuditWriter)
    log.writer.close()
    with pytest.raises(AuditError):
        log.run(WRITES)
    assert log.runner.running == ()
