"""Sends on what was refused, in the order in which it was sealed: the refusals of one segment after another.

How it is sent is the sinks' matter (`syslog.py`, `webhook.py`, `otlp.py`). A position is a leaf of the log
and a row of the segment that it names, so it means the same in every process, for as long as the log is
there. INVARIANT: a position moves past a refusal only when it was taken, when a notice says why it was not
sent, or when the operator's limit left it out and a notice says how many.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Protocol

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from audit.canonical import Document
from audit.columns import SCHEMA, WORDS
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
        ...


class _Refusals:
    """The refusals of one segment; keeps one row group in memory."""

    def __init__(self, path: Path, leaf: int, *, most: int) -> None:
        self.leaf = leaf
        self._file = pq.ParquetFile(path)
        self.count = self._file.metadata.num_rows
        self._keep = self._within(most) if most else np.ones(self.count, np.bool_)
        self._group: tuple[int, pa.Table] = (-1, SCHEMA.empty_table())

    @property
    def left_out(self) -> int:
        """How many are not sent."""
        return int(self.count - self._keep.sum())

    def rows(self, first: int) -> tuple[pa.Table, int]:
        """Give rows from number `first` on, without those that are left out, and the number after them."""
        at = 0
        for group in range(self._file.num_row_groups):
            size = self._file.metadata.row_group(group).num_rows
            if at <= first < at + size:
                if self._group[0] != group:
                    self._group = (group, self._file.read_row_group(group))
                rows = self._group[1].slice(first - at, BATCH_ROWS)
                end = first + rows.num_rows
                return rows.filter(pa.array(self._keep[first:end])), end
            at += size
        return SCHEMA.empty_table(), self.count

    def _within(self, most: int) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
        """Say for each row whether it is among the first `most` of its second; the same at each call."""
        seconds = self._file.read(columns=["t_ns"]).column("t_ns").to_numpy() // _SECOND_NS
        order = np.argsort(seconds, kind="stable")
        ordered = seconds[order]
        # a row's rank is how far it is behind the first row of its second
        ranks = np.arange(len(ordered)) - np.searchsorted(ordered, ordered)
        keep = np.empty(len(ordered), np.bool_)
        keep[order] = ranks < most
        return keep


@dataclass(slots=True)
class Forwarding:
    """The work of a follower of refusals."""

    root: Path
    log: TransparencyLog
    sink: RefusalSink
    most_per_second: int = 0  # refusals of one second of one segment; 0: all
    now: Callable[[], float] = time.time
    _open: _Refusals | None = None

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
        text = (
            f"the log is not the continuation of the {state.leaf} leaves that were followed; it is sent anew"
        )
        key = f"restart:{state.leaf}:{state.root[:16]}"
        return Batch(
            SCHEMA.empty_table(), (Notice(key=key, at_ns=self._now_ns(), word="restart", text=text),)
        )

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
        return self._sent(replace(state, leaf=state.leaf + 1, row=0), Batch(SCHEMA.empty_table(), (notice,)))

    def _of_segment(self, state: State, entry: Document, at_ns: int) -> State | None:
        following = replace(state, leaf=state.leaf + 1, row=0)
        try:
            found = self._opened(state.leaf, entry)
        except (FileNotFoundError, FormatError, pa.ArrowInvalid) as err:
            return self._sent(following, Batch(SCHEMA.empty_table(), (_missing(entry, at_ns, err),)))
        if found is None:
            return None
        rows, end = found.rows(state.row)
        is_last = end >= found.count
        notices: tuple[Notice, ...] = ()
        if is_last and found.left_out:
            notices = (_suppressed(found, at_ns, self.most_per_second),)
        after = following if is_last else replace(state, row=end)
        if rows.num_rows or notices:
            return self._sent(after, Batch(rows, notices))
        return self._at(after)

    def _opened(self, leaf: int, entry: Document) -> _Refusals | None:
        """Open the refusals of a segment; None if it has none."""
        if self._open is not None and self._open.leaf == leaf:
            return self._open
        path = self.root / entry.text("manifest")
        content = read_file(path, most=_MANIFEST_BYTES)
        if sha256(content).hexdigest() != entry.text("sha256"):
            raise FormatError(path.name, "the manifest that its leaf names", "another one")
        file = Manifest.from_json(content).files.refusals
        self._open = None
        if file is not None:
            self._open = _Refusals(path.parent / file.name, leaf, most=self.most_per_second)
        return self._open

    def _sent(self, after: State, batch: Batch) -> State:
        rejected = self.sink.send(batch)
        return self._at(replace(after, rejected=after.rejected + rejected, done_at_s=int(self.now())))

    def _at(self, state: State) -> State:
        root = self.log.hash_of_tree(state.leaf).hex() if state.leaf else None
        return replace(state, root=root)

    def _now_ns(self) -> int:
        return int(self.now()) * _SECOND_NS


def _missing(entry: Document, at_ns: int, err: Exception) -> Notice:
    is_gone = isinstance(err, FileNotFoundError)
    says = "were deleted before they were sent" if is_gone else f"can't be read: {err}"
    return Notice(
        key=f"segment:{entry.text('segment')}",
        at_ns=at_ns,
        word="deleted" if is_gone else DAMAGE,
        text=f"the refusals of {entry.text('segment')} {says}",
    )


def _suppressed(found: _Refusals, at_ns: int, most: int) -> Notice:
    return Notice(
        key=f"suppressed:{found.leaf}",
        at_ns=at_ns,
        word="suppressed",
        text=f"{found.left_out} refusals of a segment were left out: {most} of each second are sent",
        count=found.left_out,
    )


def _gap_text(entry: Document) -> str:
    if entry.text("type") != LeafKind.GAP:
        return ""
    of = entry.optional_text("exec_id")
    first, last = entry.optional_integer("first"), entry.optional_integer("last")
    which = "records" if first is None else f"records {first} to {'?' if last is None else last}"
    whose = "" if of is None else f" of execution {of}"
    return f"{which}{whose} are missing: {entry.text('reason')}"


def rows_of(batch: Batch) -> Iterator[dict[str, int | str | bytes | None]]:
    """Give the rows of a batch as queries give them: `decision` is a word."""
    for row in batch.rows.to_pylist():
        row["decision"] = WORDS.get(row["decision"], "none")
        yield row


def key_of_row(row: Mapping[str, int | str | bytes | None]) -> str:
    """Name a record: the same whenever it is sent."""
    return f"{row['exec_id']!s}:{row['seq']!s}"
