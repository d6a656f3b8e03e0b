"""Totals over records, from roll-ups where these say as much, and from the records where they do not.

Which files are read is `planner.py`. Roll-ups hold whole minutes, so minutes that the question's time cuts
are counted from the records. INVARIANT: counts and sums are exact, whatever they came from; only `source`
tells.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final, Literal, TypeAlias, cast

import pyarrow as pa

from audit.call_names import bare
from audit.columns import REFUSING, WORDS
from audit.errors import FilterError
from audit.filters import RecordFilter
from audit.query.engine import Engine, sealed
from audit.query.planner import MINUTE_NS, Asked, Kind, Plan
from audit.query.rollup_lines import RollupLines
from audit.statement import Conditions, Value, conditions

SourceWord: TypeAlias = Literal["rollup", "scan", "mixed"]

_MOST: Final = (1 << 63) - 1
_MAX_DEPTH, _MAX_KEYS, _MAX_GROUPS = 32, 6, 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Stats:
    """Totals over the records that a filter names."""

    records: int = 0
    executions: int = 0
    calls: Mapping[str, Mapping[str, int]] = field(default_factory=dict)  # call -> decision -> count
    refusals_by_rule: Mapping[str, int] = field(default_factory=dict)
    refusals_by_reason: Mapping[str, int] = field(default_factory=dict)
    bytes_in: int = 0
    bytes_out: int = 0
    first_t_ns: int | None = None
    last_t_ns: int | None = None
    source: SourceWord = "scan"


_COLUMN: Final = {
    "tenant": "tenant_id", "module": "module_id", "policy": "policy_id", "call": "call",
    "decision": "decision", "errno": "errno", "rule": "rule_id", "reason": "reason",
    "class": "class_uid", "execution": "exec_id",
}  # fmt: skip
_METRICS: Final = {
    # what it is called: columns that it needs, and how it is made of them
    "count": (("n",), f"least(coalesce(sum(n), 0), {_MOST})::BIGINT"),
    "bytes_in": (("bytes_in",), f"least(coalesce(sum(bytes_in), 0), {_MOST})::BIGINT"),
    "bytes_out": (("bytes_out",), f"least(coalesce(sum(bytes_out), 0), {_MOST})::BIGINT"),
    "max_duration": (("dur_max_ns",), "max(dur_max_ns) FILTER (dur_max_ns >= 0)"),
    "p50_duration": (("dur_ns",), "approx_quantile(dur_ns, 0.5) FILTER (n = 1 AND dur_ns >= 0)"),
    "p95_duration": (("dur_ns",), "approx_quantile(dur_ns, 0.95) FILTER (n = 1 AND dur_ns >= 0)"),
    "executions": (("exec_id",), "count(DISTINCT exec_id)"),
    "targets": (("target",), "count(DISTINCT target)"),
    "first": (("t_min_ns",), "min(t_min_ns)"),
    "last": (("t_max_ns",), "max(t_max_ns)"),
}
_NEAR: Final = frozenset({"p50_duration", "p95_duration"})
METRICS: Final = tuple(_METRICS)
KEYS: Final = (*_COLUMN, "target:DEPTH", "time:SECONDS")


@dataclass(frozen=True, slots=True, kw_only=True)
class Aggregation:
    """What is counted, and apart by what. Checked when it is made: FilterError.

    A key is one of `KEYS`: of a target, so many of its first names; of a time, pieces of so many seconds.
    Durations are in nanoseconds and leave out calls that nobody timed; `p50_duration` and `p95_duration`
    leave out rows that stand for more than one call. `wanted`'s limit and cursor are ignored.
    """

    by: tuple[str, ...] = ()
    metrics: tuple[str, ...] = ("count",)
    wanted: RecordFilter = field(default_factory=RecordFilter)
    limit: int = 1_000

    def __post_init__(self) -> None:
        """Check each name."""
        if len(self.by) > _MAX_KEYS or len(set(self.by)) != len(self.by):
            raise FilterError("by", f"at most {_MAX_KEYS} keys, each once", ", ".join(self.by))
        for key in self.by:
            _key(key)
        unknown = [name for name in self.metrics if name not in _METRICS]
        if unknown or not self.metrics or len(set(self.metrics)) != len(self.metrics):
            raise FilterError("metrics", f"some of {', '.join(METRICS)}, each once", ", ".join(self.metrics))
        if not 1 <= self.limit <= _MAX_GROUPS:
            raise FilterError("limit", f"1 to {_MAX_GROUPS}", self.limit)

    def asked(
        self,
        module_ids: tuple[str, ...],
        policy_ids: tuple[str, ...] | None = None,
        *,
        is_rollup_allowed: bool = True,
    ) -> Asked:
        """Give it as the planner takes it."""
        needed = {name for metric in self.metrics for name in _METRICS[metric][0]}
        needed |= {_key(key).needs for key in self.by}
        return Asked(
            wanted=self.wanted,
            module_ids=module_ids,
            policy_ids=policy_ids,
            purpose="totals",
            columns=frozenset(needed),
            is_rollup_allowed=is_rollup_allowed,
        )


@dataclass(frozen=True, slots=True)
class AggregateResult:
    """Groups as columns by name, those with the largest first metric first; `decision` is a word.

    `is_truncated` when there are more groups than were asked for. Times of a group are where it begins.
    """

    rows: tuple[dict[str, int | str | None], ...]
    source: SourceWord
    is_truncated: bool
    is_exact: (
        bool  # False where a duration in the middle was asked for: that is near, by a digest of bounded size
    )


@dataclass(frozen=True, slots=True)
class _Key:
    text: str  # how it is made of the columns of a record
    needs: str  # the column of a roll-up that says as much, or one that none has


def _key(name: str) -> _Key:
    if name in _COLUMN:
        return _Key(f'"{_COLUMN[name]}"', _COLUMN[name])
    word, _, number = name.partition(":")
    is_number = number.isascii() and number.isdigit() and len(number) < len("1000000000")
    count = int(number) if is_number else 0
    if word == "target" and 1 <= count <= _MAX_DEPTH:
        names = f"(/[^/]*){{0,{count - 1}}}"
        return _Key(f"regexp_extract(target, '^([a-z]+://)?/?[^/]*{names}')", "target")
    if word == "time" and count:
        size = count * 1_000_000_000
        needs = "minute" if size % MINUTE_NS == 0 else "t_ns"
        return _Key(f"t_ns - ((t_ns % {size}) + {size}) % {size}", needs)
    raise FilterError("by", f"one of {', '.join(KEYS)}", name)


@dataclass(frozen=True, slots=True)
class Counting:
    """Answers questions about totals, over a plan's files and what is not sealed."""

    engine: Engine
    lines: RollupLines
    tail: pa.Table
    plan: Plan
    module_ids: tuple[str, ...]
    policy_ids: tuple[str, ...]
    seconds: float | None

    @property
    def source(self) -> SourceWord:
        """What the answer comes from."""
        rolled = sum(step.kind is Kind.ROLLUP for step in self.plan.steps)
        is_scanned = len(self.plan.steps) > rolled or self.tail.num_rows > 0
        return "mixed" if rolled and is_scanned else "rollup" if rolled else "scan"

    def groups(self, of: Aggregation, *, is_all: bool = False) -> AggregateResult:
        """Give the groups, so many as are asked for or all; raises QueryError."""
        keys = [_key(name).text for name in of.by]
        names = [f'"{name}"' for name in of.by]
        chosen = [f"{text} AS {name}" for text, name in zip(keys, names, strict=True)]
        chosen += [f'{_METRICS[name][1]} AS "{name}"' for name in of.metrics]
        group = f"GROUP BY {', '.join(keys)}" if keys else ""
        order = ", ".join([f'"{of.metrics[0]}" DESC NULLS LAST', *(f"{name} NULLS FIRST" for name in names)])
        most = _MOST if is_all else of.limit
        found = self._asked(
            of.wanted, ", ".join(chosen), f"{group} ORDER BY {order} LIMIT {min(most + 1, _MOST):d}"
        )
        rows = [_worded(row) for row in found.to_pylist()]
        is_exact = not _NEAR.intersection(of.metrics)
        return AggregateResult(tuple(rows[:most]), self.source, len(rows) > most, is_exact)

    def executions(self, wanted: RecordFilter) -> frozenset[str]:
        """Give the executions that the records are of; raises QueryError."""
        if not self.plan.steps and not self.tail.num_rows:
            return frozenset()
        found = self._asked(wanted, "DISTINCT exec_id", "")
        return frozenset(cast("list[str]", found.column("exec_id").to_pylist()))

    def _asked(self, wanted: RecordFilter, chosen: str, rest: str) -> pa.Table:
        parts, values = self._of_records(wanted)
        rolled, files, tables = self._of_rollups(wanted)
        # SECURITY: only column names and numbers of ours are put into the text; every value is bound
        statement = f"SELECT {chosen} FROM ({' UNION ALL '.join([*parts, *rolled])}) {rest}"  # noqa: S608  # nosec B608
        tables["tail"] = self.tail
        return self.engine.ask(statement, [*values, *files], tables=tables, seconds=self.seconds)

    def _of_records(self, wanted: RecordFilter) -> tuple[list[str], list[tuple[str, Value]]]:
        where = conditions(wanted, module_ids=self.module_ids, policy_ids=self.policy_ids)
        values, parts = list(where.values), [f"SELECT {_OF_RECORDS} FROM tail {where.text}"]  # noqa: S608  # nosec B608
        for kind in (Kind.RECORDS, Kind.REFUSALS):
            for is_edge in (False, True):
                files, name = self.plan.of(kind, is_edge=is_edge), f"{kind}_{is_edge:d}"
                if not files:
                    continue
                low, high = self.plan.window or (0, 0)
                at = where.also(f"t_ns < {low:d} OR t_ns >= {high:d}") if is_edge and low < high else where
                parts.append(_from(sealed(f"${name}"), _OF_RECORDS, at))
                values.append((name, list(files)))
        return parts, values

    def _of_rollups(
        self, wanted: RecordFilter
    ) -> tuple[list[str], list[tuple[str, Value]], dict[str, pa.Table]]:
        """Give parts of a statement, the files that these name, and the tables."""
        parts: list[str] = []
        values: list[tuple[str, Value]] = []
        tables: dict[str, pa.Table] = {}
        whole = replace(wanted, from_ns=None, to_ns=None)
        within = conditions(whole, module_ids=self.module_ids, policy_ids=self.policy_ids)
        for is_edge in (False, True):
            files, name = self.plan.of(Kind.ROLLUP, is_edge=is_edge), f"rollups_{is_edge:d}"
            low, high = self.plan.window or (0, 0)
            at = within.also(f"minute >= {low:d} AND minute < {high:d}") if is_edge else within
            lines = self.lines.of(files, self.seconds)
            if lines is None:
                parts.append(_from(f"read_parquet(${name}, hive_partitioning = false)", _OF_ROLLUPS, at))
                values.append((name, list(files)))
            elif lines.num_rows:
                parts.append(_from(name, _OF_ROLLUPS, at))
                tables[name] = lines
        return parts, values, tables


_OF_RECORDS = (
    "exec_id, tenant_id, module_id, policy_id, call, decision, errno, rule_id, reason, class_uid, target,"
    " t_ns, n, bytes_in, bytes_out, dur_ns, coalesce(dur_max_ns, dur_ns) AS dur_max_ns, t_ns AS t_min_ns,"
    " t_last_ns AS t_max_ns"
)
_OF_ROLLUPS = (
    "NULL AS exec_id, tenant_id, module_id, NULL AS policy_id, call, decision, NULL AS errno, rule_id,"
    " reason, NULL AS class_uid, NULL AS target, minute AS t_ns, n, bytes_in, bytes_out,"
    " NULL AS dur_ns, dur_max_ns, t_min_ns, t_max_ns"
)


def _from(source: str, columns: str, where: Conditions) -> str:
    return f"SELECT {columns} FROM {source} {where.text}"  # noqa: S608  # nosec B608


def _worded(row: dict[str, object]) -> dict[str, int | str | None]:
    if "decision" in row:
        row["decision"] = WORDS.get(cast("int", row["decision"]), "none")
    return cast("dict[str, int | str | None]", row)


STATS = ("count", "bytes_in", "bytes_out", "first", "last")
STATS_BY = ("call", "decision", "rule", "reason")


def stats_of(found: AggregateResult, executions: int) -> Stats:
    """Add the groups up."""
    calls: dict[str, dict[str, int]] = {}
    rules: dict[str, int] = {}
    reasons: dict[str, int] = {}
    totals = {"count": 0, "bytes_in": 0, "bytes_out": 0}
    refusing = {WORDS[code] for code in REFUSING}
    for group in found.rows:
        count, word = int(group["count"] or 0), str(group["decision"])
        words = calls.setdefault(bare(str(group["call"])), {})
        words[word] = words.get(word, 0) + count
        for name in totals:
            totals[name] += int(group[name] or 0)
        if word in refusing:
            rule, reason = str(group["rule"] or ""), str(group["reason"] or "")
            rules[rule] = rules.get(rule, 0) + count
            reasons[reason] = reasons.get(reason, 0) + count
    return Stats(
        records=totals["count"],
        executions=executions,
        calls={call: dict(sorted(calls[call].items())) for call in sorted(calls)},
        refusals_by_rule=dict(sorted(rules.items())),
        refusals_by_reason=dict(sorted(reasons.items())),
        bytes_in=totals["bytes_in"],
        bytes_out=totals["bytes_out"],
        first_t_ns=min(
            (int(group["first"]) for group in found.rows if group["first"] is not None), default=None
        ),
        last_t_ns=max(
            (int(group["last"]) for group in found.rows if group["last"] is not None), default=None
        ),
        source=found.source,
    )
