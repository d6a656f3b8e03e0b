"""Thousands of runs of all kinds over one runner: nothing is left behind, and all of it is on record."""

from __future__ import annotations

import hashlib
import os
import tempfile
import threading
from collections import defaultdict
from pathlib import Path

import pytest

from audit.filters import RecordFilter
from audit.query import AuditReader
from audit.receipt import Receipt
from audit.tlog.key_files import KeyFolder
from audit.tlog.log import TransparencyLog
from audit.tlog.receipt_notes import sign_receipts
from audit.tlog.signer import sign_head
from audit.verify import standalone
from sandbox.monitor.decode import decode
from tests.soaking import Held, Soak, children, descriptors, in_sessions, kinds, settles

ORIGIN = "example.com/soak"
MIB = 1 << 20
_SETTLED = 500
"""After so many runs what is held once for all is there: pools, caches, arenas of the allocator."""


@pytest.mark.parametrize(
    "runs",
    [
        pytest.param(150, id="short"),
        pytest.param(1_500, id="long", marks=pytest.mark.slow),
        pytest.param(10_000, id="full", marks=[pytest.mark.slow, pytest.mark.timeout(3_600)]),
    ],
)
def test_many_mixed_runs_leave_nothing_behind_and_are_all_on_record(tmp_path, cache, runs):
    before = _outside()
    soak = Soak(tmp_path, cache)
    receipts = tmp_path / "receipts"
    with receipts.open("w") as kept:
        note = _noter(kept)
        settled = min(_SETTLED, runs // 2)
        soak.run(range(settled), note)
        soak.seal()
        first = soak.rest()
        for start in range(settled, runs, _SETTLED):
            soak.run(range(start, min(start + _SETTLED, runs)), note)
            soak.seal()
            _hold_the_same(first, soak.rest())
    assert soak.odd == []
    assert soak.struck <= soak.strikes
    assert soak.met.total() == runs
    assert set(soak.met) == {kind.name for kind in kinds()}
    assert soak.runner.running == ()
    soak.runner.close()
    soak.writer.close()
    assert settles(lambda: not in_sessions(soak.sessions)), in_sessions(soak.sessions)
    assert settles(lambda: _outside() == before), (before, _outside())
    _check_records(tmp_path / "log", receipts, runs)
    _check_seal(tmp_path)


def _noter(kept):
    def note(receipt: Receipt) -> None:
        digest = hashlib.sha256(receipt.to_json()).hexdigest()
        calls = ",".join(f"{one.call}:{one.decision}:{one.count}" for one in receipt.calls)
        kept.write(f"{receipt.execution_id} {receipt.records} {digest} {calls}\n")

    return note


def _outside() -> dict[str, object]:
    """What this process has, and its machine has for it, when no runner is there."""
    return {
        "children": children(os.getpid()),
        "descriptors": descriptors(os.getpid()),
        "threads": {thread.name for thread in threading.enumerate()},
        "temporary files": set(Path(tempfile.gettempdir()).glob("*wasmgate*")),
    }


def _hold_the_same(first: Held, now: Held) -> None:
    assert now.scratch == ()
    assert (now.fds, now.zygote_fds, now.threads) == (first.fds, first.zygote_fds, first.threads)
    # a receipt of each run, kept, would be more than this after 10,000
    assert now.memory <= first.memory + 24 * MIB, (first, now)
    assert now.zygote_memory <= first.zygote_memory + 4 * MIB, (first, now)


def _check_records(root: Path, receipts: Path, runs: int) -> None:
    counted: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    with AuditReader(root, decode) as reader:
        for row in reader.stream(RecordFilter(fields=("exec_id", "call", "decision", "n"))):
            name = f"{str(row['call']).rpartition('.')[2]}:{row['decision']}"
            counted[str(row["exec_id"])][name] += int(str(row["n"]))
        lines = receipts.read_text().splitlines()
        assert len({line.split()[0] for line in lines}) == runs
        for line in lines:
            execution, records, digest, calls = line.split(" ")
            said = {
                name: int(count)
                for name, _, count in (one.rpartition(":") for one in calls.split(",") if one)
            }
            assert counted.pop(execution, {}) == said
            assert sum(said.values()) == int(records)
            found = reader.execution(execution)
            assert found is not None
            assert found.receipt is not None
            assert hashlib.sha256(found.receipt.to_json()).hexdigest() == digest
    assert counted == {}


def _check_seal(base: Path) -> None:
    keys = KeyFolder(base / "keys")
    keys.create(ORIGIN)
    log = TransparencyLog(base / "log" / "tlog")
    head = sign_head(log, keys)
    assert head is not None
    sign_receipts(log, keys, size=head.size, receipts=base / "log" / "exec")
    key = standalone.key_of(str(keys.path / "signing.vkey"))
    report, _ = standalone.verify(str(base / "log"), [key])
    assert (report.result, report.findings) == ("verified", [])
