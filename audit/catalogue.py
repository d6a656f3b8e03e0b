"""Which segments there are, which executions and which entries: the index that queries start from.

What it says is taken from manifests, receipts and the transparency log, and can be made again from them: it
is never evidence. This is the only importer of `sqlite3`, and longer because every question to it is here;
its tables are in `catalogue_tables.py`. INVARIANT: a segment is here only if its entry is in the transparency
log, and all segments of a log file are added in one transaction; adding the same file twice changes nothing.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import groupby
from typing import cast

from audit.catalogue_tables import (
    EVENT,
    EXECUTION,
    LEAF,
    NAMES,
    PRUNE,
    RETAINED,
    SEGMENT,
    SPAN,
    TABLES,
    VERSION,
    LoggedEvent,
    Part,
    Retained,
    Segment,
    event_of,
    event_values,
    execution_values,
    leaf_values,
    part_of,
    prune_values,
    retained_of,
    segment_of,
    segment_values,
    span_values,
)
from audit.errors import FormatError, WriteError
from audit.leaves import LeafKind, read_entry
from audit.manifest import Manifest
from audit.receipt import Receipt
from audit.store import Store, locked
from audit.tlog.errors import DamageError
from audit.tlog.log import TransparencyLog

__all__ = ["Catalogue", "LoggedEvent", "Part", "Segment"]

_PASSING = frozenset(
    {
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_NOMEM,
    }
)
_BUSY_S = 30.0  # how long to wait for another process's transaction
_AT_ONCE = 4096  # entries that are read in one go


class Catalogue:
    """The catalogue of one log; every method is one transaction of its own, from any thread."""

    def __init__(self, store: Store) -> None:
        """Make it if it is missing or of another version, from what is on disk."""
        self._store = store
        if not self._is_ready():
            with self._making():
                if not self._is_ready():  # nobody else made it, and added to it, while we waited
                    self._fill()

    def add(self, manifests: Sequence[Manifest], receipts: Iterable[Receipt]) -> None:
        """Add what was sealed of one log file, and what the transparency log has by now."""
        with self._transaction() as db:
            for manifest in manifests:
                _add_segment(db, manifest)
            for receipt in receipts:
                db.execute(EXECUTION, execution_values(receipt))
            self._catch_up(db)

    def catch_up(self) -> None:
        """Read the entries that the transparency log has got since."""
        with self._transaction() as db:
            self._catch_up(db)

    def drop(self, segments: Sequence[str], receipts: Sequence[str]) -> None:
        """Forget segments, by their paths below the root, and receipts, by execution: they are deleted."""
        with self._transaction() as db:
            db.executemany("DELETE FROM segments WHERE path = ?", [(path,) for path in segments])
            db.executemany("DELETE FROM executions WHERE exec_id = ?", [(name,) for name in receipts])

    def rebuild(self) -> None:
        """Make it anew from what is on disk."""
        with self._making():
            self._fill()

    # --- segments -----------------------------------------------------------------------------

    def sealed(self) -> frozenset[str]:
        """Give the names of the log files whose segments are here."""
        with self._connection() as db:
            return frozenset(row[0] for row in db.execute("SELECT DISTINCT source_wal FROM segments"))

    def segments(
        self,
        *,
        exec_id: str | None = None,
        tenant: str | None = None,
        from_ns: int | None = None,
        to_ns: int | None = None,
    ) -> tuple[Segment, ...]:
        """Give the segments that may hold rows of an execution, a tenant and a time (`to_ns` not included).

        The earliest first; those that were deleted on record are not among them.
        """
        sql = (
            "SELECT * FROM segments"
            " WHERE (:exec IS NULL OR path IN (SELECT path FROM exec_segments WHERE exec_id = :exec))"
            " AND (:tenant IS NULL OR tenant = :tenant)"
            " AND (:low IS NULL OR t_max >= :low) AND (:high IS NULL OR t_min < :high)"
            " AND path NOT IN (SELECT path FROM prunes) ORDER BY t_min, path"
        )
        values = {"exec": exec_id, "tenant": tenant, "low": from_ns, "high": to_ns}
        with self._connection() as db:
            found = db.execute(sql, values).fetchall()
        return tuple(segment_of(self._store.root, row) for row in found)

    def count_executions(
        self, segments: Iterable[str], known: Iterable[str] = (), *, exec_id: str | None = None
    ) -> int:
        """Count the executions that have rows in some segments, by their paths below the root, or are known.

        With `exec_id`, of those in segments only this one counts.
        """
        sql = (
            "SELECT count(*) FROM (SELECT exec_id FROM exec_segments"
            " WHERE path IN (SELECT value FROM json_each(:paths)) AND (:exec IS NULL OR exec_id = :exec)"
            " UNION SELECT value FROM json_each(:known))"
        )
        values = {"paths": json.dumps(list(segments)), "known": json.dumps(list(known)), "exec": exec_id}
        with self._connection() as db:
            return int(db.execute(sql, values).fetchone()[0])

    def parts(self, exec_id: str) -> tuple[Part, ...]:
        """Give what each segment holds of an execution, in the order of its calls."""
        return tuple(self.parts_of([exec_id]).get(exec_id, ()))

    def parts_of(self, exec_ids: Iterable[str]) -> dict[str, list[Part]]:
        """Give the same of many executions; those that no segment has are left out."""
        sql = (
            "SELECT exec_id, path, first_seq, last_seq, first_chunk, chunks, gaps FROM exec_segments"
            " WHERE exec_id IN (SELECT value FROM json_each(?)) ORDER BY first_seq, path"
        )
        found: dict[str, list[Part]] = {}
        with self._connection() as db:
            for name, *row in db.execute(sql, (json.dumps(list(exec_ids)),)):
                found.setdefault(str(name), []).append(part_of(row))
        return found

    def ranges(self, exec_id: str) -> tuple[tuple[int, int], ...]:
        """Give the sequence numbers (first, last) of an execution in each of its segments, ascending."""
        return tuple((part.first_seq, part.last_seq) for part in self.parts(exec_id))

    def retained(self, tenant: str | None = None) -> Iterator[Retained]:
        """Give the segments that are not deleted, as far as deleting goes; the earliest first."""
        with self._connection() as db:
            found = db.execute(RETAINED, {"tenant": tenant}).fetchall()
        for _, rows in groupby(found, key=lambda row: row[0]):
            yield retained_of(list(rows))

    def pruned(self) -> dict[str, int]:
        """Give the segments that are deleted on record, by path, with the entry's number."""
        with self._connection() as db:
            return {str(path): int(leaf) for path, leaf in db.execute("SELECT path, leaf FROM prunes")}

    # --- executions ---------------------------------------------------------------------------

    def receipt(self, exec_id: str) -> Receipt | None:
        """Give the receipt of an execution, if it is sealed."""
        with self._connection() as db:
            row = db.execute("SELECT receipt FROM executions WHERE exec_id = ?", (exec_id,)).fetchone()
        return None if row is None else Receipt.from_json(row[0].encode())

    def receipts(
        self,
        *,
        limit: int,
        module: str | None = None,
        tenant: str | None = None,
        before: tuple[int, str] | None = None,
    ) -> tuple[Receipt, ...]:
        """Give the newest receipts; `module` is a digest or a name, `before` a start time and an id."""
        sql = (
            "SELECT receipt FROM executions"
            " WHERE (:module IS NULL OR module_digest = :module OR module_name = :module)"
            " AND (:tenant IS NULL OR tenant = :tenant)"
            " AND (:t IS NULL OR (started_at_ns, exec_id) < (:t, :id))"
            " ORDER BY started_at_ns DESC, exec_id DESC LIMIT :limit"
        )
        t_ns, last = before or (None, None)
        values = {"module": module, "tenant": tenant, "t": t_ns, "id": last, "limit": limit}
        with self._connection() as db:
            found = db.execute(sql, values).fetchall()
        return tuple(Receipt.from_json(row[0].encode()) for row in found)

    def digests_named(self, name: str) -> tuple[str, ...]:
        """Give the digests of the modules that ran under a name."""
        with self._connection() as db:
            found = db.execute("SELECT DISTINCT module_digest FROM executions WHERE module_name = ?", (name,))
            return tuple(row[0] for row in found)

    def policies_named(self, name: str) -> tuple[str, ...]:
        """Give the digests of the policies that runs under a name had."""
        with self._connection() as db:
            found = db.execute("SELECT DISTINCT policy_digest FROM executions WHERE policy_name = ?", (name,))
            return tuple(row[0] for row in found)

    # --- entries of the transparency log --------------------------------------------------------

    def leaf(self, kind: str, key: str) -> int | None:
        """Give the number of an entry by what it is about; None if there is none that was read by now."""
        with self._connection() as db:
            row = db.execute("SELECT leaf FROM leaves WHERE kind = ? AND key = ?", (kind, key)).fetchone()
        return None if row is None else int(row[0])

    def leaf_keys(self, kind: str, keys: Iterable[str] | None = None) -> dict[str, int]:
        """Give the numbers of the entries of a kind: of some keys, of those that have one, or of all."""
        with self._connection() as db:
            if keys is None:
                found = db.execute("SELECT key, leaf FROM leaves WHERE kind = ?", (kind,)).fetchall()
                return {str(key): int(leaf) for key, leaf in found}
            one = "SELECT leaf FROM leaves WHERE kind = ? AND key = ?"
            rows = ((key, db.execute(one, (kind, key)).fetchone()) for key in keys)
            return {key: int(row[0]) for key, row in rows if row is not None}

    def entries_read(self) -> int:
        """Give how many entries were read by now."""
        with self._connection() as db:
            return _progress(db)

    def events(
        self,
        *,
        kind: str | None = None,
        tenant: str | None = None,
        from_ns: int | None = None,
        to_ns: int | None = None,
        limit: int = 1000,
    ) -> tuple[LoggedEvent, ...]:
        """Give events of the control plane, the newest first; `kind` is the word of the event."""
        sql = (
            "SELECT * FROM events WHERE (:event IS NULL OR event = :event)"
            " AND (:tenant IS NULL OR tenant = :tenant)"
            " AND (:low IS NULL OR at_ns >= :low) AND (:high IS NULL OR at_ns < :high)"
            " ORDER BY at_ns DESC, leaf DESC LIMIT :limit"
        )
        values = {"event": kind, "tenant": tenant, "low": from_ns, "high": to_ns, "limit": limit}
        with self._connection() as db:
            return tuple(event_of(row) for row in db.execute(sql, values).fetchall())

    # --- the database -------------------------------------------------------------------------

    def _is_ready(self) -> bool:
        if not self._store.catalogue.exists():
            return False
        with self._connection() as db:
            return bool(db.execute("PRAGMA user_version").fetchone()[0] == VERSION)

    def _fill(self) -> None:
        # INVARIANT: read inside the transaction. Whatever others added before it has its file on disk,
        # and what they add after it comes on top; read before it, a row of theirs could be dropped.
        with self._transaction() as db:
            for table in NAMES:
                db.execute(f"DROP TABLE IF EXISTS {table}")
            for statement in TABLES.split(";"):
                db.execute(statement)
            self._catch_up(db)
            for path in sorted(self._store.segments.rglob("[!.]*.manifest.json")):
                manifest = Manifest.from_json(path.read_bytes())
                # one without an entry is being sealed: its log file is still there, and has all its rows
                if _has_leaf(db, LeafKind.SEGMENT, manifest.segment):
                    _add_segment(db, manifest)
            for path in sorted(self._store.receipts.glob("[!.]*.receipt.json")):
                if not _has_leaf(db, LeafKind.RECEIPT, path.name.removesuffix(".receipt.json")):
                    continue
                # one that was ruined is a matter for whoever verifies; the others can still be found
                with suppress(FormatError):
                    db.execute(EXECUTION, execution_values(Receipt.from_json(path.read_bytes())))
            db.execute(f"PRAGMA user_version = {VERSION}")

    def _catch_up(self, db: sqlite3.Connection) -> None:
        log = TransparencyLog(self._store.tlog)
        done, size = _progress(db), log.size
        if done > size:
            # SECURITY: entries that were cut away would be taken for appended, and never be appended again
            raise DamageError(log.directory, f"it has {size} entries, and had {done} before")
        while done < size:
            count = min(_AT_ONCE, size - done)
            for leaf, entry in enumerate(log.entries(done, count), done):
                read = read_entry(entry)
                db.execute(LEAF, leaf_values(read, leaf))
                event = event_values(read, leaf)
                if event is not None:
                    db.execute(EVENT, event)
                db.executemany(PRUNE, prune_values(read, leaf))
            done += count
        db.execute("UPDATE progress SET entries = ?", (done,))

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        path = self._store.catalogue
        try:
            db = sqlite3.connect(path, timeout=_BUSY_S, isolation_level=None)
            try:
                # FULL: the log file is deleted after this commit, so the commit must be on disk
                db.execute("PRAGMA synchronous = FULL")
                db.execute("PRAGMA foreign_keys = ON")
                yield db
            finally:
                db.close()
        except sqlite3.Error as err:
            raise WriteError(path, _told(err)) from err

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


def _progress(db: sqlite3.Connection) -> int:
    return int(cast("tuple[int]", db.execute("SELECT entries FROM progress").fetchone())[0])


def _has_leaf(db: sqlite3.Connection, kind: str, key: str) -> bool:
    return db.execute("SELECT 1 FROM leaves WHERE kind = ? AND key = ?", (kind, key)).fetchone() is not None


def _add_segment(db: sqlite3.Connection, manifest: Manifest) -> None:
    same = (manifest.source.wal, manifest.tenant, manifest.segment)
    db.execute("DELETE FROM segments WHERE (source_wal = ? AND tenant = ?) OR path = ?", same)
    db.execute(SEGMENT, segment_values(manifest))
    db.executemany(SPAN, span_values(manifest))


def _told(err: sqlite3.Error) -> str:
    # deleting helps against a file that is damaged or not ours, not against a disk that is full or failing
    if getattr(err, "sqlite_errorcode", 0) & 0xFF in _PASSING:
        return f"{err} (is there room on the disk, and may this user write to it?)"
    return f"{err} (the catalogue is made anew if it is deleted)"
