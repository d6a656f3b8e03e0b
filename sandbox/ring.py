"""The supervisor's side of the ring: takes completed records out of the shared pages, verbatim.

Where each word lies is `sandbox/monitor/layout.py`; what is done with the bytes is the audit writer's
matter. SECURITY: a cell that was taken over can write anything here: counts are bounded before use, offsets
are masked, nothing that was taken once is read again, and the account that a receipt gives is kept on this
side.
"""

from __future__ import annotations

import mmap
import os
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from policy.component_calls import NAMES
from sandbox.job import MAX_COUNT
from sandbox.kept import Kept
from sandbox.monitor import layout
from sandbox.monitor.layout import RECORD
from sandbox.shared_memory import make_shared

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt

    from audit.identity import ExecutionId
    from sandbox.determinism import Story

_RECORD_MASK = layout.RING_RECORDS - 1
_ARENA_MASK = layout.ARENA_BYTES - 1


class Sink(Protocol):
    """Where records go: `audit.writer.AuditWriter`."""

    def append(
        self, exec_id: ExecutionId, *, first_seq: int, records: bytes, arena: bytes, arena_start: int
    ) -> None:
        """Keep completed records."""

    def intent(
        self, exec_id: ExecutionId, *, seq: int, record: bytes, arena: bytes, arena_start: int
    ) -> None:
        """Keep one record whose call has not returned."""


@dataclass(frozen=True, slots=True)
class Totals:
    """Records by call and decision, as they were handed over."""

    counts: Mapping[tuple[int, int], int]  # codes of call and decision, as in the records
    is_sound: bool  # the monitor's own counters say the same, and its words make sense

    @property
    def records(self) -> int:
        """All of them."""
        return sum(self.counts.values())


class Ring:
    """One execution's ring, from before its cell starts until its last record is taken."""

    def __init__(self, exec_id: ExecutionId, story: Story | None = None) -> None:
        """Make the shared pages; `fd` is for the cell, and `story` is told what is handed over."""
        self._story = story
        self.fd = make_shared("wasmgate-ring", layout.RING_BYTES)
        self._map = mmap.mmap(self.fd, layout.RING_BYTES)
        # Words are read and written whole: half of a time or of a count would be another one.
        self._longs = memoryview(self._map).cast("Q")
        self._words = memoryview(self._map).cast("I")
        self.exec_id = exec_id
        self._tail = 0
        self._arena_tail = 0
        self._counts: Counter[int] = Counter()
        self._intent = (-1, 0)  # sequence number and codes of the last one
        self._is_sound = True
        self.kept = Kept()
        self.refresh()

    def close(self) -> None:
        """Give the pages back; a second call does nothing."""
        if self.fd >= 0:
            self._longs.release()
            self._words.release()
            self._map.close()
            os.close(self.fd)
            self.fd = -1

    def refresh(self) -> None:
        """Write the time for the calls that do not read the clock themselves."""
        self._longs[layout.NOW // 8] = time.time_ns()

    def word(self, at: int) -> int:
        """A 32-bit word of the header."""
        return self._words[at // 4]

    def long(self, at: int) -> int:
        """A 64-bit word of the header."""
        return self._longs[at // 8]

    def total(self, at: int) -> int:
        """A 64-bit total of the header, as far as a receipt can hold it."""
        return min(self.long(at), MAX_COUNT)

    @property
    def taken(self) -> int:
        """Records taken so far, the one in flight left out."""
        return self._tail

    @property
    def is_sound(self) -> bool:
        """Whether everything the monitor wrote so far makes sense; if not, it is no longer our monitor."""
        return self._is_sound

    def drain(self, sink: Sink) -> int:
        """Hand over what is complete; says how many records that was."""
        return self._take(sink, self.long(layout.DONE))

    def drain_intent(self, sink: Sink) -> None:
        """Hand over what is complete, and the record in flight as an intent."""
        self.drain(sink)
        self._intend(sink)

    def finish(self, sink: Sink) -> Totals:
        """Hand over the rest once the cell is gone, the call in flight as an intent; twice adds nothing.

        SPEC: layout.py: a kill between a record's counter and `done` leaves the counters one ahead.
        """
        counters = self.counters()
        done, head = self.long(layout.DONE), self.long(layout.HEAD)
        self._take(sink, done + (int(counters.sum()) == head == done + 1))
        completed = Counter({code: int(count) for code, count in enumerate(counters.flat) if count})
        # the account kept here is by bytes, the monitor's by table
        ours = Counter(
            {
                (code >> 8) * layout.DECISIONS + (code & 0xFF): count
                for code, count in self._counts.items()
                if code & 0xFF < layout.DECISIONS
            }
        )
        self._is_sound &= ours == completed and ours.total() == self._counts.total()
        self._intend(sink)
        return self.totals()

    def totals(self) -> Totals:
        """What was handed over so far, and stands in the log as that."""
        found = Counter(self._counts)
        seq, code = self._intent
        if seq == self._tail:
            found[code] += 1
        return Totals({(code >> 8, code & 0xFF): count for code, count in found.items()}, self._is_sound)

    @property
    def left(self) -> int:
        """Completed records that were not handed over, by the monitor's account."""
        return min(max(self.long(layout.DONE) - self._tail, 0), layout.RING_RECORDS)

    @property
    def unrecorded(self) -> tuple[int, int] | None:
        """The calls that were begun and not handed over, the one in flight too: first and last number."""
        begun = min(max(self.long(layout.HEAD) - self._tail, 0), layout.RING_RECORDS)
        if not begun or (begun == 1 and self._intent[0] == self._tail):
            return None
        return self._tail, self._tail + begun - 1

    def counters(self) -> npt.NDArray[np.uint64]:
        """Completed records by call and decision, as the monitor counted them."""
        flat = np.frombuffer(
            self._map[layout.COUNTERS : layout.TOTALS], np.uint64, count=len(NAMES) * layout.DECISIONS
        )
        return flat.reshape(len(NAMES), layout.DECISIONS)

    def _take(self, sink: Sink, done: int) -> int:
        count = done - self._tail
        if not 0 <= count <= layout.RING_RECORDS:
            # SECURITY: `done` is the cell's word; a ring never holds more than its size, and never less
            self._is_sound = False
            count = min(max(count, 0), layout.RING_RECORDS)
        for low, high in self._runs(self._tail, count):
            begin = layout.RECORDS + low * layout.RECORD_BYTES
            raw = self._map[begin : begin + (high - low) * layout.RECORD_BYTES]
            records = np.frombuffer(raw, RECORD)
            arena, start = self._strings(records)
            sink.append(self.exec_id, first_seq=self._tail, records=raw, arena=arena, arena_start=start)
            self.kept.add(self._tail, records, arena, start)
            if self._story is not None:
                self._story.add(records, arena, start)
            self._count(records)
            self._tail += high - low
            self._arena_tail += len(arena)
            self._longs[layout.ARENA_TAIL // 8] = self._arena_tail
            self._longs[layout.TAIL // 8] = self._tail
        return count

    def _count(self, records: npt.NDArray[np.void]) -> None:
        codes = records["call"].astype(np.uint16) << 8 | records["decision"]
        for code, count in zip(*np.unique(codes, return_counts=True), strict=True):
            self._counts[int(code)] += int(count)

    def _intend(self, sink: Sink) -> None:
        """Hand over the record in flight, if there is one."""
        head = self.long(layout.HEAD)
        if head <= self._tail:
            return
        self._is_sound &= head == self._tail + 1
        begin = layout.RECORDS + (self._tail & _RECORD_MASK) * layout.RECORD_BYTES
        record = np.frombuffer(self._map[begin : begin + layout.RECORD_BYTES], RECORD)
        arena, start = self._strings(record)
        sink.intent(self.exec_id, seq=self._tail, record=record.tobytes(), arena=arena, arena_start=start)
        if self._story is not None:
            self._story.intend(record, arena, start)
        self._intent = (self._tail, int(record["call"][0]) << 8 | int(record["decision"][0]))

    @staticmethod
    def _runs(first: int, count: int) -> Iterator[tuple[int, int]]:
        low = first & _RECORD_MASK
        head = min(count, layout.RING_RECORDS - low)
        if head:
            yield low, low + head
        if count > head:
            yield 0, count - head

    def _strings(self, records: npt.NDArray[np.void]) -> tuple[bytes, int]:
        """The span of the arena up to the last string of these records, and where it starts."""
        lengths = layout.arena_bytes(records)
        named = np.flatnonzero(lengths)
        start = self._arena_tail & _ARENA_MASK
        if not len(named):
            return b"", start
        end = int(records["target_at"][named[-1]]) + int(lengths[named[-1]])
        stop = start + ((end - start) & _ARENA_MASK)
        wrapped = max(stop - layout.ARENA_BYTES, 0)
        return (
            self._map[layout.ARENA + start : layout.ARENA + stop - wrapped]
            + self._map[layout.ARENA : layout.ARENA + wrapped],
            start,
        )
