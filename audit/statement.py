"""The conditions of a query, as text with placeholders and the values for them.

Which engine runs them is `query.py`'s matter. INVARIANT: the text depends on which fields of a filter
are set, never on what they hold.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from audit.columns import CODES
from audit.filters import Position, RecordFilter

Value: TypeAlias = "int | str | list[str]"


@dataclass(frozen=True, slots=True)
class Conditions:
    """Conditions that must all hold, and the values of their placeholders."""

    parts: tuple[str, ...]
    values: tuple[tuple[str, Value], ...]

    @property
    def text(self) -> str:
        """Give the WHERE clause; empty if every row is wanted."""
        return "WHERE " + " AND ".join(f"({part})" for part in self.parts) if self.parts else ""

    def also(self, part: str, **values: Value) -> Conditions:
        """Give these conditions and one more."""
        return Conditions((*self.parts, part), (*self.values, *values.items()))

    def after(self, position: Position | None, *, is_ascending: bool) -> Conditions:
        """Give these conditions for the rows behind `position` in the order of the page."""
        if position is None:
            return self
        sign = ">" if is_ascending else "<"
        # The first half says nothing new; it is what can be compared with a row group's statistics.
        part = f"t_ns {sign}= $at_t AND (t_ns, exec_id, seq) {sign} ($at_t, $at_exec, $at_seq)"
        return self.also(part, at_t=position.t_ns, at_exec=position.exec_id, at_seq=position.seq)


def conditions(wanted: RecordFilter, *, module_ids: tuple[str, ...]) -> Conditions:
    """Give the conditions of a filter; `module_ids` are the digests that its module stands for."""
    found = Conditions((), ())
    if wanted.execution is not None:
        found = found.also("exec_id = $exec_id", exec_id=wanted.execution)
    if wanted.module is not None:
        found = found.also("list_contains($modules, module_id)", modules=list(module_ids))
    if wanted.call is not None:
        found = found.also("call GLOB $call OR call GLOB ('*.' || $call)", call=wanted.call)
    if wanted.decision is not None:
        found = found.also("decision = $decision", decision=CODES[wanted.decision])
    if wanted.rule is not None:
        found = found.also("rule_id = $rule", rule=wanted.rule)
    prefix = wanted.stored_prefix
    if prefix is not None:
        names = ("target", "guest_target", "target2")
        found = found.also(" OR ".join(f"starts_with({name}, $prefix)" for name in names), prefix=prefix)
    if wanted.from_ns is not None:
        found = found.also("t_ns >= $from_ns", from_ns=wanted.from_ns)
    if wanted.to_ns is not None:
        found = found.also("t_ns < $to_ns", to_ns=wanted.to_ns)
    if wanted.after_seq is not None:
        found = found.also("seq > $after_seq", after_seq=wanted.after_seq)
    return found
