"""Finds out how far the frames of a log file make sense, and what is lost with those that do not.

Frames that a crash tore or whose checksum is wrong never get here: `wal.py` ends before them. What becomes of
the file is decided in `recovery.py`. INVARIANT: whether a frame makes sense depends on it and on those before
it alone, so that nothing that is written later can take them out of the log.
"""

from __future__ import annotations

import struct
from collections import defaultdict
from collections.abc import Sequence

import pyarrow as pa

from audit.columns import OPENED
from audit.controls import controls
from audit.errors import FormatError
from audit.gather import Reading
from audit.identity import ExecutionId
from audit.receipt import Receipt
from audit.start import ExecutionStart
from audit.wal import Frame, Kind, RecordFrame

SENSELESS = (
    FormatError,
    ArithmeticError,
    ValueError,
    LookupError,
    TypeError,
    struct.error,
    pa.ArrowInvalid,
    pa.ArrowTypeError,
    pa.ArrowCapacityError,
)
"""What bytes that make no sense end in, wherever they are read; errors of the disk are none of these."""


def sensible(frames: Sequence[Frame], reading: Reading) -> int:
    """Give how many frames, from the first on, make sense each by itself."""
    starts: dict[ExecutionId, ExecutionStart] = {}
    for place, frame in enumerate(frames):
        try:
            _check(frame, starts, reading)
        except SENSELESS:
            return place
    return len(frames)


def lost(frames: Sequence[Frame]) -> dict[ExecutionId, list[tuple[int, int]]]:
    """Give the sequence numbers of the records that frames hold, first and last, by execution."""
    found: dict[ExecutionId, list[tuple[int, int]]] = defaultdict(list)
    for frame in frames:
        if frame.kind is Kind.RECORDS and frame.n_records:
            ranges, last = found[frame.exec_id], frame.first_seq + frame.n_records - 1
            if ranges and ranges[-1][1] + 1 == frame.first_seq:
                ranges[-1] = (ranges[-1][0], last)
            else:
                ranges.append((frame.first_seq, last))
    return found


def _check(frame: Frame, starts: dict[ExecutionId, ExecutionStart], reading: Reading) -> None:
    match frame.kind:
        case Kind.START:
            starts.setdefault(frame.exec_id, ExecutionStart.from_json(memoryview(frame.payload)))
        case Kind.EVENT | Kind.GAP:
            controls([frame])
        case Kind.END:
            _owner(frame, starts)
            Receipt.from_json(memoryview(frame.payload))
        case Kind.RECORDS | Kind.INTENT:
            start = _owner(frame, starts)
            records = RecordFrame(
                frame.first_seq, frame.n_records, frame.payload, frame.arena, frame.arena_start
            )
            rows = reading.refine(reading.decoder(start, [records], OPENED.empty_table()), start)
            if rows.num_rows != frame.n_records:
                raise FormatError("decoded rows", f"{frame.n_records} rows", rows.num_rows)


def _owner(frame: Frame, starts: dict[ExecutionId, ExecutionStart]) -> ExecutionStart:
    found = starts.get(frame.exec_id)
    if found is None:
        raise FormatError(f"frames of {frame.exec_id}", "a start frame before them", frame.kind.name)
    return found
