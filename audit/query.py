"""Answers questions about records and executions, over sealed segments and what is not sealed yet.

What may be asked is `filters.py`; nothing is written here. This is the only importer of `duckdb`,
which runs in memory, reads only below `seg/`, and loads no extension. INVARIANT: values of a filter
are bound, never part of a statement.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Self, TypeAlias, cast

import duckdb
import pyarrow as pa

from audit.catalogue import Catalogue
from audit.columns import REFUSING, SCHEMA, WORDS
from audit.errors import QueryError
from audit.facts import Kept, grouping
from audit.filters import MAX_LIMIT, Position, RecordFilter
from audit.gather import Decoder
from audit.identity import ExecutionId
from audit.receipt import REFUSALS_KEPT, Receipt, Refusal
from audit.start import ExecutionStart
from audit.statement import Conditions, conditions
from audit.store import Store
from audit.tail import Tail, read_tail
from audit.tally import Tally, bare

Row: TypeAlias = "dict[str, int | str | None]"

_COLUMNS = ", ".join(f'"{name}"' for name in SCHEMA.names)


@dataclass(frozen=True, slots=True)
class Page:
    """Some rows, and the filter's cursor for the next ones; None when there are no more."""

    rows: tuple[Row, ...]
    next: str | None


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


@dataclass(frozen=True, slots=True)
class Execution:
    """One execution; `receipt` is None while it runs."""

    start: ExecutionStart | None  # None once it is sealed
    receipt: Receipt | None

    @property
    def exec_id(self) -> str:
        """Give its name."""
        return _key(self)[1]


class AuditReader:
    """Queries on one log; thread-safe, and several processes may read while others write."""

    def __init__(self, root: Path, decoder: Decoder, *, memory_mb: int = 1024, threads: int = 2) -> None:
        """Open the log below `root`; QueryError if there is none."""
        self._store = Store(root)
        if not self._store.wal.is_dir():
            raise QueryError(f"{root} holds no audit log")
        self._catalogue = Catalogue(self._store)
        self._decoder = decoder
        self._engine = duckdb.connect(
            ":memory:",
            config={
                "autoinstall_known_extensions": "false",
                "autoload_known_extensions": "false",
                "allow_community_extensions": "false",
                "python_enable_replacements": "false",
                "memory_limit": f"{memory_mb}MB",
                "threads": str(threads),
                "temp_directory": "",
            },
        )
        self._engine.execute("SET allowed_directories = ?", [[f"{self._store.segments}/"]])
        self._engine.execute("SET enable_external_access = false")
        self._engine.execute("SET lock_configuration = true")

    def __enter__(self) -> Self:
        """Give the reader itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it."""
        self.close()

    def close(self) -> None:
        """Give up the engine's memory."""
        self._engine.close()

    def records(self, wanted: RecordFilter) -> Page:
        """Give one page of records, as columns by name; `decision` is a word."""
        view = self._view(wanted)
        where = view.where.after(wanted.position(), is_ascending=wanted.is_ascending)
        way = "ASC" if wanted.is_ascending else "DESC"
        rest = f"ORDER BY t_ns {way}, exec_id {way}, seq {way} LIMIT {wanted.limit + 1:d}"
        rows = [_worded(row) for row in self._ask(view, _COLUMNS, where, rest).to_pylist()]
        if len(rows) <= wanted.limit:
            return Page(tuple(rows), None)
        kept = tuple(rows[: wanted.limit])
        return Page(kept, wanted.after(_position(kept[-1])).cursor)

    def stream(self, wanted: RecordFilter, *, limit: int | None = None) -> Iterator[Row]:
        """Give records page by page, `limit` in all or every one; the filter's own limit is ignored."""
        left = limit
        cursor = wanted.cursor
        while left is None or left > 0:
            size = MAX_LIMIT if left is None else min(left, MAX_LIMIT)
            page = self.records(_page_of(wanted, size, cursor))
            yield from page.rows
            cursor = page.next
            if cursor is None:
                return
            left = None if left is None else left - len(page.rows)

    def stats(self, wanted: RecordFilter) -> Stats:
        """Give totals; the filter's limit and cursor are ignored."""
        sums = "sum(n) AS n, sum(bytes_in) AS bytes_in, sum(bytes_out) AS bytes_out"
        chosen = f"call, decision, rule_id, reason, {sums}, min(t_ns) AS first, max(t_ns) AS last"
        view = self._view(wanted)
        groups = self._ask(view, chosen, view.where, "GROUP BY call, decision, rule_id, reason").to_pylist()
        executions = self._ask(view, "count(DISTINCT exec_id) AS n", view.where, "").to_pylist()
        return _stats(groups, int(executions[0]["n"]))

    def facts(self, wanted: RecordFilter, *, keep: tuple[Kept, ...] = ()) -> pa.Table:
        """Give records counted by all that decides them (see `audit.facts`), the earliest first.

        Groups of different modules, policies or executions are kept apart by what is in `keep`. The filter's
        limit and cursor are ignored.
        """
        view = self._view(wanted)
        chosen, rest, around = grouping(keep)
        return self._ask(view, chosen, view.where, rest, around=around)

    def execution(self, exec_id: str) -> Execution | None:
        """Give an execution by its id, running or over; None if the log does not know it.

        Raises FilterError if it is no id.
        """
        RecordFilter(execution=exec_id)
        item = self._tail().known.get(ExecutionId(exec_id))
        receipt = self._catalogue.receipt(exec_id)
        if receipt is not None:
            return Execution(None, receipt)
        return None if item is None else Execution(item.start, item.receipt)

    def executions(
        self, *, limit: int, module: str | None = None, before: tuple[int, str] | None = None
    ) -> tuple[Execution, ...]:
        """Give the newest executions; `module` is a digest or a name, `before` a start time and an id."""
        unsealed = [
            Execution(item.start, item.receipt)
            for item in self._tail().known.values()
            if (module is None or module in {item.start.module_digest, item.start.module_name})
            and (before is None or (item.start.started_at_ns, item.start.exec_id) < before)
        ]
        sealed = [
            Execution(None, receipt)
            for receipt in self._catalogue.receipts(limit=limit, module=module, before=before)
        ]
        by_id = {_key(item)[1]: item for item in [*unsealed, *sealed]}
        return tuple(sorted(by_id.values(), key=_key, reverse=True)[:limit])

    def refusals(self, exec_id: str) -> tuple[Refusal, ...]:
        """Give the first refusals of an execution, as its receipt lists them."""
        view = self._view(RecordFilter(execution=exec_id))
        codes = ", ".join(str(int(code)) for code in REFUSING)
        where = view.where.also(f"decision IN ({codes})")
        return Tally(self._ask(view, _COLUMNS, where, f"ORDER BY seq LIMIT {REFUSALS_KEPT}")).refusals()

    def _tail(self) -> Tail:
        return read_tail(self._store, self._catalogue)

    def _view(self, wanted: RecordFilter) -> _View:
        tail = self._tail()
        rows = tail.table(self._catalogue, self._decoder, exec_id=wanted.execution)
        found = self._catalogue.segments(exec_id=wanted.execution, from_ns=wanted.from_ns, to_ns=wanted.to_ns)
        digests = () if wanted.module is None else self._digests(wanted.module, tail)
        return _View(
            rows,
            tuple(str(segment.path) for segment in found if segment.source_wal not in tail.sources),
            conditions(wanted, module_ids=digests),
        )

    def _digests(self, module: str, tail: Tail) -> tuple[str, ...]:
        starts = [item.start for item in tail.known.values() if item.start.module_name == module]
        running = {start.module_digest for start in starts}
        return (module, *sorted(running | set(self._catalogue.digests_named(module))))

    def _ask(self, view: _View, chosen: str, where: Conditions, rest: str, *, around: str = "{}") -> pa.Table:
        # SECURITY: only column names of ours are put into the text; every value is bound
        source, values = f"SELECT {_COLUMNS} FROM tail", dict(where.values)  # noqa: S608  # nosec B608
        if view.segments:
            values["files"] = list(view.segments)
            sealed = "read_parquet($files, hive_partitioning = false)"
            source = f"SELECT {_COLUMNS} FROM {sealed} UNION ALL {source}"  # noqa: S608  # nosec B608
        statement = around.format(
            f"SELECT {chosen} FROM ({source}) {where.text} {rest}"  # noqa: S608  # nosec B608
        )
        cursor = self._engine.cursor()
        try:
            cursor.register("tail", view.tail)
            return cursor.sql(statement, params=values).to_arrow_table()
        except duckdb.Error as err:
            raise QueryError(str(err)) from err
        finally:
            cursor.close()


@dataclass(frozen=True, slots=True)
class _View:
    """What one query looks at: rows that are not sealed, segments, and the conditions on both."""

    tail: pa.Table
    segments: tuple[str, ...]
    where: Conditions


def _worded(row: dict[str, object]) -> Row:
    row["decision"] = WORDS.get(cast("int", row["decision"]), "none")
    return cast("Row", row)


def _position(row: Row) -> Position:
    return Position(t_ns=cast("int", row["t_ns"]), exec_id=str(row["exec_id"]), seq=cast("int", row["seq"]))


def _page_of(wanted: RecordFilter, limit: int, cursor: str | None) -> RecordFilter:
    return replace(wanted, limit=limit, cursor=cursor)


def _key(item: Execution) -> tuple[int, str]:
    if item.receipt is not None:
        return item.receipt.started_at_ns, item.receipt.execution_id
    return (0, "") if item.start is None else (item.start.started_at_ns, item.start.exec_id)


def _stats(groups: list[dict[str, object]], executions: int) -> Stats:
    calls: dict[str, dict[str, int]] = {}
    rules: dict[str, int] = {}
    reasons: dict[str, int] = {}
    totals = {"n": 0, "bytes_in": 0, "bytes_out": 0}
    for group in groups:
        count, code = int(cast("int", group["n"])), cast("int", group["decision"])
        words = calls.setdefault(bare(str(group["call"])), {})
        words[WORDS[code]] = words.get(WORDS[code], 0) + count
        for name in totals:
            totals[name] += int(cast("int", group[name]))
        if code in REFUSING:
            rule, reason = str(group["rule_id"] or ""), str(group["reason"] or "")
            rules[rule] = rules.get(rule, 0) + count
            reasons[reason] = reasons.get(reason, 0) + count
    return Stats(
        records=totals["n"],
        executions=executions,
        calls={call: dict(sorted(calls[call].items())) for call in sorted(calls)},
        refusals_by_rule=dict(sorted(rules.items())),
        refusals_by_reason=dict(sorted(reasons.items())),
        bytes_in=totals["bytes_in"],
        bytes_out=totals["bytes_out"],
        first_t_ns=min((cast("int", group["first"]) for group in groups), default=None),
        last_t_ns=max((cast("int", group["last"]) for group in groups), default=None),
    )
