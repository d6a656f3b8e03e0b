"""Rows of the write-ahead log that are not sealed yet, for queries.

Sealed rows are read by `query.py` itself. Nothing is locked: a live writer goes on writing while its
file is read. INVARIANT: each row is given here or found in a segment, because the log files are read
before the catalogue is asked; a segment that was made of one of `Tail.sources` is left out by whoever
reads both.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import groupby

import pyarrow as pa

from audit.catalogue import Catalogue
from audit.columns import OPENED, SCHEMA
from audit.gather import Decoder, Gathered, blocks, gather
from audit.identity import ExecutionId
from audit.recovery import wal_files, writer_of
from audit.segment import BLOCK_RECORDS, opened, opened_in
from audit.store import Store
from audit.wal import Frame, read_frames


@dataclass(frozen=True, slots=True)
class Tail:
    """What was not sealed at one moment."""

    found: dict[ExecutionId, Gathered]
    sources: frozenset[str] = frozenset()  # names of the log files that were read
    known: dict[ExecutionId, Gathered] = field(default_factory=dict)  # and of files that are being sealed

    def table(self, catalogue: Catalogue, decoder: Decoder, *, exec_id: str | None = None) -> pa.Table:
        """Give the rows, of one execution or of all."""
        tables = [SCHEMA.empty_table()]
        for name, item in self.found.items():
            if exec_id in {None, name}:
                tables += _decoded(item, catalogue, decoder)
        return pa.concat_tables(tables)


def read_tail(store: Store, catalogue: Catalogue) -> Tail:
    """Read all log files that are not sealed."""
    scans: list[tuple[str, str, tuple[Frame, ...]]] = []
    for path in wal_files(store):
        try:
            scans.append((writer_of(path), path.name, read_frames(path).frames))
        except FileNotFoundError:
            continue  # sealed and deleted since it was listed: the catalogue has it
    sealed = catalogue.sealed()
    found: dict[ExecutionId, Gathered] = {}
    known: dict[ExecutionId, Gathered] = {}
    for _, group in groupby(scans, key=lambda scan: scan[0]):
        files = list(group)
        found |= gather([frame for _, name, frames in files if name not in sealed for frame in frames])
        known |= gather([frame for _, _, frames in files for frame in frames])
    return Tail(found, frozenset(name for _, name, _ in scans if name not in sealed), known)


def _decoded(item: Gathered, catalogue: Catalogue, decoder: Decoder) -> Iterator[pa.Table]:
    frames = item.frames(is_continued=False)
    known = OPENED.empty_table()
    if frames and frames[0].first_seq:
        exec_id = item.start.exec_id
        known = opened_in([segment.path for segment in catalogue.segments(exec_id=exec_id)], exec_id)
    for block in blocks(frames, max_records=BLOCK_RECORDS):
        table = decoder(item.start, block, known)
        known = pa.concat_tables([known, opened(table)])
        yield table
