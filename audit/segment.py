"""Writes and reads Parquet files of records, with encodings that suit the columns.

Which rows go into which file is decided in `segment_files.py`, queries over many files are `query/`. Rows are
sorted by execution and sequence number. INVARIANT: a file that has its name is complete and durable, and the
same rows give the same bytes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from audit.columns import DELTA_CODED, IN_FILES, SCHEMA, into_file, out_of_file
from audit.errors import WriteError
from audit.folders import KEY, Collected
from audit.gather import BLOCK_RECORDS
from audit.store import hidden_name, make_directory, publish_existing

_ZSTD_LEVEL = 3
_BLOCK_BYTES = 64 << 20  # that wait for a row group: a guest chooses how long its paths are
_FEWEST = 32  # different values that a Bloom filter is made for; that takes it 64 bytes


@dataclass(slots=True)
class SegmentWriter:
    """Takes tables in the order in which they belong into the file."""

    _path: Path
    rows: int = 0
    t_min_ns: int = 0
    t_max_ns: int = 0
    _file: pq.ParquetWriter | None = None
    _waiting: list[pa.Table] = field(default_factory=list)
    _waiting_rows: int = 0
    _waiting_bytes: int = 0
    _folders: Collected = field(default_factory=Collected)

    def add(self, table: pa.Table) -> None:
        """Append rows; small tables share a row group."""
        if not table.num_rows:
            return
        low, high = pc.min(table.column("t_ns")).as_py(), pc.max(table.column("t_last_ns")).as_py()
        self.t_min_ns = min(self.t_min_ns, low) if self.rows else low
        self.t_max_ns = max(self.t_max_ns, high) if self.rows else high
        self.rows += table.num_rows
        size = table.nbytes
        if self._waiting_rows + table.num_rows > BLOCK_RECORDS or self._waiting_bytes + size > _BLOCK_BYTES:
            self._flush()
        self._waiting.append(table)
        self._waiting_rows += table.num_rows
        self._waiting_bytes += size

    def close(self) -> None:
        """Write what waits, and end the file."""
        self._flush()
        if self._file is not None:
            self._file.add_key_value_metadata({KEY: self._folders.text()})
            self._file.close()

    def _flush(self) -> None:
        """Write what waits as one row group."""
        if self._waiting_rows:
            # one dictionary for all: the writer gives up dictionaries when a second one comes
            whole = into_file(pa.concat_tables(self._waiting).unify_dictionaries())
            file = self._file or _parquet_writer(self._path, whole)
            self._file = file
            file.write_table(whole, row_group_size=BLOCK_RECORDS)
            self._folders.add(whole)
        self._waiting, self._waiting_rows, self._waiting_bytes = [], 0, 0


def _parquet_writer(path: Path, first: pa.Table) -> pq.ParquetWriter:
    # twice as many targets as the first rows have: a filter that is too small lets more through, and one that
    # is too large is larger than the rows of a small segment
    targets = len(first.column("target").chunk(0).dictionary)
    return pq.ParquetWriter(
        path,
        IN_FILES,
        compression="zstd",
        compression_level=_ZSTD_LEVEL,
        use_dictionary=[name for name in SCHEMA.names if name not in DELTA_CODED],
        column_encoding=dict.fromkeys(DELTA_CODED, "DELTA_BINARY_PACKED"),
        store_schema=False,
        write_statistics=True,
        write_page_index=True,
        # executions are in order, so that the statistics tell where one is; targets are not
        bloom_filter_options={"target": {"ndv": max(2 * targets, _FEWEST), "fpp": 0.05}},
    )


@dataclass(slots=True)
class Written:
    """A finished file."""

    rows: int = 0
    t_min_ns: int = 0
    t_max_ns: int = 0
    file_bytes: int = 0
    sha256: str = field(default="")


@contextmanager
def segment_writer(path: Path, result: Written) -> Iterator[SegmentWriter]:
    """Write a file that gets its name when the block ends without an error and has rows; WriteError."""
    make_directory(path.parent)
    hidden = hidden_name(path)
    writer = SegmentWriter(hidden)
    try:
        yield writer
        writer.close()
        result.rows, result.t_min_ns, result.t_max_ns = writer.rows, writer.t_min_ns, writer.t_max_ns
        if writer.rows:
            result.file_bytes = hidden.stat().st_size
            with hidden.open("rb") as made:
                result.sha256 = hashlib.file_digest(made, "sha256").hexdigest()
            publish_existing(hidden, path)
    except OSError as err:
        raise WriteError(path, err.strerror or str(err)) from err
    finally:
        hidden.unlink(missing_ok=True)


def read_pieces(path: Path, exec_id: str) -> Iterator[Callable[[Sequence[str]], pa.Table]]:
    """Give what reads columns of an execution's rows, for each row group; until the next one is asked for."""
    texts = [field.name for field in SCHEMA if pa.types.is_dictionary(field.type)]
    with pq.ParquetFile(path, read_dictionary=texts) as file:
        for group in range(file.num_row_groups):

            def read(columns: Sequence[str], group: int = group) -> pa.Table:
                needed = dict.fromkeys((*columns, "exec_id", "t_ns"))
                rows = file.read_row_group(group, columns=list(needed))
                found = rows.filter(pc.equal(rows.column("exec_id"), exec_id))
                return out_of_file(found).select(list(columns))

            yield read
