"""Totals over loaded records, from the roll-ups where these say as much, and from the records elsewhere.

What may be asked is `audit.query.totals`; which tables answer is the planner's choice, as in the embedded
engine. INVARIANT: counts and sums are exact, whatever they came from; only `source` tells.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final, cast

import pyarrow as pa

from audit.columns import WORDS
from audit.filters import RecordFilter
from audit.query.planner import Kind, Plan
from audit.query.totals import AggregateResult, Aggregation, SourceWord
from audit.scaleout.clickhouse import ClickHouse
from audit.scaleout.dialect import conditions
from audit.scaleout.tables import RECORDS, REFUSALS, ROLLUPS
from audit.statement import Conditions, Value

_MOST: Final = (1 << 63) - 1


def _sum(name: str) -> str:
    return f"toInt64(least(sum({name}), toInt128({_MOST})))"


def _quantile(level: str) -> str:
    found = f"quantileTDigestOrNullIf({level})(dur_ns, ifNull(n = 1 AND dur_ns >= 0, 0))"
    return f"toInt64OrNull(toString(round({found})))"


_METRICS: Final = {
    "count": _sum("n"),
    "bytes_in": _sum("bytes_in"),
    "bytes_out": _sum("bytes_out"),
    "max_duration": "maxOrNullIf(dur_max_ns, ifNull(dur_max_ns >= 0, 0))",
    "p50_duration": _quantile("0.5"),
    "p95_duration": _quantile("0.95"),
    "executions": "toInt64(uniqExact(exec_id))",
    "targets": "toInt64(uniqExact(target))",
    "first": "minOrNull(t_min_ns)",
    "last": "maxOrNull(t_max_ns)",
}
_COLUMN: Final = {
    "tenant": "tenant_id", "module": "module_id", "policy": "policy_id", "call": "call",
    "decision": "decision", "errno": "errno", "rule": "rule_id", "reason": "reason",
    "class": "class_uid", "execution": "exec_id",
}  # fmt: skip
_NEAR: Final = frozenset({"p50_duration", "p95_duration"})

_TEXTS: Final = ("exec_id", "tenant_id", "module_id", "policy_id", "call", "rule_id", "reason", "target")


def _as_text(name: str, *, is_there: bool = True) -> str:
    return f"CAST({name if is_there else 'NULL'} AS Nullable(String)) AS {name}"


_OF_RECORDS: Final = ", ".join(
    (
        *(_as_text(name) for name in _TEXTS),
        "decision, toNullable(errno) AS errno, toNullable(class_uid) AS class_uid, t_ns",
        "toInt128(n) AS n, toInt128(bytes_in) AS bytes_in, toInt128(bytes_out) AS bytes_out, dur_ns",
        "coalesce(dur_max_ns, dur_ns) AS dur_max_ns, t_ns AS t_min_ns, t_last_ns AS t_max_ns",
    )
)
_IN_ROLLUPS: Final = frozenset({"tenant_id", "module_id", "call", "rule_id", "reason"})
_OF_ROLLUPS: Final = ", ".join(
    (
        *(_as_text(name, is_there=name in _IN_ROLLUPS) for name in _TEXTS),
        "decision, CAST(NULL AS Nullable(Int16)) AS errno, CAST(NULL AS Nullable(Int32)) AS class_uid",
        "minute AS t_ns, CAST(n AS Int128) AS n, CAST(bytes_in AS Int128) AS bytes_in",
        "CAST(bytes_out AS Int128) AS bytes_out, CAST(NULL AS Nullable(Int64)) AS dur_ns",
        "CAST(dur_max_ns AS Nullable(Int64)) AS dur_max_ns, CAST(t_min_ns AS Int64) AS t_min_ns",
        "CAST(t_max_ns AS Int64) AS t_max_ns",
    )
)


def _key(name: str) -> str:
    if name in _COLUMN:
        return _COLUMN[name]
    word, _, number = name.partition(":")
    if word == "target":
        names = f"(/[^/]*){{0,{int(number) - 1}}}"
        return f"regexpExtract(target, '^([a-z]+://)?/?[^/]*{names}', 0)"
    size = f"toInt64({int(number) * 1_000_000_000})"
    return f"t_ns - ((t_ns % {size}) + {size}) % {size}"


@dataclass(frozen=True, slots=True)
class Counting:
    """Answers questions about totals."""

    engine: ClickHouse
    plan: Plan
    visible: Conditions  # which segments count
    module_ids: tuple[str, ...]
    policy_ids: tuple[str, ...]
    seconds: float | None

    @property
    def source(self) -> SourceWord:
        """What the answer comes from."""
        kinds = {step.kind for step in self.plan.steps}
        if Kind.ROLLUP not in kinds:
            return "scan"
        return "mixed" if len(kinds) > 1 else "rollup"

    def groups(self, of: Aggregation, *, is_all: bool = False) -> AggregateResult:
        """Give the groups, so many as are asked for or all; raises QueryError."""
        keys = [f"k{number}" for number in range(len(of.by))]
        chosen = [f"{_key(name)} AS {key}" for name, key in zip(of.by, keys, strict=True)]
        chosen += [f"{_METRICS[name]} AS m{number}" for number, name in enumerate(of.metrics)]
        group = f"GROUP BY {', '.join(keys)}" if keys else ""
        order = ", ".join(("m0 DESC NULLS LAST", *(f"{key} NULLS FIRST" for key in keys)))
        most = _MOST if is_all else of.limit
        limit = "" if is_all else f"LIMIT {most + 1:d}"
        parts, values = self._parts(of.wanted)
        # SECURITY: only column names and numbers of ours are put into the text; every value is bound
        statement = (
            f"SELECT {', '.join(chosen)} FROM ({' UNION ALL '.join(parts)}) {group} ORDER BY {order} {limit}"  # noqa: S608  # nosec B608
        )
        found = self.engine.ask(statement, dict(values), seconds=self.seconds)
        rows = [_worded(row) for row in found.rename_columns([*of.by, *of.metrics]).to_pylist()]
        is_exact = not _NEAR.intersection(of.metrics)
        return AggregateResult(tuple(rows[:most]), self.source, len(rows) > most, is_exact)

    def _parts(self, wanted: RecordFilter) -> tuple[list[str], list[tuple[str, Value]]]:
        where = self._where(wanted)
        parts, values = [], list(where.values)
        low, high = self.plan.window or (0, 0)
        for step in self.plan.steps:
            match step.kind:
                case Kind.ROLLUP:
                    within = self._where(replace(wanted, from_ns=None, to_ns=None))
                    at = within.also(f"minute >= {low:d} AND minute < {high:d}") if step.is_edge else within
                    parts.append(self._from(ROLLUPS, _OF_ROLLUPS, at))
                case Kind.RECORDS | Kind.REFUSALS:
                    outside = where.also(f"t_ns < {low:d} OR t_ns >= {high:d}")
                    at = outside if step.is_edge and low < high else where
                    table = RECORDS if step.kind is Kind.RECORDS else REFUSALS
                    parts.append(self._from(table, _OF_RECORDS, at))
        return parts or [self._from(RECORDS, _OF_RECORDS, where.also("0"))], values

    def _where(self, wanted: RecordFilter) -> Conditions:
        found = conditions(wanted, module_ids=self.module_ids, policy_ids=self.policy_ids)
        return Conditions((*self.visible.parts, *found.parts), (*self.visible.values, *found.values))

    def _from(self, table: str, columns: str, where: Conditions) -> str:
        return f"SELECT {columns} FROM {self.engine.name}.{table} {where.text}"  # noqa: S608  # nosec B608  # names of ours


def _worded(row: dict[str, object]) -> dict[str, int | str | None]:
    if "decision" in row:
        row["decision"] = WORDS.get(cast("int", row["decision"]), "none")
    return cast("dict[str, int | str | None]", row)


def as_table(found: pa.Table, schema: pa.Schema) -> pa.Table:
    """Give what was selected with the types of the log, texts uncoded."""
    fields = []
    for one in found.schema:
        of = schema.field(one.name)
        fields.append(pa.field(one.name, pa.string() if pa.types.is_dictionary(of.type) else of.type))
    return found.cast(pa.schema(fields))
