"""Recorded calls replayed on a plan that did not decide them: what would be refused, what allowed.

Single verdicts are `judge.py` and `verdicts.py`, budgets `totals.py`; facts come from `api/evidence.py`.
INVARIANT: each record is counted in exactly one change, and a change names records that show it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from policy.calls import CALLS
from policy.plan import Plan, Right
from policy.simulate.columns import DECISIONS, NONE, UNKNOWN_CALL, FactColumns, Ints
from policy.simulate.judge import Verdict
from policy.simulate.reach import Targets
from policy.simulate.totals import Exceeded, exceeded
from policy.simulate.verdicts import Verdicts, verdicts

_EXAMPLES: Final = 3
_HEAD: Final = 1 << 18  # rows among which more than one example is looked for
_HAPPENED: Final = frozenset({"allow", "would_deny"})


@dataclass(frozen=True, slots=True)
class Example:
    """One recorded call; its texts come from a guest."""

    target: str | None
    target2: str | None
    wants: Right
    evidence: str  # `EXECUTION:SEQ`


@dataclass(frozen=True, slots=True)
class Change:
    """Records alike in module, call, what was decided and what would be; also where nothing changes."""

    module: str
    call: str
    recorded: str  # a word of DECISIONS
    recorded_rule: str
    verdict: Verdict
    rule: str  # of the plan; empty where none decides
    count: int
    examples: tuple[Example, ...]

    @property
    def is_refusal(self) -> bool:
        """Whether what happened would not happen."""
        return self.recorded in _HAPPENED and self.verdict is Verdict.DENY

    @property
    def is_grant(self) -> bool:
        """Whether what did not happen would."""
        refused = self.recorded in {"deny", "limit"}
        return refused and self.verdict in {Verdict.ALLOW, Verdict.WOULD_DENY}


@dataclass(frozen=True, slots=True)
class Simulation:
    """What becomes of the records: changes with the most records first, limits, and what was left out."""

    policy: str
    plan_digest: str
    records: int
    changes: tuple[Change, ...]
    exceeded: tuple[Exceeded, ...]
    notes: tuple[str, ...]

    @property
    def newly_refused(self) -> int:
        """Records of calls that happened and would be refused."""
        return sum(change.count for change in self.changes if change.is_refusal)

    @property
    def newly_allowed(self) -> int:
        """Records of calls that were refused and would happen."""
        return sum(change.count for change in self.changes if change.is_grant)

    @property
    def unknown(self) -> int:
        """Records that do not hold what decides them."""
        return sum(change.count for change in self.changes if change.verdict is Verdict.UNKNOWN)

    @property
    def unchanged(self) -> int:
        """All other records."""
        return self.records - self.newly_refused - self.newly_allowed - self.unknown


def simulate(plan: Plan, columns: FactColumns) -> Simulation:
    """Replay recorded calls on `plan`."""
    targets = Targets.of(plan, columns.texts)
    found = verdicts(plan, columns, targets)
    return Simulation(
        policy=plan.name,
        plan_digest=plan.plan_digest,
        records=int(columns.count.sum()),
        changes=_changes(plan, columns, found),
        exceeded=exceeded(plan, columns, targets, found),
        notes=_notes(plan, columns),
    )


def _changes(plan: Plan, columns: FactColumns, found: Verdicts) -> tuple[Change, ...]:
    if not len(columns):
        return ()
    parts = (
        (columns.module, max(len(columns.modules), 1)),
        (columns.call, 256),
        (columns.decision, len(DECISIONS)),
        (columns.rule + 1, len(columns.rules) + 1),
        (found.verdict, len(Verdict)),
        (found.rule + 1, len(plan.rules) + 1),
    )
    key = np.zeros(len(columns), np.int64)
    for numbers, many in parts:
        key = key * many + numbers
    coded = pc.dictionary_encode(pa.array(key))
    keys, members = np.asarray(coded.dictionary), np.asarray(coded.indices)
    counts = np.zeros(len(keys), np.int64)
    np.add.at(counts, members, columns.count)
    shown = _first(members, len(keys))
    changes = []
    for group in np.argsort(-counts, kind="stable").tolist():
        row = int(shown[group][0])
        changes.append(_change(plan, columns, found, row, count=int(counts[group]), rows=shown[group]))
    return tuple(changes)


def _first(members: npt.NDArray[np.int32], many: int) -> list[Ints]:
    """Rows of each group: the first ones among the first rows of all, or else the first."""
    first = np.zeros(many, np.int64)
    first[members[::-1]] = np.arange(len(members))[::-1]  # of equal places the last one stays
    head = members[:_HEAD]
    order = np.argsort(head, kind="stable")
    starts = np.searchsorted(head[order], np.arange(many))
    ends = np.searchsorted(head[order], np.arange(many), side="right")
    return [
        order[low : min(low + _EXAMPLES, high)] if high > low else first[group : group + 1]
        for group, (low, high) in enumerate(zip(starts.tolist(), ends.tolist(), strict=True))
    ]


def _change(plan: Plan, columns: FactColumns, found: Verdicts, row: int, *, count: int, rows: Ints) -> Change:
    code, was, rule = int(columns.call[row]), int(columns.rule[row]), int(found.rule[row])
    return Change(
        module=columns.modules[int(columns.module[row])] if columns.modules else "",
        call="?" if code == UNKNOWN_CALL else CALLS[code].name,
        recorded=DECISIONS[int(columns.decision[row])],
        recorded_rule="" if was == NONE else columns.rules[was],
        verdict=Verdict(int(found.verdict[row])),
        rule="" if rule == NONE else plan.rules[rule].id,
        count=count,
        examples=tuple(_example(columns, each) for each in rows.tolist()),
    )


def _example(columns: FactColumns, row: int) -> Example:
    return Example(
        target=_text(columns, int(columns.target[row])),
        target2=_text(columns, int(columns.target2[row])),
        wants=Right(int(columns.wants[row])),
        evidence=columns.evidence[row].as_py() or "",
    )


def _text(columns: FactColumns, place: int) -> str | None:
    if place == NONE:
        return None
    return bytes(columns.texts[place].as_py()).decode("utf-8", "surrogateescape")


def _notes(plan: Plan, columns: FactColumns) -> tuple[str, ...]:
    notes = ["limits of time, memory, fuel and open files are not replayed: records do not show them"]
    if not columns.executions:
        notes.append("budgets are not replayed: the records were not kept apart by execution")
    if any(mount.is_split for mount in plan.mounts):
        notes.append(
            "rules tell paths of a mount apart, so a path through a symbolic link would be refused; records"
            " do not show links, and such calls count as allowed"
        )
    if plan.temporal:
        notes.append("rules over time are not replayed: calls are judged as if none had started")
    if plan.unenforced:
        notes.append(f"not enforced by this version, and not replayed: {', '.join(plan.unenforced)}")
    return tuple(notes)
