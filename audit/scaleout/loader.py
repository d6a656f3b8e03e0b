"""Loads sealed segments into ClickHouse, each exactly once, and takes out those that were pruned.

The tables are in `tables.py`. A segment is read once: what is hashed is what is loaded, and its digest leads
over the manifest to an entry of the transparency log. INVARIANT: a segment is marked as loaded only when the
tables, views included, hold each of its rows once; readers look at marked segments alone.
"""

from __future__ import annotations

import hashlib
import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq

from audit import canonical
from audit.catalogue import Catalogue, Segment
from audit.columns import SCHEMA, out_of_file
from audit.leaves import LeafKind
from audit.manifest import File, Manifest
from audit.scaleout.clickhouse import ClickHouse
from audit.scaleout.errors import LoadError
from audit.scaleout.tables import EXECUTIONS, LOADED, OF_SEGMENTS, RECORDS, REFUSALS, ROLLUPS, schema
from audit.store import Store, locked
from audit.tlog.log import TransparencyLog

_ROWS_AT_ONCE: Final = 500_000  # an insert of so many is one block, and so one token
_RECEIPTS_AT_ONCE: Final = 2_000
_LOOKS, _BETWEEN_S = 5, 0.2  # at another loader's insert, before it is taken for broken


@dataclass(frozen=True, slots=True)
class Loaded:
    """What one pass did."""

    segments: int = 0
    rows: int = 0
    executions: int = 0
    repaired: int = 0  # segments of which a crash had left a part
    dropped: int = 0  # segments that were pruned here
    seconds: float = 0.0

    @property
    def rows_per_second(self) -> int:
        """How fast it went; 0 if nothing was loaded."""
        return int(self.rows / self.seconds) if self.rows and self.seconds else 0


@dataclass(frozen=True, slots=True)
class _Counts:
    """How much of a segment the tables hold."""

    rows: int
    calls: int  # by the roll-ups
    rolled_rows: int
    refusals: int


class Loader:
    """Loads the segments of one log into one database."""

    def __init__(
        self, store: Store, engine: ClickHouse, *, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        """Make the tables that are missing; QueryError."""
        self._store, self._engine, self._sleep = store, engine, sleep
        self._catalogue, self._log = Catalogue(store), TransparencyLog(store.tlog)
        self._known_receipts: set[str] | None = None
        for statement in schema(engine.name):
            engine.command(statement)

    def run(self, *, clock: Callable[[], float] = time.monotonic) -> Loaded:
        """Load what is not there yet, and drop what was pruned; raises QueryError, LoadError.

        One pass at a time on this machine; two machines may load the same log, as far as tokens go.
        """
        begun = clock()
        with locked(self._store.root / "load.lock"):
            marked = self.marked()
            dropped = self._drop_pruned(marked)
            segments = rows = repaired = 0
            for segment in self._catalogue.segments():
                key = self._key(segment)
                if key in marked:
                    continue
                repaired += self.load(segment)
                segments, rows = segments + 1, rows + segment.rows
            executions = self._load_receipts()
        return Loaded(segments, rows, executions, repaired, dropped, clock() - begun)

    def marked(self) -> dict[str, str]:
        """Give the segments that are loaded, with the digest of their records."""
        found = self._engine.rows(f"SELECT segment, sha256 FROM {self._engine.name}.{LOADED}")  # noqa: S608  # nosec B608
        return {str(row["segment"]): str(row["sha256"]) for row in found}

    def load(self, segment: Segment) -> bool:
        """Load one segment, unless it is; says whether a part of it was there. LoadError, QueryError."""
        manifest = self._manifest(segment)
        mark = self._mark_of(manifest.segment)
        if mark is not None:
            if mark != manifest.files.records.sha256:
                raise LoadError(manifest.segment, "another file was loaded under its name")
            return False
        content = self._content(segment.path, manifest.files.records)
        before = self._counts(manifest.segment)
        is_partly_there = before != _Counts(0, 0, 0, 0)
        if not _is_whole(before, manifest):
            self._insert(manifest, content, attempt="0")
            if not self._is_settled(manifest):
                # tokens that are too old, or remembered for rows that were deleted since
                self._delete([manifest.segment], tables=OF_SEGMENTS)
                self._insert(manifest, content, attempt=secrets.token_hex(8))
                if not self._is_settled(manifest):
                    raise LoadError(manifest.segment, "its rows are not there once each: is it being loaded?")
        self._mark(manifest)
        return is_partly_there

    def wrong(self) -> tuple[str, ...]:
        """Give the marked segments of this log of which the tables do not hold each row once; reads all."""
        marked = self.marked()
        here = [(self._key(one), one) for one in self._catalogue.segments()]
        return tuple(
            key
            for key, segment in here
            if key in marked and not _is_whole(self._counts(key), self._manifest(segment))
        )

    # --- what is loaded -----------------------------------------------------------------------

    def _key(self, segment: Segment) -> str:
        return str(segment.path.relative_to(self._store.root))

    def _manifest(self, segment: Segment) -> Manifest:
        key = self._key(segment)
        content = _read(key, segment.manifest_path)
        leaf = self._catalogue.leaf(LeafKind.SEGMENT, key)
        if leaf is None:
            raise LoadError(key, "it has no entry in the transparency log")
        entry = canonical.loads("leaf", next(iter(self._log.entries(leaf, 1))))
        if hashlib.sha256(content).hexdigest() != entry.text("sha256"):
            raise LoadError(key, "its manifest is not the one that the transparency log names")
        return Manifest.from_json(content)

    @staticmethod
    def _content(path: Path, named: File) -> bytes:
        content = _read(named.name, path)
        if len(content) != named.size_bytes or hashlib.sha256(content).hexdigest() != named.sha256:
            raise LoadError(named.name, "it is not the file that its manifest names")
        return content

    def _insert(self, manifest: Manifest, content: bytes, *, attempt: str) -> None:
        token = f"{manifest.segment}:{manifest.files.records.sha256}:{attempt}"
        for number, rows in enumerate(_slices(content, manifest.segment)):
            self._engine.insert(RECORDS, rows, token=f"{token}:{number}")

    def _is_settled(self, manifest: Manifest) -> bool:
        for look in range(_LOOKS):
            if _is_whole(self._counts(manifest.segment), manifest):
                return True
            if look < _LOOKS - 1:
                self._sleep(_BETWEEN_S)  # an insert that another loader began fills the views last
        return False

    def _counts(self, segment: str) -> _Counts:
        database, where = self._engine.name, "WHERE segment = {segment:String}"
        statement = (
            f"SELECT (SELECT toInt64(count()) FROM {database}.{RECORDS} {where}) AS rows,"  # noqa: S608  # nosec B608  # names of ours
            f" (SELECT toString(sum(n)) FROM {database}.{ROLLUPS} {where}) AS calls,"
            f" (SELECT toInt64(sum(rows)) FROM {database}.{ROLLUPS} {where}) AS rolled,"
            f" (SELECT toInt64(count()) FROM {database}.{REFUSALS} {where}) AS refused"
        )
        row = self._engine.rows(statement, {"segment": segment})[0]
        rows, calls, rolled, refused = (
            int(str(row[name])) for name in ("rows", "calls", "rolled", "refused")
        )
        return _Counts(rows, calls, rolled, refused)

    def _mark_of(self, segment: str) -> str | None:
        found = self._engine.rows(
            f"SELECT sha256 FROM {self._engine.name}.{LOADED} WHERE segment = {{segment:String}} LIMIT 1",  # noqa: S608  # nosec B608
            {"segment": segment},
        )
        return str(found[0]["sha256"]) if found else None

    def _mark(self, manifest: Manifest) -> None:
        names = ("segment", "rows", "calls", "refusals", "tenant", "t_min_ns", "t_max_ns")
        row = {name: getattr(manifest, name) for name in names}
        row["sha256"] = manifest.files.records.sha256
        # a mark may come twice, from two loaders: readers ask whether there is one
        self._engine.insert(LOADED, pa.Table.from_pylist([row]), token=secrets.token_hex(16))

    # --- what is taken out --------------------------------------------------------------------

    def _drop_pruned(self, marked: dict[str, str]) -> int:
        """Take out what the log says was deleted; a segment that is merely missing here stays there."""
        pruned = self._catalogue.pruned()
        gone = [one for one in pruned if one in marked and not (self._store.root / one).exists()]
        if gone:
            # INVARIANT: the mark goes first: what is taken away in part is in no answer
            self._delete(gone, tables=(LOADED, *OF_SEGMENTS))
        return len(gone)

    def _delete(self, segments: Sequence[str], *, tables: Sequence[str]) -> None:
        for table in tables:
            for some in _parts(segments, _RECEIPTS_AT_ONCE):
                self._engine.command(
                    f"DELETE FROM {self._engine.name}.{table} WHERE has({{gone:Array(String)}}, segment)",  # noqa: S608  # nosec B608
                    {"gone": some},
                )

    # --- receipts -----------------------------------------------------------------------------

    def _load_receipts(self) -> int:
        if self._known_receipts is None:
            found = self._engine.rows(f"SELECT DISTINCT exec_id FROM {self._engine.name}.{EXECUTIONS}")  # noqa: S608  # nosec B608
            self._known_receipts = {str(row["exec_id"]) for row in found}
        done, before = 0, None
        while True:
            some = self._catalogue.receipts(limit=_RECEIPTS_AT_ONCE, before=before)
            rows = [
                {
                    "exec_id": str(one.execution_id),
                    "started_at_ns": one.started_at_ns,
                    "tenant": one.tenant,
                    "module_digest": one.module_digest,
                    "module_name": one.module_name,
                    "outcome": one.outcome.kind.value,
                    "sha256": self._sha256(str(one.execution_id), one.to_json() + b"\n"),
                    "receipt": one.to_json().decode(),
                }
                for one in some
                if str(one.execution_id) not in self._known_receipts
            ]
            if rows:
                self._engine.insert(EXECUTIONS, pa.Table.from_pylist(rows), token=secrets.token_hex(16))
                self._known_receipts |= {str(row["exec_id"]) for row in rows}
                done += len(rows)
            if len(some) < _RECEIPTS_AT_ONCE:
                return done
            before = (some[-1].started_at_ns, str(some[-1].execution_id))

    def _sha256(self, exec_id: str, content: bytes) -> str:
        leaf = self._catalogue.leaf(LeafKind.RECEIPT, exec_id)
        if leaf is None:
            raise LoadError(exec_id, "its receipt has no entry in the transparency log")
        named = canonical.loads("leaf", next(iter(self._log.entries(leaf, 1)))).text("sha256")
        if hashlib.sha256(content).hexdigest() != named:
            raise LoadError(exec_id, "its receipt is not the one that the transparency log names")
        return named


def _is_whole(found: _Counts, manifest: Manifest) -> bool:
    return found == _Counts(manifest.rows, manifest.calls, manifest.rows, manifest.refusals)


def _slices(content: bytes, segment: str) -> Iterator[pa.Table]:
    """Give the rows in pieces, always the same ones, with the columns that the tables have in front."""
    day = segment.partition("/day=")[2].partition("/")[0]
    texts = [field.name for field in SCHEMA if pa.types.is_dictionary(field.type)]
    file = pq.ParquetFile(pa.BufferReader(content), read_dictionary=texts)
    waiting: list[pa.RecordBatch] = []
    count = 0
    for batch in file.iter_batches(_ROWS_AT_ONCE // 8):
        waiting.append(batch)
        count += batch.num_rows
        if count >= _ROWS_AT_ONCE:
            yield _with_names(waiting, segment, day)
            waiting, count = [], 0
    if waiting:
        yield _with_names(waiting, segment, day)


def _with_names(batches: list[pa.RecordBatch], segment: str, day: str) -> pa.Table:
    table = out_of_file(pa.Table.from_batches(batches)).unify_dictionaries().combine_chunks()
    count = table.num_rows
    days = pa.array([day], pa.string()).cast(pa.date32()).take(pa.array([0] * count, pa.int32()))
    names = pa.DictionaryArray.from_arrays(pa.array([0] * count, pa.int32()), pa.array([segment]))
    return table.add_column(0, "segment", names).add_column(0, "day", days)


def _read(name: str, path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as err:
        raise LoadError(name, err.strerror or str(err)) from err


def _parts(items: Sequence[str], size: int) -> Iterator[list[str]]:
    for at in range(0, len(items), size):
        yield list(items[at : at + size])
