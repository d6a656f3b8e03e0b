"""Totals of records by minute and by what decided them: the roll-up beside each segment.

Which columns there are is said in `SCHEMA` here; who reads them is `query/`. INVARIANT: the sums over a
roll-up are the sums over the rows of its segment, and each row is in one line of it; a sum that has no 64
bits (a cell that was taken over may have written anything) is the most that has.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from audit.chunks import coded, mixed, ranged
from audit.columns import NEVER_RETURNED

Ints = npt.NDArray[np.int64]
Key = tuple[int, str, str, str, int, str, str | None, str | None]

MINUTE_NS = 60_000_000_000

CLASSES = ("ok", "error", "never")
"""Of `errno`: 0, another one or several, and that of a call that did not return."""

SCHEMA: pa.Schema = pa.schema(
    [
        pa.field("minute", pa.int64(), nullable=False),
        pa.field("tenant_id", pa.string(), nullable=False),
        pa.field("module_id", pa.string(), nullable=False),
        pa.field("call", pa.string(), nullable=False),
        pa.field("decision", pa.int8(), nullable=False),
        pa.field("errno_class", pa.string(), nullable=False),
        pa.field("rule_id", pa.string()),
        pa.field("reason", pa.string()),
        pa.field("rows", pa.int64(), nullable=False),
        pa.field("n", pa.int64(), nullable=False),
        pa.field("bytes_in", pa.int64(), nullable=False),
        pa.field("bytes_out", pa.int64(), nullable=False),
        pa.field("dur_sum_ns", pa.int64(), nullable=False),
        pa.field("dur_max_ns", pa.int64()),
        pa.field("t_min_ns", pa.int64(), nullable=False),
        pa.field("t_max_ns", pa.int64(), nullable=False),
    ]
)

_SUMS = ("n", "bytes_in", "bytes_out", "dur_ns")
_MOST = (1 << 63) - 1
_LOW_BITS = (1 << 32) - 1
_EXACT = 1 << 53  # whole numbers up to this have a double of their own


@dataclass(slots=True)
class _Totals:
    """One line."""

    rows: int
    sums: list[int]
    longest: int  # NEVER_RETURNED if no duration is known
    t_min_ns: int
    t_max_ns: int

    def add(self, other: _Totals) -> None:
        """Put another one to it."""
        self.rows += other.rows
        self.sums = [one + more for one, more in zip(self.sums, other.sums, strict=True)]
        self.longest = max(self.longest, other.longest)
        self.t_min_ns = min(self.t_min_ns, other.t_min_ns)
        self.t_max_ns = max(self.t_max_ns, other.t_max_ns)


@dataclass(slots=True)
class Rollup:
    """The totals of the rows that were added by now."""

    _lines: dict[Key, _Totals] = field(default_factory=dict)

    def add(self, rows: pa.Table, tenant: str) -> None:
        """Count rows of executions of one tenant."""
        if not rows.num_rows:
            return
        t_ns, errno = _ints(rows, "t_ns"), _ints(rows, "errno")
        minute, decision = t_ns // MINUTE_NS, _ints(rows, "decision")
        kind = np.where(errno == 0, 0, np.where(errno == NEVER_RETURNED, 2, 1))
        columns = [coded(rows.column(name)) for name in ("module_id", "call", "rule_id", "reason")]
        words = [(values, len(distinct)) for values, distinct in columns]
        which, firsts = mixed([ranged(minute), ranged(decision), (kind, len(CLASSES)), *words])
        totals = _totals(rows, which, firsts, t_ns)
        for place, row in enumerate(firsts.tolist()):
            texts = [_text(distinct, int(values[row])) for values, distinct in columns]
            of = (int(minute[row]), tenant, texts[0] or "", texts[1] or "", int(decision[row]))
            key = (*of, CLASSES[kind[row]], texts[2], texts[3])
            known = self._lines.setdefault(key, totals[place])
            if known is not totals[place]:
                known.add(totals[place])

    def table(self) -> pa.Table:
        """Give the lines, sorted."""
        lines = sorted(self._lines.items(), key=lambda line: tuple((one is not None, one) for one in line[0]))
        values = [
            (
                # SECURITY: a cell may write any time; the minute of the least one begins before 64 bits do
                max(minute * MINUTE_NS, -_MOST - 1),
                *key,
                line.rows,
                *(max(min(one, _MOST), -_MOST) for one in line.sums),
                None if line.longest == NEVER_RETURNED else line.longest,
                line.t_min_ns,
                line.t_max_ns,
            )
            for (minute, *key), line in lines
        ]
        columns = zip(*values, strict=True) if values else ([] for _ in SCHEMA)
        return pa.table(
            [pa.array(one, of.type) for one, of in zip(columns, SCHEMA, strict=True)], schema=SCHEMA
        )


def _totals(rows: pa.Table, which: Ints, firsts: Ints, t_ns: Ints) -> list[_Totals]:
    count = len(firsts)
    last, sums = _ints(rows, "t_last_ns"), []
    lasted = np.asarray(rows.column("dur_ns").fill_null(NEVER_RETURNED).to_numpy())
    for name in _SUMS:
        values = np.maximum(lasted, 0) if name == "dur_ns" else _ints(rows, name)
        sums.append(_summed(values, which, count))
    single = np.asarray(rows.column("dur_max_ns").fill_null(NEVER_RETURNED).to_numpy())
    longest = np.full(count, NEVER_RETURNED, np.int64)
    np.maximum.at(longest, which, np.where(single == NEVER_RETURNED, lasted, single))
    earliest, latest = np.full(count, _MOST), np.full(count, -_MOST - 1)
    np.minimum.at(earliest, which, t_ns)
    np.maximum.at(latest, which, last)
    numbers = np.bincount(which, minlength=count).tolist()
    return [
        _Totals(number, list(each), max(most, NEVER_RETURNED), low, high)
        for number, each, most, low, high in zip(
            numbers,
            zip(*sums, strict=True),
            longest.tolist(),
            earliest.tolist(),
            latest.tolist(),
            strict=True,
        )
    ]


def _summed(values: Ints, which: Ints, count: int) -> list[int]:
    """Sum by group, exactly, in Python's numbers."""
    most = max(int(values.max()), -int(values.min()))
    if most * len(values) < _EXACT:
        return [int(one) for one in np.bincount(which, values, count).tolist()]
    low = np.bincount(which, values & _LOW_BITS, count).tolist()
    high = np.bincount(which, values >> 32, count).tolist()
    return [(int(above) << 32) + int(below) for above, below in zip(high, low, strict=True)]


def _ints(rows: pa.Table, name: str) -> Ints:
    return np.asarray(rows.column(name).to_numpy()).astype(np.int64, copy=False)


def _text(distinct: pa.Array, code: int) -> str | None:
    return None if code < 0 else str(distinct[int(code)].as_py())
