"""Proofs about the log, as commands and the HTTP service give them: the prover with what it needs to know.

How proofs are gathered is `audit.tlog.prover`. INVARIANT: the catalogue only says where to look first; a
proof does not depend on it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    import pyarrow as pa

    from audit.tlog.prover import Prover


def open_prover(root: Path) -> Prover:
    """Proofs about the log below `root`."""
    from audit.catalogue import Catalogue
    from audit.store import Store
    from audit.tlog.prover import Prover

    def leaf_of(exec_id: str) -> int | None:
        return Catalogue(Store(root)).leaf("receipt", exec_id)

    return Prover(root, leaf_of=leaf_of)


def canonical_records(rows: pa.Table) -> bytes:
    """The canonical bytes of rows, one record behind the other."""
    from audit.chunks import canonical_records as records_of

    return bytes(records_of(rows).tobytes())
