"""Sends on what was refused, in the order in which it was sealed: the refusals of one segment after another.

How it is sent is the sinks' matter (`syslog.py`, `webhook.py`, `otlp.py`). A position is a leaf of the log and
a row of the segment that it names, so it means the same in every process, for as long as the log is there.
INVARIANT: a position moves past a refusal only when it was taken, when a notice says why it was not sent, or
when the operator's limit left it out and a notice says how many.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from typing import Protocol

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from audit.canonical import Document
from audit.errors import FormatError
from audit.followers.state import State
from audit.leaves import DAMAGE, LeafKind, key_of, read_entry
from audit.manifest import Manifest
from audit.times import to_ns
from audit.tlog.log import TransparencyLog
from audit.tlog.tile_files import read_file

BATCH_ROWS = 500
_LEAVES = 256  # that are looked at in one step
_MANIFEST_BYTES = 64 << 20
_SECOND_NS = 1_000_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """What is told beside refusals: that some are missing, or were left out."""

    key: str  # the same when it is sent again
    at_ns: int
    word: str  # gap, damage, deleted, suppressed, restart
    text: str
    count: int | None = None  # of refusals that are not sent; None: nobody knows, or it is about others


@dataclass(frozen=True, slots=True)
class Batch:
    """What is sent at once: rows with the stored columns, then notices."""

    rows: pa.Table
    notices: tuple[Notice, ...] = ()


class RefusalSink(Protocol):
    """Where refusals go."""

    def send(self, batch: Batch) -> int:
        """Hand over a batch, and give how many of it were taken and will not be kept.

        The same one may be handed over again. Raises SinkError, OSError or AuditError if it was not taken.
        """


@dataclass(frozen=True, slots=True)
class _Segment:
    """The refusals of one leaf's segment."""

    path: Path
    rows: int
    leaf: int
    at_ns: int


@dataclass(slots=True)
class Forwarding:
    """The work of a follower of refusals."""

    root: Path
    log: TransparencyLog
    sink: RefusalSink
    most_per_second: int = 0  # refusals of one second of one segment; 0: all
    now: Callable[[], float] = time.time
    _open: tuple[int, pq.ParquetFile] | None = field(default=None)

    def step(self, state: State) -> State | None:
        """Send the next refusals or notices; see `Work`."""
        head = self.log.head
        restarted = self._restarted(state, head.size)
        if restarted is not None:
            return self._sent(replace(state, leaf=0, row=0, root=None), restarted)
        if state.leaf == head.size:
            return None
        end = min(state.leaf + _LEAVES, head.size)
        for leaf, entry in enumerate(self.log.entries(state.leaf, end - state.leaf), state.leaf):
            at = replace(state, leaf=leaf, row=state.row if leaf == state.leaf else 0)
            done = self._of_leaf(at, read_entry(entry))
            if done is not None:
                return done
        return self._at(replace(state, leaf=end, row=0))

    def _restarted(self, state: State, size: int) -> Batch | None:
        if state.root is None:
            return None
        if state.leaf <= size and self.log.hash_of_tree(state.leaf).hex() == state.root:
            return None
        text = f"the log is not the continuation of the {state.leaf} leaves that were followed; it is sent anew"
        key = f"restart:{state.leaf}:{state.root[:16]}"
        return Batch(_none(), (Notice(key=key, at_ns=self._now_ns(), word="restart", text=text),))

    def _of_leaf(self, state: State, entry: Document) -> State | None:
        """Send what a leaf is about; None if that is nothing."""
        kind, at_ns = entry.text("type"), to_ns(entry.text("at"))
        if kind == LeafKind.SEGMENT:
            return self._of_segment(state, entry, at_ns)
        is_damage = kind == LeafKind.EVENT and entry.text("event") == DAMAGE
        if kind != LeafKind.GAP and not is_damage:
            return None
        notice = Notice(key=f"{kind}:{key_of(entry)}", at_ns=at_ns, word="gap", text=_gap_text(entry))
        if is_damage:
            notice = replace(notice, word=DAMAGE, text="a file of the log could not be read as it should")
        return self._sent(replace(state, leaf=state.leaf + 1, row=0), Batch(_none(), (notice,)))

    def _of_segment(self, state: State, entry: Document, at_ns: int) -> State | None:
        following = replace(state, leaf=state.leaf + 1, row=0)
        try:
            segment = self._segment(state.leaf, entry, at_ns)
            if segment is None:
                return None
            read = self._opened(segment)
        except (FileNotFoundError, FormatError, pa.ArrowException) as err:
            if isinstance(err, pa.ArrowException) and "memory" in str(err):
                raise
            return self._sent(following, Batch(_none(), (_missing(entry, at_ns, err),)))
        rows = _rows(read, state.row, BATCH_ROWS)
        is_last = state.row + rows.num_rows >= segment.rows or not rows.num_rows
        kept, left_out = rows, 0
        if self.most_per_second:
            keep = _kept(read, self.most_per_second)
            kept = rows.filter(pa.array(keep[state.row : state.row + rows.num_rows]))
            left_out = int(len(keep) - keep.sum())
        notices = (_suppressed(segment, left_out, self.most_per_second),) if is_last and left_out else ()
        if is_last:
            self._open = None
        after = following if is_last else replace(state, row=state.row + rows.num_rows)
        return self._sent(after, Batch(kept, notices)) if kept.num_rows or notices else self._at(after)

    def _segment(self, leaf: int, entry: Document, at_ns: int) -> _Segment | None:
        path = self.root / entry.text("manifest")
        content = read_file(path, most=_MANIFEST_BYTES)
        if sha256(content).hexdigest() != entry.text("sha256"):
            raise FormatError(path.name, "the manifest that its leaf names", "another one")
        manifest = Manifest.from_json(content)
        if manifest.files.refusals is None:
            return None
        return _Segment(path.parent / manifest.files.refusals.name, manifest.refusals, leaf, at_ns)

    def _opened(self, segment: _Segment) -> pq.ParquetFile:
        if self._open is None or self._open[0] != segment.leaf:
            self._open = (segment.leaf, pq.ParquetFile(segment.path))
        return self._open[1]

    def _sent(self, after: State, batch: Batch) -> State:
        rejected = self.sink.send(batch)
        return self._at(replace(after, rejected=after.rejected + rejected, done_at_s=int(self.now())))

    def _at(self, state: State) -> State:
        root = self.log.hash_of_tree(state.leaf).hex() if state.leaf else None
        return replace(state, root=root)

    def _now_ns(self) -> int:
        return int(self.now()) * _SECOND_NS


def _none() -> pa.Table:
    from audit.columns import SCHEMA  # noqa: PLC0415

    return SCHEMA.empty_table()


def _rows(file: pq.ParquetFile, first: int, most: int) -> pa.Table:
    """Give rows from number `first` on; only the groups that hold them are read."""
    found: list[pa.Table] = []
    at = 0
    for group in range(file.num_row_groups):
        size = file.metadata.row_group(group).num_rows
        if at + size > first and at < first + most:
            table = file.read_row_group(group)
            found.append(table.slice(max(first - at, 0), first + most - max(at, first)))
        at += size
    return pa.concat_tables(found) if found else _none()


def _kept(file: pq.ParquetFile, most: int) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Say for each row whether it is among the first `most` of its second; the same at each call."""
    seconds = file.read(columns=["t_ns"]).column("t_ns").to_numpy() // _SECOND_NS
    order = np.argsort(seconds, kind="stable")
    ordered = seconds[order]
    starts = np.flatnonzero(np.diff(ordered, prepend=ordered[:1] - 1))
    ranks = np.arange(len(ordered)) - np.repeat(starts, np.diff([*starts, len(ordered)]))
    keep = np.empty(len(ordered), np.bool_)
    keep[order] = ranks < most
    return keep


def _missing(entry: Document, at_ns: int, err: Exception) -> Notice:
    is_gone = isinstance(err, FileNotFoundError)
    says = "were deleted before they were sent" if is_gone else f"can't be read: {err}"
    return Notice(
        key=f"segment:{entry.text('segment')}",
        at_ns=at_ns,
        word="deleted" if is_gone else DAMAGE,
        text=f"the refusals of {entry.text('segment')} {says}",
    )


def _suppressed(segment: _Segment, count: int, most: int) -> Notice:
    return Notice(
        key=f"suppressed:{segment.leaf}",
        at_ns=segment.at_ns,
        word="suppressed",
        text=f"{count} refusals were left out: {most} of a second are sent",
        count=count,
    )


def _gap_text(entry: Document) -> str:
    if entry.text("type") != LeafKind.GAP:
        return ""
    of = entry.optional_text("exec_id")
    first, last = entry.optional_integer("first"), entry.optional_integer("last")
    which = "records" if first is None else f"records {first} to {'?' if last is None else last}"
    whose = "" if of is None else f" of execution {of}"
    return f"{which}{whose} are missing: {entry.text('reason')}"


def pieces_of(batch: Batch) -> Iterator[dict[str, int | str | bytes | None]]:
    """Give the rows of a batch as queries give them: `decision` is a word."""
    from audit.columns import WORDS  # noqa: PLC0415

    for row in batch.rows.to_pylist():
        row["decision"] = WORDS.get(row["decision"], "none")
        yield row
