"""TOML text as a tree: what the standard library reads, with the places that it does not tell.

YAML is read in `source.py`, and the values mean the same as there: whole numbers and booleans stand for the
words that they are written with, anything else but text is refused. INVARIANT: the library never sees a text
that has not been walked through here first, in linear time, and found to be within bounds.
"""

from __future__ import annotations

import re
import tomllib
from bisect import bisect_right
from dataclasses import dataclass, field
from itertools import accumulate
from typing import cast

from policy.errors import PolicyError, dotted, shown
from policy.places import Path, Spot
from policy.text import MAX_DEPTH, MAX_NODES, spot_at
from policy.tree import Entry, Findings, Node

# SECURITY: the library needs quadratic time for a key of many parts.
_MAX_PARTS = 16
_INTEGERS = range(-(2**63), 2**63)  # TOML: 64 bits; Python refuses to print larger ones after some length

_BLANK = re.compile(r"(?:[ \t\n]++|#[^\n]*+)*+")
_SPACE = re.compile(r"[ \t]*+")
_REST = re.compile(r"[ \t]*+(?:#[^\n]*+)?(?:\n|\Z)")
_PART = re.compile(r"""[A-Za-z0-9_-]++|"(?:[^"\\\n]++|\\[^\n])*+"|'[^'\n]*+'""")
_TEXT = re.compile(
    r'"""(?:[^"\\]++|\\[\s\S]|"(?!""))*+"""(?:"{1,2})?'
    r"|'''(?:[^']++|'(?!''))*+'''(?:'{1,2})?"
    r"""|"(?:[^"\\\n]++|\\[^\n])*+"|'[^'\n]*+'"""
)
_WORD = re.compile(r"[^\s,\[\]{}#=\"']++(?: [0-9][^\s,\[\]{}#=\"']*+)?")  # a date and a time may have a space
_PLACE = re.compile(r" \(at (?:line (\d+), column (\d+)|end of document)\)$")


def read_toml(text: str, findings: Findings) -> Node:
    """The tree of a TOML document.

    Raises:
        PolicyError: when it isn't one, or is too large.
    """
    places = _Places(text, findings)
    places.find()
    try:
        value = tomllib.loads(text)
    except (ValueError, RecursionError) as err:
        raise _refusal(str(err), places) from None
    if not value:
        raise findings.stop("empty", Spot(1, 1), expected="a policy document", found="nothing")
    return _Builder(places).node(value, ())


def _refusal(said: str, places: _Places) -> PolicyError:
    found = _PLACE.search(said)
    spot = Spot(int(found[1]), int(found[2])) if found and found[1] else Spot(len(places.findings.lines), 1)
    problem = _PLACE.sub("", said)
    is_repeated = problem.startswith(("Cannot overwrite", "Cannot declare", "Duplicate"))
    rule = "duplicate-key" if is_repeated else "syntax"
    return places.findings.stop(rule, spot, problem=f"not valid TOML: {shown(problem)}")


@dataclass(slots=True)
class _Places:
    """Walks through the text once, and keeps where each key and each value begins."""

    text: str
    findings: Findings
    keys: dict[Path, int] = field(default_factory=dict)
    values: dict[Path, int] = field(default_factory=dict)
    tables: dict[Path, int] = field(default_factory=dict)  # how many `[[tables]]` there were so far, less one
    at: int = 0

    def find(self) -> None:
        """Walk to the end.

        Raises:
            PolicyError: where the text can't be TOML, or goes beyond a bound.
        """
        here: Path = ()
        while True:
            self._skip(_BLANK)
            if self.at == len(self.text):
                return
            if self.text.startswith("[", self.at):
                here = self._header()
            else:
                self._pair(here)
            if not _REST.match(self.text, self.at):
                raise self._unexpected("the end of the line")
            self._skip(_REST)

    def _skip(self, pattern: re.Pattern[str]) -> None:
        found = pattern.match(self.text, self.at)
        self.at = found.end() if found else self.at

    def _unexpected(self, expected: str) -> PolicyError:
        found = self.text[self.at : self.at + 1]
        said = (
            "the end of the document"
            if not found
            else "a line break"
            if found == "\n"
            else f'"{shown(found)}"'
        )
        problem = f"not valid TOML: expected {expected}, found {said}"
        return self.findings.stop("syntax", spot_at(self.text, self.at), problem=problem)

    def _take(self, mark: str) -> bool:
        if not self.text.startswith(mark, self.at):
            return False
        self.at += len(mark)
        return True

    def _header(self) -> Path:
        start = self.at
        is_array = self._take("[[")
        if not is_array:
            self._take("[")
        parts = self._key()
        if not self._take("]]" if is_array else "]"):
            raise self._unexpected("]]" if is_array else "]")
        path: Path = ()
        for index, part in enumerate(parts):
            path = (*path, part)
            self._keep(path, start, start)
            if is_array and index == len(parts) - 1:
                self.tables[path] = self.tables.get(path, -1) + 1
            if path in self.tables:
                path = (*path, self.tables[path])
                self._keep(path, start, start)
        return path

    def _keep(self, path: Path, key: int, value: int) -> None:
        self.keys.setdefault(path, key)
        self.values.setdefault(path, value)
        if len(self.values) > MAX_NODES:
            raise self.findings.stop(
                "too-large", spot_at(self.text, value), problem=f"more than {MAX_NODES} values"
            )
        if len(path) >= MAX_DEPTH:
            raise self._too_deep()

    def _too_deep(self) -> PolicyError:
        problem = f"nested more than {MAX_DEPTH} levels deep"
        return self.findings.stop("too-deep", spot_at(self.text, self.at), problem=problem)

    def _key(self) -> list[str]:
        parts: list[str] = []
        while True:
            self._skip(_SPACE)
            found = _PART.match(self.text, self.at)
            if not found:
                raise self._unexpected("a key")
            parts.append(_unquoted(found[0]))
            if len(parts) > _MAX_PARTS:
                raise self._too_deep()
            self.at = found.end()
            self._skip(_SPACE)
            if not self._take("."):
                return parts

    def _pair(self, here: Path) -> None:
        self._skip(_SPACE)
        start = self.at
        parts = self._key()
        if not self._take("="):
            raise self._unexpected("=")
        self._skip(_SPACE)
        for count in range(1, len(parts)):
            self._keep((*here, *parts[:count]), start, start)
        self._value((*here, *parts), start)

    def _value(self, path: Path, key: int) -> None:
        self._keep(path, key, self.at)
        if self._take("["):
            self._array(path)
        elif self._take("{"):
            self._inline(path)
        else:
            found = _TEXT.match(self.text, self.at) or _WORD.match(self.text, self.at)
            if not found:
                raise self._unexpected("a value")
            self.at = found.end()

    def _array(self, path: Path) -> None:
        index = 0
        while True:
            self._skip(_BLANK)
            if self._take("]"):
                return
            self._value((*path, index), self.at)
            index += 1
            self._skip(_BLANK)
            if not self._take(","):
                break
        if not self._take("]"):
            raise self._unexpected("a comma or ]")

    def _inline(self, path: Path) -> None:
        # SPEC: TOML 1.0 wants an inline table on one line and without a comma at its end; 1.1 does not. The
        # library says which it reads.
        while True:
            self._skip(_BLANK)
            if self._take("}"):
                return
            self._pair(path)
            self._skip(_BLANK)
            if not self._take(","):
                break
        if not self._take("}"):
            raise self._unexpected("a comma or }")


def _unquoted(part: str) -> str:
    if part[0] not in "\"'":
        return part
    if "\\" not in part:
        return part[1:-1]
    try:
        return str(tomllib.loads(f"key = {part}")["key"])
    except ValueError:
        return part  # the library refuses the whole text for it


@dataclass(slots=True)
class _Builder:
    """Makes nodes of values, with the places that were found."""

    places: _Places
    line_starts: list[int] = field(init=False)

    def __post_init__(self) -> None:
        lengths = (len(line) + 1 for line in self.places.findings.lines)
        self.line_starts = [0, *accumulate(lengths)]

    def node(self, value: object, path: Path) -> Node:
        """The node of `value`, which stands at `path`."""
        start = self.places.values.get(path, 0)
        spot = self._spot(start)
        match value:
            case dict():
                pairs = cast("dict[str, object]", value).items()
                entries = [self._entry(key, each, (*path, key)) for key, each in pairs]
                return Node("mapping", *spot, start, start, entries=entries)
            case list():
                items = cast("list[object]", value)
                children = [Entry(None, self.node(each, (*path, index))) for index, each in enumerate(items)]
                return Node("sequence", *spot, start, start, entries=children)
            case str():
                return Node("scalar", *spot, start, start, text=value, style='"')
            case bool():
                return Node("scalar", *spot, start, start, text=str(value).lower())
            case int() if value in _INTEGERS:
                return Node("scalar", *spot, start, start, text=str(value))
            case _:
                self._refuse(value, path, spot)
                return Node("scalar", *spot, start, start, style='"')

    def _entry(self, key: str, value: object, path: Path) -> Entry:
        start = self.places.keys.get(path, 0)
        return Entry(
            Node("scalar", *self._spot(start), start, start, text=key, style='"'), self.node(value, path)
        )

    def _spot(self, index: int) -> Spot:
        line = bisect_right(self.line_starts, index)
        return Spot(line, index - self.line_starts[line - 1] + 1)

    def _refuse(self, value: object, path: Path, spot: Spot) -> None:
        kinds = {float: "a number with a fraction", int: "a number of more than 64 bits"}
        found = kinds.get(type(value), "a date or a time")
        expected = "text, a whole number, true, false, a list or a table"
        parts = {"expected": expected, "found": found, "suggestion": "write it in quotes"}
        self.places.findings.report("wrong-type", spot, field=dotted(path), **parts)
