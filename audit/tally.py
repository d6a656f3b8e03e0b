"""Counts the records of one execution, for a receipt that nobody lived to write.

A run that ended under supervision has the monitor's own counters in its receipt; these here come
from the records that were recovered. INVARIANT: each row is counted once, whichever segment it
is in, for as many calls as it stands for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

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
from audit.segment import read_rows
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


def bare(call: str) -> str:
    """Give a call's name without the module it is imported from."""
    return call.rpartition(".")[2]


@dataclass(frozen=True, slots=True)
class Tally:
    """The rows of one execution, with the columns that a receipt needs."""

    rows: pa.Table

    @staticmethod
    def of(paths: Sequence[Path], exec_id: str) -> Tally:
        """Read the rows of an execution from its segments."""
        if not paths:
            return Tally(SCHEMA.empty_table().select(list(_COLUMNS)))
        tables = [read_rows(path, exec_id, _COLUMNS) for path in paths]
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


_LONGEST_NS = 366 * 86_400 * 1_000_000_000  # a record's time is the cell's word: not believed without end
_JSON_MAX = float(1 << 53)
