"""Frames of the write-ahead log: bytes to values and back, nothing else.

Files, locks and syncing live in `writer.py`; what records mean is the decoder's knowledge. A frame
is a header of 88 bytes and a payload; the checksum covers both, and each frame repeats the checksum
of the one before it. That finds what a crash tore or spliced; it is no evidence against somebody who
can write the file. INVARIANT: `read_frames` gives a prefix of what was written, never anything else.
"""

from __future__ import annotations

import mmap
import os
import struct
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from pathlib import Path
from typing import TypeAlias
from uuid import UUID

from blake3 import blake3

from audit.identity import ExecutionId

Bytes: TypeAlias = "bytes | bytearray | memoryview"

MAGIC = b"WGWL"
VERSION = 1
CHECKSUM_BYTES = 16

# magic, version, kind, frame number, payload bytes, records, first seq, arena start, arena bytes,
# execution, checksum of the frame before; then this frame's checksum
_FIELDS = struct.Struct("<4sHHQIIQII16s16s")
HEADER_BYTES = _FIELDS.size + CHECKSUM_BYTES

FIRST = bytes(CHECKSUM_BYTES)
"""What the first frame of a file names as the checksum before it."""

MAX_PAYLOAD_BYTES = 1 << 30
"""More is refused by the writer and taken for damage by the reader."""


class Kind(IntEnum):
    """What a frame holds."""

    START = 1  # JSON of an `ExecutionStart`
    RECORDS = 2  # completed records, then the arena bytes that they refer to
    INTENT = 3  # one record made durable before its call returned; a later frame may repeat its seq
    END = 4  # JSON of a `Receipt`
    EVENT = 5  # JSON of a `ControlEvent`; of no execution
    GAP = 6  # JSON of a `Gap`; of no execution, though it may tell of one


NOBODY = ExecutionId(str(UUID(int=0)))
"""Stands in the header of a frame that belongs to no execution."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame; records and arena are kept apart, as they were given."""

    kind: Kind
    exec_id: ExecutionId
    payload: Bytes  # JSON, or the records
    arena: Bytes = b""
    first_seq: int = 0
    n_records: int = 0
    arena_start: int = 0  # offset in the ring's arena of the first byte of `arena`


@dataclass(frozen=True, slots=True)
class RecordFrame:
    """Records that follow each other, verbatim, and the strings that they refer to."""

    first_seq: int
    n_records: int
    records: Bytes
    arena: Bytes
    arena_start: int


class Problem(StrEnum):
    """Why reading stopped before the end of a file."""

    TORN = "torn"  # the last frame is not all there: what a crash leaves
    CORRUPT = "corrupt"  # bytes that no writer of this version puts there


@dataclass(frozen=True, slots=True)
class Scan:
    """The good frames at the start of a file, and where and why they end."""

    frames: tuple[Frame, ...]
    valid_bytes: int
    total_bytes: int
    problem: Problem | None

    def cut(self, count: int) -> Scan:
        """Give the first `count` frames, as if what follows them could not be read."""
        frames = self.frames[:count]
        size = sum(HEADER_BYTES + len(frame.payload) + len(frame.arena) for frame in frames)
        return Scan(frames, size, self.total_bytes, Problem.CORRUPT)


def encode(frame: Frame, *, frame_no: int, previous: bytes) -> tuple[bytes, bytes]:
    """Give the header of `frame`, and its checksum; the payload and the arena follow it as they are."""
    fields = _FIELDS.pack(
        MAGIC,
        VERSION,
        frame.kind,
        frame_no,
        len(frame.payload) + len(frame.arena),
        frame.n_records,
        frame.first_seq,
        frame.arena_start,
        len(frame.arena),
        UUID(frame.exec_id).bytes,
        previous,
    )
    checksum = _checksum(fields, frame.payload, frame.arena)
    return fields + checksum, checksum


def read_frames(source: bytes | memoryview | Path) -> Scan:
    """Read frames up to the first that is torn or damaged; a path is mapped, not copied.

    INVARIANT: a file that is mapped has no writer: one that shrinks under a mapping ends the process. For a
    file that is written meanwhile there is `read_live`.
    """
    data = _map(source) if isinstance(source, Path) else memoryview(source)
    frames: list[Frame] = []
    at, previous, problem = 0, FIRST, None
    while at < len(data):
        found = _read_one(data[at:], len(frames), previous)
        if isinstance(found, Problem):
            problem = found
            break
        frame, size, previous = found
        frames.append(frame)
        at += size
    return Scan(tuple(frames), at, len(data), problem)


def read_live(path: Path) -> Scan:
    """Read the frames of a file that a writer may append to or cut meanwhile."""
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    with os.fdopen(handle, "rb") as file:
        return read_frames(file.read())


def _map(path: Path) -> memoryview:
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        size = os.fstat(handle).st_size
        # The mapping lives as long as a view of it does.
        return memoryview(mmap.mmap(handle, size, prot=mmap.PROT_READ) if size else b"")
    finally:
        os.close(handle)


def _read_one(data: memoryview, frame_no: int, previous: bytes) -> tuple[Frame, int, bytes] | Problem:
    # A file that grew before its bytes reached the disk reads as zeros.
    if len(data) < HEADER_BYTES or not any(data[:HEADER_BYTES]):
        return Problem.TORN
    magic, version, kind, number, length, n_records, first_seq, arena_start, arena_bytes, raw_id, chain = (
        _FIELDS.unpack_from(data)
    )
    follows = (magic, version, number, chain) == (MAGIC, VERSION, frame_no, previous)
    if not follows or kind not in _KINDS or length > MAX_PAYLOAD_BYTES or arena_bytes > length:
        return Problem.CORRUPT
    end = HEADER_BYTES + length
    if len(data) < end:
        return Problem.TORN
    payload, arena = data[HEADER_BYTES : end - arena_bytes], data[end - arena_bytes : end]
    checksum = bytes(data[_FIELDS.size : HEADER_BYTES])
    if _checksum(data[: _FIELDS.size], payload, arena) != checksum:
        return Problem.CORRUPT
    exec_id = ExecutionId(str(UUID(bytes=raw_id)))
    return Frame(Kind(kind), exec_id, payload, arena, first_seq, n_records, arena_start), end, checksum


_KINDS = frozenset(Kind)


def _checksum(fields: Bytes, payload: Bytes, arena: Bytes) -> bytes:
    return blake3(fields).update(payload).update(arena).digest(length=CHECKSUM_BYTES)


@dataclass(frozen=True, slots=True)
class Place:
    """Where in a file the next frame begins, and what it has to follow."""

    offset: int = 0
    frame_no: int = 0
    previous: bytes = FIRST


def read_on(data: memoryview, place: Place, *, base: int = 0) -> tuple[tuple[tuple[int, Frame], ...], Place]:
    """Give the whole frames behind `place` with their offsets in the file, and where to go on.

    What is torn is not there yet. `data` is what the file holds from offset `base` on; the frames are views
    of it.
    """
    found: list[tuple[int, Frame]] = []
    while place.offset - base < len(data):
        one = _read_one(data[place.offset - base :], place.frame_no, place.previous)
        if isinstance(one, Problem):
            break
        frame, size, checksum = one
        found.append((place.offset, frame))
        place = Place(place.offset + size, place.frame_no + 1, checksum)
    return tuple(found), place
