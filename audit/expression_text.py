"""Reads the small language of `q`, by the parser of sqlglot.

Of that library's tree only the few shapes named here are taken over into the tree of `expression.py`;
whatever else a text holds is refused. INVARIANT: no text of the caller's leaves this module but as a value,
and what is too large or too deep to be parsed safely is refused before it is parsed.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError
from sqlglot.tokenizer_core import Token, TokenType

from audit.columns import CODES
from audit.errors import FilterError, FormatError
from audit.expression import (
    COLUMNS,
    TEXTS,
    TIMES,
    Among,
    Comparison,
    Every,
    Expression,
    IsNull,
    Matches,
    Not,
    Scalar,
    Sign,
    Some,
)  # fmt: skip
from audit.times import from_text

_MAX_CHARS, _MAX_TOKENS, _MAX_DEPTH = 4_096, 1_024, 24
"""Beyond these an expression is refused before it is parsed: the parser recurses, and so does the walk."""

_INT64 = 1 << 63
_SIGNS: Final[dict[type[exp.Expr], Sign]] = {
    exp.EQ: "=",
    exp.LT: "<",
    exp.LTE: "<=",
    exp.GT: ">",
    exp.GTE: ">=",
}


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
        case _:
            return _read_leaf(node)


def _read_leaf(node: exp.Expr) -> Expression:
    expected = "comparisons, `in`, `like`, `glob`, `between`, `is null`, and, or, not"
    match node:
        case exp.NEQ():
            found: Expression = Not(_compared(node, "="))
        case exp.EQ() | exp.LT() | exp.LTE() | exp.GT() | exp.GTE():
            found = _compared(node, _SIGNS[type(node)])
        case exp.Between():
            low, high = (_value(node.this, node.args[end]) for end in ("low", "high"))
            column = _ordered(_column(node.this), node.this)
            found = Every((Comparison(column, ">=", low), Comparison(column, "<=", high)))
        case exp.In():
            values = tuple(_value(node.this, one) for one in node.expressions)
            if not values:
                raise _wrong("values in parentheses behind `in`", _shown(node))
            found = Among(_column(node.this), values)
        case exp.Like() | exp.Glob():
            found = _matched(node)
        case exp.Is() if isinstance(node.expression, exp.Null):
            found = IsNull(_column(node.this))
        case _:
            raise _wrong(expected, _shown(node))
    return found


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
    if column not in TEXTS.values() or not isinstance(pattern, exp.Literal) or not pattern.is_string:
        raise _wrong("a column of text and a pattern in single quotes", _shown(node))
    _only_known_parts(pattern)
    return Matches(column, "glob" if isinstance(node, exp.Glob) else "like", str(pattern.this))


def _ordered(column: str, node: exp.Expr) -> str:
    if column in TEXTS.values() or column == "decision":
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
    if name in TEXTS.values() or not is_whole or not -_INT64 <= sign * int(text) < _INT64:
        raise _wrong("a text in single quotes" if name in TEXTS.values() else "a whole number", text)
    return sign * int(text)


def _of_text(column: str, text: str) -> Scalar:
    if column in TEXTS.values():
        return text
    if column == "decision":
        if text not in CODES:
            raise _wrong(f"one of {', '.join(sorted(CODES))}", text)
        return CODES[text]
    if column in TIMES.values():
        try:
            return from_text(text)
        except FormatError as err:
            raise _wrong(err.expected, text) from err
    raise _wrong("a number", text)


def _shown(node: object) -> str:
    # never by its generator: that would walk the tree of a hostile expression once more
    return str(node.key) if isinstance(node, exp.Expr) else str(node)
