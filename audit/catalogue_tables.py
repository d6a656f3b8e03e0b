"""The tables of the catalogue, and the rows that manifests, receipts and entries become in them.

The database is opened in `catalogue.py` alone; here is text and values. INVARIANT: each row is made of one
document of the log and of nothing else, so that the same documents always give the same tables.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from audit import canonical
from audit.canonical import Document
from audit.identity import ExecutionId
from audit.leaves import LeafKind, key_of
from audit.manifest import Manifest
from audit.receipt import Receipt
from audit.times import to_ns

VERSION = 3

NAMES = ("exec_segments", "segments", "executions", "leaves", "events", "prunes", "progress")

TABLES = """
CREATE TABLE segments (
  path TEXT PRIMARY KEY, source_wal TEXT NOT NULL, tenant TEXT NOT NULL, rows INTEGER NOT NULL,
  calls INTEGER NOT NULL, refusals INTEGER NOT NULL, t_min INTEGER NOT NULL, t_max INTEGER NOT NULL,
  bytes INTEGER NOT NULL, modules TEXT NOT NULL, policies TEXT NOT NULL,
  UNIQUE (source_wal, tenant)) WITHOUT ROWID;
CREATE INDEX segments_by_time ON segments (t_max, t_min);
CREATE INDEX segments_by_tenant ON segments (tenant, t_max, t_min);
CREATE TABLE exec_segments (
  exec_id TEXT NOT NULL, path TEXT NOT NULL REFERENCES segments (path) ON DELETE CASCADE,
  first_seq INTEGER NOT NULL, last_seq INTEGER NOT NULL, rows INTEGER NOT NULL,
  first_chunk INTEGER NOT NULL, chunks INTEGER NOT NULL, gaps TEXT NOT NULL, retain_days INTEGER,
  PRIMARY KEY (exec_id, path)) WITHOUT ROWID;
CREATE INDEX exec_segments_by_path ON exec_segments (path);
CREATE TABLE executions (
  exec_id TEXT PRIMARY KEY, started_at_ns INTEGER NOT NULL, ended_at_ns INTEGER NOT NULL,
  tenant TEXT NOT NULL, module_digest TEXT NOT NULL, module_name TEXT NOT NULL, policy_name TEXT NOT NULL,
  policy_digest TEXT NOT NULL, outcome TEXT NOT NULL, records INTEGER NOT NULL, refusals INTEGER NOT NULL,
  receipt TEXT NOT NULL) WITHOUT ROWID;
CREATE INDEX executions_by_start ON executions (started_at_ns);
CREATE INDEX executions_by_tenant ON executions (tenant, started_at_ns);
CREATE INDEX executions_by_module ON executions (module_digest, started_at_ns);
CREATE INDEX executions_by_name ON executions (module_name, started_at_ns);
CREATE TABLE leaves (
  kind TEXT NOT NULL, key TEXT NOT NULL, leaf INTEGER NOT NULL, PRIMARY KEY (kind, key)) WITHOUT ROWID;
CREATE TABLE events (
  leaf INTEGER PRIMARY KEY, id TEXT NOT NULL, at_ns INTEGER NOT NULL, event TEXT NOT NULL,
  actor TEXT NOT NULL, tenant TEXT, details TEXT NOT NULL);
CREATE INDEX events_by_time ON events (at_ns);
CREATE TABLE prunes (path TEXT PRIMARY KEY, leaf INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE progress (entries INTEGER NOT NULL);
INSERT INTO progress VALUES (0);
"""

SEGMENT = "INSERT INTO segments VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
SPAN = "INSERT INTO exec_segments VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
EXECUTION = "INSERT OR REPLACE INTO executions VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
# INVARIANT: the first entry counts; a second one with the same key is a matter for whoever verifies
LEAF = "INSERT OR IGNORE INTO leaves VALUES (?, ?, ?)"
EVENT = "INSERT OR IGNORE INTO events VALUES (?, ?, ?, ?, ?, ?, ?)"
PRUNE = "INSERT OR IGNORE INTO prunes VALUES (?, ?)"

RETAINED = """
SELECT s.path, s.tenant, s.rows, s.calls, s.t_min, s.t_max, s.bytes, s.modules, e.exec_id, e.retain_days,
  x.ended_at_ns
FROM segments s LEFT JOIN exec_segments e ON e.path = s.path LEFT JOIN executions x ON x.exec_id = e.exec_id
WHERE s.path NOT IN (SELECT path FROM prunes) AND (:tenant IS NULL OR s.tenant = :tenant)
ORDER BY s.t_min, s.path, e.exec_id
"""

Values: TypeAlias = "tuple[int | str | None, ...]"


@dataclass(frozen=True, slots=True)
class Segment:
    """One segment, as a query sees it."""

    path: Path
    source_wal: str
    tenant: str
    rows: int
    calls: int
    refusals: int
    t_min_ns: int
    t_max_ns: int
    file_bytes: int
    modules: tuple[str, ...]
    policies: tuple[str, ...]

    @property
    def deny_path(self) -> Path:
        """The file with those of its rows that are refusals; there is none if it has none."""
        return self.path.with_suffix(".deny.parquet")

    @property
    def rollup_path(self) -> Path:
        """The file with its totals by minute."""
        return self.path.with_suffix(".rollup.parquet")

    @property
    def chunks_path(self) -> Path:
        """The file with the hashes of its chunks."""
        return self.path.with_suffix(".chunks")

    @property
    def manifest_path(self) -> Path:
        """Its manifest."""
        return self.path.with_suffix(".manifest.json")


@dataclass(frozen=True, slots=True)
class Part:
    """What one segment holds of an execution."""

    segment: str  # path below the root of the log
    first_seq: int
    last_seq: int
    first_chunk: int  # of the segment's chunks
    chunks: int
    gaps: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Stay:
    """One execution in a segment, as far as deleting goes; None where nobody knows."""

    exec_id: str
    retain_days: int | None
    ended_at_ns: int | None  # None: it has no receipt, so it may go on


@dataclass(frozen=True, slots=True, kw_only=True)
class Retained:
    """A segment that is there, as far as deleting goes."""

    path: str  # below the root of the log
    tenant: str
    rows: int
    calls: int
    t_min_ns: int
    t_max_ns: int
    file_bytes: int
    modules: tuple[str, ...]
    stays: tuple[Stay, ...]


@dataclass(frozen=True, slots=True)
class LoggedEvent:
    """An event of the control plane that is in the transparency log."""

    leaf: int
    event_id: str
    at_ns: int
    event: str
    actor: str
    tenant: str | None
    details: dict[str, str | int | None]


def segment_values(manifest: Manifest) -> Values:
    """Give the row of a segment."""
    return (
        manifest.segment,
        manifest.source.wal,
        manifest.tenant,
        manifest.rows,
        manifest.calls,
        manifest.refusals,
        manifest.t_min_ns,
        manifest.t_max_ns,
        manifest.files.size_bytes,
        json.dumps(manifest.modules),
        json.dumps(manifest.policies),
    )


def span_values(manifest: Manifest) -> Iterator[Values]:
    """Give a row for each execution in a segment."""
    chunk = 0
    for span in manifest.spans:
        gaps = json.dumps(span.gaps)
        numbers = (span.first_seq, span.last_seq, span.rows, chunk, span.chunks)
        yield (span.exec_id, manifest.segment, *numbers, gaps, span.retain_days)
        chunk += span.chunks


def execution_values(receipt: Receipt) -> Values:
    """Give the row of an execution."""
    return (
        ExecutionId(receipt.execution_id),
        receipt.started_at_ns,
        receipt.ended_at_ns,
        receipt.tenant,
        receipt.module_digest,
        receipt.module_name,
        receipt.policy_name,
        receipt.policy_digest,
        receipt.outcome.kind.value,
        receipt.records,
        receipt.refused,
        receipt.to_json().decode(),
    )


def event_values(read: Document, leaf: int) -> Values | None:
    """Give the row of an entry that is an event; None of another."""
    if read.text("type") != LeafKind.EVENT:
        return None
    details = canonical.dumps(dict(read.child("details").fields)).decode()  # type: ignore[arg-type]  # it was read from JSON
    event = (read.text("id"), to_ns(read.text("at")), read.text("event"), read.text("actor"))
    return (leaf, *event, read.optional_text("tenant"), details)


def prune_values(read: Document, leaf: int) -> Iterator[Values]:
    """Give a row for each segment that an entry tells is deleted; none of another entry."""
    if read.text("type") == LeafKind.EVENT and read.text("event") == "prune":
        named = read.child("details").fields.get("segments")
        for path in named.split("\n") if isinstance(named, str) else ():
            yield (path, leaf)


def leaf_values(read: Document, leaf: int) -> Values:
    """Give the row of an entry."""
    return (read.text("type"), key_of(read), leaf)


def segment_of(root: Path, row: Sequence[object]) -> Segment:
    """Read the row of a segment."""
    path, wal, tenant, rows, calls, refusals, t_min, t_max, size, modules, policies = row
    return Segment(
        path=root / str(path),
        source_wal=str(wal),
        tenant=str(tenant),
        rows=_int(rows),
        calls=_int(calls),
        refusals=_int(refusals),
        t_min_ns=_int(t_min),
        t_max_ns=_int(t_max),
        file_bytes=_int(size),
        modules=tuple(json.loads(str(modules))),
        policies=tuple(json.loads(str(policies))),
    )


def part_of(row: Sequence[object]) -> Part:
    """Read the row of what a segment holds of an execution."""
    path, first, last, first_chunk, chunks, gaps = row
    ranges = tuple((int(low), int(high)) for low, high in json.loads(str(gaps)))
    return Part(str(path), _int(first), _int(last), _int(first_chunk), _int(chunks), ranges)


def retained_of(rows: Sequence[Sequence[object]]) -> Retained:
    """Read the rows of one segment, one for each execution in it."""
    path, tenant, count, calls, t_min, t_max, size, modules = rows[0][:8]
    stays = (row[8:] for row in rows if row[8] is not None)
    return Retained(
        path=str(path),
        tenant=str(tenant),
        rows=_int(count),
        calls=_int(calls),
        t_min_ns=_int(t_min),
        t_max_ns=_int(t_max),
        file_bytes=_int(size),
        modules=tuple(json.loads(str(modules))),
        stays=tuple(
            Stay(str(name), *(None if value is None else _int(value) for value in rest))
            for name, *rest in stays
        ),
    )


def event_of(row: Sequence[object]) -> LoggedEvent:
    """Read the row of an event."""
    leaf, event_id, at_ns, event, actor, tenant, details = row
    named = None if tenant is None else str(tenant)
    return LoggedEvent(
        _int(leaf), str(event_id), _int(at_ns), str(event), str(actor), named, json.loads(str(details))
    )


def _int(value: object) -> int:
    return int(str(value))
