"""Puts the frames of one write-ahead log back together, execution by execution.

Reading frames is `wal.py`, turning records into columns is the decoder's work. A record that was
written as an intent and again as complete counts once, as complete. INVARIANT: the frames of an
execution come out in the order of their sequence numbers, and no number occurs twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TypeAlias

import pyarrow as pa

from audit.errors import FormatError
from audit.identity import ExecutionId
from audit.receipt import Receipt
from audit.start import ExecutionStart
from audit.wal import Frame, Kind, RecordFrame

Decoder: TypeAlias = Callable[[ExecutionStart, Sequence[RecordFrame], pa.Table], pa.Table]
"""Gives the rows (`columns.SCHEMA`, ordered by `seq`) of some frames of an execution.

The last argument (`columns.OPENED`) holds what earlier frames opened. A decoder takes any bytes: a
cell that was taken over may have written them.
"""

Gaps: TypeAlias = tuple[tuple[int, int], ...]


@dataclass(slots=True)
class Gathered:
    """What one log file holds of one execution."""

    start: ExecutionStart
    records: list[RecordFrame] = field(default_factory=list)
    intents: dict[int, RecordFrame] = field(default_factory=dict)
    receipt: Receipt | None = None

    def frames(self, *, is_continued: bool) -> tuple[RecordFrame, ...]:
        """Give the records, and what was in flight unless a later file says what became of it."""
        if is_continued:
            return tuple(self.records)
        done = self.records[-1].first_seq + self.records[-1].n_records if self.records else 0
        open_calls = [frame for seq, frame in sorted(self.intents.items()) if seq >= done]
        return (*self.records, *open_calls)


def gather(frames: Sequence[Frame]) -> dict[ExecutionId, Gathered]:
    """Sort the frames of one file, or of several files of one writer in their order."""
    starts = {frame.exec_id: frame.payload for frame in reversed(frames) if frame.kind is Kind.START}
    found = {name: Gathered(ExecutionStart.from_json(memoryview(text))) for name, text in starts.items()}
    for frame in frames:
        owner = found.get(frame.exec_id)
        if owner is None:
            raise FormatError(f"frames of {frame.exec_id}", "a start frame in the same file", frame.kind.name)
        match frame.kind:
            case Kind.RECORDS:
                owner.records.append(_records(frame))
            case Kind.INTENT:
                owner.intents[frame.first_seq] = _records(frame)
            case Kind.END:
                owner.receipt = Receipt.from_json(memoryview(frame.payload))
            case Kind.START:
                pass
    return dict(sorted(found.items()))


def _records(frame: Frame) -> RecordFrame:
    return RecordFrame(frame.first_seq, frame.n_records, frame.payload, frame.arena, frame.arena_start)


def gaps(ranges: Sequence[tuple[int, int]], *, first: int = 0) -> Gaps:
    """Give the sequence numbers that are missing between `first` and the ranges (first, last)."""
    edges = [(first - 1, first - 1), *sorted(ranges)]
    return tuple((low[1] + 1, high[0] - 1) for low, high in pairwise(edges) if high[0] > low[1] + 1)


def blocks(frames: Sequence[RecordFrame], *, max_records: int) -> Iterator[Sequence[RecordFrame]]:
    """Cut frames into runs of about `max_records` records, at least one frame each."""
    block: list[RecordFrame] = []
    count = 0
    for frame in frames:
        if block and count + frame.n_records > max_records:
            yield block
            block, count = [], 0
        block.append(frame)
        count += frame.n_records
    if block:
        yield block
