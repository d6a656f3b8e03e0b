"""An Arrow stream (IPC) with the schema of the stored records.

Text columns are dictionary coded, and a batch may replace a dictionary: a reader must read the stream in
order. INVARIANT: the batches hold the stored values and types, each of bounded size.
"""

from __future__ import annotations

from typing import BinaryIO

import pyarrow as pa

from audit.columns import SCHEMA
from audit.export.rows import Rows, compacted, pieces

NAME = "arrow"
MEDIA_TYPE = "application/vnd.apache.arrow.stream"
SUFFIX = ".arrows"


def write(rows: Rows, out: BinaryIO) -> int:
    """Write rows; give how many were written."""
    count = 0
    with pa.ipc.new_stream(out, SCHEMA) as file:
        for piece in pieces(rows):
            file.write_table(compacted(piece))
            count += piece.num_rows
    return count
