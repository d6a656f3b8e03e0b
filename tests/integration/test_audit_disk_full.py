"""A guest runs while the disk is full: it waits, goes on when there is room, and is stopped when there is none."""

from __future__ import annotations

import errno
import json
import time

import pytest

from audit.recovery import recover
from sandbox.monitor.decode import decode
from tests.faults import Faults
from tests.log_writers import found

CHILD = """
import json, sys
from pathlib import Path
from audit.errors import AuditError
from sandbox.cache import ArtifactCache
from tests.runs import HELLO, guest, open_log, policy
root, cache, audit, calls = sys.argv[1:]
log = open_log(Path(root), ArtifactCache(Path(cache)))
log.run(HELLO)
turn = f"(br_if $l (i32.lt_u (local.tee 0 (i32.add (local.get 0) (i32.const 1))) (i32.const {calls})))"
module = guest(f"(local i32) (loop $l (drop (call $sched_yield)) {turn})", uses="sched_yield")
rules = "resources: {limits: {host_calls: unlimited, timeout: 30s, cpu: 30s}}\\n"
print("ready", flush=True)
sys.stdin.readline()
try:
    done = log.run(module, policy(rules + f"audit: {{{audit}}}\\n"))
    outcome = done.receipt.outcome
    print(json.dumps([outcome.kind, outcome.limit, done.receipt.records]), flush=True)
except AuditError as err:
    print(json.dumps(["error", str(err), len(log.writer.live)]), flush=True)
sys.stdin.readline()
log.close()
print("closed", flush=True)
"""
CALLS = 60_000


@pytest.fixture
def faults(tmp_path):
    return Faults(tmp_path)


class Child:
    """The program above; `go` and `close` let it go on."""

    def __init__(self, faults, root, cache_root, audit, calls):
        self.process = faults.start(CHILD, root, cache_root, audit, str(calls))
        assert self.process.stdout.readline() == "ready\n"

    def go(self):
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def answer(self):
        return json.loads(self.process.stdout.readline())

    def close(self):
        self.go()
        assert self.process.stdout.readline() == "closed\n"
        with self.process:
            assert self.process.wait(20) == 0


def wait_for(what, seconds=20.0):
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.002)


@pytest.mark.parametrize(
    ("sync", "fault"),
    [
        ("batch", ("write", errno.ENOSPC)),
        ("batch", ("write", errno.EIO)),
        ("batch", ("fdatasync", errno.EIO)),
        ("all", ("write", errno.EROFS)),
        ("all", ("fdatasync", errno.EDQUOT)),
    ],
)
def test_a_disk_that_has_room_again_in_time_costs_time_only(faults, tmp_path, cache_root, sync, fault):
    call, error = fault
    calls = CALLS if sync == "batch" else 200
    child = Child(faults, tmp_path, cache_root, f'sync: {sync}, on_full: "block:20s"', calls)
    rules = [faults.fail(call, under=f"{tmp_path}/log/wal", error=error, skip=1)]
    if call == "fdatasync":  # and there is no other file to go on in
        rules.append(faults.fail("open", under=f"{tmp_path}/log/wal", error=errno.ENOSPC))
    child.go()
    wait_for(lambda: rules[-1].hit >= 4)
    for rule in rules:
        rule.lift()
    assert child.answer() == ["exited", None, calls]
    child.close()
    there = found(tmp_path / "log")
    assert sum(one.rows for one in there.sealed) == calls + 1
    assert all(not one.gaps and not one.killed and one.lost_bytes == 0 for one in there.sealed)
    assert there.gaps == ()


@pytest.mark.parametrize(
    ("sync", "on_full"),
    [("batch", '"block:200ms"'), ("deny", '"block:200ms"'), ("all", '"block:200ms"'), ("all", "kill")],
)
def test_a_disk_that_stays_full_ends_the_guest_and_the_gap_is_on_record_later(
    faults, tmp_path, cache_root, sync, on_full
):
    child = Child(faults, tmp_path, cache_root, f"sync: {sync}, on_full: {on_full}", 1 << 30)
    rule = faults.fail("write", under=f"{tmp_path}/log/wal", error=errno.ENOSPC, skip=6)
    child.go()
    kind, said, live = child.answer()
    assert (kind, live) == ("error", 1)
    assert "No space left" in said
    rule.lift()
    child.close()
    there = found(tmp_path / "log")
    (receipt,) = [one for each in there.sealed for one in each.receipts if one.outcome.exit_code is None]
    assert (receipt.outcome.kind, receipt.outcome.limit) == ("limit", "audit")
    records = there.records[receipt.execution_id]
    assert receipt.records - len(records) in {0, 1}  # one may be in flight
    (gap,) = there.gaps
    assert (gap.exec_id, gap.first_seq) == (receipt.execution_id, len(records))
    assert gap.last_seq is not None
    assert gap.last_seq >= len(records)
    assert "No space left" in gap.reason


def test_a_folder_that_is_replaced_under_a_run_ends_the_guest_and_is_a_gap_on_record(
    faults, tmp_path, cache_root
):
    child = Child(faults, tmp_path, cache_root, "sync: batch", 1 << 30)
    syncs = faults.count("fdatasync", under=f"{tmp_path}/log/wal")
    child.go()
    wait_for(lambda: syncs.seen >= 3)
    (tmp_path / "log/wal").rename(tmp_path / "away")
    (tmp_path / "log/wal").mkdir()
    assert child.answer()[:2] == ["limit", "audit"]
    child.close()
    there = found(tmp_path / "log")
    (receipt,) = [one for each in there.sealed for one in each.receipts if one.outcome.limit == "audit"]
    (records,) = there.records.values()
    missing = [gap for gap in there.gaps if gap.exec_id == receipt.execution_id]
    assert (missing[0].first_seq, missing[0].last_seq) == (0, min(records) - 1)
    assert receipt.gaps == ((0, min(records) - 1),)
    assert receipt.records - 1 - max(records) in {0, 1}  # one may be in flight
    assert recover(tmp_path / "log", decode) == ()
