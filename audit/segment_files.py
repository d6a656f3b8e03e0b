"""Makes the files of one segment: the rows of one tenant in one write-ahead log file.

What is in each file is said in `segment.py`, `sidecars.py`, `rollup.py` and `chunks.py`; what is made of
finished segments is `sealer.py`. INVARIANT: the manifest comes last, and names files that are complete and
durable; the same frames give the same files, byte for byte.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TypeVar, cast

import pyarrow as pa
import pyarrow.parquet as pq

from audit.gather import AT_ONCE, Reading, Unrolled, gaps
from audit.identity import ExecutionId
from audit.manifest import File, Files, Manifest, Source, Span
from audit.segment import Written, segment_writer
from audit.sidecars import Sidecars
from audit.start import ExecutionStart
from audit.store import Store, publish
from audit.times import day_of
from audit.tlog.merkle import root_of

T = TypeVar("T")

_BYTES_AHEAD = 32 << 20
"""Of rows that are decoded and not written yet; one table has more where a guest made it so."""


@dataclass(frozen=True, slots=True)
class MadeSegment:
    """A segment that is on disk."""

    manifest: Manifest
    content: bytes  # of the manifest's file
    refusals: tuple[pa.Table, ...]  # rows that get leaves of their own
    chunks: dict[ExecutionId, tuple[bytes, ...]]  # hashes, by execution


def make_segments(
    store: Store, tenants: Iterable[Sequence[Unrolled]], reading: Reading, source: Source
) -> tuple[MadeSegment, ...]:
    """Write the rows of executions, those of one tenant together; none for a tenant that has no rows.

    One thread decodes and hashes, another one writes, so that a segment is finished while the next is made.
    Raises FormatError if the decoder does not give a row a record, and WriteError.
    """
    finished: list[Future[MadeSegment | None]] = []
    # files that are not finished when an error comes are removed when nobody writes them any more
    with ExitStack() as files, ThreadPoolExecutor(1, "wasmgate-writing") as writing:
        ahead = _Ahead(writing)
        for parts in tenants:
            start = parts[0].start
            day = day_of(min(part.start.started_at_ns for part in parts))
            path = store.segment(start.tenant, day, Path(source.wal).stem)
            making = _Making(store, path, source, files.enter_context(ExitStack()))
            making.read(parts, reading, ahead)
            finished.append(ahead.submit(0, partial(making.finish, parts)))
        return tuple(made for one in finished if (made := one.result()) is not None)


@dataclass(slots=True)
class _Making:
    """One segment while it is made."""

    store: Store
    path: Path
    source: Source
    files: ExitStack  # of those that are being written
    records: Written = field(default_factory=Written)
    refusals: Written = field(default_factory=Written)
    spans: list[Span] = field(default_factory=list)
    chunks: dict[ExecutionId, tuple[bytes, ...]] = field(default_factory=dict)
    sides: Sidecars | None = None

    def read(self, parts: Sequence[Unrolled], reading: Reading, ahead: _Ahead) -> None:
        """Decode and hash all rows, and have them written."""
        # INVARIANT: the records get their name before the refusals do: what was opened last is closed first
        refusals = self.files.enter_context(segment_writer(self._beside(".deny.parquet"), self.refusals))
        records = self.files.enter_context(segment_writer(self.path, self.records))
        sides = self.sides = Sidecars(refusals)
        for rows, pieces in _together(parts, reading):
            ahead.submit(rows.nbytes, partial(records.add, rows))
            sides.add(rows, pieces)

    def finish(self, parts: Sequence[Unrolled]) -> MadeSegment | None:
        """Write the rest, the manifest last; None, and no file, if there were no rows."""
        self.files.close()
        sides = self.sides
        if sides is None or not self.records.rows:
            return None
        for part in parts:
            self._end(part, sides)
        hashes = [leaf for leaves in self.chunks.values() for leaf in leaves]
        rollup = pa.BufferOutputStream()
        pq.write_table(sides.rollup.table(), rollup, compression="zstd")
        files = Files(
            records=self._file(self.path, self.records),
            refusals=self._file(self._beside(".deny.parquet"), self.refusals) if self.refusals.rows else None,
            rollup=_published(self._beside(".rollup.parquet"), rollup.getvalue().to_pybytes()),
            chunks=_published(self._beside(".chunks"), b"".join(hashes)),
        )
        written = [part.start for part in parts if part.start.exec_id in self.chunks]
        manifest = Manifest(
            segment=str(self.path.relative_to(self.store.root)),
            tenant=parts[0].start.tenant,
            files=files,
            rows=self.records.rows,
            calls=sum(span.calls for span in self.spans),
            refusals=self.refusals.rows,
            t_min_ns=self.records.t_min_ns,
            t_max_ns=self.records.t_max_ns,
            root=root_of(hashes).hex(),
            chunks=len(hashes),
            modules=tuple(sorted({start.module_digest for start in written})),
            policies=tuple(sorted({start.policy_digest for start in written})),
            spans=tuple(self.spans),
            source=self.source,
        )
        content = manifest.to_json() + b"\n"
        publish(self.store.root / manifest.path, content)
        return MadeSegment(manifest, content, tuple(sides.leaved), self.chunks)

    def _end(self, part: Unrolled, sides: Sidecars) -> None:
        made = sides.parts.get(part.start.exec_id)
        if made is not None:
            ranges = [(frame.first_seq, frame.first_seq + frame.n_records - 1) for frame in part.frames]
            first, last, exec_id = ranges[0][0], ranges[-1][1], part.start.exec_id
            inner = gaps(ranges, first=first)
            leaves = self.chunks[exec_id] = made.chunker.finish()
            span = Span(
                exec_id, first, last, made.rows, made.calls, len(leaves), inner, part.start.retain_days
            )
            self.spans.append(span)

    def _beside(self, suffix: str) -> Path:
        return self.path.with_suffix(suffix)

    @staticmethod
    def _file(path: Path, written: Written) -> File:
        return File(path.name, written.file_bytes, written.sha256)


def _together(
    parts: Sequence[Unrolled], reading: Reading
) -> Iterator[tuple[pa.Table, list[tuple[ExecutionStart, int]]]]:
    """Give the rows of all executions, small tables put together, with how many there are of which one."""
    tables: list[pa.Table] = []
    pieces: list[tuple[ExecutionStart, int]] = []
    for part in parts:
        for table in part.tables(reading):
            if tables and sum(count for _, count in pieces) + table.num_rows > AT_ONCE:
                yield _one(tables), pieces
                tables, pieces = [], []
            if table.num_rows:
                tables.append(table)
                pieces.append((part.start, table.num_rows))
    if tables:
        yield _one(tables), pieces


def _one(tables: Sequence[pa.Table]) -> pa.Table:
    if len(tables) == 1:
        return tables[0]
    # Not `unify_dictionaries`: a second time, that looks up what the first time left under nulls.
    return pa.concat_tables(tables).combine_chunks()


@dataclass(slots=True)
class _Ahead:
    """What one thread is to do for another one, which waits when there is too much of it."""

    writing: ThreadPoolExecutor
    _size: int = 0
    _waiting: deque[tuple[int, Future[object]]] = field(default_factory=deque)

    def submit(self, size: int, work: Callable[[], T]) -> Future[T]:
        """Have something done that needs so many bytes until then; raises what was raised by earlier work."""
        while self._waiting and (self._size + size > _BYTES_AHEAD or self._waiting[0][1].done()):
            done, one = self._waiting.popleft()
            one.result()
            self._size -= done
        made = self.writing.submit(work)
        self._size += size
        self._waiting.append((size, cast("Future[object]", made)))
        return made


def _published(path: Path, content: bytes) -> File:
    publish(path, content)
    return File(path.name, len(content), hashlib.sha256(content).hexdigest())
