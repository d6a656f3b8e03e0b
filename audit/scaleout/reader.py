"""The log as ClickHouse has it: the same questions as `AuditReader` takes, with the same answers.

How segments get there is `loader.py`. What is not loaded is not in an answer about records and totals;
executions that run, tails and plans are those of this machine's own log. INVARIANT: a segment that is not
marked as loaded is in no answer, whatever is in the tables.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pyarrow as pa

from audit.columns import REFUSING, SCHEMA
from audit.cursors import Mark, Position, Snapshot
from audit.filters import RecordFilter
from audit.gather import Decoder, Reading
from audit.query.executions import (
    BY_TARGET,
    OF_CONNECTIONS,
    OF_FILES,
    Before,
    Execution,
    Target,
    Wanted,
    targets,
)
from audit.query.pages import Found
from audit.query.planner import Asked, Kind, Plan, Source, plan_of
from audit.query.reader import PAGE_SECONDS, TOTALS_SECONDS, AuditReader
from audit.query.totals import STATS, STATS_BY, AggregateResult, Aggregation, Stats, stats_of
from audit.receipt import REFUSALS_KEPT, OutcomeKind, Receipt, Refusal
from audit.scaleout.backend import Backend
from audit.scaleout.clickhouse import ClickHouse
from audit.scaleout.counting import Counting, as_table
from audit.scaleout.dialect import NO_EXECUTION, after, conditions, joined, visible, within
from audit.scaleout.tables import EXECUTIONS, LOADED, RECORDS, REFUSALS, ROLLUPS
from audit.statement import Conditions
from audit.tally import Tally

_MOST: Final = (1 << 63) - 1
_KEY: Final = ("t_ns", "exec_id", "seq")
_ALL: Final = Source(
    path=Path(RECORDS),
    t_min_ns=-_MOST,
    t_max_ns=_MOST,
    refusals=1,
    refusals_path=Path(REFUSALS),
    rollup_path=Path(ROLLUPS),
)
_TARGETS: Final = (
    "target, guest_target, decision, toInt64(sum(n)) AS calls, toInt64(sum(bytes_in)) AS bytes_in,"
    " toInt64(sum(bytes_out)) AS bytes_out, min(t_ns) AS first_t_ns, max(t_last_ns) AS last_t_ns"
)


class ClickHouseReader(AuditReader):
    """Queries on what is loaded; thread-safe."""

    def __init__(
        self,
        root: Path,
        reading: Reading | Decoder,
        engine: ClickHouse,
        *,
        cursor_key: bytes | None = None,
        memory_mb: int = 1024,
        page_seconds: float | None = PAGE_SECONDS,
        totals_seconds: float | None = TOTALS_SECONDS,
    ) -> None:
        """Take this machine's own log, and a connection, which is closed with the reader; QueryError.

        A page, or another answer, that takes longer than its time fails.
        """
        super().__init__(
            root,
            reading,
            cursor_key=cursor_key,
            memory_mb=memory_mb,
            page_seconds=page_seconds,
            totals_seconds=totals_seconds,
        )
        self._clickhouse = engine

    @staticmethod
    def open(backend: Backend, root: Path, reading: Reading | Decoder, **limits: object) -> ClickHouseReader:
        """Connect, and open; QueryError, BackendError."""
        engine = ClickHouse(backend)
        try:
            return ClickHouseReader(root, reading, engine, **limits)  # type: ignore[arg-type]  # as above
        except BaseException:
            engine.close()
            raise

    def close(self) -> None:
        """Close the connection too."""
        super().close()
        self._clickhouse.close()

    # --- records ------------------------------------------------------------------------------

    def _page(self, wanted: RecordFilter, *, seconds: float | None) -> tuple[Found, str | None, int]:
        mark = self._cursors.read(wanted)
        snapshot = self._taken() if mark is None else mark.snapshot
        digests, policies = self._digests(wanted.module), self._policies(wanted.policy)
        plan = plan_of(Asked(wanted=wanted, module_ids=digests, policy_ids=policies), [_ALL])
        where = visible(self._clickhouse.name, wanted, snapshot)
        where = joined(where, conditions(wanted, module_ids=digests, policy_ids=policies))
        where = after(where, None if mark is None else mark.position, is_ascending=wanted.is_ascending)
        where = within(where, None if mark is None else mark.snapshot)
        way = "ASC" if wanted.is_ascending else "DESC"
        order = f"ORDER BY t_ns {way}, exec_id {way}, seq {way} LIMIT {wanted.limit + 1:d}"
        names = (
            tuple(SCHEMA.names) if wanted.fields is None else tuple(dict.fromkeys((*wanted.fields, *_KEY)))
        )
        rows = self._select(plan, names, where, order, seconds=seconds)
        kept = rows.slice(0, wanted.limit)
        if rows.num_rows <= wanted.limit:
            return Found(rows=kept, following=None), None, snapshot.tree_size
        last = kept.slice(kept.num_rows - 1).select(list(_KEY)).to_pylist()[0]
        at = Position(t_ns=last["t_ns"], exec_id=last["exec_id"], seq=last["seq"])
        following = self._cursors.make(wanted, Mark(at, snapshot))
        return Found(rows=kept, following=at), following, snapshot.tree_size

    def _select(
        self, plan: Plan, names: tuple[str, ...], where: Conditions, rest: str, *, seconds: float | None
    ) -> pa.Table:
        if not plan.steps:
            return as_table(SCHEMA.empty_table().select(list(names)), SCHEMA)
        table = REFUSALS if plan.of(Kind.REFUSALS) else RECORDS
        chosen = ", ".join(f'"{name}"' for name in names)
        # SECURITY: only column names and numbers of ours are put into the text; every value is bound
        statement = f"SELECT {chosen} FROM {self._clickhouse.name}.{table} {where.text} {rest}"  # noqa: S608  # nosec B608
        return as_table(self._clickhouse.ask(statement, dict(where.values), seconds=seconds), SCHEMA)

    def _taken(self) -> Snapshot:
        table = f"{self._clickhouse.name}.{LOADED}"
        loaded = f"SELECT maxOrNull(t_max_ns) AS t, maxOrNull(loaded_ns) AS at FROM {table}"  # noqa: S608  # nosec B608
        row = self._clickhouse.rows(loaded)[0]
        t_ns, at = row["t"], row["at"]
        if not isinstance(t_ns, int) or not isinstance(at, int):
            t_ns, at = -_MOST, 0
        return Snapshot(t_ns, ((NO_EXECUTION, at),), self._catalogue.entries_read())

    # --- totals -------------------------------------------------------------------------------

    def aggregate(self, of: Aggregation) -> AggregateResult:
        """Count records apart by some of their columns, as `AuditReader.aggregate`."""
        return self._counted(of)

    def stats(self, wanted: RecordFilter) -> Stats:
        """Give totals, of this machine's log and of others that are loaded; as `AuditReader.stats`."""
        found = self._counted(Aggregation(by=STATS_BY, metrics=STATS, wanted=wanted), is_all=True)
        executions = self._counted(Aggregation(metrics=("executions",), wanted=wanted))
        return stats_of(found, int(executions.rows[0]["executions"] or 0))

    def _counted(self, of: Aggregation, *, is_all: bool = False) -> AggregateResult:
        digests, policies = self._digests(of.wanted.module), self._policies(of.wanted.policy)
        counting = Counting(
            engine=self._clickhouse,
            plan=plan_of(of.asked(digests, policies), [_ALL]),
            visible=visible(self._clickhouse.name, of.wanted, None),
            module_ids=digests,
            policy_ids=policies,
            seconds=self._totals_seconds,
        )
        return counting.groups(of, is_all=is_all)

    def refusals(self, exec_id: str) -> tuple[Refusal, ...]:
        """Give the first refusals of an execution, as its receipt lists them."""
        codes = ", ".join(str(int(code)) for code in REFUSING)
        where = self._about(exec_id).also(f"decision IN ({codes})")
        plan = plan_of(Asked(wanted=RecordFilter(execution=exec_id)), [_ALL])
        rest = f"ORDER BY seq LIMIT {REFUSALS_KEPT}"
        return Tally(self._select(plan, tuple(SCHEMA.names), where, rest, seconds=None)).refusals()

    def files(self, exec_id: str) -> tuple[Target, ...]:
        """Give the distinct paths that an execution touched, with counts; raises FilterError."""
        return self._touched(exec_id, OF_FILES)

    def connections(self, exec_id: str) -> tuple[Target, ...]:
        """Give the distinct addresses and names that an execution asked for."""
        return self._touched(exec_id, OF_CONNECTIONS)

    def _touched(self, exec_id: str, also: str) -> tuple[Target, ...]:
        where = self._about(exec_id).also(also)
        # SECURITY: as above
        statement = f"SELECT {_TARGETS} FROM {self._clickhouse.name}.{RECORDS} {where.text} {BY_TARGET}"  # noqa: S608  # nosec B608
        found = self._clickhouse.ask(statement, dict(where.values), seconds=self._totals_seconds)
        return targets(found)

    def _about(self, exec_id: str) -> Conditions:
        wanted = RecordFilter(execution=exec_id)
        seen = visible(self._clickhouse.name, wanted, None)
        return joined(seen, conditions(wanted, module_ids=()))

    # --- executions ---------------------------------------------------------------------------

    def execution(self, exec_id: str) -> Execution | None:
        """Give an execution by its id, of this machine or of another that loaded it; None: not known."""
        here = super().execution(exec_id)
        if here is not None and here.receipt is not None:
            return here
        table = f"{self._clickhouse.name}.{EXECUTIONS}"
        found = self._clickhouse.rows(
            f"SELECT receipt FROM {table} WHERE exec_id = {{exec_id:String}} LIMIT 1",  # noqa: S608  # nosec B608
            {"exec_id": exec_id},
        )
        return Execution(None, Receipt.from_json(str(found[0]["receipt"]).encode())) if found else here

    def executions(
        self,
        *,
        limit: int,
        module: str | None = None,
        before: Before | None = None,
        tenants: tuple[str, ...] | None = None,
        outcome: OutcomeKind | None = None,
        from_ns: int | None = None,
        to_ns: int | None = None,
    ) -> tuple[Execution, ...]:
        """Give the newest executions, of this machine and of others; as `AuditReader.executions`."""
        wanted = Wanted(module=module, tenants=tenants, outcome=outcome, from_ns=from_ns, to_ns=to_ns)
        here = super().executions(
            limit=limit, module=module, before=before, tenants=tenants, outcome=outcome,
            from_ns=from_ns, to_ns=to_ns,
        )  # fmt: skip
        found = {one.exec_id: one for one in self._elsewhere(wanted, limit=limit, before=before)}
        found |= {one.exec_id: one for one in here if one.receipt is not None or one.exec_id not in found}
        return tuple(sorted(found.values(), key=lambda one: one.key, reverse=True)[:limit])

    def _elsewhere(self, wanted: Wanted, *, limit: int, before: Before | None) -> list[Execution]:
        where = Conditions()
        if wanted.module is not None:
            by = "module_digest = {module:String} OR module_name = {module:String}"
            where = where.also(by, module=wanted.module)
        if wanted.tenants is not None:
            if not wanted.tenants:
                return []
            where = where.also("has({tenants:Array(String)}, tenant)", tenants=list(wanted.tenants))
        if wanted.outcome is not None:
            where = where.also("outcome = {outcome:String}", outcome=wanted.outcome.value)
        if wanted.from_ns is not None:
            where = where.also("started_at_ns >= {from_ns:Int64}", from_ns=wanted.from_ns)
        if wanted.to_ns is not None:
            where = where.also("started_at_ns < {to_ns:Int64}", to_ns=wanted.to_ns)
        if before is not None:
            part = "(started_at_ns, exec_id) < ({at:Int64}, {at_exec:String})"
            where = where.also(part, at=before[0], at_exec=before[1])
        table = f"{self._clickhouse.name}.{EXECUTIONS}"
        rest = f"ORDER BY started_at_ns DESC, exec_id DESC LIMIT 1 BY exec_id LIMIT {limit:d}"
        rows = self._clickhouse.rows(
            f"SELECT receipt FROM {table} {where.text} {rest}",  # noqa: S608  # nosec B608
            dict(where.values),
        )
        return [Execution(None, Receipt.from_json(str(row["receipt"]).encode())) for row in rows]

    def _digests(self, module: str | None) -> tuple[str, ...]:
        if module is None:
            return ()
        known = self._named(module, name="module_name", digest="module_digest")
        return (module, *sorted({*known, *super()._digests(module)} - {module}))

    def _policies(self, policy: str | None) -> tuple[str, ...]:
        if policy is None:
            return ()
        name, digest = (f"JSONExtractString(receipt, 'policy', '{field}')" for field in ("name", "digest"))
        known = self._named(policy, name=name, digest=digest)
        return (policy, *sorted({*known, *super()._policies(policy)} - {policy}))

    def _named(self, wanted: str, *, name: str, digest: str) -> set[str]:
        table = f"{self._clickhouse.name}.{EXECUTIONS}"
        rows = self._clickhouse.rows(
            f"SELECT DISTINCT {digest} AS digest FROM {table} WHERE {name} = {{name:String}}",  # noqa: S608  # nosec B608
            {"name": wanted},
        )
        return {str(row["digest"]) for row in rows}
