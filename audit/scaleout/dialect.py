"""The conditions of a query in ClickHouse's dialect, as text with typed placeholders and their values.

The same for the embedded engine is `audit.statement`; tests hold both to the same answers. Globs become
regular expressions here, with the embedded engine's meaning: of bytes, so that `?` is one byte. INVARIANT:
the text depends on which fields of a filter are set, on the shape of its `q`, and on whether a glob has a
class; no value is part of it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Final, assert_never

from audit.columns import CODES
from audit.cursors import Position, Snapshot
from audit.expression import Among, Comparison, Every, Expression, IsNull, Matches, Not, Some
from audit.filters import RecordFilter, stored
from audit.scaleout.tables import LOADED
from audit.statement import Conditions, Value

_PATHS: Final = ("target", "guest_target", "target2")
_BARE: Final = "arrayElement(splitByChar('.', call), -1)"
_MOST: Final = (1 << 63) - 1
_NEVER: Final = r"\z."  # a pattern that no text has

NO_EXECUTION: Final = "00000000-0000-0000-0000-000000000000"
"""In the snapshot of a cursor, beside executions: when the last segment that it knows of was loaded."""


def slot(name: str, value: Value) -> str:
    """Give a placeholder for a value."""
    if isinstance(value, (int, str)):
        kind = "String" if isinstance(value, str) else "Int64"
    else:
        kind = "Array(String)" if value and isinstance(value[0], str) else "Array(Int64)"
    return f"{{{name}:{kind}}}"


def among(values: list[str], name: str, column: str) -> str:
    """Give the condition that a column has one of some texts, bound under `name`."""
    return f"has({slot(name, values)}, {column})" if values else "0"


def conditions(
    wanted: RecordFilter, *, module_ids: tuple[str, ...], policy_ids: tuple[str, ...] | None = None
) -> Conditions:
    """Give the conditions of a filter.

    `module_ids` are the digests that its module stands for, `policy_ids` those of its policy; None: one.
    """
    found = Conditions()
    if wanted.execution is not None:
        found = found.also("exec_id = {exec_id:String}", exec_id=wanted.execution)
    if wanted.scope is not None:
        tenants = list(wanted.scope)
        found = found.also(
            among(tenants, "tenants", "tenant_id"), **({"tenants": tenants} if tenants else {})
        )
    if wanted.module is not None:
        found = found.also(among(list(module_ids), "modules", "module_id"), modules=list(module_ids))
    if wanted.call is not None:
        whole, bare = regex_of_glob(wanted.call), regex_of_glob("*." + wanted.call)
        parts = (_globbed("call", "call", whole), _globbed("call", "call_in", bare))
        found = found.also(" OR ".join(parts), call=whole, call_in=bare)
    if wanted.rule is not None:
        found = found.also("rule_id = {rule:String}", rule=wanted.rule)
    if wanted.policy is not None:
        policies = [wanted.policy] if policy_ids is None else list(policy_ids)
        found = found.also(among(policies, "policies", "policy_id"), policies=policies)
    if wanted.decision is not None:
        found = found.also("decision = {decision:Int64}", decision=int(CODES[wanted.decision]))
    found = _numbers(_paths(found, wanted), wanted)
    expression = wanted.expression
    if expression is None:
        return found
    rendered = _Rendered()
    text = rendered.text(expression)
    return found.also(text, **rendered.values)


def visible(database: str, wanted: RecordFilter, snapshot: Snapshot | None) -> Conditions:
    """Give the condition that a row's segment is loaded, and can hold what is wanted."""
    parts, found = [], Conditions()
    if wanted.from_ns is not None:
        parts.append("t_max_ns >= {seen_from:Int64}")
        found = found.also("1", seen_from=wanted.from_ns)
    if wanted.to_ns is not None:
        parts.append("t_min_ns < {seen_to:Int64}")
        found = found.also("1", seen_to=wanted.to_ns)
    if wanted.scope:
        parts.append("has({seen_tenants:Array(String)}, tenant)")
        found = found.also("1", seen_tenants=list(wanted.scope))
    as_of = None if snapshot is None else dict(snapshot.live).get(NO_EXECUTION)
    if as_of is not None:
        parts.append("loaded_ns <= {as_of:Int64}")
        found = found.also("1", as_of=as_of)
    where = f" WHERE {' AND '.join(parts)}" if parts else ""
    within_loaded = f"segment IN (SELECT segment FROM {database}.{LOADED}{where})"  # noqa: S608  # nosec B608  # names of ours
    return Conditions((within_loaded,), found.values)


def joined(one: Conditions, other: Conditions) -> Conditions:
    """Give the conditions that both hold."""
    return replace(one, parts=(*one.parts, *other.parts), values=(*one.values, *other.values))


def after(found: Conditions, position: Position | None, *, is_ascending: bool) -> Conditions:
    """Give conditions for the rows behind a position too, in the order of the page."""
    if position is None:
        return found
    sign = ">" if is_ascending else "<"
    behind = f"(t_ns, exec_id, seq) {sign} ({{at_t:Int64}}, {{at_exec:String}}, {{at_seq:Int64}})"
    # The first half says nothing new; it is what can be compared with what is known of each block.
    part = f"t_ns {sign}= {{at_t:Int64}} AND {behind}"
    return found.also(part, at_t=position.t_ns, at_exec=position.exec_id, at_seq=position.seq)


def within(found: Conditions, snapshot: Snapshot | None) -> Conditions:
    """Give conditions for what was there when a snapshot was taken too."""
    if snapshot is None:
        return found
    found = found.also("t_ns <= {horizon:Int64}", horizon=snapshot.horizon_ns)
    live = [(exec_id, seq) for exec_id, seq in snapshot.live if exec_id != NO_EXECUTION]
    if not live:
        return found
    last = "transform(exec_id, {live:Array(String)}, {live_seqs:Array(Int64)}, toInt64({most:Int64}))"
    return found.also(
        f"seq <= {last}", live=[one for one, _ in live], live_seqs=[seq for _, seq in live], most=_MOST
    )


def _globbed(column: str, name: str, pattern: str) -> str:
    # a class in a glob is one of bytes: each byte is made a character, in the text as in the pattern
    of_bytes = f"convertCharset({column}, 'latin1', 'utf8')"
    return f"match({of_bytes if _is_of_bytes(pattern) else column}, {{{name}:String}})"


def _paths(found: Conditions, wanted: RecordFilter) -> Conditions:
    path, prefix, glob = stored(wanted.path), wanted.stored_prefix, stored(wanted.path_glob)
    if path is not None:
        found = found.also(" OR ".join(f"{name} = {{path:String}}" for name in _PATHS), path=path)
    if prefix is not None:
        starts = " OR ".join(f"startsWith({name}, {{prefix:String}})" for name in _PATHS)
        found = found.also(starts, prefix=prefix)
    if glob is not None:
        pattern = regex_of_glob(glob)
        matches = " OR ".join(_globbed(name, "path_glob", pattern) for name in _PATHS)
        found = found.also(matches, path_glob=pattern)
    return found


def _numbers(found: Conditions, wanted: RecordFilter) -> Conditions:
    parts: tuple[tuple[str, str, int | None], ...] = (
        ("class_uid =", "class_uid", wanted.class_uid),
        ("errno =", "errno", wanted.errno),
        ("t_ns >=", "from_ns", wanted.from_ns),
        ("t_ns <", "to_ns", wanted.to_ns),
        ("seq >", "after_seq", wanted.after_seq),
        # wider than the columns: a cell that was taken over may have written what adds up to more
        ("toInt128(bytes_in) + toInt128(bytes_out) >=", "min_bytes", wanted.min_bytes),
        ("coalesce(dur_max_ns, dur_ns) >=", "min_duration", wanted.min_duration_ns),
    )
    for part, name, value in parts:
        if value is not None:
            found = found.also(f"{part} {slot(name, value)}", **{name: value})
    return found


@dataclass(slots=True)
class _Rendered:
    """An expression of `q` as a condition, and its values by placeholder."""

    values: dict[str, Value] = field(default_factory=dict)

    def text(self, node: Expression) -> str:  # noqa: PLR0911  # one for each shape
        """Give the condition. A column that is null meets no comparison, and so meets its opposite."""
        match node:
            case Comparison(column, sign, value):
                bound = self._bound(int(value) if isinstance(value, int) else value)
                return _either(column, lambda of: f"{of} {sign} {bound}")
            case Among(column, values):
                if not values:
                    return "0"
                texts = [one for one in values if isinstance(one, str)]
                bound = self._bound(texts or [int(one) for one in values if isinstance(one, int)])
                return _either(column, lambda of: f"has({bound}, {of})")
            case Matches(column, kind, pattern):
                regex = regex_of_glob(pattern) if kind == "glob" else regex_of_like(pattern)
                name = f"q{len(self.values)}"
                self.values[name] = regex
                return _either(column, lambda of: _globbed(of, name, regex))
            case IsNull(column):
                return f'"{column}" IS NULL'
            case Not(part):
                return f"NOT coalesce({self.text(part)}, 0)"
            case Every(parts):
                return "(" + " AND ".join(self.text(part) for part in parts) + ")"
            case Some(parts):
                return "(" + " OR ".join(self.text(part) for part in parts) + ")"
            case _:
                assert_never(node)

    def _bound(self, value: Value) -> str:
        name = f"q{len(self.values)}"
        self.values[name] = value
        return slot(name, value)


def _either(column: str, part: Callable[[str], str]) -> str:
    if column != "call":
        return part(f'"{column}"')
    # with or without the module that the call is imported from, as everywhere
    return f"({part('call')} OR {part(_BARE)})"


def regex_of_like(pattern: str) -> str:
    """Give a pattern of LIKE as a regular expression: `%` is any text, `_` one character, no escapes."""
    words = {"%": ".*", "_": "."}
    return r"(?s)\A" + "".join(words.get(one) or re.escape(one) for one in pattern) + r"\z"


def regex_of_glob(glob: str) -> str:
    r"""Give a glob as a regular expression: `*`, `?`, `[…]`, `[!…]` and `\` before what is meant literally.

    One with a class is over bytes, each of them a character.
    """
    is_of_bytes = "[" in glob
    text = glob.encode().decode("latin-1") if is_of_bytes else glob
    made, at = [_BYTES if is_of_bytes else r"(?s)\A"], 0
    while at < len(text):
        one = text[at]
        at += 1
        if one == "*":
            made.append(".*")
        elif one == "?":
            made.append("." if is_of_bytes else r"\C")
        elif one == "[":
            found = _class(text, at)
            if found is None:
                return _NEVER
            members, at = found
            made.append(members)
        elif one == "\\" and at == len(text):
            return _NEVER
        else:
            if one == "\\":
                one, at = text[at], at + 1
            made.append(re.escape(one))
    return "".join((*made, r"\z"))


_BYTES: Final = r"(?s)\A(?:)"  # begins no other pattern


def _is_of_bytes(pattern: str) -> bool:
    return pattern.startswith(_BYTES)


def _class(text: str, at: int) -> tuple[str, int] | None:
    """Read a class from behind its bracket: what it is as a regular expression, and where it ends."""
    is_not = text[at : at + 1] == "!"
    at += is_not
    begin = at
    ranges: list[tuple[int, int]] = []
    while at < len(text):
        one = text[at]
        if one == "]" and at > begin:
            listed = "".join(f"\\x{{{low:x}}}-\\x{{{high:x}}}" for low, high in ranges if low <= high)
            if not listed:
                return ("." if is_not else "[^\\x{0}-\\x{10ffff}]"), at + 1
            return f"[{'^' * is_not}{listed}]", at + 1
        if text[at + 1 : at + 2] == "-" and at + 2 < len(text) and text[at + 2] != "]":
            ranges.append((ord(one), ord(text[at + 2])))
            at += 3
        else:
            ranges.append((ord(one), ord(one)))
            at += 1
    return None
