"""What stands beside the records of a segment: refusals, roll-up and hashes of chunks.

The records themselves are written by `segment.py`; all of it is put together in `segment_files.py`.
INVARIANT: each row of the segment is hashed and counted once, and is among the refusals exactly if it was
refused, would have been, or never returned.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from audit.chunks import Chunker, TextDigests, canonical_records, context_of
from audit.columns import REFUSING, Stage
from audit.identity import ExecutionId
from audit.leaves import REFUSALS_LEAVED
from audit.rollup import Rollup
from audit.segment import SegmentWriter
from audit.start import ExecutionStart

_IS_REFUSING = np.isin(np.arange(256).astype(np.int8), REFUSING)  # by code; negative ones are at the end


@dataclass(slots=True)
class Part:
    """What one execution has in the segment, as far as it came by now."""

    chunker: Chunker
    rows: int = 0
    calls: int = 0  # that those stand for
    leaved: int = 0  # refusals that get a leaf


@dataclass(slots=True)
class Sidecars:
    """Takes the rows of a segment, some tables of one tenant's executions at a time, in their order."""

    refusals: SegmentWriter
    rollup: Rollup = field(default_factory=Rollup)
    leaved: list[pa.Table] = field(default_factory=list)
    """Refused rows that get leaves of their own."""
    parts: dict[ExecutionId, Part] = field(default_factory=dict)
    _known: TextDigests = field(default_factory=TextDigests)

    def add(self, rows: pa.Table, pieces: Sequence[tuple[ExecutionStart, int]]) -> None:
        """Take in rows; `pieces` says of which executions they are, and how many of each, in order."""
        records = canonical_records(rows, self._known)
        calls, is_refused = rows.column("n").to_numpy(), _IS_REFUSING[rows.column("decision").to_numpy()]
        leaved, first = [], 0
        for start, count in pieces:
            of, end = self._part(start), first + count
            of.chunker.add(records[first:end])
            of.rows, of.calls = of.rows + count, of.calls + int(calls[first:end].sum())
            chosen = first + np.flatnonzero(is_refused[first:end])[: REFUSALS_LEAVED - of.leaved]
            leaved.append(chosen)
            of.leaved, first = of.leaved + len(chosen), end
        self.rollup.add(rows, pieces[0][0].tenant)
        kept = np.flatnonzero(is_refused | (rows.column("stage").to_numpy() == int(Stage.TRAP)))
        if len(kept):
            refusals = _taken(rows, kept)
            self.refusals.add(refusals)
            self.leaved.append(refusals.take(np.searchsorted(kept, np.concatenate(leaved))))

    def _part(self, start: ExecutionStart) -> Part:
        found = self.parts.get(start.exec_id)
        if found is None:
            context = context_of(start.exec_id, start.tenant, start.module_digest, start.policy_digest)
            found = self.parts[start.exec_id] = Part(Chunker(start.exec_id, context))
        return found


def _taken(rows: pa.Table, places: npt.NDArray[np.int64]) -> pa.Table:
    """Give some rows, which bring no text that only others have."""
    found = rows.take(places)
    columns = [
        column.cast(column.type.value_type).dictionary_encode()
        if pa.types.is_dictionary(column.type)
        else column
        for column in found.columns
    ]
    return pa.table(columns, schema=rows.schema)
