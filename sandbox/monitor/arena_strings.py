"""Where the strings of records lie in the bytes that came with them.

What the strings mean is `targets.py` (paths) and `payload_columns.py` (what calls moved). Nothing here runs
once per record in Python. INVARIANT: no record has bytes beyond its own frame or bytes that an earlier record
has, whatever a cell wrote.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from audit.wal import RecordFrame
from sandbox.monitor.layout import ARENA_BYTES, PAYLOAD_CODES, arena_bytes

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Strings:
    """Where the strings of each record lie in `data`; lengths are 0 where the record lies about it.

    Of calls that keep what they move, `length` is that of the digest and the bytes behind it.
    """

    data: npt.NDArray[np.uint8]
    at: Ints
    length: Ints
    length2: Ints

    @staticmethod
    def of(frames: Sequence[RecordFrame], records: npt.NDArray[np.void]) -> Strings:
        """Find them: a record's offset counts in the ring's arena, of which its frame holds a span."""
        rows = np.flatnonzero(records["target_len"] | records["target2_len"])
        some = records[rows]
        ends = np.cumsum([frame.n_records for frame in frames])
        owner = np.searchsorted(ends, rows, side="right")
        sizes = np.array([len(frame.arena) for frame in frames], np.int64)
        starts = np.array([frame.arena_start for frame in frames], np.int64)
        inside = (some["target_at"].astype(np.int64) - starts[owner]) % ARENA_BYTES
        total = arena_bytes(some)
        length2 = np.where(np.isin(some["call"], PAYLOAD_CODES), 0, some["target2_len"].astype(np.int64))
        at = inside + (np.cumsum(sizes) - sizes)[owner]
        # SECURITY: never read beyond the record's own frame, whatever the cell wrote; and never read a
        # byte twice, or a few bytes could be made into gigabytes. The monitor writes one behind the other.
        holds = (total > 0) & (inside + total <= sizes[owner])
        done = np.maximum.accumulate(np.where(holds, at + total, 0))
        holds[1:] &= at[1:] >= done[:-1]
        data = [np.frombuffer(frame.arena, np.uint8) for frame in frames]
        whole = np.zeros((3, len(records)), np.int64)
        whole[:, rows] = np.where(holds, (at, total - length2, length2), 0)
        return Strings(data[0] if len(data) == 1 else np.concatenate(data), *whole)

    def distinct(self, at: Ints, length: Ints) -> tuple[Ints, pa.BinaryArray]:
        """Give a code for each string, and the distinct strings by code, in the order they first occur."""
        ends = np.cumsum(length)
        total = int(ends[-1]) if len(ends) else 0
        starts = ends - length
        if total and bool((at == at[0] + starts)[length > 0].all()):
            gathered = self.data[at[0] : at[0] + total]  # they lie one behind the other
        else:
            gathered = self.data[np.arange(total, dtype=np.int64) + np.repeat(at - starts, length)]
        offsets = np.concatenate([[0], ends]).astype(np.int32)
        array = pa.BinaryArray.from_buffers(
            pa.binary(), len(at), [None, pa.py_buffer(offsets), pa.py_buffer(np.ascontiguousarray(gathered))]
        ).dictionary_encode()
        return np.asarray(array.indices).astype(np.int64), array.dictionary
