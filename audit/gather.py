"""Puts the frames of one write-ahead log back together, execution by execution, and has them read.

Reading frames is `wal.py`, turning records into columns is the decoder's work, and what is kept of them is
said in `levels.py` and by whoever masks. A record that was written as an intent and again as complete counts
once, as complete. INVARIANT: the frames of an execution come out in the order of their sequence numbers, no
number occurs twice, and what joins later records to earlier ones is taken from rows before they are masked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from audit.columns import OPENED
from audit.errors import FormatError
from audit.identity import ExecutionId
from audit.levels import condense
from audit.openers import closed, opened, still_open
from audit.receipt import Receipt
from audit.start import ExecutionStart
from audit.wal import Frame, Kind, RecordFrame

BLOCK_RECORDS = 131_072
"""Rows of a row group, at most."""

AT_ONCE = 16_384
"""Rows that are decoded at a time: a few MB in memory.

A guest can have each of them name two paths of thousands of characters with a few bytes of the log, so this
is also what it costs when a guest wants it to.
"""

Decoder: TypeAlias = Callable[[ExecutionStart, Sequence[RecordFrame], pa.Table], pa.Table]
"""Gives the rows (`columns.SCHEMA`, ordered by `seq`) of some frames of an execution.

The last argument (`columns.OPENED`) holds what earlier frames opened. A decoder takes any bytes: a
cell that was taken over may have written them.
"""

Refiner: TypeAlias = Callable[[pa.Table, ExecutionStart], pa.Table]
"""Gives decoded rows of an execution as they may be stored: the same rows, less what is masked."""


def unrefined(rows: pa.Table, start: ExecutionStart) -> pa.Table:  # noqa: ARG001  # the shape is that of Refiner
    """Give rows as they are."""
    return rows


@dataclass(frozen=True, slots=True)
class Reading:
    """How records become the rows that are stored."""

    decoder: Decoder
    refine: Refiner = unrefined

    @staticmethod
    def of(reading: Reading | Decoder) -> Reading:
        """Give one of a decoder alone, which masks nothing."""
        return reading if isinstance(reading, Reading) else Reading(reading)


Gaps: TypeAlias = tuple[tuple[int, int], ...]


CONTROL = frozenset({Kind.EVENT, Kind.GAP})
"""Kinds of frames that belong to no execution, though they may tell of one."""


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


@dataclass(slots=True)
class Unrolled:
    """The rows of some frames of one execution, and what later frames need to know of them."""

    start: ExecutionStart
    frames: Sequence[RecordFrame]
    known: pa.Table = field(default_factory=OPENED.empty_table)
    """What earlier frames opened (`columns.OPENED`); these here add to it while the tables are taken."""
    is_continued: bool = True
    """Whether `open_after` is asked for."""
    _gone: list[npt.NDArray[np.int64]] = field(default_factory=list)

    def tables(self, reading: Reading) -> Iterator[pa.Table]:
        """Give the rows as they are stored, in order: decoded, then masked, then condensed.

        Raises FormatError if there are not as many as records.
        """
        calls = 0
        for table in condense(self._masked(reading), self.start):
            calls += pc.sum(table.column("n"), min_count=0).as_py()
            yield table
        records = sum(frame.n_records for frame in self.frames)
        if calls != records:
            raise FormatError("decoded rows", f"{records} calls", calls)

    def _masked(self, reading: Reading) -> Iterator[pa.Table]:
        left = sum(frame.n_records for frame in self.frames)
        for block in blocks(self.frames, max_records=AT_ONCE):
            table = reading.decoder(self.start, block, self.known)
            left -= sum(frame.n_records for frame in block)
            if left or self.is_continued:
                self.known = pa.concat_tables([self.known, opened(table)])
                self._gone.append(closed(table))
            yield reading.refine(table, self.start)

    def open_after(self) -> pa.Table:
        """Give what later frames need to know, when all tables were taken."""
        return still_open(self.known, self._gone)


def gather(frames: Sequence[Frame]) -> dict[ExecutionId, Gathered]:
    """Sort the frames of one file, or of several files of one writer in their order."""
    starts = {frame.exec_id: frame.payload for frame in reversed(frames) if frame.kind is Kind.START}
    found = {name: Gathered(ExecutionStart.from_json(memoryview(text))) for name, text in starts.items()}
    for frame in frames:
        if frame.kind in CONTROL:
            continue
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
            case _:
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
