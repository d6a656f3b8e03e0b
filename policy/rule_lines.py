"""Lines of rules as a person writes them, one a line with commas, read into values with their places.

What lines mean is said in `bindings.py`, what they decide in `authz.py`. Every fault of a file is found in
one pass. INVARIANT: a line that is read holds printable ASCII only, and no two lines are the same.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from policy.errors import Finding, closest, quoted
from policy.places import Spot, finding_at

MAX_LINES = 10_000
"""Lines of one file: each is looked at for every question."""

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
"""What tenants and groups are called."""

NAME_WANTED = "a name of at most 64 of A-Z a-z 0-9 . _ -, a letter or digit first"

_MAX_FINDINGS = 100
_SPACE = " \t"


@dataclass(frozen=True, slots=True)
class Line:
    """One line of rules: `p` allows or denies, `g` and `g2` say what belongs to what."""

    number: int  # in its file, from 1; 0 for one that stands in no file
    kind: str
    values: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Column:
    """What may stand between two commas."""

    name: str
    pattern: re.Pattern[str]
    expected: str


Shapes = Mapping[str, tuple[Column, ...]]
"""The kinds of line that a file may hold, each with its columns."""


def read_lines(text: str, *, file: str, shapes: Shapes) -> tuple[tuple[Line, ...], tuple[Finding, ...]]:
    """Give the lines of a file, and what is wrong with single ones, 100 findings at most.

    `#` begins a line that is a comment.
    """
    source = Lines.of(text, file)
    if len(source.texts) > MAX_LINES:
        return (), (source.finding("too-many-lines", 0, f"more than {MAX_LINES} lines"),)
    read: list[Line] = []
    findings: list[Finding] = []
    first: dict[tuple[str, ...], int] = {}
    for number, raw in enumerate(source.texts, 1):
        line = _read(source, number, raw, shapes)
        if isinstance(line, Finding):
            findings.append(line)
        elif line is not None:
            same = first.setdefault((line.kind, *line.values), number)
            if same != number:
                findings.append(source.finding("duplicate-line", number, f"the same as line {same}"))
            read.append(line)
    return tuple(read), tuple(findings[:_MAX_FINDINGS])


@dataclass(frozen=True, slots=True)
class Lines:
    """A file of lines, for findings about it."""

    file: str
    texts: tuple[str, ...]

    @staticmethod
    def of(text: str, file: str) -> Lines:
        """Split the text of a file."""
        return Lines(file, tuple(line.removesuffix("\r") for line in text.split("\n")))

    def finding(
        self, rule: str, number: int, problem: str, *, column: int = 1, suggestion: str = ""
    ) -> Finding:
        """A finding about a line; 0 is the file as a whole."""
        spot = Spot(number, column if number else 0)
        return finding_at(self.file, self.texts, spot, rule, problem=problem, suggestion=suggestion)


def _read(source: Lines, number: int, raw: str, shapes: Shapes) -> Line | Finding | None:
    is_comment = raw.lstrip(_SPACE).startswith("#")
    for column, char in enumerate(raw, 1):
        # SECURITY: a letter that looks like another would name a tenant that nobody sees
        is_plain = char in _SPACE or (char.isprintable() if is_comment else " " <= char <= "~")
        if not is_plain:
            problem = f"expected printable ASCII, found {quoted(char)}"
            return source.finding("odd-character", number, problem, column=column)
    if is_comment or not raw.strip(_SPACE):
        return None
    kind, *values = (part.strip(_SPACE) for part in raw.split(","))
    if kind not in shapes:
        near = closest(kind, shapes)
        problem = f"expected a line of {', '.join(shapes)}, found {quoted(kind)}"
        return source.finding(
            "malformed-line", number, problem, suggestion=f"did you mean {quoted(near)}?" if near else ""
        )
    columns = shapes[kind]
    if len(values) != len(columns):
        names = ", ".join(column.name for column in columns)
        problem = f"expected {len(columns)} values after `{kind}`: {names}; found {len(values)}"
        return source.finding("malformed-line", number, problem)
    for place, (column_, value) in enumerate(zip(columns, values, strict=True), 1):
        if not column_.pattern.fullmatch(value):
            problem = f"{column_.name}: expected {column_.expected}, found {quoted(value)}"
            return source.finding("malformed-line", number, problem, column=_start(raw, place))
    return Line(number, kind, tuple(values))


def _start(raw: str, place: int) -> int:
    """The column, from 1, at which the value after so many commas begins."""
    parts = raw.split(",")
    before = sum(len(part) + 1 for part in parts[:place])
    return before + len(parts[place]) - len(parts[place].lstrip(_SPACE)) + 1


def cycles(pairs: Mapping[str, tuple[str, ...]]) -> Iterator[tuple[str, ...]]:
    """Each ring of names in which every one belongs to the next; its first name ends it, too."""
    done: set[str] = set()
    for start in pairs:
        way: list[str] = []
        places: dict[str, int] = {}
        waiting: list[tuple[str, int]] = [(start, 0)]
        while waiting:
            name, branch = waiting.pop()
            if branch == 0:
                if name in places:
                    yield (*way[places[name] :], name)
                    continue
                if name in done:
                    continue
                places[name] = len(way)
                way.append(name)
            further = pairs.get(name, ())
            if branch < len(further):
                waiting += [(name, branch + 1), (further[branch], 0)]
            else:
                done.add(name)
                way.pop()
                del places[name]
