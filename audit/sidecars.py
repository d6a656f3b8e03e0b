"""What stands beside the records of a segment: refusals, roll-up and hashes of chunks.

The records themselves are written by `segment.py`; all of it is put together in `segment_files.py`.
INVARIANT: each row of the segment is hashed and counted once, and is among the refusals exactly if it was
refused, would have been, or never returned.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.compute as pc

from audit.chunks import Chunker, context_of
from audit.columns import REFUSING, Stage
from audit.leaves import REFUSALS_LEAVED
from audit.rollup import Rollup
from audit.segment import SegmentWriter
from audit.start import ExecutionStart

_REFUSED = pa.array([int(code) for code in REFUSING], pa.int8())


@dataclass(slots=True)
class Sidecars:
    """Takes the rows of a segment, execution by execution, each in order."""

    refusals: SegmentWriter
    rollup: Rollup = field(default_factory=Rollup)
    leaved: list[pa.Table] = field(default_factory=list)
    """Refused rows that get leaves of their own."""
    chunks: list[bytes] = field(default_factory=list)
    rows: int = 0  # of the execution that was begun last
    calls: int = 0  # that those stand for
    _chunker: Chunker | None = None
    _left: int = 0  # refusals of this execution that may still get a leaf

    def begin(self, start: ExecutionStart) -> None:
        """Go on with another execution."""
        context = context_of(start.exec_id, start.tenant, start.module_digest, start.policy_digest)
        self._chunker = Chunker(start.exec_id, context)
        self._left = REFUSALS_LEAVED
        self.rows, self.calls = 0, 0

    def add(self, rows: pa.Table, start: ExecutionStart) -> None:
        """Take in rows of the execution that was begun last."""
        if self._chunker is None or self._chunker.exec_id != start.exec_id:
            raise RuntimeError("rows of an execution that was not begun")
        self.rows += rows.num_rows
        self.calls += pc.sum(rows.column("n"), min_count=0).as_py()
        self._chunker.add(rows)
        self.rollup.add(rows, start.tenant, start.module_digest)
        is_refused = pc.is_in(rows.column("decision"), _REFUSED)
        kept = rows.filter(pc.or_(is_refused, pc.equal(rows.column("stage"), int(Stage.TRAP))))
        self.refusals.add(kept)
        if self._left and kept.num_rows:
            refused = kept.filter(pc.is_in(kept.column("decision"), _REFUSED)).slice(0, self._left)
            self.leaved.append(refused)
            self._left -= refused.num_rows

    def end(self) -> tuple[bytes, ...]:
        """Give the hashes of the execution's chunks."""
        made = () if self._chunker is None else self._chunker.finish()
        self._chunker = None
        self.chunks += made
        return made
