"""The supervisor's side of the ring: takes completed records out of the shared pages, verbatim.

Where each word lies is `sandbox/monitor/layout.py`; what is done with the bytes is the audit writer's matter.
SECURITY: a cell that was taken over can write anything here: counts are bounded before use, offsets are
masked, and nothing that was taken once is read again.
"""

from __future__ import annotations

import mmap
import os
import struct
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import numpy as np

from audit.wal import RecordFrame
from policy.calls import CALL_CODES, CALLS
from sandbox.monitor import layout
from sandbox.monitor.layout import RECORD, Decision
from sandbox.shared_memory import make_shared

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt

    from audit.identity import ExecutionId

_MASK = layout.RING_RECORDS - 1
_PATH_OPEN = CALL_CODES["path_open"]
KEPT_REFUSALS = 100  # as many as a receipt names
KEPT_OPENS = 20_000  # what their targets may go back to; a run that opens more names the later ones less fully


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


@dataclass(slots=True)
class Kept:
    """Records that the receipt will name, with the opens that their targets go back to."""

    frames: list[RecordFrame] = field(default_factory=list)
    refusals: int = 0
    opens: int = 0


class Ring:
    """One execution's ring, from before its cell starts until its last record is taken."""

    def __init__(self, exec_id: ExecutionId) -> None:
        """Make the shared pages; `fd` is for the cell."""
        self.fd = make_shared("wasmgate-ring", layout.RING_BYTES)
        self._map = mmap.mmap(self.fd, layout.RING_BYTES)
        self._exec_id = exec_id
        self._tail = 0
        self._arena_tail = 0
        self.kept = Kept()
        self.refresh()

    def close(self) -> None:
        """Give the pages back; a second call does nothing."""
        if self.fd >= 0:
            self._map.close()
            os.close(self.fd)
            self.fd = -1

    def refresh(self) -> None:
        """Write the time for the calls that do not read the clock themselves."""
        struct.pack_into("<q", self._map, layout.NOW, time.time_ns())

    def word(self, at: int) -> int:
        """A 32-bit word of the header."""
        return int(struct.unpack_from("<I", self._map, at)[0])

    def long(self, at: int) -> int:
        """A 64-bit word of the header."""
        return int(struct.unpack_from("<Q", self._map, at)[0])

    @property
    def taken(self) -> int:
        """Records taken so far, the one in flight left out."""
        return self._tail

    def drain(self, sink: Sink) -> int:
        """Hand over what is complete; says how many records that was."""
        return self._take(sink, self.long(layout.DONE))

    def drain_intent(self, sink: Sink) -> None:
        """Hand over what is complete, and the record in flight as an intent."""
        self.drain(sink)
        if self.long(layout.HEAD) > self._tail:
            record = self._record(self._tail)
            arena, start = self._strings(record)
            sink.intent(
                self._exec_id, seq=self._tail, record=record.tobytes(), arena=arena, arena_start=start
            )

    def finish(self, sink: Sink) -> npt.NDArray[np.uint64]:
        """Hand over the rest once the cell is gone; returns the counters, the call in flight included.

        SPEC: layout.py: a kill between a record's counter and `done` leaves the counters one ahead.
        """
        counters = self.counters()
        self._take(sink, max(self.long(layout.DONE), min(int(counters.sum()), self._tail + layout.RING_RECORDS)))
        if self.long(layout.HEAD) > self._tail:
            self.drain_intent(sink)
            record = self._record(self._tail)[0]
            counters[min(record["call"], len(CALLS) - 1), min(record["decision"], layout.DECISIONS - 1)] += 1
        return counters

    def counters(self) -> npt.NDArray[np.uint64]:
        """Completed records by call and decision, as the monitor counted them."""
        flat = np.frombuffer(
            self._map[layout.COUNTERS : layout.TOTALS], np.uint64, count=len(CALLS) * layout.DECISIONS
        )
        return flat.reshape(len(CALLS), layout.DECISIONS).copy()

    def _take(self, sink: Sink, done: int) -> int:
        count = done - self._tail
        if count <= 0:
            return 0
        # SECURITY: `done` is the cell's word; a ring never holds more than its size
        count = min(count, layout.RING_RECORDS)
        first = self._tail
        for low, high in self._runs(first, count):
            begin = layout.RECORDS + low * layout.RECORD_BYTES
            raw = self._map[begin : begin + (high - low) * layout.RECORD_BYTES]
            records = np.frombuffer(raw, RECORD)
            arena, start = self._strings(records)
            sink.append(self._exec_id, first_seq=self._tail, records=raw, arena=arena, arena_start=start)
            self._keep(records, arena, start)
            self._tail += high - low
            self._arena_tail += len(arena)
        struct.pack_into("<Q", self._map, layout.ARENA_TAIL, self._arena_tail)
        struct.pack_into("<Q", self._map, layout.TAIL, self._tail)
        return count

    @staticmethod
    def _runs(first: int, count: int) -> Iterator[tuple[int, int]]:
        low = first & _MASK
        head = min(count, layout.RING_RECORDS - low)
        yield low, low + head
        if count > head:
            yield 0, count - head

    def _record(self, seq: int) -> npt.NDArray[np.void]:
        begin = layout.RECORDS + (seq & _MASK) * layout.RECORD_BYTES
        return np.frombuffer(self._map[begin : begin + layout.RECORD_BYTES], RECORD)

    def _strings(self, records: npt.NDArray[np.void]) -> tuple[bytes, int]:
        """The span of the arena up to the last string of these records, and where it starts."""
        lengths = records["target_len"].astype(np.int64) + records["target2_len"]
        named = np.flatnonzero(lengths)
        start = self._arena_tail & (layout.ARENA_BYTES - 1)
        if not len(named):
            return b"", start
        last = named[-1]
        end = int(records["target_at"][last]) + int(lengths[last])
        size = (end - start) & (layout.ARENA_BYTES - 1)
        stop = start + size
        if stop <= layout.ARENA_BYTES:
            return self._map[layout.ARENA + start : layout.ARENA + stop], start
        wrapped = stop - layout.ARENA_BYTES
        return (
            self._map[layout.ARENA + start : layout.ARENA + layout.ARENA_BYTES]
            + self._map[layout.ARENA : layout.ARENA + wrapped],
            start,
        )

    def _keep(self, records: npt.NDArray[np.void], arena: bytes, start: int) -> None:
        """Set aside what the receipt will name."""
        kept = self.kept
        if kept.refusals >= KEPT_REFUSALS:
            return
        refused = records["decision"] != Decision.ALLOW
        opens = (records["call"] == _PATH_OPEN) & (records["fd2"] >= 0)
        for index in np.flatnonzero(refused | opens):
            if refused[index] and kept.refusals < KEPT_REFUSALS:
                kept.refusals += 1
            elif kept.opens < KEPT_OPENS:
                kept.opens += 1
            else:
                continue
            record = records[index : index + 1]
            length = int(record["target_len"][0]) + int(record["target2_len"][0])
            at = (int(record["target_at"][0]) - start) & (layout.ARENA_BYTES - 1)
            kept.frames.append(
                RecordFrame(
                    self._tail + int(index), 1, record.tobytes(), arena[at : at + length], int(record["target_at"][0])
                )
            )
