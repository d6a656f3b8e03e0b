"""The tables of the log in ClickHouse: records, refusals, roll-ups, executions, and what is loaded.

Who fills them is `loader.py`, who asks them `questions.py`. Each row names its segment, so a segment counts
when it is marked as loaded and not before, and can be taken away again. INVARIANT: `records` has the columns
of `audit.columns.SCHEMA`, and two more in front.
"""

from __future__ import annotations

from typing import Final

import pyarrow as pa

from audit.columns import REFUSING, SCHEMA, Stage
from audit.rollup import MINUTE_NS

RECORDS, REFUSALS, ROLLUPS = "records", "refusals", "rollups"
LOADED, EXECUTIONS = "loaded", "executions"
OF_SEGMENTS: Final = (RECORDS, REFUSALS, ROLLUPS)

_WINDOW: Final = 10_000  # inserts whose tokens are remembered

_TYPES: Final = {
    pa.int8(): "Int8",
    pa.int16(): "Int16",
    pa.int32(): "Int32",
    pa.int64(): "Int64",
    pa.binary(): "String",
    pa.binary(32): "FixedString(32)",
}
_CODECS: Final = {
    "seq": "Delta, ZSTD(3)", "t_ns": "Delta, ZSTD(3)", "t_last_ns": "Delta, ZSTD(3)",
    "opener_seq": "Delta, ZSTD(3)", "dur_ns": "T64, ZSTD(3)", "dur_max_ns": "T64, ZSTD(3)",
    "bytes_in": "T64, ZSTD(3)", "bytes_out": "T64, ZSTD(3)", "n": "T64, ZSTD(3)",
    "exec_id": "ZSTD(3)", "payload": "ZSTD(3)", "flags": "ZSTD(3)",
}  # fmt: skip
_SETTINGS: Final = (
    f"non_replicated_deduplication_window = {_WINDOW}, fsync_after_insert = 1, fsync_part_directory = 1"
)


def _column(field: pa.Field) -> str:
    name, kind = f'"{field.name}"', field.type
    if pa.types.is_dictionary(kind):
        text = "String" if not field.nullable else "Nullable(String)"
        # an execution's id is in a few segments only: a dictionary of them says everything twice
        written = text if field.name == "exec_id" else f"LowCardinality({text})"
    else:
        written = _TYPES[kind] if not field.nullable else f"Nullable({_TYPES[kind]})"
    codec = _CODECS.get(field.name)
    return f"{name} {written}" + (f" CODEC({codec})" if codec else "")


_COLUMNS: Final = ",\n  ".join(
    ("day Date", "segment LowCardinality(String)", *(_column(field) for field in SCHEMA))
)
_NAMES: Final = ", ".join(("day", "segment", *(f'"{name}"' for name in SCHEMA.names)))
_REFUSED: Final = (
    f"decision IN ({', '.join(str(int(code)) for code in REFUSING)}) OR stage = {int(Stage.TRAP)}"
)
# A minute begins before its records, also before 1970.
_MINUTE: Final = f"r.t_ns - ((r.t_ns % {MINUTE_NS}) + {MINUTE_NS}) % {MINUTE_NS}"
_LASTED: Final = "coalesce(r.dur_max_ns, r.dur_ns)"


def schema(database: str) -> tuple[str, ...]:
    """Give the statements that make what is missing, in order.

    On a cluster an operator makes the tables first, from these, with `Replicated…` engines: what is there is
    left as it is. `day` is that of the segment's folder: what guests say of the time makes no partitions.
    """
    of = f"{database}."
    return (*_of_records(of), *_of_rollups(of), *_of_marks(of))


def _of_records(of: str) -> tuple[str, ...]:
    return (
        (
            f"CREATE TABLE IF NOT EXISTS {of}{RECORDS} (\n  {_COLUMNS},\n"
            "  INDEX by_time t_ns TYPE minmax GRANULARITY 1,\n"
            "  INDEX by_decision decision TYPE set(8) GRANULARITY 1,\n"
            "  INDEX by_target target TYPE bloom_filter(0.01) GRANULARITY 2,\n"
            "  INDEX by_guest_target guest_target TYPE bloom_filter(0.01) GRANULARITY 2\n"
            ") ENGINE = MergeTree PARTITION BY day ORDER BY (tenant_id, exec_id, seq)\n"
            f"SETTINGS {_SETTINGS}"
        ),
        (
            f"CREATE TABLE IF NOT EXISTS {of}{REFUSALS} (\n  {_COLUMNS}\n"
            ") ENGINE = MergeTree PARTITION BY day ORDER BY (tenant_id, module_id, t_ns)\n"
            f"SETTINGS {_SETTINGS}"
        ),
        (
            f"CREATE MATERIALIZED VIEW IF NOT EXISTS {of}{REFUSALS}_of_{RECORDS} TO {of}{REFUSALS} AS\n"  # nosec B608  # names of ours
            f"SELECT {_NAMES} FROM {of}{RECORDS} WHERE {_REFUSED}"
        ),
    )


def _of_rollups(of: str) -> tuple[str, ...]:
    return (
        (
            f"CREATE TABLE IF NOT EXISTS {of}{ROLLUPS} (\n"
            "  day Date, segment LowCardinality(String), minute Int64 CODEC(Delta, ZSTD(3)),\n"
            "  tenant_id LowCardinality(String), module_id LowCardinality(String),\n"
            "  call LowCardinality(String),\n"
            "  decision Int8, errno_class LowCardinality(String), rule_id LowCardinality(Nullable(String)),\n"
            "  reason LowCardinality(Nullable(String)), rows SimpleAggregateFunction(sum, UInt64),\n"
            # wider than the records: a cell that was taken over may have written what adds up to more
            "  n SimpleAggregateFunction(sum, Int128), bytes_in SimpleAggregateFunction(sum, Int128),\n"
            "  bytes_out SimpleAggregateFunction(sum, Int128),\n"
            "  dur_sum_ns SimpleAggregateFunction(sum, Int128),\n"
            "  dur_max_ns SimpleAggregateFunction(max, Nullable(Int64)),\n"
            "  t_min_ns SimpleAggregateFunction(min, Int64), t_max_ns SimpleAggregateFunction(max, Int64)\n"
            ") ENGINE = SummingMergeTree PARTITION BY day\n"
            "ORDER BY (tenant_id, minute, module_id, call, decision, errno_class, rule_id, reason, segment)\n"
            f"SETTINGS allow_nullable_key = 1, {_SETTINGS}"
        ),
        (
            f"CREATE MATERIALIZED VIEW IF NOT EXISTS {of}{ROLLUPS}_of_{RECORDS} TO {of}{ROLLUPS} AS\n"  # nosec B608
            f"SELECT r.day AS day, r.segment AS segment, {_MINUTE} AS minute, r.tenant_id AS tenant_id,"
            " r.module_id AS module_id, r.call AS call, r.decision AS decision,"
            " multiIf(r.errno = 0, 'ok', r.errno = -1, 'never', 'error') AS errno_class,"
            " r.rule_id AS rule_id, r.reason AS reason, count() AS rows, sum(toInt128(r.n)) AS n,"
            " sum(toInt128(r.bytes_in)) AS bytes_in, sum(toInt128(r.bytes_out)) AS bytes_out,"
            " sum(toInt128(greatest(ifNull(r.dur_ns, 0), 0))) AS dur_sum_ns,"
            f" maxOrNullIf({_LASTED}, ifNull({_LASTED} >= 0, 0)) AS dur_max_ns,"
            " min(r.t_ns) AS t_min_ns, max(r.t_last_ns) AS t_max_ns\n"
            f"FROM {of}{RECORDS} AS r GROUP BY day, segment, minute, tenant_id, module_id, call, decision,"
            " errno_class, rule_id, reason"
        ),
    )


def _of_marks(of: str) -> tuple[str, ...]:
    return (
        (
            f"CREATE TABLE IF NOT EXISTS {of}{LOADED} (\n"
            "  segment String, sha256 String, rows Int64, calls Int64, refusals Int64, tenant String,\n"
            "  t_min_ns Int64, t_max_ns Int64, loaded_ns Int64 DEFAULT toUnixTimestamp64Nano(now64(9))\n"
            f") ENGINE = MergeTree ORDER BY segment SETTINGS {_SETTINGS}"
        ),
        (
            f"CREATE TABLE IF NOT EXISTS {of}{EXECUTIONS} (\n"
            "  exec_id String, started_at_ns Int64, tenant String, module_digest String,\n"
            "  module_name String,\n"
            "  outcome String, sha256 String, receipt String CODEC(ZSTD(3))\n"
            f") ENGINE = ReplacingMergeTree ORDER BY exec_id SETTINGS {_SETTINGS}"
        ),
    )
