"""The small language of `q`: comparisons of columns with values, and, or, not, in, like, glob, between, is null.

It is read by sqlglot into that library's tree, of which only the few shapes named here are taken over into
a tree of our own; how that becomes a condition is `statement.py`. INVARIANT: no text of the caller's leaves
this module but as a value; names that leave it are those of `COLUMNS`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError
from sqlglot.tokens import Token, TokenType

from audit.columns import CODES
from audit.errors import FilterError, FormatError
from audit.times import from_text

Sign: TypeAlias = Literal["=", "<", "<=", ">", ">="]
Scalar: TypeAlias = "int | str"

_TEXTS: Final = {
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
_NUMBERS: Final = {
    name: name
    for name in (
        "seq", "dur_ns", "stage", "class_uid", "activity_id", "disposition", "errno", "fd", "fd2", "target_kind",
        "flags", "bytes_in", "bytes_out", "n", "opener_seq", "dur_max_ns", "masked",
    )
} | {"class": "class_uid"}  # fmt: skip
_TIMES: Final = {"t_ns": "t_ns", "time": "t_ns", "t_last_ns": "t_last_ns"}

COLUMNS: Final = {**_TEXTS, **_NUMBERS, **_TIMES, "decision": "decision"}
"""What a column may be called in `q`, and its name in the log."""

_MAX_CHARS, _MAX_TOKENS, _MAX_DEPTH = 4_096, 1_024, 24
"""Beyond these an expression is refused before it is parsed: the parser and the walk over its tree recurse."""

_INT64 = 1 << 63
_SIGNS: Final[dict[type[exp.Expr], Sign]] = {
    exp.EQ: "=",
    exp.LT: "<",
    exp.LTE: "<=",
    exp.GT: ">",
    exp.GTE: ">=",
}


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


def parse(text: str) -> Expression:
    """Read an expression; FilterError says what in it is not understood."""
    if len(text) > _MAX_CHARS:
        raise FilterError("q", f"at most {_MAX_CHARS} characters", text)
    try:
        _check(tuple(sqlglot.tokenize(text, dialect="duckdb")), text)
        # in parentheses it can be no statement, whatever it begins with
        found = sqlglot.parse(f"({text})", dialect="duckdb")
    except (SqlglotError, RecursionError, ValueError) as err:
        raise _wrong("an expression, as `call = 'path_open' and errno != 0`", text) from err
    if len(found) != 1 or not isinstance(found[0], exp.Expr):
        raise _wrong("one expression", text)
    return _read(found[0])


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


def _wrong(expected: str, found: object) -> FilterError:
    return FilterError("q", expected, found)


def _check(tokens: tuple[Token, ...], text: str) -> None:
    """Refuse what is too large or too deep to be parsed safely, and what no expression needs."""
    if not tokens:
        raise _wrong("an expression, as `call = 'path_open' and errno != 0`", text)
    if len(tokens) > _MAX_TOKENS:
        raise _wrong(f"at most {_MAX_TOKENS} words and signs", text)
    depth = nots = 0
    for token in tokens:
        if token.comments:
            raise _wrong("no comment", text)
        if token.token_type is TokenType.SEMICOLON:
            raise _wrong("one expression", text)
        depth += (token.token_type is TokenType.L_PAREN) - (token.token_type is TokenType.R_PAREN)
        nots += token.token_type in {TokenType.NOT, TokenType.DASH}
        if depth < 0:
            raise _wrong("parentheses that match", text)
        if depth > _MAX_DEPTH or nots > _MAX_DEPTH:
            raise _wrong(f"at most {_MAX_DEPTH} parentheses in each other, and as many `not` or `-`", text)
    if depth:
        raise _wrong("parentheses that match", text)


def _read(node: exp.Expr) -> Expression:
    _only_known_parts(node)
    match node:
        case exp.Paren():
            return _read(node.this)
        case exp.Not():
            return Not(_read(node.this))
        case exp.And():
            return Every(tuple(_read(part) for part in _flat(node, exp.And)))
        case exp.Or():
            return Some(tuple(_read(part) for part in _flat(node, exp.Or)))
        case exp.NEQ():
            return Not(_compared(node, "="))
        case exp.EQ() | exp.LT() | exp.LTE() | exp.GT() | exp.GTE():
            return _compared(node, _SIGNS[type(node)])
        case exp.Between():
            low, high = (_value(node.this, node.args[end]) for end in ("low", "high"))
            column = _ordered(_column(node.this), node.this)
            return Every((Comparison(column, ">=", low), Comparison(column, "<=", high)))
        case exp.In():
            values = tuple(_value(node.this, one) for one in node.expressions)
            return Among(_column(node.this), values)
        case exp.Like() | exp.Glob():
            return _matched(node)
        case exp.Is() if isinstance(node.expression, exp.Null):
            return IsNull(_column(node.this))
        case _:
            raise _wrong(
                "comparisons, `in`, `like`, `glob`, `between`, `is null`, and, or, not", _shown(node)
            )


_PARTS: Final = {
    exp.Between: {"this", "low", "high"},
    exp.In: {"this", "expressions"},
    exp.Column: {"this"},
    exp.Identifier: {"this", "quoted"},
    exp.Literal: {"this", "is_string"},
}


def _only_known_parts(node: exp.Expr) -> None:
    """Refuse a node that carries more than is read of it: a qualified name, a subquery, an option."""
    known = _PARTS.get(type(node), {"this", "expression"})
    if more := sorted(name for name, value in node.args.items() if value and name not in known):
        raise _wrong("columns and values only", f"{_shown(node)} ({more[0]})")


def _flat(node: exp.Expr, kind: type[exp.Expr]) -> Iterator[exp.Expr]:
    """Give the parts of a chain of one connector; by a loop, since a chain is as deep as it is long."""
    left = [node]
    while left:
        one = left.pop()
        if isinstance(one, kind):
            _only_known_parts(one)
            left += [one.expression, one.this]
        else:
            yield one


def _compared(node: exp.Expr, sign: Sign) -> Comparison:
    column = _column(node.this)
    value = _value(node.this, node.expression)
    return Comparison(column if sign == "=" else _ordered(column, node.this), sign, value)


def _matched(node: exp.Expr) -> Matches:
    column, pattern = _column(node.this), node.expression
    if column not in _TEXTS.values() or not isinstance(pattern, exp.Literal) or not pattern.is_string:
        raise _wrong("a column of text and a pattern in single quotes", _shown(node))
    _only_known_parts(pattern)
    return Matches(column, "glob" if isinstance(node, exp.Glob) else "like", str(pattern.this))


def _ordered(column: str, node: exp.Expr) -> str:
    if column in _TEXTS.values() or column == "decision":
        raise _wrong("`=`, `!=`, `in`, `like` or `glob` for a text", _shown(node))
    return column


def _column(node: object) -> str:
    if not isinstance(node, exp.Column) or not isinstance(node.this, exp.Identifier):
        raise _wrong("the name of a column on the left", _shown(node))
    _only_known_parts(node)
    found = COLUMNS.get(node.name.lower())
    if found is None:
        raise _wrong(f"one of the columns {', '.join(sorted(COLUMNS))}", node.name)
    return found


def _value(column: object, node: object) -> Scalar:
    name = _column(column)
    if isinstance(node, exp.Column):
        raise _wrong("a value on the right, text in single quotes", _shown(node))
    sign, literal = (-1, node.this) if isinstance(node, exp.Neg) else (1, node)
    if not isinstance(literal, exp.Literal):
        raise _wrong("a number, or a text in single quotes", _shown(node))
    text = str(literal.this)
    if literal.is_string:
        return _of_text(name, text)
    is_whole = text.isascii() and text.isdigit() and len(text) < len(str(_INT64)) + 1
    if name in _TEXTS.values() or not is_whole or not -_INT64 <= sign * int(text) < _INT64:
        raise _wrong("a text in single quotes" if name in _TEXTS.values() else "a whole number", text)
    return sign * int(text)


def _of_text(column: str, text: str) -> Scalar:
    if column in _TEXTS.values():
        return text
    if column == "decision":
        if text not in CODES:
            raise _wrong(f"one of {', '.join(sorted(CODES))}", text)
        return CODES[text]
    if column in _TIMES.values():
        try:
            return from_text(text)
        except FormatError as err:
            raise _wrong(err.expected, text) from err
    raise _wrong("a number", text)


def _shown(node: object) -> str:
    # never by its generator: that would walk the tree of a hostile expression once more
    return str(node.key) if isinstance(node, exp.Expr) else str(node)
