"""A document as a tree of nodes, each with its place in the text, and that tree as plain values.

Text becomes a tree in `source.py`; what the values mean is said in `schema.py`, and `fmt.py` writes a tree
out again. INVARIANT: every node has an end, aliases excepted no node stands in two places, and the number of
values and of findings that come out of a tree is bounded, whatever it repeats.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from policy.errors import Finding, PolicyError, dotted, quoted
from policy.places import Path, Plain, Spot, finding_at
from policy.text import MAX_DEPTH, MAX_FINDINGS, MAX_NODES

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

Kind = Literal["scalar", "mapping", "sequence"]


@dataclass(slots=True)
class Entry:
    """One pair of a mapping, or one item of a sequence, which has no key."""

    key: Node | None
    value: Node
    alias: tuple[int, int] | None = None  # where the alias stands, when the value stands elsewhere

    @property
    def start(self) -> int:
        """Where its text starts."""
        if self.key is not None:
            return self.key.start
        return self.alias[0] if self.alias else self.value.start

    @property
    def end(self) -> int:
        """Where its text ends."""
        return self.alias[1] if self.alias else self.value.end


@dataclass(slots=True)
class Node:
    """One node; `start` and `end` count characters from the start of the text."""

    kind: Kind
    line: int
    column: int
    start: int
    end: int
    text: str = ""
    style: str = ""  # of a scalar: empty when plain, else its first character
    is_flow: bool = False  # of a mapping or a sequence: in brackets
    entries: Sequence[Entry] = ()
    is_open: bool = False  # its end was not read yet

    @property
    def spot(self) -> Spot:
        """Where it stands."""
        return Spot(self.line, self.column)

    @property
    def is_null(self) -> bool:
        """Say whether nothing stands there, or a word for nothing."""
        return self.kind == "scalar" and not self.style and self.text in {"", "null", "~"}


class Findings:
    """The faults of one text, as many as are told."""

    def __init__(self, file: str, lines: tuple[str, ...]) -> None:
        """Begin without any; `lines` are those of the text."""
        self.file = file
        self.lines = lines
        self.found: list[Finding] = []

    def report(self, rule: str, spot: Spot, **parts: str) -> None:
        """Keep a finding; too many of them end the reading."""
        self.found.append(finding_at(self.file, self.lines, spot, rule, **parts))
        if len(self.found) >= MAX_FINDINGS:
            raise PolicyError(tuple(self.found))

    def stop(self, rule: str, spot: Spot, **parts: str) -> PolicyError:
        """The error for a fault that leaves nothing to read after it."""
        return PolicyError((*self.found, finding_at(self.file, self.lines, spot, rule, **parts)))


class Values:
    """Turns a tree into values and places, writing aliases out."""

    def __init__(self, findings: Findings) -> None:
        """Report to `findings`."""
        self.findings = findings
        self.values: dict[Path, Spot] = {}
        self.keys: dict[Path, Spot] = {}

    def of(self, node: Node, path: Path = (), depth: int = 1) -> object:
        """The value of `node`, which stands at `path`."""
        # One value less than the reader counts: the root is no entry.
        if len(self.values) > MAX_NODES:
            problem = f"more than {MAX_NODES} values once aliases are written out"
            raise self.findings.stop("too-large", node.spot, problem=problem)
        self.values[path] = node.spot
        if node.kind == "scalar":
            return None if node.is_null else (node.text if node.style else Plain(node.text))
        if depth > MAX_DEPTH:
            raise self.findings.stop(
                "too-deep", node.spot, problem=f"nested more than {MAX_DEPTH} levels deep"
            )
        if node.kind == "sequence":
            return tuple(
                [self.of(entry.value, (*path, index), depth + 1) for index, entry in enumerate(node.entries)]
            )
        return dict(self._pairs(node, path, depth))

    def _pairs(self, node: Node, path: Path, depth: int) -> Iterator[tuple[str, object]]:
        seen: set[str] = set()
        for entry in node.entries:
            key = entry.key
            if key is None or key.kind != "scalar":
                spot = key.spot if key else node.spot
                self.findings.report("bad-key", spot, field=dotted(path), expected="a word as the key")
                continue
            here = (*path, key.text)
            if key.text in seen:
                first = self.keys[here].line
                problem = (
                    f"the key {quoted(key.text)} stands here for the second time (first in line {first})"
                )
                self.findings.report("duplicate-key", key.spot, field=dotted(here), problem=problem)
                continue
            seen.add(key.text)
            self.keys[here] = key.spot
            yield key.text, self.of(entry.value, here, depth + 1)
