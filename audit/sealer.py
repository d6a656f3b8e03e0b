"""Turns one finished write-ahead log file into a segment, its manifest and receipts, and deletes it.

Which files are finished is decided in `recovery.py`, which also holds the lock under which all of
this runs. Each step gives the same result when it is done again, and the log file goes last.
INVARIANT: a crash between any two steps loses no row and doubles none at the next start.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa

from audit.catalogue import Catalogue
from audit.columns import OPENED
from audit.errors import FormatError
from audit.gather import Decoder, Gaps, Gathered, blocks, gaps, gather
from audit.identity import ExecutionId
from audit.manifest import Manifest, Span
from audit.receipt import Receipt, write_receipt
from audit.segment import BLOCK_RECORDS, SegmentWriter, Written, opened, opened_in, segment_writer
from audit.store import Store, publish, sync_directory
from audit.tally import Tally
from audit.times import day_of
from audit.wal import Frame, Kind, Problem, Scan, read_frames

_UNSUPERVISED = "the supervisor ended before the run did"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sealed:
    """What became of one log file."""

    wal: str
    rows: int
    segment: Path | None
    receipts: tuple[Receipt, ...]
    killed: tuple[ExecutionId, ...]  # executions that had no end, and got a receipt here
    gaps: tuple[tuple[ExecutionId, int, int], ...]
    lost_bytes: int
    problem: Problem | None


@dataclass(frozen=True, slots=True)
class Sealer:
    """Seals files of one log; the caller holds the seal lock."""

    store: Store
    catalogue: Catalogue
    decoder: Decoder

    def seal(self, path: Path, *, following: Sequence[Path], is_writer_alive: bool) -> Sealed:
        """Seal `path`; `following` are the later files of the same writer, in their order.

        An execution without an end counts as killed when no following file goes on with it and its
        writer is gone.
        """
        scan = read_frames(path)
        found = gather(scan.frames)
        later = _begun_in(following)
        written = Written()
        spans: tuple[Span, ...] = ()
        if found:
            first = min(item.start.started_at_ns for item in found.values())
            target = self.store.segment(day_of(first), path.stem)
            with segment_writer(target, written) as writer:
                spans = tuple(
                    span
                    for item in found.values()
                    if (span := self._rows(item, writer, is_continued=item.start.exec_id in later))
                    is not None
                )
        else:
            target = self.store.segment("none", path.stem)
        manifest = None
        if written.rows:
            manifest = self._manifest((path, scan), target, written, spans)
            publish(target.with_suffix(".manifest.json"), manifest.to_json() + b"\n")
        self.catalogue.add(manifest, ())
        killed = (
            () if is_writer_alive else tuple(name for name in found if self._is_killed(found[name], later))
        )
        receipts = self._receipts(found, killed)
        self.catalogue.add(None, receipts)
        self._dispose(path, scan)
        return Sealed(
            wal=path.name,
            rows=written.rows,
            segment=target if written.rows else None,
            receipts=receipts,
            killed=killed,
            gaps=tuple((span.exec_id, first, last) for span in spans for first, last in span.gaps),
            lost_bytes=scan.total_bytes - scan.valid_bytes,
            problem=scan.problem,
        )

    def _rows(self, item: Gathered, writer: SegmentWriter, *, is_continued: bool) -> Span | None:
        frames = item.frames(is_continued=is_continued)
        if not frames:
            return None
        exec_id = item.start.exec_id
        known, ranges = self._known(exec_id, before=frames[0].first_seq), []
        for block in blocks(frames, max_records=BLOCK_RECORDS):
            table = self.decoder(item.start, block, known)
            if table.num_rows != sum(frame.n_records for frame in block):
                raise FormatError("decoded rows", "one row a record", table.num_rows)
            writer.add(table)
            known = pa.concat_tables([known, opened(table)])
            ranges += [(frame.first_seq, frame.first_seq + frame.n_records - 1) for frame in block]
        rows = sum(last - first + 1 for first, last in ranges)
        return Span(exec_id, ranges[0][0], ranges[-1][1], rows, gaps(ranges, first=ranges[0][0]))

    def _known(self, exec_id: ExecutionId, *, before: int) -> pa.Table:
        if not before:
            return OPENED.empty_table()
        return opened_in([segment.path for segment in self.catalogue.segments(exec_id=exec_id)], exec_id)

    def _manifest(
        self, source: tuple[Path, Scan], target: Path, written: Written, spans: tuple[Span, ...]
    ) -> Manifest:
        path, scan = source
        return Manifest(
            segment=str(target.relative_to(self.store.root)),
            source_wal=path.name,
            rows=written.rows,
            file_bytes=written.file_bytes,
            sha256=written.sha256,
            t_min_ns=written.t_min_ns,
            t_max_ns=written.t_max_ns,
            spans=spans,
            wal_bytes=scan.valid_bytes,
            wal_lost_bytes=scan.total_bytes - scan.valid_bytes,
            wal_problem=scan.problem,
        )

    def _is_killed(self, item: Gathered, later: frozenset[ExecutionId]) -> bool:
        exec_id = item.start.exec_id
        return item.receipt is None and exec_id not in later and not self.store.receipt(exec_id).exists()

    def _receipts(
        self, found: dict[ExecutionId, Gathered], killed: Sequence[ExecutionId]
    ) -> tuple[Receipt, ...]:
        receipts = []
        for exec_id, item in found.items():
            missing = gaps(self.catalogue.ranges(exec_id)) + self._inner_gaps(exec_id)
            if item.receipt is not None:
                receipt = replace(item.receipt, gaps=tuple(sorted(missing)))
            elif exec_id in killed:
                tally = Tally.of(
                    [segment.path for segment in self.catalogue.segments(exec_id=exec_id)], exec_id
                )
                receipt = tally.receipt(item.start, message=_UNSUPERVISED, gaps=tuple(sorted(missing)))
            elif self.store.receipt(exec_id).exists():
                # Written before a crash that came before the catalogue knew of it.
                receipts.append(Receipt.from_json(self.store.receipt(exec_id).read_bytes()))
                continue
            else:
                continue
            write_receipt(receipt, self.store.receipt(exec_id))
            receipts.append(receipt)
        return tuple(receipts)

    def _inner_gaps(self, exec_id: ExecutionId) -> Gaps:
        found: list[tuple[int, int]] = []
        for segment in self.catalogue.segments(exec_id=exec_id):
            manifest = Manifest.from_json(segment.path.with_suffix(".manifest.json").read_bytes())
            found += [gap for span in manifest.spans if span.exec_id == exec_id for gap in span.gaps]
        return tuple(found)

    def _dispose(self, path: Path, scan: Scan) -> None:
        if scan.problem is Problem.CORRUPT:
            # What follows the damage could not be read: it is kept for a person to look at.
            path.rename(path.with_suffix(".damaged"))
        else:
            path.unlink(missing_ok=True)
        sync_directory(path.parent)


def _begun_in(following: Sequence[Path]) -> frozenset[ExecutionId]:
    frames: list[Frame] = [frame for path in following for frame in read_frames(path).frames]
    return frozenset(frame.exec_id for frame in frames if frame.kind is Kind.START)
