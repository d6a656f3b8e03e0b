"""The engine that reads segments: in memory, read-only, below `seg/` alone, with limits on memory and time.

What is asked of it is built in the other modules of this package. This is the only importer of `duckdb`; it
loads no extension. INVARIANT: values are bound, never part of a statement; none outlives its time.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import duckdb
import pyarrow as pa

from audit.errors import OutOfTimeError, QueryError
from audit.statement import Value

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_AGAIN_S = 0.05  # between two tries to stop what is being asked
_CLOSED = "its reader was closed"


def sealed(name: str) -> str:
    """Give the source of a statement that has the rows of the segment files that the value `name` lists."""
    files = f"read_parquet({name}, hive_partitioning = false)"
    # as `columns.out_of_file`
    return f"(SELECT * REPLACE (coalesce(t_last_ns, t_ns) AS t_last_ns) FROM {files})"  # noqa: S608  # nosec B608


class Engine:
    """One engine; thread-safe, each question has a cursor of its own."""

    def __init__(self, segments: Path, *, memory_mb: int, threads: int) -> None:
        """Open it for the files below `segments`."""
        self._quiet = threading.Condition()
        self._going: list[duckdb.DuckDBPyConnection] = []
        self._is_closed = False
        self._engine = duckdb.connect(
            ":memory:",
            config={
                "autoinstall_known_extensions": "false",
                "autoload_known_extensions": "false",
                "allow_community_extensions": "false",
                "python_enable_replacements": "false",
                "memory_limit": f"{memory_mb}MB",
                "threads": str(threads),
                "temp_directory": "",
                # the widest page: its other columns are fetched for the rows that are in it
                "late_materialization_max_rows": "10001",
                "preserve_insertion_order": "false",
            },
        )
        # a published file never changes, so its footer is read once
        self._engine.execute("SET parquet_metadata_cache = true")
        self._engine.execute("SET allowed_directories = ?", [[f"{segments}/"]])
        self._engine.execute("SET enable_external_access = false")
        self._engine.execute("SET lock_configuration = true")

    def close(self) -> None:
        """Stop what is being asked, and give up its memory; whoever asks from now on gets QueryError."""
        with self._quiet:
            self._is_closed = True
            while self._going:
                # once more: one that was not yet under way is not stopped by it
                for cursor in self._going:
                    cursor.interrupt()
                self._quiet.wait(_AGAIN_S)
        self._engine.close()

    def ask(
        self,
        statement: str,
        values: Sequence[tuple[str, Value]],
        *,
        tables: Mapping[str, pa.Table],
        seconds: float | None = None,
    ) -> pa.Table:
        """Give what a statement of ours selects; QueryError, and OutOfTimeError after so many seconds."""
        with self._cursor() as cursor:
            try:
                for name, table in tables.items():
                    cursor.register(name, table)
                with _stopped_after(cursor, seconds):
                    return cursor.sql(statement, params=dict(values)).to_arrow_table()
            except duckdb.InterruptException as err:
                if self._is_closed:
                    raise QueryError(_CLOSED) from err
                raise OutOfTimeError(seconds or 0.0) from err
            except duckdb.Error as err:
                raise QueryError(str(err).partition("\n")[0]) from err

    @contextmanager
    def _cursor(self) -> Iterator[duckdb.DuckDBPyConnection]:
        with self._quiet:
            if self._is_closed:
                raise QueryError(_CLOSED)
            cursor = self._engine.cursor()
            self._going.append(cursor)
        try:
            yield cursor
        finally:
            with self._quiet:
                self._going.remove(cursor)
                cursor.close()
                self._quiet.notify_all()


@contextmanager
def _stopped_after(cursor: duckdb.DuckDBPyConnection, seconds: float | None) -> Iterator[None]:
    if seconds is None:
        yield
        return
    timer = threading.Timer(max(seconds, 0.0), cursor.interrupt)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
