"""The same records in SQLite, in a DuckDB file and as lines of JSON, for `audit_engine.py`.

They are read from the sealed segments, so making them is not part of what is timed for SQLite; the other two
read them themselves. INVARIANT: each is durable when it counts as written, and answers from a connection that
was opened before.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pyarrow.dataset as ds

COLUMNS = (
    "exec_id", "seq", "t_ns", "dur_ns", "stage", "tenant_id", "module_id", "policy_id", "rule_id", "call", "class_uid",
    "activity_id", "decision", "errno", "reason", "fd", "fd2", "target_kind", "target", "guest_target", "target2", "flags",
    "bytes_in", "bytes_out", "n", "opener_seq",
)  # fmt: skip
_TEXTS = {"exec_id", "tenant_id", "module_id", "policy_id", "rule_id", "call", "reason", "target", "guest_target", "target2"}  # fmt: skip
INDEXES = (
    "CREATE INDEX by_time ON records (t_ns, exec_id, seq)",
    "CREATE INDEX by_target ON records (target, t_ns)",
    "CREATE INDEX refused ON records (module_id, t_ns) WHERE decision = 2",
    "CREATE INDEX by_call ON records (call, decision, n)",
)
_AT_ONCE = 65_536


@dataclass(frozen=True, slots=True)
class Holder:
    """One engine that holds the records."""

    name: str
    seconds: float  # to write them
    size: int
    ask: Callable[[str], int]  # gives how many rows
    close: Callable[[], None]


def _chosen() -> str:
    return ", ".join(COLUMNS)


def in_sqlite(folder: Path, segments: list[str]) -> Holder:
    """A table with a primary key and four indexes that are there from the start, as a log that is asked has."""
    path, seconds = folder / "records.sqlite", 0.0
    db = sqlite3.connect(path, isolation_level=None)
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = FULL")
    db.execute("PRAGMA cache_size = -1000000")
    kinds = ", ".join(f"{name} {'TEXT' if name in _TEXTS else 'INTEGER'}" for name in COLUMNS)
    db.execute(f"CREATE TABLE records ({kinds}, PRIMARY KEY (exec_id, seq)) WITHOUT ROWID")
    for index in INDEXES:
        db.execute(index)
    insert = f"INSERT INTO records VALUES ({', '.join('?' * len(COLUMNS))})"
    for batch in ds.dataset(segments, format="parquet").to_batches(
        columns=list(COLUMNS), batch_size=_AT_ONCE
    ):
        rows = list(zip(*(column.to_pylist() for column in batch.columns), strict=True))
        begun = time.perf_counter()
        db.execute("BEGIN")
        db.executemany(insert, rows)
        db.execute("COMMIT")
        seconds += time.perf_counter() - begun
    begun = time.perf_counter()
    db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    db.execute("ANALYZE")
    seconds += time.perf_counter() - begun
    return Holder(
        "SQLite", seconds, path.stat().st_size, lambda sql: len(db.execute(sql).fetchall()), db.close
    )


def in_duckdb(folder: Path, segments: list[str]) -> Holder:
    """A table in a file of DuckDB, without an index: its own statistics are what it has."""
    path = folder / "records.duckdb"
    db = duckdb.connect(str(path), config={"memory_limit": "4GB", "threads": "2"})
    begun = time.perf_counter()
    db.execute(
        f"CREATE TABLE records AS SELECT {_chosen()} FROM read_parquet(?, hive_partitioning = false)",
        [segments],
    )
    db.execute("CHECKPOINT")
    seconds = time.perf_counter() - begun
    return Holder(
        "DuckDB file", seconds, path.stat().st_size, lambda sql: len(db.execute(sql).fetchall()), db.close
    )


def in_lines(folder: Path, segments: list[str]) -> Holder:
    """A file with a JSON object a line, read by DuckDB for each question."""
    path = folder / "records.ndjson"
    db = duckdb.connect(":memory:", config={"memory_limit": "4GB", "threads": "2"})
    begun = time.perf_counter()
    db.execute(
        f"COPY (SELECT {_chosen()} FROM read_parquet({segments!r}, hive_partitioning = false)) TO '{path}' (FORMAT json)"
    )
    with path.open("rb") as file:
        os.fsync(file.fileno())
    seconds = time.perf_counter() - begun
    kinds = ", ".join(f"{name}: '{'VARCHAR' if name in _TEXTS else 'BIGINT'}'" for name in COLUMNS)
    db.execute(
        f"CREATE VIEW records AS SELECT * FROM read_json('{path}', format = 'newline_delimited', columns = {{{kinds}}})"
    )
    return Holder(
        "JSON lines", seconds, path.stat().st_size, lambda sql: len(db.execute(sql).fetchall()), db.close
    )


ALL = (in_sqlite, in_duckdb, in_lines)
