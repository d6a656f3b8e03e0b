"""Where each value of a document stands.

Reading the text lives in `source.py`; what a finding says in `errors.py`. A place is looked up by
the path of keys and indices, and a value without a place of its own has that of what encloses it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from policy.errors import Finding, dotted

if TYPE_CHECKING:
    from collections.abc import Mapping

Path = tuple[str | int, ...]
"""Keys and indices from the root of a document to a value."""


class Plain(str):
    """A scalar that stood without quotes: it may be read as a number or a boolean where one is wanted."""

    __slots__ = ()


class Spot(NamedTuple):  # a tuple: a document has a hundred thousand of them
    """A place in the text; both count from 1, columns in characters."""

    line: int
    column: int


@dataclass(frozen=True, slots=True)
class Source:
    """A document as values: `dict`, `tuple`, `str` and `None`, with the place of each.

    `values` holds the place of each value by its path and `keys` that of each mapping key.
    """

    file: str
    digest: str  # `sha256:…` of the bytes
    lines: tuple[str, ...]
    value: object
    values: Mapping[Path, Spot]
    keys: Mapping[Path, Spot]

    def spot(self, path: Path) -> Spot:
        """Where the value at `path` stands, or the nearest thing that encloses it."""
        while path:
            if path in self.values:
                return self.values[path]
            path = path[:-1]
        return Spot(1, 1)

    def key_spot(self, path: Path) -> Spot:
        """Where the key at the end of `path` stands."""
        return self.keys.get(path) or self.spot(path)

    def field(self, path: Path) -> str:
        """How the value at `path` is named to a person: `permissions.storage.allow[0]`."""
        return dotted(path)

    def finding(
        self, rule: str, path: Path, *, at_key: bool = False, **parts: str
    ) -> Finding:  # parts: expected, found, problem, suggestion
        """A finding about the value (or the key) at `path`."""
        spot = self.key_spot(path) if at_key else self.spot(path)
        return finding_at(self.file, self.lines, spot, rule, field=dotted(path), **parts)


def finding_at(
    file: str,
    lines: tuple[str, ...],
    spot: Spot,
    rule: str,
    *,
    field: str = "",
    expected: str = "",
    found: str = "",
    problem: str = "",
    suggestion: str = "",
) -> Finding:
    """A finding about the text at `spot`, with its line from `lines`."""
    line = lines[spot.line - 1] if 0 < spot.line <= len(lines) else ""
    return Finding(
        id=rule,
        file=file,
        line=spot.line,
        column=spot.column,
        field=field,
        expected=expected,
        found=found,
        problem=problem,
        suggestion=suggestion,
        source_line=line,
    )
