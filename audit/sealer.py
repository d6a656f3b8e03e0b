"""Turns one finished write-ahead log file into segments, receipts and entries, and deletes it.

Which files are finished is decided in `recovery.py`, which also holds the lock under which all of this runs.
Each step gives the same result when it is done again: files are the same byte for byte, and an entry that the
transparency log has is not appended again. INVARIANT: a crash between any two steps loses no row and doubles
none, and no entry, at the next start; the log file goes when all else is durable.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from audit.catalogue import Catalogue
from audit.columns import OPENED
from audit.controls import Controls, controls
from audit.endings import Ending, Endings
from audit.errors import FormatError
from audit.gather import Gathered, Reading, Unrolled, gather
from audit.identity import ExecutionId
from audit.leaves import Leaf, damage_leaf, event_leaf, gap_leaf, refusal_leaves, segment_leaf
from audit.manifest import Source
from audit.openers import state_before, write_state
from audit.receipt import Receipt
from audit.segment_files import MadeSegment, make_segments
from audit.store import Store, sync_directory
from audit.tlog.log import TransparencyLog
from audit.wal import Frame, Kind, Problem, Scan, read_frames, read_live

_MISSING = "sequence numbers are missing from the log"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sealed:
    """What became of one log file."""

    wal: str
    rows: int
    segments: tuple[Path, ...]  # one for each tenant that has rows in it
    receipts: tuple[Receipt, ...]
    killed: tuple[ExecutionId, ...]  # executions that had no end, and got a receipt here
    gaps: tuple[tuple[ExecutionId, int, int], ...]
    lost_bytes: int
    problem: Problem | None
    entries: int = 0  # that were appended to the transparency log


@dataclass(frozen=True, slots=True)
class Sealer:
    """Seals files of one log; the caller holds the seal lock."""

    store: Store
    catalogue: Catalogue
    reading: Reading
    log: TransparencyLog
    now_ns: Callable[[], int] = field(default=time.time_ns)

    def seal(
        self, path: Path, *, following: Sequence[Path], is_writer_alive: bool, most: int | None = None
    ) -> Sealed:
        """Seal `path`; `following` are the later files of the same writer, in their order.

        With `most`, frames behind the first so many count as damage: they make no sense.
        An execution without an end counts as killed when no following file goes on with it and its
        writer is gone.
        """
        scan = read_frames(path) if most is None else read_frames(path).cut(most)
        found, later = gather(scan.frames), _begun_in(following)
        parts = self._parts(path, found, later)
        made = self._segments((path, scan), parts)
        going_on = {name: part.open_after() for name, part in parts.items() if name in later}
        if going_on:
            write_state(path, going_on)
        endings = Endings(self.store, self.catalogue, self.log, made, found)
        ends = [
            end
            for name, item in found.items()
            if name not in later and (end := endings.ending(item, is_killed=not is_writer_alive)) is not None
        ]
        leaves = list(self._leaves((path, scan), made, endings, ends=ends))
        appended = self.append(leaves)
        receipts = tuple(end.receipt for end in ends)
        self.catalogue.add([one.manifest for one in made], receipts)
        self._dispose(path, scan)
        return Sealed(
            wal=path.name,
            rows=sum(one.manifest.rows for one in made),
            segments=tuple(self.store.root / one.manifest.segment for one in made),
            receipts=receipts,
            killed=tuple(end.receipt.execution_id for end in ends if end.is_killed),
            gaps=tuple((name, *gap) for name in endings.spans for gap in endings.missing(name)),
            lost_bytes=scan.total_bytes - scan.valid_bytes,
            problem=scan.problem,
            entries=appended,
        )

    def append(self, leaves: Sequence[Leaf]) -> int:
        """Append those entries that the transparency log does not have; give how many that were.

        The catalogue knows of all that are there: it caught up before anything was appended.
        """
        names: dict[str, list[str]] = defaultdict(list)
        for leaf in leaves:
            names[leaf.kind].append(leaf.key)
        known = {(kind, key) for kind, keys in names.items() for key in self.catalogue.leaf_keys(kind, keys)}
        fresh = {leaf.name: leaf.entry for leaf in reversed(leaves) if leaf.name not in known}
        self.log.append(list(reversed(fresh.values())))
        return len(fresh)

    def _parts(
        self, path: Path, found: dict[ExecutionId, Gathered], later: frozenset[ExecutionId]
    ) -> dict[ExecutionId, Unrolled]:
        try:
            before = state_before(path)
        except FormatError:
            # targets of calls on descriptors that were opened before are unknown then; nothing else is
            before = {}
        return {
            name: Unrolled(
                item.start,
                item.frames(is_continued=name in later),
                before.get(name, OPENED.empty_table()),
                is_continued=name in later,
            )
            for name, item in found.items()
        }

    def _segments(
        self, source: tuple[Path, Scan], parts: dict[ExecutionId, Unrolled]
    ) -> tuple[MadeSegment, ...]:
        path, scan = source
        named = Source(
            wal=path.name,
            size_bytes=scan.valid_bytes,
            lost_bytes=scan.total_bytes - scan.valid_bytes,
            problem=scan.problem,
        )
        tenants: dict[str, list[Unrolled]] = defaultdict(list)
        for part in parts.values():
            tenants[part.start.tenant].append(part)
        return make_segments(self.store, [tenants[name] for name in sorted(tenants)], self.reading, named)

    def _leaves(
        self,
        source: tuple[Path, Scan],
        made: Sequence[MadeSegment],
        endings: Endings,
        *,
        ends: Sequence[Ending],
    ) -> Iterator[Leaf]:
        path, scan = source
        at_ns = self.now_ns()
        for one in made:
            yield segment_leaf(one.manifest, one.content, at_ns=at_ns)
            for table in one.refusals:
                yield from refusal_leaves(table)
        yield from _control_leaves(controls(scan.frames))
        over = {end.receipt.execution_id: end.receipt.records for end in ends}
        for name in {**endings.spans, **over}:
            for first, last in endings.missing(name, records=over.get(name, 0)):
                yield gap_leaf(name, first, last, reason=_MISSING, at_ns=at_ns)
        if scan.problem is Problem.CORRUPT:
            yield self.damage(path, scan.total_bytes - scan.valid_bytes)
        yield from endings.leaves(ends, at_ns=at_ns)

    def damage(self, path: Path, lost_bytes: int) -> Leaf:
        """Give the entry of a log file of which so many bytes can't be read."""
        return damage_leaf(path.name, {"lost_bytes": lost_bytes}, at_ns=self.now_ns())

    def _dispose(self, path: Path, scan: Scan) -> None:
        if scan.problem is Problem.CORRUPT:
            # What follows the damage could not be read: it is kept for a person to look at.
            path.rename(path.with_suffix(".damaged"))
        else:
            path.unlink(missing_ok=True)
        sync_directory(path.parent)


def _control_leaves(found: Controls) -> Iterator[Leaf]:
    for event in found.events:
        yield event_leaf(event)
    for gap in found.gaps:
        yield gap_leaf(gap.exec_id, gap.first_seq, gap.last_seq, reason=gap.reason, at_ns=gap.at_ns)


def _begun_in(following: Sequence[Path]) -> frozenset[ExecutionId]:
    frames: list[Frame] = [frame for path in following for frame in read_live(path).frames]
    return frozenset(frame.exec_id for frame in frames if frame.kind is Kind.START)
