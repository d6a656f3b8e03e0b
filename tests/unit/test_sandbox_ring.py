"""The supervisor's side of the ring, on rings that are written by hand: honest ones, torn ones, hostile ones."""

from __future__ import annotations

import mmap
import random
import struct
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.errors import WriteError
from audit.identity import new_execution_id
from audit.receipt import REFUSALS_KEPT
from audit.start import ExecutionStart, MountPoint
from audit.wal import RecordFrame
from policy.calls import CALL_CODES
from policy.component_calls import NAMES
from sandbox.monitor import layout
from sandbox.monitor.decode import decode
from sandbox.monitor.kernel import AT
from sandbox.monitor.layout import RECORD, Decision
from sandbox.refused_calls import refused_calls
from sandbox.ring import Ring

EXEC = new_execution_id()
START = ExecutionStart(
    exec_id=EXEC, started_at_ns=0, module_digest="sha256:0", module_name="m", policy_name="p",
    policy_digest="sha256:1", plan_digest="sha256:2", mode="enforce", layout_version=layout.VERSION,
    rules=("default",), mounts=(MountPoint("/d", "/srv/d"),),
)  # fmt: skip
MASK = layout.RING_RECORDS - 1
OFFSETS = AT
OPEN, YIELD = CALL_CODES["path_open"], CALL_CODES["sched_yield"]


@dataclass
class Taken:
    """A sink that keeps all it is given, and refuses from the `fails_at`-th append on, `fails` times."""

    frames: list[RecordFrame] = field(default_factory=list)
    intents: list[RecordFrame] = field(default_factory=list)
    fails_at: int = -1
    fails: int = 0
    appends: int = 0

    def append(self, exec_id, *, first_seq, records, arena, arena_start):
        self.appends += 1
        if 0 <= self.fails_at < self.appends and self.fails:
            self.fails -= 1
            raise WriteError(exec_id, "no space")
        assert exec_id == EXEC
        assert first_seq == self.rows
        self.frames.append(
            RecordFrame(first_seq, len(records) // RECORD.itemsize, records, arena, arena_start)
        )

    def intent(self, exec_id, *, seq, record, arena, arena_start):
        assert (exec_id, seq) == (EXEC, self.rows)
        self.intents = [RecordFrame(seq, 1, record, arena, arena_start)]

    @property
    def rows(self):
        return sum(frame.n_records for frame in self.frames)

    @property
    def all(self):
        return [*self.frames, *self.intents]


@dataclass
class Monitor:
    """What the monitor does to a ring, step by step, so that it can be stopped between any two."""

    map: mmap.mmap
    head: int = 0
    arena: int = 0

    def put(self, at, value):
        struct.pack_into("<Q", self.map, at, value)

    def get(self, at):
        return struct.unpack_from("<Q", self.map, at)[0]

    def at(self, seq):
        return layout.RECORDS + (seq & MASK) * layout.RECORD_BYTES

    def begin(self, call=YIELD, *, path=b"", fd2=-1, decision=0):
        record = np.zeros(1, RECORD)
        record["t_ns"], record["dur_ns"], record["errno"] = self.head + 1, layout.IN_FLIGHT, layout.IN_FLIGHT
        record["call"], record["fd"], record["fd2"], record["opener"] = call, 3, fd2, layout.FIRST_MOUNT
        record["aux"], record["decision"] = self.head, decision
        if path:
            place = self.arena % layout.ARENA_BYTES
            if place + len(path) > layout.ARENA_BYTES:
                self.arena += layout.ARENA_BYTES - place
                place = 0
            self.map[layout.ARENA + place : layout.ARENA + place + len(path)] = path
            self.arena += len(path)
            record["target_at"], record["target_len"] = place, len(path)
            self.put(layout.ARENA_HEAD, self.arena)
        self.map[self.at(self.head) : self.at(self.head) + 64] = record.tobytes()
        self.head += 1
        self.put(layout.HEAD, self.head)

    def finish_record(self, errno=0):
        at = self.at(self.head - 1)
        struct.pack_into("<q", self.map, at + OFFSETS["dur_ns"], 5)
        struct.pack_into("<h", self.map, at + OFFSETS["errno"], errno)

    def count(self):
        record = np.frombuffer(self.map[self.at(self.head - 1) :][:64], RECORD)
        place = layout.COUNTERS + (int(record["call"][0]) * 4 + int(record["decision"][0])) * 8
        self.put(place, self.get(place) + 1)

    def done(self):
        self.put(layout.DONE, self.head)

    def call(self, *arguments, errno=0, **more):
        self.begin(*arguments, **more)
        self.finish_record(errno)
        self.count()
        self.done()


@pytest.fixture
def ring():
    made = Ring(EXEC)
    yield made
    made.close()


@pytest.fixture
def monitor(ring):
    return Monitor(ring._map)


def rows_of(sink):
    return decode(
        START, sink.all, decode(START, [], None).select(["seq", "target", "guest_target"])
    ).to_pylist()


def test_what_is_complete_is_handed_over_once(ring, monitor):
    sink = Taken()
    for _ in range(5):
        monitor.call()
    assert ring.drain(sink) == 5
    assert ring.drain(sink) == 0
    assert (ring.taken, monitor.get(layout.TAIL)) == (5, 5)
    totals = ring.finish(sink)
    assert (totals.records, totals.is_sound, sink.rows) == (5, True, 5)


def test_records_and_arena_wrap(ring, monitor):
    sink, n = Taken(), layout.RING_RECORDS + 77
    path = b"x" * 291  # goes over the end of the arena at an uneven place, several times
    for number in range(n):
        monitor.call(OPEN, path=path + b"%06d" % number, fd2=4)
        if number % 3_000 == 2_999:
            ring.drain(sink)
    totals = ring.finish(sink)
    assert (totals.records, totals.is_sound) == (n, True)
    rows = rows_of(sink)
    assert [row["seq"] for row in rows] == list(range(n))
    assert [row["guest_target"] for row in rows] == [f"/d/{path.decode()}{i:06d}" for i in range(n)]


def test_a_full_ring_is_taken_in_one_go(ring, monitor):
    sink = Taken()
    monitor.call()
    ring.drain(sink)
    for _ in range(layout.RING_RECORDS):
        monitor.call()
    assert ring.drain(sink) == layout.RING_RECORDS
    assert ring.is_sound


@pytest.mark.parametrize("steps", range(5))
def test_a_kill_between_any_two_stores_loses_nothing_and_doubles_nothing(ring, monitor, steps):
    sink = Taken()
    monitor.call()
    for step in (monitor.begin, monitor.finish_record, monitor.count, monitor.done)[:steps]:
        step()
    totals = ring.finish(sink)
    begun = steps > 0
    assert totals.is_sound
    assert totals.records == len(rows_of(sink)) == 1 + begun
    # complete from the moment on which its counter stands
    assert [len(sink.intents), sink.rows] == [int(steps in (1, 2)), 1 + (steps > 2)]
    assert [row["errno"] for row in rows_of(sink)][1:] == {0: [], 1: [-1], 2: [0]}.get(steps, [0])


def test_finishing_twice_gives_the_same(ring, monitor):
    sink = Taken()
    monitor.call()
    monitor.begin()
    assert ring.finish(sink) == ring.finish(sink)
    assert (sink.rows, len(sink.intents)) == (1, 1)


def test_an_intent_is_the_record_in_flight_and_later_complete(ring, monitor):
    sink = Taken()
    monitor.call()
    monitor.begin(OPEN, path=b"a/b")
    ring.drain_intent(sink)
    assert [row["errno"] for row in rows_of(sink)] == [0, -1]
    assert rows_of(sink)[1]["guest_target"] == "/d/a/b"
    monitor.finish_record(errno=44)
    monitor.count()
    monitor.done()
    assert ring.drain(sink) == 1
    sink.intents.clear()
    assert [row["errno"] for row in rows_of(sink)] == [0, 44]


def test_a_sink_that_fails_once_gets_the_same_records_again(ring, monitor):
    sink = Taken(fails_at=1, fails=1)
    for _ in range(3):
        monitor.call()
    ring.drain(sink)
    monitor.call(OPEN, path=b"p")
    with pytest.raises(WriteError):
        ring.drain(sink)
    assert (ring.taken, monitor.get(layout.TAIL)) == (3, 3)
    totals = ring.finish(sink)
    assert (totals.records, sink.rows, totals.is_sound) == (4, 4, True)
    assert rows_of(sink)[-1]["guest_target"] == "/d/p"


# --- a cell that was taken over ------------------------------------------------------------------------------

WORDS = [0, 1, 2, layout.RING_RECORDS - 1, layout.RING_RECORDS, layout.RING_RECORDS + 1, 1 << 32, (1 << 53) + 1, (1 << 63) - 1, 1 << 63, (1 << 64) - 1]  # fmt: skip
word = st.one_of(st.sampled_from(WORDS), st.integers(0, (1 << 64) - 1))


@given(
    head=word,
    done=word,
    seed=st.integers(0, 1 << 32),
    counters=st.lists(word, max_size=12),
    drains=st.integers(0, 3),
)
def test_no_bytes_in_the_ring_lose_the_run(head, done, seed, counters, drains):
    made, sink = Ring(EXEC), Taken()
    try:
        source = random.Random(seed)
        noise = source.randbytes(1 << 14)
        for at in range(layout.RECORDS, layout.RECORDS + (1 << 18), len(noise)):
            made._map[at : at + len(noise)] = noise
        for at, value in ((layout.HEAD, head), (layout.DONE, done), (layout.TAIL, source.getrandbits(64))):
            struct.pack_into("<Q", made._map, at, value)
        for place, value in enumerate(counters):
            struct.pack_into("<Q", made._map, layout.COUNTERS + 8 * place, value)
        for _ in range(drains):
            made.drain(sink)
        totals = made.finish(sink)
        # what the receipt says is what the log holds, whatever the cell says
        assert totals.records == sink.rows + len(sink.intents) <= (drains + 1) * layout.RING_RECORDS + 1
        assert made.total(layout.BYTES_READ) < 1 << 53
        assert len(refused_calls(START, made.kept.frames)) <= REFUSALS_KEPT
    finally:
        made.close()


def test_noise_decodes_to_one_row_a_record(ring, monitor):
    sink = Taken()
    monitor.map[layout.RECORDS : layout.ARENA] = random.Random(1).randbytes(layout.ARENA - layout.RECORDS)
    monitor.put(layout.HEAD, 1 << 60)
    monitor.put(layout.DONE, 1 << 50)
    totals = ring.finish(sink)
    assert len(rows_of(sink)) == totals.records == layout.RING_RECORDS + 1


@pytest.mark.parametrize("done", [layout.RING_RECORDS + 1, 1 << 40, (1 << 64) - 1])
def test_a_monitor_that_claims_more_than_a_ring_holds_is_not_believed(ring, monitor, done):
    monitor.put(layout.DONE, done)
    assert ring.drain(Taken()) == layout.RING_RECORDS
    assert not ring.is_sound


def test_a_monitor_that_takes_records_back_is_not_believed(ring, monitor):
    sink = Taken()
    for _ in range(3):
        monitor.call()
    ring.drain(sink)
    monitor.put(layout.DONE, 1)
    assert ring.drain(sink) == 0
    assert not ring.is_sound
    assert ring.finish(sink).records == 3


@pytest.mark.parametrize("value", [0, 2, (1 << 64) - 1])
def test_counters_that_disagree_with_the_records_are_seen(ring, monitor, value):
    monitor.call()
    monitor.put(layout.COUNTERS + YIELD * 32, value)
    totals = ring.finish(Taken())
    assert (totals.records, totals.is_sound) == (1, False)


def test_counters_that_agree_in_sum_only_are_seen(ring, monitor):
    monitor.call()
    monitor.put(layout.COUNTERS + YIELD * 32, 0)
    monitor.put(layout.COUNTERS + OPEN * 32, 1)
    assert not ring.finish(Taken()).is_sound


def test_a_record_of_a_call_that_does_not_exist_is_kept_and_counted(ring, monitor):
    sink = Taken()
    record = np.zeros(1, RECORD)
    record["call"], record["decision"] = 250, 9
    monitor.map[layout.RECORDS : layout.RECORDS + 64] = record.tobytes()
    monitor.put(layout.HEAD, 1)
    monitor.put(layout.DONE, 1)
    totals = ring.finish(sink)
    assert (dict(totals.counts), totals.is_sound) == ({(250, 9): 1}, False)
    assert len(rows_of(sink)) == 1


def test_a_cell_cannot_cut_the_ring_short(ring):
    import os

    for size in (0, layout.RING_BYTES - 1, layout.RING_BYTES + 1):
        with pytest.raises(PermissionError):
            os.ftruncate(ring.fd, size)


# --- what is kept for the receipt ----------------------------------------------------------------------------


def test_the_first_refusals_are_kept_with_the_opens_that_they_go_back_to(ring, monitor):
    sink = Taken()
    monitor.call(OPEN, path=b"dir", fd2=4)
    monitor.begin(OPEN, path=b"f", decision=Decision.DENY)
    struct.pack_into("<q", monitor.map, monitor.at(1) + OFFSETS["opener"], 0)
    monitor.finish_record(76)
    monitor.count()
    monitor.done()
    ring.finish(sink)
    (one,) = refused_calls(START, ring.kept.frames)
    assert (one.seq, one.target, one.guest_target) == (1, "/srv/d/dir/f", "/d/dir/f")


def test_more_refusals_than_a_receipt_names_cost_no_memory(ring, monitor):
    sink = Taken()
    for number in range(3 * REFUSALS_KEPT):
        monitor.call(OPEN, path=b"%d" % number, decision=Decision.DENY, errno=76)
    ring.finish(sink)
    found = refused_calls(START, ring.kept.frames)
    assert [one.guest_target for one in found] == [f"/d/{number}" for number in range(REFUSALS_KEPT)]
    assert len(ring.kept.frames) == REFUSALS_KEPT


def test_all_calls_of_the_table_have_counters(ring):
    assert ring.counters().shape == (len(NAMES), layout.DECISIONS)
