"""Scalars as a canonical document writes them: plain where that is safe, else in double quotes.

Where a scalar stands on the page is said in `fmt.py`. INVARIANT: what is written is read back as the same
text, and as one that stood without quotes only where it did before or where that makes no difference.
"""

from __future__ import annotations

import re
import textwrap
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from policy.tree import Node

_SAFE = re.compile(r"[A-Za-z0-9_/][A-Za-z0-9_./+()'=;-]*(?: [A-Za-z0-9_./+()'=;-]+)*")
_SAFE_IN_BLOCK = re.compile(r"[A-Za-z0-9_/][A-Za-z0-9_./+()'=;,-]*(?: [A-Za-z0-9_./+()'=;,-]+)*")
# What some reader of YAML takes for something else than text: kept as it stood.
_AMBIGUOUS = re.compile(
    r"(?i:y|n|yes|no|on|off|true|false|null|[-+.]?[0-9][0-9_.,]*(e[-+]?[0-9]+)?|0[xo][0-9a-f_]+"
    r"|[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}.*)"
)
_MOMENT = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.]+(?:Z|[+-][0-9]{2}:[0-9]{2})")
_WORDS = re.compile(r"\S+(?: \S+)+")
_ESCAPES = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t"}


def key_text(node: Node, *, is_flow: bool = False) -> str:
    """The text of a key."""
    return '""' if not node.text else scalar_text(node, is_flow=is_flow)


def scalar_text(node: Node, *, is_flow: bool, is_quoted: bool = False) -> str:
    """A scalar on one line; `is_flow` says that it stands in brackets, `is_quoted` that quotes are liked."""
    if node.is_null:
        return "null"
    text = node.text
    is_plain = not node.style
    if is_plain and _MOMENT.fullmatch(text):
        return text
    safe = _SAFE if is_flow else _SAFE_IN_BLOCK
    if not is_quoted and safe.fullmatch(text) and (is_plain or not _AMBIGUOUS.fullmatch(text)):
        return text
    if is_plain and _AMBIGUOUS.fullmatch(text):  # a number with a sign: quotes would make it another value
        return text
    return '"' + "".join(_escaped(char) for char in text) + '"'


def _escaped(char: str) -> str:
    if char in _ESCAPES:
        return _ESCAPES[char]
    if char.isprintable():
        return char
    point = ord(char)
    if point < 0x100:
        return f"\\x{point:02x}"
    return f"\\u{point:04x}" if point < 0x10000 else f"\\U{point:08x}"


def scalar_lines(node: Node, prefix: str, indent: int, width: int) -> list[str]:
    """A scalar after `prefix`; several lines, indented by `indent`, if it has some or is too long for one."""
    text = node.text
    margin = " " * indent
    body = text.removesuffix("\n")
    if "\n" in body and _is_literal(body):
        chomping = "" if text.endswith("\n") else "-"
        return [f"{prefix} |{chomping}", *(margin + line if line else "" for line in body.split("\n"))]
    line = f"{prefix} {scalar_text(node, is_flow=False)}"
    if len(line) > width and _WORDS.fullmatch(text) and text.isprintable():
        words = textwrap.wrap(text, width - indent, break_long_words=False, break_on_hyphens=False)
        return [f"{prefix} >-", *(margin + part for part in words)]
    return [line]


def _is_literal(text: str) -> bool:
    """Say whether `text` can be written line by line, without any mark in it."""
    lines = text.split("\n")
    is_clean = all(line.isprintable() and line == line.rstrip() for line in lines)
    return is_clean and bool(lines[0]) and bool(lines[-1]) and not lines[0].startswith(" ")
