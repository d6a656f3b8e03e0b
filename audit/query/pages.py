"""One page of records: read in pieces of time from the end where the page begins, until it is full.

Which files come into question is `planner.py`. Segments overlap in time, so a piece is read from every
segment that reaches into it; each is larger than the last, as far as the time for the question allows.
INVARIANT: a page is exactly the first rows of the whole answer behind its cursor; when its time is up it is
shorter, says so, and its cursor goes on where it ends.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from audit.columns import SCHEMA
from audit.cursors import Mark, Position, Snapshot
from audit.errors import OutOfTimeError
from audit.filters import RecordFilter
from audit.query.engine import Engine, sealed
from audit.query.planner import Kind, Plan, Step
from audit.statement import Conditions
from audit.tail import Look

_FIRST, _LAST = "00000000-0000-0000-0000-000000000000", "ffffffff-ffff-ffff-ffff-ffffffffffff"
_MOST = (1 << 63) - 1
_KEY = ("t_ns", "exec_id", "seq")
_MARGIN, _GROWTH = 4, 16
_PART_OF_REST = 0.7
"""How much of the time that is left the next piece may be expected to take."""

_PATIENCE = 10
"""How many times its budget a question may take when it would end without having come any further."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """The rows of a page, and where the next one begins; None at the end."""

    rows: pa.Table
    following: Position | None
    is_complete: bool = True


@dataclass(slots=True)
class Scan:
    """What it takes to make one page."""

    engine: Engine
    wanted: RecordFilter
    tail: pa.Table
    where: Conditions
    plan: Plan
    mark: Mark | None
    seconds: float | None
    clock: Callable[[], float] = time.monotonic
    fitting: Callable[[Sequence[Step]], Sequence[Step]] = tuple
    """Gives those of some files that can hold what is wanted."""
    least: int = 0
    """Rows of the first piece, at least: many, where few of them will be wanted."""

    def page(self) -> Found:
        """Make it; raises QueryError."""
        pieces = Pieces.of(self.plan.steps, is_ascending=self.wanted.is_ascending, mark=self.mark)
        best = self._best(self._nothing(), self._unsealed())
        begun, edge = self.clock(), pieces.begin
        size = max(_MARGIN * (self.wanted.limit + 1), self.least)
        while edge is not None and not self._is_full(best, edge):
            is_first, since = edge == pieces.begin, self.clock()
            left = self._left(since - begun, is_first=is_first)
            if not is_first and left is not None and left <= 0:
                return self._cut(best, edge)
            following = pieces.after(edge, size)
            try:
                if steps := self.fitting(pieces.reaching(edge, following)):
                    best = self._best(best, self._ask(steps, edge, following, seconds=left))
            except OutOfTimeError:
                if is_first:
                    raise
                return self._cut(best, edge)
            size = self._next(size, self.clock() - since, self._left(self.clock() - begun, is_first=False))
            edge = following
        return self._whole(best)

    def _left(self, gone: float, *, is_first: bool) -> float | None:
        if self.seconds is None:
            return None
        return self.seconds * (_PATIENCE if is_first else 1) - gone

    def _next(self, size: int, took: float, left: float | None) -> int:
        if left is None or took <= 0:
            return size * _GROWTH
        return max(size // _GROWTH, min(size * _GROWTH, int(size / took * left * _PART_OF_REST)), 1)

    def _names(self) -> tuple[str, ...]:
        fields = self.wanted.fields
        return tuple(SCHEMA.names) if fields is None else tuple(dict.fromkeys((*fields, *_KEY)))

    def _nothing(self) -> pa.Table:
        return _plain(SCHEMA.empty_table().select(list(self._names())))

    def _unsealed(self) -> pa.Table:
        if not self.tail.num_rows:
            return self._nothing()
        statement = self._statement("tail", self.where)
        return _plain(self.engine.ask(statement, self.where.values, tables={"tail": self.tail}))

    def _ask(
        self, steps: Sequence[Step], edge: int, following: int | None, *, seconds: float | None
    ) -> pa.Table:
        near, far = (">=", "<") if self.wanted.is_ascending else ("<=", ">")
        where = self.where.also(f"t_ns {near} $edge", edge=edge)
        if following is not None:
            where = where.also(f"t_ns {far} $following", following=following)
        values = [*where.values, ("files", [str(step.path) for step in steps])]
        statement = self._statement(sealed("$files"), where)
        return _plain(self.engine.ask(statement, values, tables={}, seconds=seconds))

    def _statement(self, source: str, where: Conditions) -> str:
        # SECURITY: only column names of ours are put into the text; every value is bound
        chosen = ", ".join(f'"{name}"' for name in self._names())
        way = "ASC" if self.wanted.is_ascending else "DESC"
        order = f"ORDER BY t_ns {way}, exec_id {way}, seq {way} LIMIT {self.wanted.limit + 1:d}"
        return f"SELECT {chosen} FROM {source} {where.text} {order}"  # noqa: S608  # nosec B608

    def _best(self, best: pa.Table, found: pa.Table) -> pa.Table:
        if not found.num_rows:
            return best
        way = "ascending" if self.wanted.is_ascending else "descending"
        merged = pa.concat_tables([best, found]).sort_by([(name, way) for name in _KEY])
        return merged.slice(0, self.wanted.limit + 1)

    def _is_full(self, best: pa.Table, edge: int) -> bool:
        """Say whether nothing from `edge` on can be in the page any more."""
        if best.num_rows <= self.wanted.limit:
            return False
        last = int(best.column("t_ns")[-1].as_py())
        return last < edge if self.wanted.is_ascending else last > edge

    def _cut(self, best: pa.Table, edge: int) -> Found:
        """Give what is sure when time is up: the rows before `edge`, behind which nothing was read."""
        is_sure = pc.less if self.wanted.is_ascending else pc.greater
        sure = best.filter(is_sure(best.column("t_ns"), pa.scalar(edge, pa.int64())))
        if sure.num_rows > self.wanted.limit:
            return self._whole(sure)
        is_up = self.wanted.is_ascending
        before = Position(t_ns=edge, exec_id=_FIRST if is_up else _LAST, seq=-_MOST if is_up else _MOST)
        return Found(rows=sure, following=before, is_complete=False)

    def _whole(self, best: pa.Table) -> Found:
        kept = best.slice(0, self.wanted.limit)
        if best.num_rows <= self.wanted.limit:
            return Found(rows=kept, following=None)
        last = kept.slice(kept.num_rows - 1).select(list(_KEY)).to_pylist()[0]
        return Found(
            rows=kept, following=Position(t_ns=last["t_ns"], exec_id=last["exec_id"], seq=last["seq"])
        )


@dataclass(frozen=True, slots=True)
class Pieces:
    """The time that the files of a plan cover, cut into pieces that hold about so many rows."""

    steps: tuple[Step, ...]
    is_ascending: bool
    begin: int | None  # the first time of the first piece; None if there is nothing to read

    @staticmethod
    def of(steps: Sequence[Step], *, is_ascending: bool, mark: Mark | None) -> Pieces:
        """Begin at the cursor, or where the files begin."""
        if not steps:
            return Pieces((), is_ascending, None)
        at = None if mark is None else mark.position.t_ns
        if is_ascending:
            first = min(step.source.t_min_ns for step in steps)
            return Pieces(tuple(steps), is_ascending, first if at is None else max(first, at))
        last = max(step.source.t_max_ns for step in steps)
        return Pieces(tuple(steps), is_ascending, last if at is None else min(last, at))

    def after(self, edge: int, size: int) -> int | None:
        """Give where the piece ends that begins at `edge` and has about `size` rows; None: with the last.

        Each file is taken to hold its rows evenly over its time.
        """
        # from the edge: a time since 1970 has more digits than a float
        lows = np.array([float(step.source.t_min_ns - edge) for step in self.steps])
        spans = np.array([float(step.source.t_max_ns - step.source.t_min_ns + 1) for step in self.steps])
        rows = np.array([float(_rows(step)) for step in self.steps])
        final = self.steps_end()
        near, far = 0, abs(final - edge)

        def held(span: int) -> float:
            low, high = (0, span) if self.is_ascending else (-span, 0)
            shared = np.clip(np.minimum(lows + spans, high) - np.maximum(lows, low), 0, None)
            return float((rows * shared / spans).sum())

        if held(far) <= size or far <= 1:
            return None
        while far - near > 1:
            middle = (near + far) // 2
            near, far = (middle, far) if held(middle) < size else (near, middle)
            if far - near < far // 64:
                break
        end = edge + far if self.is_ascending else edge - far
        return max(-_MOST, min(end, _MOST))

    def steps_end(self) -> int:
        """Give the time at which the last piece ends."""
        if self.is_ascending:
            return max(step.source.t_max_ns for step in self.steps)
        return min(step.source.t_min_ns for step in self.steps)

    def reaching(self, edge: int, following: int | None) -> tuple[Step, ...]:
        """Give the files with rows in a piece."""
        if self.is_ascending:
            low, high = edge, _MOST if following is None else following
        else:
            low, high = -_MOST if following is None else following, edge
        return tuple(
            step for step in self.steps if step.source.t_min_ns <= high and step.source.t_max_ns >= low
        )


def _rows(step: Step) -> int:
    rows = step.source.refusals if step.kind is Kind.REFUSALS else step.source.rows
    return max(rows or 0, 1)


def snapshot_of(steps: Sequence[Step], look: Look, tree_size: int) -> Snapshot:
    """Say what there is now, for the pages that follow."""
    times = [step.source.t_max_ns for step in steps] + [
        look.t_max_ns if look.t_max_ns is not None else -_MOST
    ]
    return Snapshot(max(times), look.live, tree_size)


def _plain(table: pa.Table) -> pa.Table:
    """Give texts uncoded: each source has a dictionary of its own."""
    fields = [SCHEMA.field(one.name).with_nullable(nullable=True) for one in table.schema]
    texts = [one.with_type(pa.string()) if pa.types.is_dictionary(one.type) else one for one in fields]
    return table.cast(pa.schema(texts))
