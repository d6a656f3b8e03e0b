"""Write-ahead log files as a reader follows them, and the order in which it saw their records.

What becomes of the records is `tail.py`. A file is read on from the last whole frame, by a handle that
outlives its name. INVARIANT: each frame is seen once, when its checksum and its place in the chain are right.
"""

from __future__ import annotations

import os
from collections import deque
from dataclasses import dataclass, field
from itertools import islice

from audit.identity import ExecutionId
from audit.wal import HEADER_BYTES, Frame, Kind, Place, RecordFrame, read_on

_MAX_ENTRIES = 65_536
_PIECE_BYTES = 64 << 20


@dataclass(frozen=True, slots=True)
class Seen:
    """One frame of records: where it is, and which records it holds."""

    exec_id: ExecutionId
    first_seq: int
    n_records: int
    arena_start: int
    offset: int  # of the frame in its file
    payload_bytes: int
    arena_bytes: int


@dataclass(frozen=True, slots=True)
class Entry:
    """Records that were read together, in the order in which they were committed."""

    exec_id: str
    first_seq: int
    last_seq: int
    source: str  # name of their file
    is_whole: bool = False  # all records of a file that was never seen before it was sealed


@dataclass(slots=True)
class Journal:
    """The last entries, numbered; what a live tail goes along."""

    first: int = 0  # number of the earliest that is kept
    entries: deque[Entry] = field(default_factory=deque)

    @property
    def end(self) -> int:
        """The number that the next one gets."""
        return self.first + len(self.entries)

    def add(self, entry: Entry) -> None:
        """Keep one more, and forget the earliest where there are too many."""
        self.entries.append(entry)
        if len(self.entries) > _MAX_ENTRIES:
            self.entries.popleft()
            self.first += 1

    def since(self, number: int, most: int) -> list[Entry]:
        """Give entries from a number on."""
        return list(islice(self.entries, max(number - self.first, 0), max(number - self.first, 0) + most))


@dataclass(slots=True)
class WalFile:
    """What was read of one file; `handle` stays open so that a sealer may delete the name meanwhile."""

    name: str
    handle: int
    place: Place = field(default_factory=Place)
    held: list[Entry] = field(default_factory=list)
    synced: int = 0  # so many of its bytes are known to be durable

    def frame(self, seen: Seen) -> RecordFrame:
        """Read the records of a frame, which was checked when it was first seen."""
        raw = memoryview(
            os.pread(self.handle, seen.payload_bytes + seen.arena_bytes, seen.offset + HEADER_BYTES)
        )
        payload, arena = raw[: seen.payload_bytes], raw[seen.payload_bytes :]
        return RecordFrame(seen.first_seq, seen.n_records, payload, arena, seen.arena_start)

    def size(self) -> int:
        """How large the file is now."""
        return os.fstat(self.handle).st_size

    def read(self, size: int) -> list[tuple[Kind, Seen, bytes]]:
        """Give the frames that are new up to `size`; the text of a start or an end, not of records."""
        found: list[tuple[Kind, Seen, bytes]] = []
        piece = _PIECE_BYTES
        while size > self.place.offset:
            base = self.place.offset
            # not mapped: its writer may cut it
            data = os.pread(self.handle, min(piece, size - base), base)
            frames, self.place = read_on(memoryview(data), self.place, base=base)
            for offset, frame in frames:
                is_text = frame.kind in {Kind.START, Kind.END}
                found.append((frame.kind, _seen(frame, offset), bytes(frame.payload) if is_text else b""))
            if not frames:
                if len(data) < piece:
                    break
                piece *= 4  # a frame is larger than a piece
        return found


def _seen(frame: Frame, offset: int) -> Seen:
    return Seen(
        frame.exec_id,
        frame.first_seq,
        frame.n_records,
        frame.arena_start,
        offset,
        len(frame.payload),
        len(frame.arena),
    )
