"""The conditions of a query, as text with placeholders and the values for them.

Which engine runs them is `query/engine.py`'s matter. INVARIANT: the text depends on which fields of a filter
are set and on the shape of its `q`, never on what they hold.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, TypeAlias, assert_never

from audit.columns import CODES
from audit.cursors import Position, Snapshot
from audit.expression import Among, Comparison, Every, Expression, IsNull, Matches, Not, Some
from audit.filters import RecordFilter, stored

Value: TypeAlias = "int | str | list[str] | list[int]"

_PATHS = ("target", "guest_target", "target2")
_BARE: Final = "split_part(call, '.', -1)"
_MOST: Final = (1 << 63) - 1


@dataclass(frozen=True, slots=True)
class Conditions:
    """Conditions that must all hold, and the values of their placeholders."""

    parts: tuple[str, ...] = ()
    values: tuple[tuple[str, Value], ...] = ()

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

    def within(self, snapshot: Snapshot | None) -> Conditions:
        """Give these conditions for what was there when a snapshot was taken."""
        if snapshot is None:
            return self
        found = self.also("t_ns <= $horizon", horizon=snapshot.horizon_ns)
        if not snapshot.live:
            return found
        return found.also(
            f"seq <= coalesce($live_seqs[list_position($live, exec_id)], {_MOST})",
            live=[exec_id for exec_id, _ in snapshot.live],
            live_seqs=[seq for _, seq in snapshot.live],
        )


def conditions(
    wanted: RecordFilter, *, module_ids: tuple[str, ...], policy_ids: tuple[str, ...] | None = None
) -> Conditions:
    """Give the conditions of a filter.

    `module_ids` are the digests that its module stands for, `policy_ids` those of its policy; None: one.
    """
    found = Conditions()
    if wanted.execution is not None:
        found = found.also("exec_id = $exec_id", exec_id=wanted.execution)
    if wanted.scope is not None:
        # SECURITY: also where the files were chosen by tenant already, since the unsealed tail is not
        found = found.also("list_contains($tenants, tenant_id)", tenants=list(wanted.scope))
    if wanted.module is not None:
        found = found.also("list_contains($modules, module_id)", modules=list(module_ids))
    if wanted.call is not None:
        found = found.also("call GLOB $call OR call GLOB ('*.' || $call)", call=wanted.call)
    if wanted.decision is not None:
        found = found.also("decision = $decision", decision=int(CODES[wanted.decision]))
    if wanted.rule is not None:
        found = found.also("rule_id = $rule", rule=wanted.rule)
    if wanted.policy is not None:
        policies = [wanted.policy] if policy_ids is None else list(policy_ids)
        found = found.also("list_contains($policies, policy_id)", policies=policies)
    found = _numbers(_paths(found, wanted), wanted)
    expression = wanted.expression
    if expression is None:
        return found
    rendered = _Rendered()
    text = rendered.text(expression)
    return found.also(text, **rendered.values)


def _paths(found: Conditions, wanted: RecordFilter) -> Conditions:
    path, prefix, glob = stored(wanted.path), wanted.stored_prefix, stored(wanted.path_glob)
    if path is not None:
        found = found.also(" OR ".join(f"{name} = $path" for name in _PATHS), path=path)
    if prefix is not None:
        found = found.also(" OR ".join(f"starts_with({name}, $prefix)" for name in _PATHS), prefix=prefix)
    if glob is not None:
        found = found.also(" OR ".join(f"{name} GLOB $path_glob" for name in _PATHS), path_glob=glob)
    return found


def _numbers(found: Conditions, wanted: RecordFilter) -> Conditions:
    parts: tuple[tuple[str, str, int | None], ...] = (
        ("class_uid = $class_uid", "class_uid", wanted.class_uid),
        ("errno = $errno", "errno", wanted.errno),
        ("t_ns >= $from_ns", "from_ns", wanted.from_ns),
        ("t_ns < $to_ns", "to_ns", wanted.to_ns),
        ("seq > $after_seq", "after_seq", wanted.after_seq),
        # wider than the columns: a cell that was taken over may have written what adds up to more
        ("bytes_in::HUGEINT + bytes_out >= $min_bytes", "min_bytes", wanted.min_bytes),
        ("coalesce(dur_max_ns, dur_ns) >= $min_duration", "min_duration", wanted.min_duration_ns),
    )
    for part, name, value in parts:
        if value is not None:
            found = found.also(part, **{name: value})
    return found


@dataclass(slots=True)
class _Rendered:
    """An expression of `q` as a condition, and its values by placeholder."""

    values: dict[str, Value] = field(default_factory=dict)

    def text(self, node: Expression) -> str:  # noqa: PLR0911  # one for each shape
        """Give the condition. A column that is null meets no comparison, and so meets its opposite."""
        match node:
            case Comparison(column, sign, value):
                return self._either(column, f"{{}} {sign} {self._bound(value)}")
            case Among(column, values):
                return self._either(
                    column, f"list_contains({self._bound(list(values))}, {{}})" if values else "false"
                )
            case Matches(column, kind, pattern):
                return self._either(column, f"{{}} {kind.upper()} {self._bound(pattern)}")
            case IsNull(column):
                return f'"{column}" IS NULL'
            case Not(part):
                return f"NOT coalesce({self.text(part)}, false)"
            case Every(parts):
                return "(" + " AND ".join(self.text(part) for part in parts) + ")"
            case Some(parts):
                return "(" + " OR ".join(self.text(part) for part in parts) + ")"
            case _:
                assert_never(node)

    def _either(self, column: str, part: str) -> str:
        if column != "call":
            return part.format(f'"{column}"')
        # with or without the module that the call is imported from, as everywhere
        return f"({part.format('call')} OR {part.format(_BARE)})"

    def _bound(self, value: int | str | list[int | str]) -> str:
        name = f"q{len(self.values)}"
        self.values[name] = _plain(value)
        return f"${name}"


def _plain(value: int | str | list[int | str]) -> Value:
    if isinstance(value, str):
        return value
    if isinstance(value, int):
        return int(value)
    texts = [item for item in value if isinstance(item, str)]
    return texts or [int(item) for item in value if isinstance(item, int)]
