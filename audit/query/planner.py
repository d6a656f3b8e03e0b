"""Which files a question has to read, decided from what the catalogue knows of them.

Nothing is opened here. The order is: roll-ups where they hold all that is asked for, refusal sidecars where
only refusals are, and else the records; of each only those whose tenant, module, policy and time can match.
INVARIANT: a file that is left out holds no row of the answer, and a file of a tenant out of scope is never in
a plan.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Literal, TypeAlias

from audit.expression import columns_in
from audit.filters import RecordFilter

MINUTE_NS = 60_000_000_000

Purpose: TypeAlias = Literal["rows", "totals"]


class Kind(StrEnum):
    """What kind of file is read."""

    ROLLUP = "rollup"
    REFUSALS = "refusals"
    RECORDS = "records"


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One segment, as far as planning goes; None where the catalogue does not say."""

    path: Path
    t_min_ns: int
    t_max_ns: int
    rows: int = 0
    tenant: str | None = None
    modules: tuple[str, ...] | None = None
    policies: tuple[str, ...] | None = None
    refusals: int | None = None  # rows in its refusal sidecar, which is missing when it has none
    refusals_path: Path | None = None
    rollup_path: Path | None = None


@dataclass(frozen=True, slots=True)
class Step:
    """One file that is read."""

    kind: Kind
    path: Path
    source: Source
    why: str
    is_edge: bool = (
        False  # of a roll-up, only `Plan.window` counts; of other files, only what is outside of it
    )


@dataclass(frozen=True, slots=True)
class Plan:
    """The files that a question reads, besides what is not sealed, and why others are left out."""

    steps: tuple[Step, ...]
    left_out: dict[str, int] = field(default_factory=dict)
    window: tuple[int, int] | None = None  # the whole minutes that roll-ups answer, if not all

    def of(self, kind: Kind, *, is_edge: bool = False) -> tuple[str, ...]:
        """Give the paths of one kind."""
        return tuple(str(step.path) for step in self.steps if step.kind is kind and step.is_edge == is_edge)

    def lines(self) -> tuple[str, ...]:
        """Say it for people: a file a line, then what was left out."""
        return (
            *(f"{step.kind}: {step.path.name}: {step.why}" for step in self.steps),
            *(f"left out: {count} because of {reason}" for reason, count in sorted(self.left_out.items())),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A question, as far as planning goes."""

    wanted: RecordFilter
    module_ids: tuple[str, ...] = ()  # the digests that the filter's module stands for
    policy_ids: tuple[str, ...] | None = None  # likewise of its policy; None: it is one
    purpose: Purpose = "rows"
    columns: frozenset[str] = frozenset()  # what totals are grouped by and made of, beside the filter
    before_ns: int | None = None  # no row that is later than this, as by a cursor
    after_ns: int | None = None
    is_rollup_allowed: bool = True


IN_ROLLUPS = frozenset(
    {"tenant_id", "module_id", "call", "decision", "rule_id", "reason", "minute", "n", "bytes_in",
     "bytes_out", "dur_max_ns", "t_min_ns", "t_max_ns", "rows"}
)  # fmt: skip
"""Columns of which a roll-up says as much as the records."""

_KEYS = frozenset({"tenant_id", "module_id", "call", "decision", "rule_id", "reason"})
_SAID_BY_ROLLUPS = {
    "tenant", "tenants", "module", "call", "decision", "rule", "from_ns", "to_ns", "q", "fields", "limit",
    "cursor", "ascending",
}  # fmt: skip
_SAID_BY_SEGMENTS = {
    "tenant", "tenants", "module", "policy", "from_ns", "to_ns", "execution", "fields", "limit", "cursor",
    "ascending",
}  # fmt: skip


def plan_of(asked: Asked, sources: Sequence[Source]) -> Plan:
    """Give the files to read, the earliest first."""
    left_out: dict[str, int] = {}
    steps: list[Step] = []
    window = _window(asked.wanted) if _fits_rollups(asked) else None
    for source in sources:
        reason = _why_not(asked, source)
        if reason is not None:
            left_out[reason] = left_out.get(reason, 0) + 1
            continue
        steps += _steps(asked, source, window)
    return Plan(tuple(steps), left_out, window)


def is_whole(asked: Asked, source: Source) -> bool:
    """Say whether every row of a segment is wanted, but for the execution that it is of."""
    wanted, scope = asked.wanted, asked.wanted.scope
    if _given(wanted) - _SAID_BY_SEGMENTS:
        return False
    return (
        (scope is None or source.tenant in scope)
        and (wanted.module is None or _only(source.modules, asked.module_ids))
        and (wanted.policy is None or _only(source.policies, _policies(asked)))
        and _is_inside(wanted, source)
    )


def _policies(asked: Asked) -> tuple[str, ...]:
    if asked.policy_ids is not None:
        return asked.policy_ids
    return () if asked.wanted.policy is None else (asked.wanted.policy,)


def _only(held: tuple[str, ...] | None, wanted: tuple[str, ...]) -> bool:
    return bool(held) and set(held or ()) <= set(wanted)


def _is_inside(wanted: RecordFilter, source: Source) -> bool:
    return (wanted.from_ns is None or source.t_min_ns >= wanted.from_ns) and (
        wanted.to_ns is None or source.t_max_ns < wanted.to_ns
    )


def _given(wanted: RecordFilter) -> set[str]:
    return {name for name in wanted.__dataclass_fields__ if getattr(wanted, name) is not None}


def _why_not(asked: Asked, source: Source) -> str | None:
    wanted, scope = asked.wanted, asked.wanted.scope
    low = max(
        wanted.from_ns if wanted.from_ns is not None else source.t_min_ns, asked.after_ns or source.t_min_ns
    )
    is_after = wanted.to_ns is not None and source.t_min_ns >= wanted.to_ns
    # SECURITY: decided before anything else, and where the tenant is not known the rows decide
    if scope is not None and (not scope or (source.tenant is not None and source.tenant not in scope)):
        return "tenant"
    if (
        source.t_max_ns < low
        or is_after
        or (asked.before_ns is not None and source.t_min_ns > asked.before_ns)
    ):
        return "time"
    if (
        wanted.module is not None
        and source.modules is not None
        and not set(asked.module_ids) & set(source.modules)
    ):
        return "module"
    if (
        wanted.policy is not None
        and source.policies is not None
        and not set(_policies(asked)) & set(source.policies)
    ):
        return "policy"
    if wanted.wants_refusals_only and source.refusals == 0:
        return "no refusals"
    return None


def _steps(asked: Asked, source: Source, window: tuple[int, int] | None) -> list[Step]:
    if window is None or source.rollup_path is None:
        return [_scanned(asked, source)]
    wanted, (low, high) = asked.wanted, window
    if _is_inside(wanted, source):
        return [Step(Kind.ROLLUP, source.rollup_path, source, "all its minutes")]
    found = []
    if low < high and source.t_min_ns < high and source.t_max_ns >= low:
        found.append(
            Step(Kind.ROLLUP, source.rollup_path, source, "its minutes within the time", is_edge=True)
        )
    if source.t_min_ns < low or source.t_max_ns >= high:
        scanned = _scanned(asked, source)
        found.append(Step(scanned.kind, scanned.path, source, "minutes at an edge of the time", is_edge=True))
    return found


def _scanned(asked: Asked, source: Source) -> Step:
    if asked.wanted.wants_refusals_only and source.refusals_path is not None and source.refusals:
        return Step(Kind.REFUSALS, source.refusals_path, source, "only refusals are wanted")
    return Step(Kind.RECORDS, source.path, source, "its rows can match")


def _fits_rollups(asked: Asked) -> bool:
    wanted = asked.wanted
    given = _given(wanted) - _SAID_BY_ROLLUPS
    looked_at = columns_in(wanted.expression) if wanted.expression is not None else frozenset()
    is_fitting = asked.purpose == "totals" and asked.is_rollup_allowed
    return is_fitting and not given and asked.columns <= IN_ROLLUPS and looked_at <= _KEYS


def _window(wanted: RecordFilter) -> tuple[int, int]:
    """Give the whole minutes within the time that is asked for; the ends of time where none is."""
    low = 1 - (1 << 63) if wanted.from_ns is None else -(-wanted.from_ns // MINUTE_NS) * MINUTE_NS
    high = (1 << 63) - 1 if wanted.to_ns is None else wanted.to_ns // MINUTE_NS * MINUTE_NS
    return low, high
