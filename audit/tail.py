"""Rows of the write-ahead log that are not sealed yet, read on from where the last query stopped.

Sealed rows are read by the package `query`. Nothing is locked on disk: a live writer goes on writing while
its file is read, and a frame that is not whole yet is not there yet. INVARIANT: each row is given here or
found in a segment, because the log files are read before the catalogue is asked; whoever reads both leaves
out the segments that are not `Look.is_beside`.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

import pyarrow as pa
import pyarrow.compute as pc

from audit.catalogue import Catalogue
from audit.columns import OPENED, SCHEMA
from audit.gather import AT_ONCE, CONTROL, Decoder, Reading, blocks
from audit.identity import ExecutionId
from audit.levels import condense
from audit.openers import opened, state_before
from audit.receipt import Receipt
from audit.recovery import wal_files
from audit.start import ExecutionStart
from audit.store import Store
from audit.tail_files import Entry, Journal, Seen, WalFile
from audit.terms import Level
from audit.wal import Kind, Place, RecordFrame

_CACHE_BYTES = 256 << 20
_MANY_TABLES = 64


@dataclass(slots=True)
class Run:
    """What is known of one execution from files that are not deleted yet."""

    exec_id: ExecutionId
    start: ExecutionStart | None = None
    receipt: Receipt | None = None
    files: set[str] = field(default_factory=set)  # those that hold its start
    frames: list[tuple[WalFile, Seen]] = field(default_factory=list)
    intents: dict[int, tuple[WalFile, Seen]] = field(default_factory=dict)
    next_seq: int = 0
    tables: list[tuple[str, pa.Table]] = field(default_factory=list)  # decoded, by file
    decoded: int = 0  # of `frames`, so many are in `tables`
    known: pa.Table | None = None  # what the decoded frames opened
    used: int = 0  # when it was last asked for

    def forget(self, names: frozenset[str]) -> None:
        """Drop what came from these files."""
        kept = [(file, seen) for file, seen in self.frames if file.name not in names]
        self.intents = {seq: at for seq, at in self.intents.items() if at[0].name not in names}
        if len(kept) == len(self.frames):
            return
        gone = len(self.frames) - len(kept)
        if self.decoded < gone:
            self.tables, self.decoded, self.known = [], 0, None
        else:
            self.tables = [(name, table) for name, table in self.tables if name not in names]
            self.decoded -= gone
        self.frames = kept


@dataclass(frozen=True, slots=True)
class Look:
    """What was not sealed at one moment."""

    table: pa.Table
    sources: frozenset[str]  # names of the files that were read
    live: tuple[tuple[str, int], ...]  # executions without an end, of those that were asked for: last `seq`
    sealed: frozenset[str] | None  # files whose segments go with these rows; None: of any, none was read

    def is_beside(self, source: str) -> bool:
        """Say whether a segment that was made of a file belongs beside these rows.

        INVARIANT: not one that was sealed since: what its executions did just before may be in a file of
        which only the beginning was read.
        """
        return source not in self.sources and (self.sealed is None or source in self.sealed)

    @property
    def t_max_ns(self) -> int | None:
        """The latest time of a row."""
        found = pc.max(self.table.column("t_ns")).as_py() if self.table.num_rows else None
        return None if found is None else int(found)


Chosen: TypeAlias = Callable[[ExecutionStart], bool]


class TailReader:
    """Reads what is not sealed; keeps what it decoded. Thread-safe."""

    def __init__(self, store: Store, catalogue: Catalogue, reading: Reading | Decoder) -> None:
        """Read nothing yet."""
        self._store, self._catalogue, self._reading = store, catalogue, Reading.of(reading)
        self._lock = threading.Lock()
        self._files: dict[str, WalFile] = {}
        self._runs: dict[ExecutionId, Run] = {}
        self._asked = 0
        self.journal = Journal()
        self._sources: frozenset[str] = frozenset()  # files that the journal knows of, sealed ones too
        self._has_advanced = False

    def close(self) -> None:
        """Close the files."""
        with self._lock:
            for file in self._files.values():
                os.close(file.handle)
            self._files, self._runs = {}, {}

    def look(self, chosen: Chosen) -> Look:
        """Give the rows of the executions that `chosen` accepts; of others nothing is decoded."""
        with self._lock:
            present = self._refresh()
            sealed = self._catalogue.sealed() if present else None
            self._asked += 1
            tables, live = [SCHEMA.empty_table()], []
            for run in list(self._runs.values()):
                if run.start is None or not chosen(run.start):
                    continue
                run.forget(sealed or frozenset())
                tables += self._rows(run, run.start)
                if run.receipt is None:
                    live.append((run.exec_id, max(run.next_seq - 1, *run.intents, -1)))
            self._trim()
            return Look(pa.concat_tables(tables), present - (sealed or frozenset()), tuple(live), sealed)

    def known(self) -> tuple[tuple[ExecutionStart, Receipt | None], ...]:
        """Give the executions in files that were not deleted yet, sealed or not."""
        with self._lock:
            self._refresh()
            return tuple((run.start, run.receipt) for run in self._runs.values() if run.start is not None)

    def advance(self) -> Journal:
        """Read on, make durable what was read, and give a journal of it as it is now."""
        with self._lock:
            present = self._refresh()
            for name in present:
                file = self._files[name]
                if file.synced < file.place.offset:
                    os.fdatasync(file.handle)  # works on a file that is open for reading
                    file.synced = file.place.offset
            sealed = self._catalogue.sealed()
            unseen = sealed - self._sources if self._has_advanced else frozenset()
            for name in sorted(unseen):
                self.journal.add(Entry("", 0, 0, name, is_whole=True))
            self._sources = sealed | present
            self._has_advanced = True
            return Journal(self.journal.first, deque(self.journal.entries))

    def _refresh(self) -> frozenset[str]:
        """Read on in each file; give the names of those that are there."""
        paths = {path.name: path for path in wal_files(self._store)}
        for name, path in paths.items():
            if name not in self._files and (handle := _opened(path)) is not None:
                self._files[name] = WalFile(name, handle)
        gone = frozenset(self._files) - frozenset(paths)
        for name in sorted(self._files):
            file = self._files[name]  # one that is deleted can be read to its end by its handle
            size = file.size()
            if size < file.place.offset:
                self._unread(file)
            for kind, seen, text in file.read(size):
                self._take(file, kind, seen, text)
        if gone:
            self._drop(gone)
        return frozenset(self._files)

    def _unread(self, file: WalFile) -> None:
        """Forget a file from which its writer took back what it could not make durable: it is in the next."""
        for run in list(self._runs.values()):
            if file.name in run.files or any(one is file for one, _ in run.frames):
                run.forget(frozenset({file.name}))
                run.tables, run.decoded, run.known = [], 0, None
                run.files.discard(file.name)
        file.place, file.held, file.synced = Place(), [], 0

    def _take(self, file: WalFile, kind: Kind, seen: Seen, text: bytes) -> None:
        if kind in CONTROL:
            return  # of no execution
        run = self._runs.setdefault(seen.exec_id, Run(seen.exec_id))
        match kind:
            case Kind.START:
                run.files.add(file.name)
                run.start = run.start or ExecutionStart.from_json(text)
            case Kind.END:
                run.receipt = Receipt.from_json(text)
            case Kind.INTENT:
                run.intents[seen.first_seq] = (file, seen)
            case _:
                run.frames.append((file, seen))
                self._note(run, file, seen)
                run.next_seq = seen.first_seq + seen.n_records
                run.intents = {seq: at for seq, at in run.intents.items() if seq >= run.next_seq}

    def _note(self, run: Run, file: WalFile, seen: Seen) -> None:
        entry = Entry(run.exec_id, seen.first_seq, seen.first_seq + seen.n_records - 1, file.name)
        if run.start is None or is_condensed(run.start):
            file.held.append(entry)  # its rows are made when the file is sealed
        else:
            self.journal.add(entry)

    def _drop(self, names: frozenset[str]) -> None:
        for run in list(self._runs.values()):
            for seq, (file, _) in sorted(run.intents.items()):
                if not run.files - names:
                    self.journal.add(Entry(run.exec_id, seq, seq, file.name))  # it never returned
            run.forget(names)
            run.files -= names
            if not run.files:
                del self._runs[run.exec_id]
        for name in sorted(names):
            for entry in self._files[name].held:
                self.journal.add(entry)
        for name in names:
            os.close(self._files.pop(name).handle)

    def _rows(self, run: Run, start: ExecutionStart) -> list[pa.Table]:
        run.used = self._asked
        if run.known is None:
            run.known = self._opened_before(run)
        fresh = run.frames[run.decoded :]
        for name in dict.fromkeys(file.name for file, _ in fresh):
            frames = [file.frame(seen) for file, seen in fresh if file.name == name]
            for block in blocks(frames, max_records=AT_ONCE):
                run.tables.append((name, self._decoded(run, start, block)))
        run.decoded = len(run.frames)
        if len(run.tables) > _MANY_TABLES:
            run.tables = _merged(run.tables)
        by_file: dict[str, list[pa.Table]] = {}
        for name, table in run.tables:
            by_file.setdefault(name, []).append(table)
        if run.intents:
            known = run.known
            waiting = [at for _, at in sorted(run.intents.items())]
            table = self._decoded(run, start, [file.frame(seen) for file, seen in waiting])
            by_file.setdefault(waiting[-1][0].name, []).append(table)
            run.known = known  # a call that has not returned opened nothing yet
        # file by file, as they will be sealed
        return [rows for tables in by_file.values() for rows in condense(tables, start)]

    def _decoded(self, run: Run, start: ExecutionStart, frames: Sequence[RecordFrame]) -> pa.Table:
        known = OPENED.empty_table() if run.known is None else run.known
        table = self._reading.decoder(start, frames, known)
        run.known = pa.concat_tables([known, opened(table)])
        return self._reading.refine(table, start)

    def _opened_before(self, run: Run) -> pa.Table:
        if not run.frames or not run.frames[0][1].first_seq:
            return OPENED.empty_table()
        try:
            state = state_before(self._store.wal / run.frames[0][0].name)
        except FileNotFoundError:
            state = {}  # sealed to its end while it was looked for
        return state.get(run.exec_id, OPENED.empty_table())

    def _trim(self) -> None:
        """Forget what was decoded for executions that were not asked for lately, until it fits."""
        held = [
            (run.used, sum(table.nbytes for _, table in run.tables), run)
            for run in self._runs.values()
            if run.tables
        ]
        total = sum(size for _, size, _ in held)
        for used, size, run in sorted(held, key=lambda one: one[0]):
            if total <= _CACHE_BYTES or used == self._asked:
                return
            run.tables, run.decoded, run.known = [], 0, None
            total -= size


def is_condensed(start: ExecutionStart) -> bool:
    """Say whether rows of an execution may stand for several calls."""
    terms = start.audit
    return terms.level is not Level.CALLS or any(rule.level is not Level.CALLS for rule in terms.rules)


def _opened(path: Path) -> int | None:
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return None  # sealed and deleted since it was listed: the catalogue has it


def _merged(tables: list[tuple[str, pa.Table]]) -> list[tuple[str, pa.Table]]:
    found: list[tuple[str, pa.Table]] = []
    for name in dict.fromkeys(name for name, _ in tables):
        own = pa.concat_tables([table for other, table in tables if other == name])
        found.append((name, own.unify_dictionaries().combine_chunks()))
    return found
