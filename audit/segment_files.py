"""Makes the files of one segment: the rows of one tenant in one write-ahead log file.

What is in each file is said in `segment.py`, `sidecars.py`, `rollup.py` and `chunks.py`; what is made of
finished segments is `sealer.py`. INVARIANT: the manifest comes last, and names files that are complete and
durable; the same frames give the same files, byte for byte.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from audit.gather import Reading, Unrolled, gaps
from audit.identity import ExecutionId
from audit.manifest import File, Files, Manifest, Source, Span
from audit.segment import Written, segment_writer
from audit.sidecars import Sidecars
from audit.store import Store, publish
from audit.times import day_of
from audit.tlog.merkle import root_of


@dataclass(frozen=True, slots=True)
class MadeSegment:
    """A segment that is on disk."""

    manifest: Manifest
    content: bytes  # of the manifest's file
    refusals: tuple[pa.Table, ...]  # rows that get leaves of their own
    chunks: dict[ExecutionId, tuple[bytes, ...]]  # hashes, by execution


def make_segment(
    store: Store, parts: Sequence[Unrolled], reading: Reading, source: Source
) -> MadeSegment | None:
    """Write the rows of some executions of one tenant; None, and no file, if there are none.

    Raises FormatError if the decoder does not give a row a record, and WriteError.
    """
    start = parts[0].start
    day = day_of(min(part.start.started_at_ns for part in parts))
    path = store.segment(start.tenant, day, Path(source.wal).stem)
    made = _Making(store, path, source)
    made.write(parts, reading)
    return made.finish(parts) if made.records.rows else None


@dataclass(slots=True)
class _Making:
    """One segment while it is made."""

    store: Store
    path: Path
    source: Source
    records: Written = field(default_factory=Written)
    refusals: Written = field(default_factory=Written)
    spans: list[Span] = field(default_factory=list)
    chunks: dict[ExecutionId, tuple[bytes, ...]] = field(default_factory=dict)
    sides: Sidecars | None = None

    def write(self, parts: Sequence[Unrolled], reading: Reading) -> None:
        """Write records and refusals; one thread decodes, one writes, one makes the sidecars."""
        # INVARIANT: the records get their name before the refusals do: the inner block ends first
        with (
            segment_writer(self._beside(".deny.parquet"), self.refusals) as refusals,
            segment_writer(self.path, self.records) as records,
            ThreadPoolExecutor(1, "wasmgate-writing") as writing,
            ThreadPoolExecutor(1, "wasmgate-hashing") as hashing,
        ):
            sides = self.sides = Sidecars(refusals)
            for part in parts:
                sides.begin(part.start)
                waiting: list[Future[None]] = []
                for table in part.tables(reading):
                    _wait(waiting)  # so that at most two tables are in memory
                    waiting = [
                        writing.submit(records.add, table),
                        hashing.submit(sides.add, table, part.start),
                    ]
                _wait(waiting)
                self._end(part, sides)

    def finish(self, parts: Sequence[Unrolled]) -> MadeSegment:
        """Write the rest, the manifest last."""
        sides = self.sides
        if sides is None:
            raise RuntimeError("nothing was written")
        rollup = pa.BufferOutputStream()
        pq.write_table(sides.rollup.table(), rollup, compression="zstd")
        files = Files(
            records=self._file(self.path, self.records),
            refusals=self._file(self._beside(".deny.parquet"), self.refusals) if self.refusals.rows else None,
            rollup=_published(self._beside(".rollup.parquet"), rollup.getvalue().to_pybytes()),
            chunks=_published(self._beside(".chunks"), b"".join(sides.chunks)),
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
            root=root_of(sides.chunks).hex(),
            chunks=len(sides.chunks),
            modules=tuple(sorted({start.module_digest for start in written})),
            policies=tuple(sorted({start.policy_digest for start in written})),
            spans=tuple(self.spans),
            source=self.source,
        )
        content = manifest.to_json() + b"\n"
        publish(self.store.root / manifest.path, content)
        return MadeSegment(manifest, content, tuple(sides.leaved), self.chunks)

    def _end(self, part: Unrolled, sides: Sidecars) -> None:
        rows, calls = sides.rows, sides.calls
        leaves = sides.end()
        if rows:
            ranges = [(frame.first_seq, frame.first_seq + frame.n_records - 1) for frame in part.frames]
            first, last, exec_id = ranges[0][0], ranges[-1][1], part.start.exec_id
            inner = gaps(ranges, first=first)
            self.chunks[exec_id] = leaves
            span = Span(exec_id, first, last, rows, calls, len(leaves), inner, part.start.retain_days)
            self.spans.append(span)

    def _beside(self, suffix: str) -> Path:
        return self.path.with_suffix(suffix)

    @staticmethod
    def _file(path: Path, written: Written) -> File:
        return File(path.name, written.file_bytes, written.sha256)


def _wait(waiting: Sequence[Future[None]]) -> None:
    for one in waiting:
        one.result()


def _published(path: Path, content: bytes) -> File:
    publish(path, content)
    return File(path.name, len(content), hashlib.sha256(content).hexdigest())
