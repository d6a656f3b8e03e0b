"""Rows on their way into an export: which form they come in, and how they are cut into bounded pieces.

Where rows come from is `audit.query`; what is written is the matter of each form. INVARIANT: a piece has the
columns and types of the stored schema, and its text stays below a fixed size, whatever a guest wrote.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol, TypeAlias

import pyarrow as pa
import pyarrow.compute as pc

from audit.columns import REFUSING, SCHEMA, Stage, plain
from audit.filters import RecordFilter

Rows: TypeAlias = "Iterator[pa.RecordBatch | pa.Table]"
"""Rows with the stored columns, in the order in which they are exported."""

PIECE_ROWS = 16_384
_PIECE_TEXT = 8 << 20  # bytes of text columns in a piece; a form writes up to about twelve times as much

_WIDE = ("target", "guest_target", "target2", "errnos", "payload")


class Batches(Protocol):
    """What gives the rows of an export: `audit.query.AuditReader`."""

    def batches(self, wanted: RecordFilter) -> Iterator[pa.RecordBatch]:
        """Give every record that the filter names, in bounded batches; its limit is ignored."""
        ...


def pieces(rows: Rows) -> Iterator[pa.Table]:
    """Give the rows in pieces of bounded size, with the stored columns and types."""
    for batch in rows:
        table = conformed(pa.Table.from_batches([batch]) if isinstance(batch, pa.RecordBatch) else batch)
        for at in range(0, table.num_rows, PIECE_ROWS):
            yield from _halved(table.slice(at, PIECE_ROWS))


def _halved(piece: pa.Table) -> Iterator[pa.Table]:
    if piece.num_rows <= 1 or _text_bytes(piece) <= _PIECE_TEXT:
        yield piece
        return
    half = piece.num_rows // 2
    yield from _halved(piece.slice(0, half))
    yield from _halved(piece.slice(half))


def _text_bytes(piece: pa.Table) -> int:
    return sum(
        pc.sum(pc.binary_length(plain(piece.column(name)))).as_py() or 0  # a null has no length
        for name in _WIDE
    )


def conformed(table: pa.Table) -> pa.Table:
    """Give the stored columns with their types, in their order; an engine may give text uncoded."""
    columns = []
    for field in SCHEMA:
        column = table.column(field.name)
        if column.type != field.type:
            column = column.cast(pa.string()).dictionary_encode() if _is_text(field.type) else column
            column = column.cast(field.type)
        columns.append(column)
    return pa.table(columns, schema=SCHEMA)


def compacted(piece: pa.Table) -> pa.Table:
    """Give the same rows with dictionaries that hold only what occurs in them."""
    columns = [
        plain(piece.column(field.name)).combine_chunks().dictionary_encode()
        if _is_text(field.type)
        else piece.column(field.name)
        for field in SCHEMA
    ]
    return pa.table(columns, schema=SCHEMA)


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_dictionary(kind))


def refused(piece: pa.Table) -> pa.Table:
    """Give the rows of calls that were refused or never returned because the guest was stopped."""
    codes = pa.array([int(code) for code in REFUSING], pa.int8())
    is_refusal = pc.is_in(piece.column("decision"), value_set=codes)
    is_trap = pc.equal(piece.column("stage"), int(Stage.TRAP))
    return piece.filter(pc.or_(is_refusal, is_trap))
