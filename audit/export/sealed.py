"""Evidence for an export from the files of a log: sealed chunks, and the checkpoint that covers them.

How chunks are hashed is `audit.chunks`; that the hashes are right is for `audit verify` to say. INVARIANT: a
chunk is named only if the segment that holds it is covered by the checkpoint that goes with it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq

from audit.catalogue import Catalogue
from audit.chunks import CHUNK_ROWS
from audit.errors import FormatError
from audit.export.evidence import ChunkHash
from audit.store import Store

_HASH_BYTES = 32
_MOST_CHECKPOINT = 1 << 16
_SEGMENTS_KEPT, _EXECUTIONS_KEPT = 16, 4096


class SealedSegment(Protocol):
    """What is asked of a segment of the catalogue."""

    @property
    def path(self) -> Path:
        """Its rows."""
        ...

    @property
    def chunks_path(self) -> Path:
        """Its chunk leaf hashes, in the order of its rows."""
        ...


class Segments(Protocol):
    """What is asked of the catalogue: `audit.catalogue.Catalogue`."""

    def segments(self, *, exec_id: str) -> Sequence[SealedSegment]:
        """Give the segments that hold rows of an execution."""
        ...

    def leaf(self, kind: str, key: str) -> int | None:
        """Give the number of a leaf of the transparency log."""
        ...


@dataclass(frozen=True, slots=True)
class _Chunks:
    """The chunks of one execution in one segment, in order."""

    first: npt.NDArray[np.int64]
    last: npt.NDArray[np.int64]
    leaves: bytes

    def of(self, seq: int) -> ChunkHash | None:
        """Give the chunk that covers a record."""
        at = int(np.searchsorted(self.first, seq, side="right")) - 1
        if at < 0 or seq > self.last[at]:
            return None
        leaf = self.leaves[at * _HASH_BYTES : (at + 1) * _HASH_BYTES]
        return ChunkHash(int(self.first[at]), int(self.last[at]), leaf)


@dataclass(slots=True)
class SealedEvidence:
    """Evidence of one moment: what the checkpoint covers that was there when it was made."""

    catalogue: Segments
    root: Path
    tree_size: int | None = field(init=False, default=None)
    _text: str | None = field(init=False, default=None)
    _of_execution: Callable[[str], tuple[_Chunks, ...]] = field(init=False)
    _of_segment: Callable[[Path, Path], dict[str, _Chunks]] = field(init=False)

    def __post_init__(self) -> None:
        """Read the checkpoint; FormatError if it is not one."""
        self._text = _checkpoint_in(self.root / "tlog" / "checkpoint")
        if self._text is not None:
            self.tree_size = _size_of(self._text)
        self._of_segment = lru_cache(_SEGMENTS_KEPT)(_chunks_in)
        self._of_execution = lru_cache(_EXECUTIONS_KEPT)(self._load)

    def checkpoint(self) -> str | None:
        """Give the checkpoint as it was published."""
        return self._text

    def chunk_of(self, exec_id: str, seq: int) -> ChunkHash | None:
        """Give the chunk that holds a record; None if the checkpoint does not cover it."""
        for chunks in self._of_execution(exec_id):
            found = chunks.of(seq)
            if found is not None:
                return found
        return None

    def _load(self, exec_id: str) -> tuple[_Chunks, ...]:
        found = [
            self._of_segment(segment.path, segment.chunks_path).get(exec_id)
            for segment in self.catalogue.segments(exec_id=exec_id)
            if self._is_covered(segment)
        ]
        return tuple(chunks for chunks in found if chunks is not None)

    def _is_covered(self, segment: SealedSegment) -> bool:
        leaf = self.catalogue.leaf("segment", segment.path.relative_to(self.root).as_posix())
        return leaf is not None and self.tree_size is not None and leaf < self.tree_size


def _checkpoint_in(path: Path) -> str | None:
    try:
        with path.open("rb") as file:
            return file.read(_MOST_CHECKPOINT).decode()
    except FileNotFoundError:
        return None
    except UnicodeDecodeError as err:
        raise FormatError("checkpoint", "a signed note in UTF-8", err.object[:80]) from err


def _size_of(text: str) -> int:
    lines = text.split("\n")
    if len(lines) < 4 or not (lines[1].isascii() and lines[1].isdigit() and len(lines[1]) <= 19):
        raise FormatError("checkpoint", "an origin, a tree size and a root", text)
    return int(lines[1])


def _chunks_in(path: Path, chunks_path: Path) -> dict[str, _Chunks]:
    """Give the chunks of each execution in a segment; FormatError if hashes are missing or left over."""
    table = pq.read_table(path, columns=["exec_id", "seq"], read_dictionary=["exec_id"], partitioning=None)
    names = table.column("exec_id").unify_dictionaries().combine_chunks()
    codes, seqs = names.indices.to_numpy(), table.column("seq").to_numpy()
    starts = [0, *(np.flatnonzero(np.diff(codes)) + 1).tolist(), len(codes)] if len(codes) else [0]
    leaves = chunks_path.read_bytes()
    found: dict[str, _Chunks] = {}
    at = 0
    for first, end in pairwise(starts):
        edges = np.arange(first, end, CHUNK_ROWS)
        lasts = np.minimum(edges + CHUNK_ROWS, end) - 1
        mine = leaves[at * _HASH_BYTES : (at + len(edges)) * _HASH_BYTES]
        at += len(edges)
        found[names.dictionary[int(codes[first])].as_py()] = _Chunks(seqs[edges], seqs[lasts], mine)
    if len(leaves) != at * _HASH_BYTES:
        raise FormatError(chunks_path.name, f"{at} chunk hashes", len(leaves) // _HASH_BYTES)
    return found


def open_evidence(root: Path) -> SealedEvidence:
    """Give the evidence of the log below `root`, as it is now; raises AuditError and OSError."""
    return SealedEvidence(Catalogue(Store(root)), root)
