"""One page of records: segments are read from the end where the page begins, until no other can matter.

Which files come into question is `planner.py`. Segments overlap in time, so the scan ends only when the next
one holds nothing that sorts before the page's last row. INVARIANT: a page is exactly the first rows of the
whole answer behind its cursor; when its time is up it is shorter, says so, and its cursor goes on where it ends.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pyarrow as pa

from audit.columns import SCHEMA
from audit.cursors import Mark, Position, Snapshot
from audit.errors import OutOfTimeError
from audit.filters import RecordFilter
from audit.query.engine import Engine
from audit.query.planner import Plan, Step
from audit.statement import Conditions

_FIRST, _LAST = "00000000-0000-0000-0000-000000000000", "ffffffff-ffff-ffff-ffff-ffffffffffff"
_MOST = (1 << 63) - 1
_KEY = ("t_ns", "exec_id", "seq")
_PATIENCE = 10
"""How many times its budget a question may take when it would end without having come any further."""


@dataclass(frozen=True, slots=True)
class Found:
    """The rows of a page, and where the next one begins; None at the end."""

    rows: pa.Table
    following: Position | None
    is_complete: bool


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

    def page(self) -> Found:
        """Make it; raises QueryError."""
        steps = self._ordered()
        begun, at, size = self.clock(), 0, 1
        best, floor = self._nothing(), None
        is_complete = True
        while at < len(steps) or at == 0:
            if floor is not None and at < len(steps) and self._is_beyond(self._edge(steps[at]), floor):
                break
            can_stop = at > 0 and self._edge(steps[at]) != self._edge(steps[0])
            left = None if self.seconds is None else self.seconds - (self.clock() - begun)
            if can_stop and left is not None and left <= 0:
                is_complete = False
                break
            if not can_stop and left is not None and self.seconds is not None:
                left += self.seconds * (_PATIENCE - 1)
            try:
                found = self._ask(steps[at : at + size], floor, is_first=at == 0, seconds=left)
            except OutOfTimeError:
                if not can_stop:
                    raise
                is_complete = False
                break
            best, floor = self._best(best, found)
            at, size = at + size, min(size * 2, 64)
        return self._found(best, None if is_complete else self._edge(steps[at]))

    def _ordered(self) -> list[Step]:
        return sorted(
            self.plan.steps,
            key=lambda step: (self._edge(step), str(step.path)),
            reverse=not self.wanted.is_ascending,
        )

    def _edge(self, step: Step) -> int:
        """Give the time of the first row that a segment can add to this page."""
        source, at = step.source, None if self.mark is None else self.mark.position.t_ns
        if self.wanted.is_ascending:
            return source.t_min_ns if at is None else max(source.t_min_ns, at)
        return source.t_max_ns if at is None else min(source.t_max_ns, at)

    def _is_beyond(self, edge: int, floor: int) -> bool:
        return edge > floor if self.wanted.is_ascending else edge < floor

    def _names(self) -> tuple[str, ...]:
        fields = self.wanted.fields
        return tuple(SCHEMA.names) if fields is None else tuple(dict.fromkeys((*fields, *_KEY)))

    def _nothing(self) -> pa.Table:
        return _plain(SCHEMA.empty_table().select(list(self._names())))

    def _ask(
        self, steps: Sequence[Step], floor: int | None, *, is_first: bool, seconds: float | None
    ) -> pa.Table:
        where = self.where
        if floor is not None:
            where = where.also(f"t_ns {'<=' if self.wanted.is_ascending else '>='} $floor", floor=floor)
        files = [str(step.path) for step in steps]
        tail = {"tail": self.tail} if is_first and self.tail.num_rows else {}
        if not files and not tail:
            return self._nothing()
        # SECURITY: only column names of ours are put into the text; every value is bound
        chosen, way = (
            ", ".join(f'"{name}"' for name in self._names()),
            "ASC" if self.wanted.is_ascending else "DESC",
        )
        order = f"ORDER BY t_ns {way}, exec_id {way}, seq {way} LIMIT {self.wanted.limit + 1:d}"
        values, parts = list(where.values), []
        if files:
            values.append(("files", files))
            sealed = "read_parquet($files, hive_partitioning = false)"
            parts.append(f"SELECT {chosen} FROM {sealed} {where.text} {order}")  # noqa: S608  # nosec B608
        if tail:
            parts.append(f"SELECT {chosen} FROM tail {where.text} {order}")  # noqa: S608  # nosec B608
        # each by itself: then the engine reads the other columns for the rows of the page alone
        found = [self.engine.ask(part, _used(part, values), tables=tail, seconds=seconds) for part in parts]
        return pa.concat_tables([_plain(table) for table in found])

    def _best(self, best: pa.Table, found: pa.Table) -> tuple[pa.Table, int | None]:
        way = "ascending" if self.wanted.is_ascending else "descending"
        merged = pa.concat_tables([best, found]).sort_by([(name, way) for name in _KEY])
        merged = merged.slice(0, self.wanted.limit + 1)
        is_full = merged.num_rows > self.wanted.limit
        return merged, int(merged.column("t_ns")[-1].as_py()) if is_full else None

    def _found(self, best: pa.Table, edge: int | None) -> Found:
        if edge is not None:
            # what is not read may sort before rows at or behind its edge
            times = best.column("t_ns").to_numpy()
            safe = int((times < edge).sum() if self.wanted.is_ascending else (times > edge).sum())
            best = best.slice(0, safe)
        kept = best.slice(0, self.wanted.limit)
        if best.num_rows > self.wanted.limit:
            last = kept.slice(kept.num_rows - 1).select(list(_KEY)).to_pylist()[0]
            return Found(kept, Position(t_ns=last["t_ns"], exec_id=last["exec_id"], seq=last["seq"]), True)
        if edge is None:
            return Found(kept, None, True)
        is_up = self.wanted.is_ascending
        before = Position(t_ns=edge, exec_id=_FIRST if is_up else _LAST, seq=-_MOST if is_up else _MOST)
        return Found(kept, before, False)


def snapshot_of(
    steps: Sequence[Step], tail: pa.Table, t_max_ns: int | None, live: tuple[tuple[str, int], ...]
) -> Snapshot:
    """Say what there is now, for the pages that follow."""
    times = [step.source.t_max_ns for step in steps]
    if tail.num_rows and t_max_ns is not None:
        times.append(t_max_ns)
    return Snapshot(max(times, default=-_MOST), live)


def _used(statement: str, values: list[tuple[str, object]]) -> list[tuple[str, object]]:
    return values if "$files" in statement else [pair for pair in values if pair[0] != "files"]


def _plain(table: pa.Table) -> pa.Table:
    """Give texts uncoded: each source has a dictionary of its own."""
    fields = [
        pa.field(one.name, pa.string())
        if pa.types.is_dictionary(SCHEMA.field(one.name).type)
        else SCHEMA.field(one.name)
        for one in table.schema
    ]
    return table.cast(pa.schema([one.with_nullable(True) for one in fields]))
