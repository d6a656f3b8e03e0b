"""Executions, running and over: which there are, and what one of them touched.

Their records are asked for in the other modules. INVARIANT: an execution of a tenant out of scope is never
given, and one that is sealed while it is looked for is given once.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeAlias, cast

import pyarrow as pa

from audit.catalogue import Catalogue
from audit.columns import REFUSING, WORDS, TargetKind
from audit.receipt import OutcomeKind, Receipt
from audit.start import ExecutionStart

Before: TypeAlias = "tuple[int, str]"
Target: TypeAlias = "dict[str, int | str | dict[str, int] | None]"

_BATCH = 500

OF_FILES = f"target_kind = {int(TargetKind.PATH):d}"
OF_CONNECTIONS = f"target_kind IN ({int(TargetKind.ADDRESS):d}, {int(TargetKind.NAME):d})"
TARGETS = (
    "target, guest_target, decision, sum(n)::BIGINT AS calls, sum(bytes_in)::BIGINT AS bytes_in,"
    " sum(bytes_out)::BIGINT AS bytes_out, min(t_ns) AS first_t_ns, max(t_last_ns) AS last_t_ns"
)
BY_TARGET = "GROUP BY target, guest_target, decision ORDER BY target, guest_target, decision"


@dataclass(frozen=True, slots=True)
class Execution:
    """One execution; `receipt` is None while it runs."""

    start: ExecutionStart | None  # None once it is sealed
    receipt: Receipt | None

    @property
    def exec_id(self) -> str:
        """Give its name."""
        return self.key[1]

    @property
    def key(self) -> Before:
        """When it began, and its name: by this they are sorted."""
        if self.receipt is not None:
            return self.receipt.started_at_ns, self.receipt.execution_id
        return (0, "") if self.start is None else (self.start.started_at_ns, self.start.exec_id)

    @property
    def tenant(self) -> str:
        """For whom it ran."""
        known = self.receipt or self.start
        return "" if known is None else known.tenant


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which executions are wanted; all that is given must hold."""

    module: str | None = None  # a digest or a name
    tenants: tuple[str, ...] | None = None
    outcome: OutcomeKind | None = None  # of those that are over
    from_ns: int | None = None  # when they began
    to_ns: int | None = None  # not included

    def holds(self, item: Execution) -> bool:
        """Say whether one is wanted."""
        known, begun = item.receipt or item.start, item.key[0]
        if known is None or (self.tenants is not None and known.tenant not in self.tenants):
            return False
        if self.module is not None and self.module not in {known.module_digest, known.module_name}:
            return False
        is_late = self.to_ns is not None and begun >= self.to_ns
        if is_late or (self.from_ns is not None and begun < self.from_ns):
            return False
        return self.outcome is None or (
            item.receipt is not None and item.receipt.outcome.kind is self.outcome
        )


def newest(
    catalogue: Catalogue, unsealed: Iterable[Execution], wanted: Wanted, *, limit: int, before: Before | None
) -> tuple[Execution, ...]:
    """Give the newest executions that began before one."""
    found = {
        item.exec_id: item
        for item in unsealed
        if wanted.holds(item) and (before is None or item.key < before)
    }
    at, count = before, 0
    if wanted.to_ns is not None and (at is None or at[0] > wanted.to_ns):
        at = (wanted.to_ns, "")
    while count < limit:
        batch = [
            Execution(None, one) for one in catalogue.receipts(limit=_BATCH, module=wanted.module, before=at)
        ]
        kept = [item for item in batch if wanted.holds(item)]
        found |= {item.exec_id: item for item in kept}
        count += len(kept)
        is_early = batch and wanted.from_ns is not None and batch[-1].key[0] < wanted.from_ns
        if len(batch) < _BATCH or is_early:
            break
        at = batch[-1].key
    return tuple(sorted(found.values(), key=lambda item: item.key, reverse=True)[:limit])


def targets(groups: pa.Table) -> tuple[Target, ...]:
    """Give distinct targets with counts, those with the most calls first."""
    found: dict[tuple[str | None, str | None], Target] = {}
    for row in groups.to_pylist():
        key = (row["target"], row["guest_target"])
        one = found.setdefault(
            key,
            {"target": key[0], "guest_target": key[1], "calls": 0, "denied": 0, "decisions": {},
             "bytes_in": 0, "bytes_out": 0, "first_t_ns": row["first_t_ns"], "last_t_ns": row["last_t_ns"]},
        )  # fmt: skip
        cast("dict[str, int]", one["decisions"])[WORDS.get(row["decision"], "none")] = row["calls"]
        for name in ("calls", "bytes_in", "bytes_out"):
            one[name] = cast("int", one[name]) + row[name]
        if row["decision"] in REFUSING:
            one["denied"] = cast("int", one["denied"]) + row["calls"]
        one["first_t_ns"] = min(cast("int", one["first_t_ns"]), row["first_t_ns"])
        one["last_t_ns"] = max(cast("int", one["last_t_ns"]), row["last_t_ns"])
    return tuple(sorted(found.values(), key=lambda one: -cast("int", one["calls"])))
