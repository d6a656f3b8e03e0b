"""What `q` asks for, as a tree: comparisons of columns with values, and, or, not, in, like, glob, is null.

How it is read from text is `expression_text.py`, how it becomes a condition `statement.py`. INVARIANT: the
columns in a tree are those of `COLUMNS`, by their name in the log.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

Sign: TypeAlias = Literal["=", "<", "<=", ">", ">="]
Scalar: TypeAlias = "int | str"

TEXTS: Final = {
    "exec_id": "exec_id",
    "exec": "exec_id",
    "tenant": "tenant_id",
    "module": "module_id",
    "policy": "policy_id",
    "rule": "rule_id",
    "call": "call",
    "reason": "reason",
    "right": "right",
    "errnos": "errnos",
    "target": "target",
    "guest_target": "guest_target",
    "target2": "target2",
}
NUMBERS: Final = {
    name: name
    for name in (
        "seq", "dur_ns", "stage", "class_uid", "activity_id", "disposition", "errno", "fd", "fd2",
        "target_kind", "flags", "bytes_in", "bytes_out", "n", "opener_seq", "dur_max_ns", "masked",
    )
} | {"class": "class_uid"}  # fmt: skip
TIMES: Final = {"t_ns": "t_ns", "time": "t_ns", "t_last_ns": "t_last_ns"}

COLUMNS: Final = {**TEXTS, **NUMBERS, **TIMES, "decision": "decision"}
"""What a column may be called in `q`, and its name in the log."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """A column and a value; false where the column is null."""

    column: str
    sign: Sign
    value: Scalar


@dataclass(frozen=True, slots=True)
class Among:
    """The column has one of the values."""

    column: str
    values: tuple[Scalar, ...]


@dataclass(frozen=True, slots=True)
class Matches:
    """The text of a column matches a pattern: of LIKE (`%`, `_`) or a glob (`*`, `?`, `[…]`)."""

    column: str
    kind: Literal["like", "glob"]
    pattern: str


@dataclass(frozen=True, slots=True)
class IsNull:
    """The column holds nothing."""

    column: str


@dataclass(frozen=True, slots=True)
class Not:
    """The part does not hold."""

    part: Expression


@dataclass(frozen=True, slots=True)
class Every:
    """All parts hold."""

    parts: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class Some:
    """One of the parts holds."""

    parts: tuple[Expression, ...]


Expression: TypeAlias = "Comparison | Among | Matches | IsNull | Not | Every | Some"


def columns_in(node: Expression) -> frozenset[str]:
    """Give the columns of the log that it looks at."""
    match node:
        case Not(part):
            return columns_in(part)
        case Every(parts) | Some(parts):
            return frozenset().union(*(columns_in(part) for part in parts))
        case _:
            return frozenset({node.column})


def decisions_in(node: Expression) -> frozenset[int] | None:
    """Give the decisions that a row can have for which it holds; None if it does not say."""
    match node:
        case Comparison("decision", "=", int(value)):
            return frozenset({value})
        case Among("decision", values):
            return frozenset(value for value in values if isinstance(value, int))
        case Every(parts):
            said = [found for part in parts if (found := decisions_in(part)) is not None]
            return frozenset.intersection(*said) if said else None
        case Some(parts):
            each = [decisions_in(part) for part in parts]
            known = [found for found in each if found is not None]
            return frozenset().union(*known) if len(known) == len(each) else None
        case _:
            return None
