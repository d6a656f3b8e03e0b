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
from sandbox.engine_config import EngineConfig
from sandbox.job import Spawn
from sandbox.monitor.decode import decode
from sandbox.spares import _is_fit
from tests.soaking import Held, Soak, children, descriptors, in_sessions, kinds, settles

ORIGIN = "example.com/soak"
MIB = 1 << 20
_SETTLED = 500
"""After so many runs what is held once for all is there: pools, caches, arenas of the allocator."""


@pytest.fixture
def outside():
    """What there is before anything of the test is."""
    return _outside()


@pytest.fixture
def soak(tmp_path, cache):
    made = Soak(tmp_path, cache)
    yield made
    made.close()


@pytest.mark.parametrize(
    "runs",
    [
        pytest.param(150, id="short"),
        pytest.param(1_500, id="long", marks=pytest.mark.slow),
        pytest.param(10_000, id="full", marks=[pytest.mark.slow, pytest.mark.timeout(3_600)]),
    ],
)
def test_many_mixed_runs_leave_nothing_behind_and_are_all_on_record(outside, soak, tmp_path, runs):
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
    soak.close()
    assert in_sessions(soak.sessions) == set()  # nor one that is dead and that nobody waited for
    assert settles(lambda: _outside() == outside), (outside, _outside())
    _check_records(tmp_path / "log", receipts, runs)
    _check_seal(tmp_path)


def test_a_zygote_that_is_retired_forks_no_more_and_the_next_one_does(soak):
    soak.run(range(1), lambda _: None)
    soak.rest()
    former = soak.runner._cells._zygote
    assert former is not None
    former.retire()  # its spare cells keep it
    with pytest.raises(OSError, match="no more"):
        former.fork(Spawn(EngineConfig(), has_guest=False), ())
    soak.run(range(1), lambda _: None)
    assert soak.runner._cells._zygote is not former
    assert soak.odd == []
    soak.close()
    assert in_sessions(soak.sessions | {former.process.pid}) == set()


def test_a_spare_is_not_given_out_once_nobody_can_say_how_it_ends(soak):
    soak.run(range(1), lambda _: None)
    soak.rest()
    ready = soak._ready_cells()
    assert ready
    assert all(_is_fit(cell) for cell in ready)
    soak._strike_zygote()
    assert settles(lambda: not any(_is_fit(cell) for cell in ready))
    assert not any(cell.is_gone for cell in ready)
    soak.run(range(1), lambda _: None)
    assert soak.odd == []
    assert soak.struck == 0


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
    # an object that each tenth run leaves would be more than this after 10,000; so would one mapping of each hundredth
    assert now.objects <= first.objects + 1_000, (first, now)
    assert now.mappings <= first.mappings + 100, (first, now)
    assert now.memory <= first.memory + 96 * MIB, (first, now)
    assert now.zygote_memory <= first.zygote_memory + 4 * MIB, (first, now)


def _check_records(root: Path, receipts: Path, runs: int) -> None:
    counted: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    with AuditReader(root, decode) as reader:
        for row in reader.stream(RecordFilter(fields=("exec_id", "call", "decision", "n"))):
            name = ":".join((str(row["call"]).rpartition(".")[2], str(row["decision"])))
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
