"""Which segments there are, and which executions: the index that queries start from.

What it says is taken from manifests and receipts and can be made again from them; it is never
evidence. This is the only importer of `sqlite3`. INVARIANT: a segment and the executions in it are
added in one transaction, and adding the same log file twice changes nothing.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from audit.identity import ExecutionId
from audit.manifest import Manifest
from audit.receipt import Receipt
from audit.store import Store, locked

_VERSION = 1
_BUSY_S = 30.0  # how long to wait for another process's transaction

_TABLES = """
CREATE TABLE segments (
  path TEXT PRIMARY KEY, source_wal TEXT NOT NULL UNIQUE, rows INTEGER NOT NULL, bytes INTEGER NOT NULL,
  t_min INTEGER NOT NULL, t_max INTEGER NOT NULL) WITHOUT ROWID;
CREATE INDEX segments_by_time ON segments (t_max, t_min);
CREATE TABLE executions (
  exec_id TEXT PRIMARY KEY, started_at_ns INTEGER NOT NULL, ended_at_ns INTEGER NOT NULL,
  module_digest TEXT NOT NULL, module_name TEXT NOT NULL, policy_name TEXT NOT NULL,
  outcome TEXT NOT NULL, records INTEGER NOT NULL, refusals INTEGER NOT NULL,
  receipt TEXT NOT NULL) WITHOUT ROWID;
CREATE INDEX executions_by_start ON executions (started_at_ns);
CREATE INDEX executions_by_module ON executions (module_digest, started_at_ns);
CREATE INDEX executions_by_name ON executions (module_name, started_at_ns);
CREATE TABLE exec_segments (
  exec_id TEXT NOT NULL, path TEXT NOT NULL REFERENCES segments (path) ON DELETE CASCADE,
  first_seq INTEGER NOT NULL, last_seq INTEGER NOT NULL, rows INTEGER NOT NULL,
  PRIMARY KEY (exec_id, path)) WITHOUT ROWID;
CREATE INDEX exec_segments_by_path ON exec_segments (path);
"""


@dataclass(frozen=True, slots=True)
class Segment:
    """One segment, as a query sees it."""

    path: Path
    source_wal: str
    rows: int
    file_bytes: int


class Catalogue:
    """The catalogue of one log; every method is one transaction of its own, from any thread."""

    def __init__(self, store: Store) -> None:
        """Make it if it is missing, from the manifests and receipts that are there."""
        self._store = store
        if not self._is_ready():
            with self._making():
                if not self._is_ready():  # nobody else made it, and added to it, while we waited
                    self._fill()

    def add(self, manifest: Manifest | None, receipts: Iterable[Receipt]) -> None:
        """Add what was sealed from one log file; `manifest` is None when it held no records."""
        with self._transaction() as db:
            if manifest is not None:
                _add_segment(db, manifest)
            for receipt in receipts:
                _add_receipt(db, receipt)

    def rebuild(self) -> None:
        """Make it anew from the manifests and receipts on disk."""
        with self._making():
            self._fill()

    def sealed(self) -> frozenset[str]:
        """Give the names of the log files whose segments are here."""
        with self._connection() as db:
            return frozenset(row[0] for row in db.execute("SELECT source_wal FROM segments"))

    def segments(
        self,
        *,
        exec_id: str | None = None,
        from_ns: int | None = None,
        to_ns: int | None = None,
    ) -> tuple[Segment, ...]:
        """Give the segments that may hold rows of an execution and of a time (`to_ns` not included)."""
        sql = (
            "SELECT path, source_wal, rows, bytes FROM segments"
            " WHERE (:exec IS NULL OR path IN (SELECT path FROM exec_segments WHERE exec_id = :exec))"
            " AND (:low IS NULL OR t_max >= :low) AND (:high IS NULL OR t_min < :high) ORDER BY t_min, path"
        )
        with self._connection() as db:
            found = db.execute(sql, {"exec": exec_id, "low": from_ns, "high": to_ns}).fetchall()
        return tuple(Segment(self._store.root / path, wal, rows, size) for path, wal, rows, size in found)

    def ranges(self, exec_id: str) -> tuple[tuple[int, int], ...]:
        """Give the sequence numbers (first, last) of an execution in each of its segments, ascending."""
        sql = "SELECT first_seq, last_seq FROM exec_segments WHERE exec_id = ? ORDER BY first_seq"
        with self._connection() as db:
            return tuple((first, last) for first, last in db.execute(sql, (exec_id,)))

    def receipt(self, exec_id: str) -> Receipt | None:
        """Give the receipt of an execution, if it is sealed."""
        with self._connection() as db:
            row = db.execute("SELECT receipt FROM executions WHERE exec_id = ?", (exec_id,)).fetchone()
        return None if row is None else Receipt.from_json(row[0].encode())

    def receipts(
        self, *, limit: int, module: str | None = None, before: tuple[int, str] | None = None
    ) -> tuple[Receipt, ...]:
        """Give the newest receipts; `module` is a digest or a name, `before` a start time and an id."""
        sql = (
            "SELECT receipt FROM executions"
            " WHERE (:module IS NULL OR module_digest = :module OR module_name = :module)"
            " AND (:t IS NULL OR (started_at_ns, exec_id) < (:t, :id))"
            " ORDER BY started_at_ns DESC, exec_id DESC LIMIT :limit"
        )
        t_ns, last = before or (None, None)
        with self._connection() as db:
            found = db.execute(sql, {"module": module, "t": t_ns, "id": last, "limit": limit}).fetchall()
        return tuple(Receipt.from_json(row[0].encode()) for row in found)

    def digests_named(self, name: str) -> tuple[str, ...]:
        """Give the digests of the modules that ran under a name."""
        with self._connection() as db:
            found = db.execute("SELECT DISTINCT module_digest FROM executions WHERE module_name = ?", (name,))
            return tuple(row[0] for row in found)

    def _is_ready(self) -> bool:
        if not self._store.catalogue.exists():
            return False
        with self._connection() as db:
            return bool(db.execute("PRAGMA user_version").fetchone()[0] == _VERSION)

    def _fill(self) -> None:
        # INVARIANT: read inside the transaction. Whatever others added before it has its file on disk,
        # and what they add after it comes on top; read before it, a row of theirs could be dropped.
        with self._transaction() as db:
            for table in ("exec_segments", "segments", "executions"):
                db.execute(f"DROP TABLE IF EXISTS {table}")
            for statement in _TABLES.split(";"):
                db.execute(statement)
            for path in sorted(self._store.segments.rglob("*.manifest.json")):
                _add_segment(db, Manifest.from_json(path.read_bytes()))
            for path in sorted(self._store.receipts.glob("*.receipt.json")):
                _add_receipt(db, Receipt.from_json(path.read_bytes()))
            db.execute(f"PRAGMA user_version = {_VERSION}")

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        db = sqlite3.connect(self._store.catalogue, timeout=_BUSY_S, isolation_level=None)
        try:
            # FULL: the log file is deleted after this commit, so the commit must be on disk
            db.execute("PRAGMA synchronous = FULL")
            db.execute("PRAGMA foreign_keys = ON")
            yield db
        finally:
            db.close()

    @contextmanager
    def _making(self) -> Iterator[None]:
        """Hold the lock under which the file is made: switching it to write-ahead mode waits for nobody."""
        with locked(self._store.root / "catalog.lock"):
            with self._connection() as db:
                db.execute("PRAGMA journal_mode = WAL")
            yield

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._connection() as db:
            db.execute("BEGIN IMMEDIATE")
            try:
                yield db
            except BaseException:
                db.execute("ROLLBACK")
                raise
            db.execute("COMMIT")


def _add_segment(db: sqlite3.Connection, manifest: Manifest) -> None:
    db.execute(
        "DELETE FROM segments WHERE source_wal = ? OR path = ?", (manifest.source_wal, manifest.segment)
    )
    row: Sequence[object] = (
        manifest.segment,
        manifest.source_wal,
        manifest.rows,
        manifest.file_bytes,
        manifest.t_min_ns,
        manifest.t_max_ns,
    )
    db.execute("INSERT INTO segments VALUES (?, ?, ?, ?, ?, ?)", row)
    spans = [
        (span.exec_id, manifest.segment, span.first_seq, span.last_seq, span.rows) for span in manifest.spans
    ]
    db.executemany("INSERT INTO exec_segments VALUES (?, ?, ?, ?, ?)", spans)


def _add_receipt(db: sqlite3.Connection, receipt: Receipt) -> None:
    refusals = sum(item.count for item in receipt.calls if item.decision != "allow")
    row = (
        ExecutionId(receipt.execution_id),
        receipt.started_at_ns,
        receipt.ended_at_ns,
        receipt.module_digest,
        receipt.module_name,
        receipt.policy_name,
        receipt.outcome.kind.value,
        receipt.records,
        refusals,
        receipt.to_json().decode(),
    )
    db.execute("INSERT OR REPLACE INTO executions VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", row)
