"""What went wrong with a policy, as values that render themselves.

Finding the faults lives in `source.py`, `schema.py` and `checks/`; this file only holds them and
writes the sentences. Text that came out of a document is escaped and cut before it is shown, and
every fault of a document is reported at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

SHOWN = 80
"""Characters of hostile text that are shown; the rest is cut."""

_SOURCE_LINE_SHOWN = 160
_MORE = "more-findings"


class Severity(StrEnum):
    """Whether a finding stops the policy from being used."""

    ERROR = "error"
    WARNING = "warning"


def shown(text: str) -> str:
    """`text` in printable ASCII, cut to 80 characters: look-alike letters become visible."""
    cut = text[:SHOWN]
    escaped = "".join(_escape(char) for char in cut)
    return escaped + ("…" if len(text) > SHOWN else "")


def _escape(char: str) -> str:
    if char in {'"', "\\"}:
        return "\\" + char
    if " " <= char <= "~":
        return char
    point = ord(char)
    if point < 0x100:
        return f"\\x{point:02x}"
    return f"\\u{point:04x}" if point < 0x10000 else f"\\U{point:08x}"


def quoted(text: str) -> str:
    """`text` escaped, cut and in double quotes."""
    return f'"{shown(text)}"'


def closest(word: str, known: Iterable[str]) -> str:
    """The known word that `word` is most likely a slip of; empty when none is near."""
    near = get_close_matches(word[:SHOWN], list(known), n=1, cutoff=0.6)
    return near[0] if near else ""


@dataclass(frozen=True, slots=True)
class Finding:
    """One fault or one doubt about a document, and where it stands.

    `found` and `field` are hostile until rendered. `problem` replaces the sentence made of
    `expected` and `found` where that would not read well. `line` and `column` count from 1;
    0 means the document as a whole.
    """

    id: str
    file: str
    line: int
    column: int
    field: str  # dotted path, as `permissions.storage.allow[0].access[1]`
    severity: Severity = Severity.ERROR
    found: str = ""  # ready to print: the finder quotes it
    expected: str = ""
    problem: str = ""
    suggestion: str = ""
    source_line: str = ""  # the line of the document, as it stands there

    @property
    def sentence(self) -> str:
        """What is wrong, without the place."""
        text = self.problem
        if not text:
            text = f"expected {self.expected}"
            if self.found:
                text += f", found {self.found}"
        return f"{text} ({self.suggestion})" if self.suggestion else text

    def render(self) -> str:
        """One line: place, field, what is wrong, what to do."""
        place = f"{printable(self.file)}:{self.line}:{self.column}" if self.line else printable(self.file)
        mark = "warning: " if self.severity is Severity.WARNING else ""
        field = f"{self.field}: " if self.field else ""
        return f"{place}: {mark}{field}{self.sentence}"

    def render_with_source(self) -> str:
        """The line of `render`, then the line of the document with a caret under the place."""
        if not self.line or not self.source_line:
            return self.render()
        start = max(0, self.column - 1 - _SOURCE_LINE_SHOWN // 2)
        before = printable(self.source_line[start : self.column - 1])
        after = printable(self.source_line[self.column - 1 : start + _SOURCE_LINE_SHOWN])
        number = str(self.line)
        return f"{self.render()}\n  {number} | {before}{after}\n  {' ' * len(number)} | {' ' * len(before)}^"

    def __str__(self) -> str:
        """Say the same as `render`."""
        return self.render()


def printable(text: str) -> str:
    """`text` with everything escaped that would not show as itself; not cut."""
    # SECURITY: escape sequences and bidirectional controls in a document must not reach a terminal.
    return "".join(char if char.isprintable() else _escape(char) for char in text)


def dotted(path: tuple[str | int, ...]) -> str:
    """`("a", "b", 0)` as `a.b[0]`, with odd keys escaped."""
    parts: list[str] = []
    for step in path:
        if isinstance(step, int):
            parts.append(f"[{step}]")
        else:
            parts.append(("." if parts else "") + shown(step))
    return "".join(parts)


class PolicyError(Exception):
    """A policy can't be used; carries every finding about it, errors first."""

    def __init__(self, findings: tuple[Finding, ...]) -> None:
        """Keep `findings`, errors before warnings, otherwise in document order."""
        self.findings = tuple(sorted(findings, key=_rank))
        super().__init__(self.findings)

    def __str__(self) -> str:
        """One line for each finding."""
        return "\n".join(finding.render() for finding in self.findings)


def capped(findings: tuple[Finding, ...], *, most: int, count: int | None = None) -> tuple[Finding, ...]:
    """The first `most` of the findings about one document, and one that says how many more there are.

    `count` is how many there are in all, where not all were made.
    """
    rest = findings[most:]
    if not rest:
        return findings
    severity = Severity.ERROR if any(each.severity is Severity.ERROR for each in rest) else Severity.WARNING
    problem = f"{(len(findings) if count is None else count) - most} more findings are not shown"
    note = Finding(_MORE, findings[0].file, 0, 0, "", severity=severity, problem=problem)
    return (*findings[:most], note)


def _rank(finding: Finding) -> tuple[bool, bool, int, int]:
    return (finding.id == _MORE, finding.severity is not Severity.ERROR, finding.line, finding.column)
