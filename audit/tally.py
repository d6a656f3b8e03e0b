"""Counts the records of one execution, for a receipt that nobody lived to write.

A run that ended under supervision has the monitor's own counters in its receipt; these here come
from the records that were recovered. INVARIANT: each row is counted once, whichever segment it
is in, for as many calls as it stands for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from audit.call_names import bare
from audit.columns import REFUSING, SCHEMA, WORDS, plain
from audit.gather import Gaps
from audit.receipt import (
    REFUSALS_KEPT,
    CallCount,
    Outcome,
    OutcomeKind,
    Receipt,
    Refusal,
    Resources,
)
from audit.segment import read_pieces
from audit.start import ExecutionStart

_COLUMNS = (
    "seq",
    "t_last_ns",
    "call",
    "decision",
    "rule_id",
    "reason",
    "target",
    "guest_target",
    "bytes_in",
    "bytes_out",
    "n",
)


@dataclass(frozen=True, slots=True)
class Tally:
    """The rows of one execution, with the columns that a receipt needs; some may stand for many."""

    rows: pa.Table

    @staticmethod
    def of(paths: Sequence[Path], exec_id: str) -> Tally:
        """Read the rows of an execution from its segments."""
        if not paths:
            return Tally(SCHEMA.empty_table().select(list(_COLUMNS)))
        tables = [SCHEMA.empty_table().select(list(_COLUMNS))]
        left = REFUSALS_KEPT
        # SECURITY: a guest makes as many rows and as long paths as it likes; they must not all be in memory
        for read in (piece for path in paths for piece in read_pieces(path, exec_id)):
            rows = read([name for name in _COLUMNS if name not in _TEXTS])
            is_first = _first_refused(rows, left)
            if rows.num_rows:
                tables.append(_counted(rows.filter(pc.invert(is_first))))
            if pc.any(is_first).as_py():
                tables.append(read(_COLUMNS).filter(is_first))
                left -= tables[-1].num_rows
        return Tally(pa.concat_tables(tables).unify_dictionaries())

    def receipt(self, start: ExecutionStart, *, message: str, gaps: Gaps) -> Receipt:
        """Give the receipt of an execution that was killed; it ended at its last record or later."""
        rows = self.rows
        last_ns = pc.max(rows.column("t_last_ns")).as_py() if rows.num_rows else start.started_at_ns
        end_ns = max(start.started_at_ns, min(last_ns, start.started_at_ns + _LONGEST_NS))
        return Receipt(
            execution_id=start.exec_id,
            module_digest=start.module_digest,
            module_name=start.module_name,
            tenant=start.tenant,
            policy_name=start.policy_name,
            policy_digest=start.policy_digest,
            plan_digest=start.plan_digest,
            started_at_ns=start.started_at_ns,
            ended_at_ns=end_ns,
            outcome=Outcome(kind=OutcomeKind.KILLED, message=message),
            calls=self.calls(),
            records=self._sum("n"),
            refusals=self.refusals(),
            resources=Resources(
                wall_ms=(end_ns - start.started_at_ns) // 1_000_000,
                bytes_read=self._sum("bytes_in"),
                bytes_written=self._sum("bytes_out"),
                host_calls=self._sum("n"),
            ),
            unenforced=start.unenforced,
            gaps=gaps,
        )

    def calls(self) -> tuple[CallCount, ...]:
        """Count by call and decision."""
        groups = self.rows.select(["call", "decision", "n"]).group_by(["call", "decision"], use_threads=False)
        counted = groups.aggregate([("n", "sum")]).to_pylist()
        counts = [
            CallCount(call=bare(row["call"]), decision=WORDS[row["decision"]], count=row["n_sum"])
            for row in counted
        ]
        return tuple(sorted(counts, key=lambda item: (item.call, item.decision)))

    def refusals(self) -> tuple[Refusal, ...]:
        """Give the first refusals."""
        wanted = pc.is_in(
            self.rows.column("decision").cast(pa.int64()), pa.array([int(code) for code in REFUSING])
        )
        refused = self.rows.filter(wanted)
        refused = pa.table([plain(refused.column(name)) for name in _COLUMNS], names=list(_COLUMNS))
        found = refused.sort_by("seq").slice(0, REFUSALS_KEPT).to_pylist()
        return tuple(
            Refusal(
                seq=row["seq"],
                call=bare(row["call"]),
                target=row["target"] if row["target"] is not None else row["guest_target"],
                rule=row["rule_id"],
                reason=row["reason"],
            )
            for row in found
        )

    def _sum(self, column: str) -> int:
        # Summed in Python: a cell that was taken over may have written counts that overflow.
        total = pc.sum(self.rows.column(column).cast(pa.float64(), safe=False)).as_py() or 0.0
        exact = pc.sum(self.rows.column(column)).as_py() or 0
        return int(exact) if abs(total) < _JSON_MAX else 0


def _first_refused(rows: pa.Table, most: int) -> pa.Array:
    """Say of each row whether it is one of the first so many refusals."""
    codes = pa.array([int(code) for code in REFUSING], pa.int8())
    is_refused = np.asarray(pc.is_in(rows.column("decision"), codes)).astype(np.bool_)
    return pa.array(is_refused & (np.cumsum(is_refused) <= most), pa.bool_())


def _counted(rows: pa.Table) -> pa.Table:
    """Give one row for each call and decision, which counts as much as all of them."""
    about = [f"{name}_about" for name in _MOVED]
    for name in _MOVED:
        rows = rows.append_column(f"{name}_about", rows.column(name).cast(pa.float64(), safe=False))
    ways = [("seq", "min"), ("t_last_ns", "max"), *((name, "sum") for name in ("n", *_MOVED, *about))]
    found = rows.group_by(["call", "decision"], use_threads=False).aggregate(ways)
    columns = {name: found.column(f"{name}_{way}") for name, way in ways}
    columns |= {name: found.column(name) for name in ("call", "decision")}
    for name in _MOVED:
        # a cell that was taken over may have written counts that overflow: `_sum` knows it by too large a sum
        fits = pc.less(columns[f"{name}_about"], _JSON_MAX)
        columns[name] = pc.if_else(fits, columns[name], int(_JSON_MAX))
    kinds = pa.schema([SCHEMA.field(name) for name in _COLUMNS])
    columns |= {name: pa.nulls(found.num_rows, kinds.field(name).type) for name in _TEXTS}
    return pa.table([columns[name] for name in _COLUMNS], names=list(_COLUMNS)).cast(kinds)


_TEXTS = ("rule_id", "reason", "target", "guest_target")
_MOVED = ("bytes_in", "bytes_out")
_LONGEST_NS = 366 * 86_400 * 1_000_000_000  # a record's time is the cell's word: not believed without end
_JSON_MAX = float(1 << 53)
