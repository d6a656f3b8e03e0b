"""Records that a receipt names, set aside while a run goes on: the first refusals, and what they go back to.

All records go to the audit log (`ring.py` hands them over); this is a copy of a few, so that the receipt
needs no query. INVARIANT: what is kept is bounded, whatever a cell writes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from audit.receipt import REFUSALS_KEPT
from audit.wal import RecordFrame
from policy.calls import CALL_CODES
from policy.component_calls import BASES
from sandbox.monitor import layout
from sandbox.monitor.layout import Decision

if TYPE_CHECKING:
    import numpy.typing as npt

_OPENERS = tuple(code for code, base in enumerate(BASES) if base == CALL_CODES["path_open"])
OPENS_KEPT = 20_000  # what targets may go back to; a run that opens more names the later ones less fully


@dataclass(slots=True)
class Kept:
    """Records that the receipt will name, with the opens that their targets go back to."""

    frames: list[RecordFrame] = field(default_factory=list)
    refusals: int = 0
    opens: int = 0

    def add(self, first_seq: int, records: npt.NDArray[np.void], arena: bytes, arena_start: int) -> None:
        """Look through records that were just taken; `arena` starts at `arena_start` in the ring's."""
        if self.refusals >= REFUSALS_KEPT:
            return
        refused = records["decision"] != Decision.ALLOW
        wanted = refused
        if self.opens < OPENS_KEPT:
            wanted = refused | ((np.isin(records["call"], _OPENERS)) & (records["fd2"] >= 0))
        for index in np.flatnonzero(wanted):
            if refused[index]:
                if self.refusals >= REFUSALS_KEPT:
                    return
                self.refusals += 1
            elif self.opens < OPENS_KEPT:
                self.opens += 1
            else:
                continue
            self.frames.append(_frame(first_seq + int(index), records[index : index + 1], arena, arena_start))


def _frame(seq: int, record: npt.NDArray[np.void], arena: bytes, arena_start: int) -> RecordFrame:
    at = int(record["target_at"][0])
    length = int(layout.arena_bytes(record)[0])
    offset = (at - arena_start) & (layout.ARENA_BYTES - 1)
    return RecordFrame(
        seq, 1, record.tobytes(), arena[offset : offset + length], at & (layout.ARENA_BYTES - 1)
    )
