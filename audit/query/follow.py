"""What is recorded from now on, for live tails: poll, and come back with the position that was given.

What a client is sent, and how often, is decided in `api`. A position counts what this process has read of the
write-ahead logs, so it survives that a file is sealed, and not that the process ends. INVARIANT: from one
position to the next each record is given once, durable, an execution's in the order of `seq`; where that
cannot be kept, `is_gap` says so.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import pyarrow as pa

from audit.errors import FilterError
from audit.filters import MAX_LIMIT, RecordFilter
from audit.tail_files import Journal

if TYPE_CHECKING:
    from audit.query.reader import Row

_FORM = re.compile(r"([0-9a-f]{16})\.([0-9]{1,18})\.([0-9]{1,18})\Z")
_MAX_ENTRIES: Final = 4_096

RANGES: Final[pa.Schema] = pa.schema(
    [("number", pa.int64()), ("of_exec", pa.string()), ("low", pa.int64()), ("high", pa.int64())]
)
"""Which records are wanted, in which order."""


@dataclass(frozen=True, slots=True)
class Polled:
    """Records since a position, the next position, and whether some in between may be missing."""

    rows: tuple[Row, ...]
    position: str
    is_gap: bool
    is_behind: bool  # there is more already: ask again at once


@dataclass(frozen=True, slots=True)
class Span:
    """Which records one poll reads: ranges of them, and the files that they were in."""

    ranges: pa.Table
    sources: frozenset[str]
    whole: tuple[int, int] | None = (
        None  # of all records of the files: how many are done, how many are wanted
    )


class Follower:
    """Live tails of one log; thread-safe, one for all clients of a process."""

    def __init__(
        self, advance: Callable[[], Journal], read: Callable[[Span, RecordFilter], tuple[Row, ...]]
    ) -> None:
        """Take what reads on, and what gives the records of a span."""
        self._advance, self._read = advance, read
        self._nonce = secrets.token_hex(8)  # a position of another process means nothing here
        self._advance()

    def now(self) -> str:
        """Give the position behind all that is recorded."""
        return self._position(self._advance().end, 0)

    def start(self) -> str:
        """Give the earliest position: what was not sealed when this process first looked, or later."""
        return self._position(self._advance().first, 0)

    def poll(self, position: str, wanted: RecordFilter, *, limit: int = 1_000) -> Polled:
        """Give what was recorded since; at most `limit` records are looked at, so it may be none of many.

        Raises FilterError if the position is none, QueryError if the log cannot be read.
        """
        match = _FORM.match(position)
        if match is None:
            raise FilterError("position", "a position that was given out", position)
        if not 1 <= limit <= MAX_LIMIT:
            raise FilterError("limit", f"1 to {MAX_LIMIT}", limit)
        journal = self._advance()
        number, done = int(match[2]), int(match[3])
        is_gap = match[1] != self._nonce or not journal.first <= number <= journal.end
        if is_gap:
            number, done = journal.first, 0
        span, number, done = _span(journal, number, done, limit)
        rows = self._read(span, wanted) if span.sources else ()
        if span.whole is not None and len(rows) == limit:
            number, done = number - 1, span.whole[0] + limit
        return Polled(rows, self._position(number, done), is_gap, number < journal.end)

    def _position(self, number: int, done: int) -> str:
        return f"{self._nonce}.{number}.{done}"


def _span(journal: Journal, number: int, done: int, limit: int) -> tuple[Span, int, int]:
    """Give the records to read next, and where that leads: an entry, and how many of its records are done."""
    ranges: list[tuple[int, str, int, int]] = []
    sources: set[str] = set()
    left = limit
    for entry in journal.since(number, _MAX_ENTRIES):
        if left <= 0 or (entry.is_whole and sources):
            break
        sources.add(entry.source)
        if entry.is_whole:
            # files that were sealed unseen are read by themselves, all of them
            return Span(_table([]), frozenset(sources), (done, limit)), number + 1, 0
        low = entry.first_seq + done
        high = min(entry.last_seq, low + left - 1)
        ranges.append((number, entry.exec_id, low, high))
        left -= high - low + 1
        is_done = high == entry.last_seq
        number, done = (number + 1, 0) if is_done else (number, done + high - low + 1)
    return Span(_table(ranges), frozenset(sources)), number, done


def _table(ranges: list[tuple[int, str, int, int]]) -> pa.Table:
    columns = [pa.array([row[at] for row in ranges], RANGES.field(at).type) for at in range(len(RANGES))]
    return pa.table(columns, schema=RANGES)
