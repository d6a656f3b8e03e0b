"""What a writer must not forget: frames that no sync covers yet, and frames that no disk has taken yet.

When they are written is `writer.py`. The first are kept so that they can go to another file when a sync
fails, the second until a full disk has room. INVARIANT: both are bounded, and what does not fit is told of by
a gap.
"""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from audit.events import Gap
from audit.wal import NOBODY, Frame, Kind

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_RECORDS = 65_536
"""A group commit covers so many records at most."""

MAX_BYTES = 32 << 20
"""And so many bytes."""

_MAX_OWED = 4_096


@dataclass(slots=True)
class Unsynced:
    """Frames that were written and are not known to be durable, in their order."""

    _frames: deque[tuple[int, Frame]] = field(default_factory=deque)
    _records: int = 0
    _bytes: int = 0

    def add(self, end: int, frame: Frame) -> None:
        """Keep a frame that ends at byte `end` of all that the writer wrote."""
        kept = Frame(
            frame.kind,
            frame.exec_id,
            bytes(frame.payload),  # no copy of what is bytes already
            bytes(frame.arena),
            frame.first_seq,
            frame.n_records,
            frame.arena_start,
        )
        self._frames.append((end, kept))
        self._count(kept, 1)

    def settle(self, end: int) -> None:
        """Forget what ends at `end` or before: it is durable."""
        while self._frames and self._frames[0][0] <= end:
            self._count(self._frames.popleft()[1], -1)

    @property
    def is_full(self) -> bool:
        """Whether a commit is due before more is written."""
        return self._records >= MAX_RECORDS or self._bytes >= MAX_BYTES

    def __iter__(self) -> Iterator[Frame]:
        """Give the frames."""
        return (frame for _, frame in self._frames)

    def _count(self, frame: Frame, sign: int) -> None:
        self._records += sign * frame.n_records
        self._bytes += sign * (len(frame.payload) + len(frame.arena))


@dataclass(slots=True)
class Owed:
    """Frames that are to be written as soon as the disk takes them."""

    _frames: list[Frame] = field(default_factory=list)
    _folded: int = 0

    def add(self, frame: Frame) -> None:
        """Keep one more; of too many gaps only their number is kept."""
        if len(self._frames) < _MAX_OWED or frame.kind is not Kind.GAP:
            self._frames.append(frame)
        else:
            self._folded += 1

    def frames(self) -> list[Frame]:
        """Give them all, in order."""
        if not self._folded:
            return list(self._frames)
        reason = f"{self._folded} more gaps, while the log could not be written"
        gap = Gap(exec_id=None, first_seq=None, last_seq=None, reason=reason, at_ns=time.time_ns())
        return [*self._frames, gap_frame(gap)]

    def settle(self) -> None:
        """Forget them: they are written."""
        self._frames.clear()
        self._folded = 0


def gap_frame(gap: Gap) -> Frame:
    """Give the frame that holds a gap."""
    return Frame(Kind.GAP, NOBODY, gap.to_json())
