"""Native code in a cell writes records of calls that were never made, and unwrites those that were.

The guest runs first and makes one call, under the monitor; then its cell is taken over. What it writes from then on
may be a lie that fits: it stands in the log as a call of this run, and of no other. What was drained stays.
"""

from __future__ import annotations

import mmap
import os
import struct
import time
from dataclasses import dataclass, field

import numpy as np
import pytest

from audit.receipt import OutcomeKind
from policy.calls import CALL_CODES
from policy.plan import Plan
from sandbox.job import MAX_COUNT
from sandbox.monitor import layout
from sandbox.monitor.layout import RECORD, Decision, Reason
from sandbox.outcome import UNSOUND
from tests.escape.native import Attempt, Lab, run_guest
from tests.escape.test_native_ring import rings
from tests.runs import exited, limit, mount_rule, policy

OPEN, WRITE = CALL_CODES["path_open"], CALL_CODES["fd_write"]
RING_MASK = layout.RING_RECORDS - 1
HONEST = ("wasi_snapshot_preview1.fd_write", "allow", "stdout", 6)
LIE = b"a/file/that/nobody/opened"


@dataclass(slots=True)
class Forger:
    """Writes to the ring what the monitor would, or what it would not."""

    pages: mmap.mmap = field(default_factory=lambda: mmap.mmap(rings()[0], layout.RING_BYTES))

    def get(self, at: int) -> int:
        return int(struct.unpack_from("<Q", self.pages, at)[0])

    def put(self, at: int, value: int) -> None:
        struct.pack_into("<Q", self.pages, at, value)

    def add(self, at: int, by: int = 1) -> None:
        self.put(at, self.get(at) + by)

    def place(self, seq: int) -> int:
        return layout.RECORDS + (seq & RING_MASK) * layout.RECORD_BYTES

    def write(self, *, target: bytes = LIE, **values: int) -> None:
        """Write a record behind the last one, and its text; no word of the header is changed but the arena's."""
        at = self.get(layout.ARENA_HEAD)
        start = at & (layout.ARENA_BYTES - 1)
        self.pages[layout.ARENA + start : layout.ARENA + start + len(target)] = target
        self.put(layout.ARENA_HEAD, at + len(target))
        record = np.zeros(1, RECORD)
        usual = {"t_ns": time.time_ns(), "call": OPEN, "fd": 3, "fd2": -1, "target_at": start, "opener": -2}
        for name, value in {**usual, "target_len": len(target), **values}.items():
            record[name] = value
        place = self.place(self.get(layout.HEAD))
        self.pages[place : place + layout.RECORD_BYTES] = record.tobytes()

    def count(self, call: int = OPEN, decision: int = Decision.ALLOW, by: int = 1) -> None:
        self.add(layout.COUNTERS + (call * layout.DECISIONS + decision) * 8, by)

    def complete(self) -> None:
        self.add(layout.HEAD)
        self.add(layout.DONE)

    def forge(self, *, target: bytes = LIE, **values: int) -> None:
        """Write one record that fits."""
        self.write(target=target, **values)
        self.count(values.get("call", OPEN), values.get("decision", Decision.ALLOW))
        self.complete()

    def wait_until_drained(self) -> None:
        """Wait until the supervisor has taken all."""
        until = time.monotonic() + 20
        while self.get(layout.TAIL) != self.get(layout.DONE) and time.monotonic() < until:
            time.sleep(0.002)


def rows_of(lab: Lab, attempt: Attempt) -> list[tuple[object, ...]]:
    """The records of a run, which its receipt agrees with."""
    rows = lab.log.check(attempt.execution)
    receipt = attempt.execution.receipt
    own = {(receipt.execution_id, receipt.tenant, receipt.module_digest, receipt.policy_digest)}
    assert {(row["exec_id"], row["tenant_id"], row["module_id"], row["policy_id"]) for row in rows} == own
    return [(row["call"], row["decision"], row["target"], row["bytes_out"]) for row in rows]


# --- lies that fit ----------------------------------------------------------------------------------------


def leave_alone() -> str:
    run_guest()
    return "nothing"


def lie(times: str) -> str:
    run_guest()
    forger = Forger()
    for _ in range(int(times)):
        forger.forge()
    return "lied"


def test_a_lie_that_fits_is_a_record_of_its_own_run_and_of_no_other(lab):
    honest = lab.attempt(leave_alone)
    before = rows_of(lab, honest)
    assert before == [HONEST]
    lied = lab.attempt(lie, 3)
    after = rows_of(lab, lied)
    assert lied.execution.receipt.outcome == exited()
    assert after[0] == HONEST
    assert [row[:2] for row in after[1:]] == [("wasi_snapshot_preview1.path_open", "allow")] * 3
    assert rows_of(lab, honest) == before
    assert rows_of(lab, lab.attempt(leave_alone)) == before


def refuse(times: str) -> str:
    forger = Forger()
    for _ in range(int(times)):
        forger.forge(decision=Decision.DENY, reason=Reason.RULE, errno=76)
    return "lied"


def test_refusals_that_never_were_are_those_of_its_own_run(lab):
    receipt = lab.attempt(refuse, 2).execution.receipt
    assert [each.call for each in receipt.refusals] == ["path_open"] * 2
    assert lab.attempt(leave_alone).execution.receipt.refusals == ()
    many = lab.attempt(refuse, 5_000)
    assert len(rows_of(lab, many)) == 5_000
    assert len(many.execution.receipt.refusals) <= 100


# --- what was drained -------------------------------------------------------------------------------------


def overwrite_drained() -> str:
    """Put another record in the place of the one that was drained, and another text."""
    run_guest()
    forger = Forger()
    forger.forge(target=b"truth")
    forger.wait_until_drained()
    for seq in range(2):
        start = forger.place(seq)
        forger.pages[start : start + layout.RECORD_BYTES] = bytes(layout.RECORD_BYTES)
    forger.pages[layout.ARENA : layout.ARENA + 5] = b"false"
    return "written"


def rewind() -> str:
    run_guest()
    forger = Forger()
    forger.wait_until_drained()
    for word in (layout.HEAD, layout.DONE):
        forger.put(word, 0)
    forger.count(WRITE, by=-1)
    time.sleep(0.05)
    return "written"


def take_back_the_account() -> str:
    run_guest()
    forger = Forger()
    forger.wait_until_drained()
    forger.count(WRITE, by=-1)
    return "written"


def write_the_supervisors_words() -> str:
    run_guest()
    forger = Forger()
    forger.wait_until_drained()
    for word in (layout.TAIL, layout.ARENA_TAIL, layout.NOW):
        forger.put(word, 1 << 62)
    forger.forge(target=b"truth")
    return "written"


@pytest.fixture
def mounted(tmp_path) -> Plan:
    """A plan with a mount, in which the log finds the places of forged paths."""
    return policy(mount_rule(tmp_path, "read") + "  extra_args: true\n")


def test_what_was_drained_is_not_overwritten(lab, mounted, tmp_path):
    attempt = lab.attempt(overwrite_drained, plan=mounted)
    first, second = rows_of(lab, attempt)
    assert first == HONEST
    assert second[2] == f"{tmp_path}/truth"
    assert attempt.execution.receipt.outcome == exited()


@pytest.mark.parametrize("attack", [rewind, take_back_the_account])
def test_what_was_drained_is_not_taken_back(attack, lab):
    attempt = lab.attempt(attack)
    outcome = attempt.execution.receipt.outcome
    assert (outcome.kind, outcome.message) == (OutcomeKind.KILLED, UNSOUND)
    assert rows_of(lab, attempt) == [HONEST]


def test_the_words_that_the_supervisor_writes_it_does_not_read(lab, mounted, tmp_path):
    attempt = lab.attempt(write_the_supervisors_words, plan=mounted)
    assert attempt.execution.receipt.outcome == exited()
    first, second = rows_of(lab, attempt)
    assert first == HONEST
    assert second[2] == f"{tmp_path}/truth"


# --- lies that do not fit ---------------------------------------------------------------------------------


def record_alone() -> str:
    run_guest()
    forger = Forger()
    forger.write()
    forger.complete()
    return "a record and no count"


def count_alone() -> str:
    run_guest()
    Forger().count()
    return "a count and no record"


def count_another() -> str:
    run_guest()
    forger = Forger()
    forger.write()
    forger.count(OPEN, Decision.DENY)
    forger.complete()
    return "counted as another"


def odd_decision() -> str:
    run_guest()
    forger = Forger()
    forger.write(decision=9)
    forger.count()
    forger.complete()
    return "a decision that does not exist"


def odd_call() -> str:
    run_guest()
    forger = Forger()
    forger.write(call=200)
    forger.count()
    forger.complete()
    return "a call that does not exist"


def begun_twice() -> str:
    run_guest()
    forger = Forger()
    forger.write()
    forger.add(layout.HEAD, 2)
    return "two in flight"


@pytest.mark.parametrize(
    "attack", [record_alone, count_alone, count_another, odd_decision, odd_call, begun_twice]
)
def test_a_lie_that_does_not_fit_is_noticed_and_what_was_before_it_stands(attack, lab):
    attempt = lab.attempt(attack)
    outcome = attempt.execution.receipt.outcome
    assert (outcome.kind, outcome.message) == (OutcomeKind.KILLED, UNSOUND)
    rows = lab.log.rows(attempt.execution)
    assert (rows[0]["call"], rows[0]["bytes_out"]) == (HONEST[0], HONEST[3])
    assert lab.attempt(leave_alone).execution.receipt.outcome == exited()


ODD: dict[str, dict[str, int]] = {
    "codes": {"rule": 0xFFFF, "reason": 250, "right": 250},
    "text": {"target_at": 0xFFFF_FFFF, "target_len": 0xFFFF, "target2_len": 0xFFFF},
    "text of another": {"target_at": 0, "target_len": 4_096},
    "past": {"t_ns": -(1 << 63), "dur_ns": -(1 << 63)},
    "future": {"t_ns": (1 << 63) - 1, "dur_ns": (1 << 63) - 1},
    "descriptors": {"fd": -(1 << 31), "fd2": (1 << 31) - 1, "opener": (1 << 63) - 1},
    "opener": {"opener": -(1 << 63), "aux": -(1 << 63), "flags": -1},
    "errno": {"errno": -5, "decision": Decision.DENY},
}


def odd(name: str) -> str:
    run_guest()
    forger = Forger()
    forger.forge(target=b"x", **ODD[name])
    return "written"


@pytest.mark.parametrize("name", ODD)
def test_a_record_that_makes_no_sense_is_one_row_and_takes_no_other_with_it(name, lab):
    attempt = lab.attempt(odd, name)
    rows = rows_of(lab, attempt)
    assert len(rows) == 2
    assert rows[0] == HONEST
    assert attempt.execution.receipt.to_json()
    assert rows_of(lab, lab.attempt(leave_alone)) == [HONEST]


def tell_of_end(word: str, value: str) -> str:
    run_guest()
    struct.pack_into("<I", Forger().pages, int(word), int(value))
    return ""


def tell_of_bytes() -> str:
    run_guest()
    forger = Forger()
    for word in (layout.BYTES_READ, layout.BYTES_WRITTEN, layout.DISK_BYTES):
        forger.put(word, (1 << 64) - 1)
    os.write(1, b".")
    return ""


def test_what_it_says_of_its_end_is_said_of_its_own(lab):
    stopped = lab.attempt(tell_of_end, layout.STOP, layout.Stop.STDOUT)
    assert stopped.execution.receipt.outcome == limit("stdout")
    unknown = lab.attempt(tell_of_end, layout.STOP, 0xFFFF_FFFF)
    assert unknown.execution.receipt.outcome == exited()
    resources = lab.attempt(tell_of_bytes).execution.receipt.resources
    assert (resources.bytes_read, resources.bytes_written) == (MAX_COUNT, MAX_COUNT)
    honest = lab.attempt(leave_alone).execution.receipt
    assert (honest.outcome, honest.resources.bytes_written) == (exited(), 6)
