"""Writes and reads Parquet segments, with encodings that suit the columns.

Which rows go into a segment is decided in `sealer.py`, queries over many segments are `query.py`.
Rows are sorted by execution and sequence number, one row group per block. INVARIANT: a segment
that has its name is complete and durable.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from audit.columns import DELTA_CODED, OPENED, SCHEMA
from audit.gather import BLOCK_RECORDS
from audit.openers import opened
from audit.store import hidden_name, make_directory, publish_existing

_ZSTD_LEVEL = 3


@dataclass(slots=True)
class SegmentWriter:
    """Takes tables in the order in which they belong into the file."""

    _file: pq.ParquetWriter
    rows: int = 0
    t_min_ns: int = 0
    t_max_ns: int = 0

    def add(self, table: pa.Table) -> None:
        """Append one row group."""
        if not table.num_rows:
            return
        times = pc.min_max(table.column("t_ns")).as_py()
        self.t_min_ns = min(self.t_min_ns, times["min"]) if self.rows else times["min"]
        self.t_max_ns = max(self.t_max_ns, times["max"]) if self.rows else times["max"]
        self._file.write_table(table, row_group_size=table.num_rows)
        self.rows += table.num_rows


@dataclass(slots=True)
class Written:
    """A finished segment."""

    rows: int = 0
    t_min_ns: int = 0
    t_max_ns: int = 0
    file_bytes: int = 0
    sha256: str = field(default="")


@contextmanager
def segment_writer(path: Path, result: Written) -> Iterator[SegmentWriter]:
    """Write a segment that gets its name when the block ends without an error and has rows."""
    make_directory(path.parent)
    hidden = hidden_name(path)
    try:
        with pq.ParquetWriter(
            hidden,
            SCHEMA,
            compression="zstd",
            compression_level=_ZSTD_LEVEL,
            use_dictionary=[name for name in SCHEMA.names if name not in DELTA_CODED],
            column_encoding=dict.fromkeys(DELTA_CODED, "DELTA_BINARY_PACKED"),
            store_schema=False,
            write_statistics=True,
            write_page_index=True,
        ) as file:
            writer = SegmentWriter(file)
            yield writer
        result.rows, result.t_min_ns, result.t_max_ns = writer.rows, writer.t_min_ns, writer.t_max_ns
        if writer.rows:
            result.file_bytes = hidden.stat().st_size
            with hidden.open("rb") as made:
                result.sha256 = hashlib.file_digest(made, "sha256").hexdigest()
            publish_existing(hidden, path)
    finally:
        hidden.unlink(missing_ok=True)


def read_rows(path: Path, exec_id: str, columns: Sequence[str]) -> pa.Table:
    """Give some columns of an execution's rows, in order."""
    table = pq.read_table(
        path,
        columns=[*columns, "exec_id"],
        filters=pc.field("exec_id") == exec_id,
        read_dictionary=[name for name in columns if pa.types.is_dictionary(SCHEMA.field(name).type)],
        partitioning=None,
    )
    return table.select(list(columns))


def opened_in(paths: Sequence[Path], exec_id: str) -> pa.Table:
    """Give the same of rows that are sealed already."""
    found = [opened(read_rows(path, exec_id, [*OPENED.names, "fd2"])) for path in paths]
    return pa.concat_tables([OPENED.empty_table(), *found])
