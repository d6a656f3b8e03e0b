"""Parquet with the schema of the stored records, compressed with Zstandard.

How segments of the log itself are written is `audit.segment`. INVARIANT: the file holds the stored values and
types, and one row group takes a bounded amount of memory.
"""

from __future__ import annotations

from typing import BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from audit.columns import DELTA_CODED, SCHEMA
from audit.export.rows import Rows, compacted, pieces

NAME = "parquet"
MEDIA_TYPE = "application/vnd.apache.parquet"
SUFFIX = ".parquet"

_GROUP_ROWS = 131_072
_GROUP_BYTES = 64 << 20  # of rows in memory, before they are encoded


def write(rows: Rows, out: BinaryIO) -> int:
    """Write rows; give how many were written."""
    count, kept, size = 0, [], 0
    with pq.ParquetWriter(
        out,
        SCHEMA,
        compression="zstd",
        use_dictionary=[name for name in SCHEMA.names if name not in DELTA_CODED],
        column_encoding=dict.fromkeys(DELTA_CODED, "DELTA_BINARY_PACKED"),
        store_schema=False,
    ) as file:
        for piece in pieces(rows):
            kept.append(compacted(piece))
            count += piece.num_rows
            size += piece.nbytes
            if sum(each.num_rows for each in kept) >= _GROUP_ROWS or size >= _GROUP_BYTES:
                file.write_table(pa.concat_tables(kept))
                kept, size = [], 0
        if kept:
            file.write_table(pa.concat_tables(kept))
    return count
