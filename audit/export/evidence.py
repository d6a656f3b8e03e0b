"""What proves an exported record: the chunk that holds it, and the checkpoint of the log with the chunk.

Chunks are made in `audit.chunks`, checkpoints in `audit.tlog`; here is only what an export asks of them.
INVARIANT: where there is no proof, an export says so, and why.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

ALGORITHM = "wasmgate.chunk.v1"
"""What a chunk leaf is a hash of: SHA-256 over 0x00 and the canonical records of a chunk (RFC 6962)."""


@dataclass(frozen=True, slots=True)
class ChunkHash:
    """The chunk that holds a record: which records of its execution it covers, and its leaf hash."""

    first_seq: int
    last_seq: int
    leaf_hash: bytes


class Evidence(Protocol):
    """What an export can say in proof of its rows."""

    @property
    def tree_size(self) -> int | None:
        """Leaves of the log that the checkpoint covers; None without one."""
        ...

    def checkpoint(self) -> str | None:
        """Give the signed checkpoint as it is published (a C2SP signed note); None if there is none."""
        ...

    def chunk_of(self, exec_id: str, seq: int) -> ChunkHash | None:
        """Give the chunk that holds a record; None while it is not sealed."""
        ...


@dataclass(frozen=True, slots=True)
class NoEvidence:
    """Nothing is known: for logs without signatures, and for tests."""

    tree_size: int | None = None

    def checkpoint(self) -> str | None:
        """Give None."""
        return None

    def chunk_of(self, exec_id: str, seq: int) -> ChunkHash | None:  # noqa: ARG002  # the protocol's names
        """Give None."""
        return None


def chunk_hashes(
    evidence: Evidence, exec_id: str, seqs: npt.NDArray[np.int64]
) -> list[tuple[int, int, str | None]]:
    """Give the leaf hash in hexadecimal for runs (from, to) of a sorted list of records of one execution.

    The evidence is asked once for each chunk, or for each record that is not sealed.
    """
    found: list[tuple[int, int, str | None]] = []
    at = 0
    while at < len(seqs):
        chunk = evidence.chunk_of(exec_id, int(seqs[at]))
        end = at + 1
        if chunk is not None:
            end = max(end, int(np.searchsorted(seqs, chunk.last_seq, side="right")))
        found.append((at, end, None if chunk is None else chunk.leaf_hash.hex()))
        at = end
    return found


def origin_of(checkpoint: str | None) -> str | None:
    """Give the name of the log that a checkpoint is of: its first line."""
    return None if checkpoint is None else checkpoint.partition("\n")[0]
