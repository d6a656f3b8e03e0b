"""One log, opened for questions: what callers hold.

How each is answered is in the other modules of this package; this one is longer because every question has
its method here. INVARIANT: the write-ahead log is looked at before the catalogue is asked, so a record that
is sealed meanwhile is found once, in one of the two; and nothing of a tenant out of scope is given.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Self, TypeAlias, cast

import pyarrow as pa

from audit.catalogue import Catalogue, Segment
from audit.columns import REFUSING, SCHEMA, WORDS
from audit.cursors import Cursors, Mark
from audit.errors import QueryError
from audit.facts import Kept, grouping
from audit.filters import MAX_LIMIT, RecordFilter
from audit.gather import BLOCK_RECORDS, Decoder, Reading
from audit.query.engine import Engine, sealed
from audit.query.executions import (
    BY_TARGET,
    OF_CONNECTIONS,
    OF_FILES,
    TARGETS,
    Before,
    Execution,
    Target,
    Wanted,
    newest,
    targets,
)
from audit.query.follow import Follower, Span
from audit.query.pages import Found, Scan, snapshot_of
from audit.query.places import Places, places_of
from audit.query.planner import Asked, Kind, Plan, Source, Step, is_whole, plan_of
from audit.query.rollup_lines import RollupLines
from audit.query.skipping import FolderLists
from audit.query.totals import STATS, STATS_BY, AggregateResult, Aggregation, Counting, Stats, stats_of
from audit.receipt import REFUSALS_KEPT, OutcomeKind, Refusal
from audit.start import ExecutionStart
from audit.statement import Conditions, conditions
from audit.store import Store
from audit.tail import Look, TailReader
from audit.tally import Tally

Row: TypeAlias = "dict[str, int | str | bytes | None]"

_COLUMNS = ", ".join(f'"{name}"' for name in SCHEMA.names)
_FEW = 1_000  # files of which the lists are read before a page; of more, piece by piece until it is full
PAGE_SECONDS = 5.0
TOTALS_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Page:
    """Some rows, and the cursor of the next ones; None when there are no more.

    `is_complete` is False when the time was up before the page was full: the cursor goes on from there.
    """

    rows: tuple[Row, ...]
    next: str | None
    is_complete: bool = True
    tree_size: int = 0  # leaves of the transparency log that were known at the first page


@dataclass(frozen=True, slots=True)
class _View:
    """What one question looks at."""

    look: Look
    sources: tuple[Source, ...]
    plan: Plan
    places: Places
    module_ids: tuple[str, ...]
    policy_ids: tuple[str, ...]
    where: Conditions


class AuditReader:
    """Queries on one log; thread-safe, and several processes may read while others write."""

    def __init__(
        self,
        root: Path,
        reading: Reading | Decoder,
        *,
        cursor_key: bytes | None = None,
        memory_mb: int = 1024,
        threads: int = 2,
        page_seconds: float | None = PAGE_SECONDS,
        totals_seconds: float | None = TOTALS_SECONDS,
    ) -> None:
        """Open the log below `root`; QueryError if there is none.

        `cursor_key` signs cursors, so that they are good after a restart too. A page that takes longer than
        `page_seconds` is shorter and says so; other answers fail after `totals_seconds`.
        """
        self._store = Store(root)
        if not self._store.wal.is_dir():
            raise QueryError(f"{root} holds no audit log")
        self._catalogue = Catalogue(self._store)
        self._tail = TailReader(self._store, self._catalogue, reading)
        self._cursors = Cursors(cursor_key)
        self._folders = FolderLists()
        self._page_seconds, self._totals_seconds = page_seconds, totals_seconds
        self._engine = Engine(self._store.segments, memory_mb=memory_mb, threads=threads)
        self._rollups = RollupLines(self._engine)

    def __enter__(self) -> Self:
        """Give the reader itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it."""
        self.close()

    def close(self) -> None:
        """Give up the engine's memory, and the files."""
        self._engine.close()
        self._tail.close()

    # --- records ------------------------------------------------------------------------------

    def records(self, wanted: RecordFilter) -> Page:
        """Give one page of records, as columns by name; `decision` is a word."""
        found, following, tree_size = self._page(wanted, seconds=self._page_seconds)
        rows = found.rows.select(list(wanted.fields or SCHEMA.names)).to_pylist()
        return Page(tuple(_worded(row) for row in rows), following, found.is_complete, tree_size)

    def stream(self, wanted: RecordFilter, *, limit: int | None = None) -> Iterator[Row]:
        """Give records page by page, `limit` in all or every one; the filter's own limit is ignored."""
        left = limit
        cursor = wanted.cursor
        while left is None or left > 0:
            size = MAX_LIMIT if left is None else min(left, MAX_LIMIT)
            page = self.records(replace(wanted, limit=size, cursor=cursor))
            yield from page.rows
            cursor = page.next
            if cursor is None:
                return
            left = None if left is None else left - len(page.rows)

    def batches(self, wanted: RecordFilter) -> Iterator[pa.RecordBatch]:
        """Give every record that the filter names as columns, in the order of pages; its limit is ignored."""
        cursor = wanted.cursor
        while True:
            found, cursor, _ = self._page(replace(wanted, limit=MAX_LIMIT, cursor=cursor), seconds=None)
            yield from found.rows.combine_chunks().to_batches()
            if cursor is None:
                return

    def plan_of(self, wanted: RecordFilter) -> Plan:
        """Say which files the first page of a filter would come from; no record is read."""
        return self._narrowed(wanted).plan

    def _page(self, wanted: RecordFilter, *, seconds: float | None) -> tuple[Found, str | None, int]:
        mark = self._cursors.read(wanted)
        tree_size = self._catalogue.entries_read() if mark is None else mark.snapshot.tree_size
        view = self._view(wanted, mark)
        if len(view.plan.steps) <= _FEW:
            view = replace(view, plan=self._folders.narrowed(view.plan, view.places))
        where = view.where.after(None if mark is None else mark.position, is_ascending=wanted.is_ascending)
        where = where.within(None if mark is None else mark.snapshot)
        found = Scan(
            engine=self._engine,
            wanted=wanted,
            tail=view.look.table,
            where=where,
            plan=view.plan,
            fitting=lambda steps: self._folders.fitting(steps, view.places),
            least=BLOCK_RECORDS if view.places else 0,
            mark=mark,
            seconds=seconds,
        ).page()
        if found.following is None:
            return found, None, tree_size
        snapshot = snapshot_of(view.plan.steps, view.look, tree_size) if mark is None else mark.snapshot
        return found, self._cursors.make(wanted, Mark(found.following, snapshot)), tree_size

    # --- totals -------------------------------------------------------------------------------

    def aggregate(self, of: Aggregation) -> AggregateResult:
        """Count records apart by some of their columns; says whether that came from roll-ups or a scan."""
        return self._counting(self._narrowed(of.wanted, of=of)).groups(of)

    def stats(self, wanted: RecordFilter) -> Stats:
        """Give totals; the filter's limit and cursor are ignored."""
        of = Aggregation(by=STATS_BY, metrics=STATS, wanted=wanted)
        view = self._narrowed(wanted, of=of)
        return stats_of(self._counting(view).groups(of, is_all=True), self._executions(wanted, view))

    def _executions(self, wanted: RecordFilter, view: _View) -> int:
        """Count the executions with records: of segments that are wanted whole, from the catalogue."""
        of = Aggregation(metrics=("executions",), wanted=wanted)
        asked = of.asked(view.module_ids, view.policy_ids)
        view = replace(view, plan=self._folders.narrowed(plan_of(asked, view.sources), view.places))
        whole: list[Step] = []
        others: list[Step] = []
        for step in view.plan.steps:
            (whole if is_whole(asked, step.source) else others).append(step)
        if not whole:
            return int(self._counting(view).groups(of).rows[0]["executions"] or 0)
        paths = (str(step.source.path.relative_to(self._store.root)) for step in whole)
        rest = replace(view, plan=replace(view.plan, steps=tuple(others)))
        known = self._counting(rest).executions(wanted)
        return self._catalogue.count_executions(paths, known, exec_id=wanted.execution)

    def explain(self, of: Aggregation) -> Plan:
        """Say which files an aggregation would come from; no record is read."""
        return self._narrowed(of.wanted, of=of).plan

    def facts(self, wanted: RecordFilter, *, keep: tuple[Kept, ...] = ()) -> pa.Table:
        """Give records counted by all that decides them (see `audit.facts`), the earliest first.

        Groups of different modules, policies or executions are kept apart by what is in `keep`. The filter's
        limit and cursor are ignored.
        """
        chosen, rest, around = grouping(keep)
        return self._ask(self._narrowed(wanted), chosen, rest, around=around)

    def _counting(self, view: _View) -> Counting:
        return Counting(
            engine=self._engine,
            lines=self._rollups,
            tail=view.look.table,
            plan=view.plan,
            module_ids=view.module_ids,
            policy_ids=view.policy_ids,
            seconds=self._totals_seconds,
        )

    # --- executions ---------------------------------------------------------------------------

    def execution(self, exec_id: str) -> Execution | None:
        """Give an execution by its id, running or over; None if the log does not know it.

        Raises FilterError if it is no id.
        """
        RecordFilter(execution=exec_id)
        unsealed = [one for one in self._tail.known() if one[0].exec_id == exec_id]
        receipt = self._catalogue.receipt(exec_id)
        if receipt is not None:
            return Execution(None, receipt)
        return Execution(*unsealed[0]) if unsealed else None

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
        """Give the newest executions; `module` is a digest or a name, `before` a start time and an id.

        `tenants` are those whose executions may be seen, `outcome` is that of executions that are over, the
        times are those of the start.
        """
        wanted = Wanted(module=module, tenants=tenants, outcome=outcome, from_ns=from_ns, to_ns=to_ns)
        unsealed = [Execution(*one) for one in self._tail.known()]
        return newest(self._catalogue, unsealed, wanted, limit=limit, before=before)

    def refusals(self, exec_id: str) -> tuple[Refusal, ...]:
        """Give the first refusals of an execution, as its receipt lists them."""
        codes = ", ".join(str(int(code)) for code in REFUSING)
        also = f"decision IN ({codes})"
        view = self._view(RecordFilter(execution=exec_id))
        return Tally(self._ask(view, _COLUMNS, f"ORDER BY seq LIMIT {REFUSALS_KEPT}", also=also)).refusals()

    def files(self, exec_id: str) -> tuple[Target, ...]:
        """Give the distinct paths that an execution touched, with counts; raises FilterError."""
        return self._targets(exec_id, OF_FILES)

    def connections(self, exec_id: str) -> tuple[Target, ...]:
        """Give the distinct addresses and names that an execution asked for; none until there are sockets."""
        return self._targets(exec_id, OF_CONNECTIONS)

    def _targets(self, exec_id: str, also: str) -> tuple[Target, ...]:
        view = self._view(RecordFilter(execution=exec_id))
        return targets(self._ask(view, TARGETS, BY_TARGET, also=also))

    # --- live ---------------------------------------------------------------------------------

    def follow(self) -> Follower:
        """Give live tails of this log; one for all clients is enough."""
        return Follower(self._tail.advance, self._spanned)

    def _spanned(self, span: Span, wanted: RecordFilter) -> tuple[Row, ...]:
        look = self._tail.look(lambda start: _is_about(wanted, start))
        found = self._catalogue.segments()
        files = [str(one.path) for one in found if one.source_wal in span.sources - look.sources]
        where = conditions(
            wanted, module_ids=self._digests(wanted.module), policy_ids=self._policies(wanted.policy)
        )
        values, ranged = list(where.values), span.whole is None
        joined = "JOIN ranges ON exec_id = of_exec AND seq BETWEEN low AND high" if ranged else ""
        order = "number, seq" if ranged else "exec_id, seq"
        # SECURITY: only column names of ours are put into the text; every value is bound
        parts = [f"SELECT {_COLUMNS} FROM tail"] if ranged else []  # noqa: S608  # nosec B608
        if files:
            parts.append(f"SELECT {_COLUMNS} FROM {sealed('$files')}")  # noqa: S608  # nosec B608
            values.append(("files", files))
        if not parts:
            return ()
        statement = (
            f"SELECT {_COLUMNS} FROM ({' UNION ALL '.join(parts)}) {joined} {where.text} ORDER BY {order}"  # noqa: S608  # nosec B608
        )
        if span.whole is not None:
            statement += f" LIMIT {span.whole[1]:d} OFFSET {span.whole[0]:d}"
        tables = {"tail": look.table, "ranges": span.ranges}
        rows = self._engine.ask(statement, values, tables=tables, seconds=self._totals_seconds)
        return tuple(_worded(row) for row in rows.to_pylist())

    # --- what a question looks at -------------------------------------------------------------

    def _view(
        self, wanted: RecordFilter, mark: Mark | None = None, *, of: Aggregation | None = None
    ) -> _View:
        # INVARIANT: this comes first; what is sealed after it is left out below, by its source
        look = self._tail.look(lambda start: _is_about(wanted, start))
        digests = self._digests(wanted.module)
        policies = self._policies(wanted.policy)
        asked = Asked(wanted=wanted, module_ids=digests, policy_ids=policies)
        if of is not None:
            asked = of.asked(digests, policies)
        if mark is not None:
            asked = _behind(asked, mark)
        found = self._catalogue.segments(exec_id=wanted.execution, from_ns=wanted.from_ns, to_ns=wanted.to_ns)
        sources = tuple(source_of(one) for one in found if look.is_beside(one.source_wal))
        where = conditions(wanted, module_ids=digests, policy_ids=policies)
        return _View(look, sources, plan_of(asked, sources), places_of(wanted), digests, policies, where)

    def _narrowed(self, wanted: RecordFilter, *, of: Aggregation | None = None) -> _View:
        view = self._view(wanted, of=of)
        return replace(view, plan=self._folders.narrowed(view.plan, view.places))

    def _digests(self, module: str | None) -> tuple[str, ...]:
        if module is None:
            return ()
        running = {start.module_digest for start, _ in self._tail.known() if start.module_name == module}
        return (module, *sorted(running | set(self._catalogue.digests_named(module))))

    def _policies(self, policy: str | None) -> tuple[str, ...]:
        if policy is None:
            return ()
        running = {start.policy_digest for start, _ in self._tail.known() if start.policy_name == policy}
        return (policy, *sorted(running | set(self._catalogue.policies_named(policy))))

    def _ask(
        self, view: _View, chosen: str, rest: str, *, around: str = "{}", also: str | None = None
    ) -> pa.Table:
        # SECURITY: only column names of ours are put into the text; every value is bound
        where = view.where if also is None else view.where.also(also)
        source, values = f"SELECT {_COLUMNS} FROM tail", list(where.values)  # noqa: S608  # nosec B608
        if files := [*view.plan.of(Kind.RECORDS), *view.plan.of(Kind.REFUSALS)]:
            values.append(("files", files))
            source = f"SELECT {_COLUMNS} FROM {sealed('$files')} UNION ALL {source}"  # noqa: S608  # nosec B608
        statement = around.format(f"SELECT {chosen} FROM ({source}) {where.text} {rest}")  # noqa: S608  # nosec B608
        return self._engine.ask(statement, values, tables={"tail": view.look.table})


def source_of(segment: Segment) -> Source:
    """Give a segment as planning takes it."""
    return Source(
        path=segment.path,
        t_min_ns=segment.t_min_ns,
        t_max_ns=segment.t_max_ns,
        rows=segment.rows,
        tenant=segment.tenant,
        modules=segment.modules,
        policies=segment.policies,
        refusals=segment.refusals,
        refusals_path=segment.deny_path,
        rollup_path=segment.rollup_path,
    )


def _behind(asked: Asked, mark: Mark) -> Asked:
    horizon, at = mark.snapshot.horizon_ns, mark.position.t_ns
    if asked.wanted.is_ascending:
        return replace(asked, before_ns=horizon, after_ns=at)
    return replace(asked, before_ns=min(horizon, at))


def _is_about(wanted: RecordFilter, start: ExecutionStart) -> bool:
    """Say whether an execution can have records that are wanted; of others nothing is decoded."""
    if wanted.execution is not None and start.exec_id != wanted.execution:
        return False
    if wanted.scope is not None and start.tenant not in wanted.scope:
        return False
    if wanted.module is not None and wanted.module not in {start.module_digest, start.module_name}:
        # a name stands for the digests that ran under it, and one of them may run under another name now
        return not wanted.module.startswith("sha256:")
    if wanted.policy is not None and wanted.policy not in {start.policy_digest, start.policy_name}:
        # likewise of a policy
        return not wanted.policy.startswith("sha256:")
    return wanted.to_ns is None or start.started_at_ns < wanted.to_ns


def _worded(row: dict[str, object]) -> Row:
    if "decision" in row:
        row["decision"] = WORDS.get(cast("int", row["decision"]), "none")
    return cast("Row", row)
