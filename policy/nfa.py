"""Globs joined into one nondeterministic automaton over bytes.

Making it deterministic lives in `dfa.py`, and what the marks mean in `path_rules.py`. Patterns
with a common beginning share its nodes, so that thousands of literal paths are one tree and a
set of threads stays small.
"""

from __future__ import annotations

from enum import IntEnum
from functools import reduce
from operator import or_
from typing import TYPE_CHECKING

from policy.globs import SLASH, AnyCharacter, DoubleStar, Literal, OneOf, Star

if TYPE_CHECKING:
    from collections.abc import Mapping

    from policy.globs import Glob, Piece


class Loop(IntEnum):
    """On which bytes a node stays where it is."""

    NONE = 0
    SEGMENT = 1  # every byte but a slash
    ALL = 2


class Mark(IntEnum):
    """What it means that a thread is at a node when the path ends."""

    MATCH = 0  # the pattern matches the path
    DESCEND = 1  # the pattern may match something below the path
    EXCLUDE = 2  # an exclude of the rule covers the path


def mark(owner: int, kind: Mark) -> int:
    """One number for a rule's index and a mark's kind; `unmark` takes it apart."""
    return owner * 4 + kind


def unmark(code: int) -> tuple[int, int]:
    """The rule's index and the number of the mark's kind."""
    return code >> 2, code & 3


_NON_SLASH = ((0x01, SLASH - 1), (SLASH + 1, 0x7F))
# The bytes that start a character of two, three and four bytes, and those that carry it on.
_LEADS = ((0xC2, 0xDF), (0xE0, 0xEF), (0xF0, 0xF4))
_TAIL = (0x80, 0xBF)


# What most nodes have none of is shared until there is one: a table has hundreds of thousands of nodes.
_NO_RANGES: list[tuple[int, int, int]] = []
_NO_EPSILONS: list[int] = []
_NO_MARKS: set[int] = set()


class Node:
    """One node: where each byte leads, and what it means to end here; changed by `Nfa` only."""

    __slots__ = ("epsilons", "literals", "loop", "marks", "ranges")

    def __init__(self) -> None:
        self.literals: dict[int, int] = {}
        self.ranges = _NO_RANGES
        self.epsilons = _NO_EPSILONS
        self.loop = Loop.NONE
        self.marks = _NO_MARKS

    def add_mark(self, code: int) -> None:
        """Let it mean `code` to end here."""
        if self.marks is _NO_MARKS:
            self.marks = set()
        self.marks.add(code)

    def add_epsilon(self, target: int) -> None:
        """Let it lead to `target` without a byte."""
        if self.epsilons is _NO_EPSILONS:
            self.epsilons = []
        self.epsilons.append(target)

    def add_range(self, low: int, high: int, target: int) -> None:
        """Let the bytes from `low` to `high` lead to `target`."""
        if self.ranges is _NO_RANGES:
            self.ranges = []
        self.ranges.append((low, high, target))


MAX_NODES = 400_000  # half a kilobyte each; 10,000 rules need about 100,000


class TooManyNodesError(ValueError):
    """The patterns are so long that their table would be too large."""


class Nfa:
    """A growing automaton; patterns are added under a root, then it is only read."""

    def __init__(self) -> None:
        self.nodes: list[Node] = []
        self._children: dict[tuple[int, object], int] = {}
        self._sticky: dict[int, int] = {}
        self._closures: dict[int, frozenset[int]] = {}

    def root(self) -> int:
        """A new root, at which the empty path ends."""
        return self._new()

    def _new(self) -> int:
        if len(self.nodes) >= MAX_NODES:
            raise TooManyNodesError
        self.nodes.append(Node())
        return len(self.nodes) - 1

    def add(self, root: int, glob: Glob, owner: int, kind: Mark, *, has_descent: bool = False) -> None:
        """Add the paths that `glob` matches below `root`; `has_descent` marks directories on the way."""
        self._add(root, glob, mark(owner, kind), mark(owner, Mark.DESCEND) if has_descent else None)

    def add_cover(self, root: int, glob: Glob, owner: int, kind: Mark) -> None:
        """Add the paths that `glob` matches below `root`, and everything below those."""
        trimmed = glob[:-1] if glob and glob[-1] == DoubleStar() else glob
        self._add(root, (*trimmed, DoubleStar()), mark(owner, kind), None)

    def _add(self, root: int, glob: Glob, code: int, descent: int | None) -> None:
        here = root
        entry: int | None = None
        for index, segment in enumerate(glob):
            if descent is not None:
                self.nodes[here].add_mark(descent)
            if isinstance(segment, DoubleStar):
                start = self._literal(here, SLASH)
                if index == len(glob) - 1:
                    self.nodes[here].add_mark(code)
                    self._link(start, self._sticky_for(code))
                    return
                here, entry = self._any_segments(start)
                continue
            start = self._literal(here, SLASH) if entry is None else entry
            entry = None
            here = self._segment(start, segment)
        self.nodes[here].add_mark(code)

    def _any_segments(self, start: int) -> tuple[int, int]:
        """The node that swallows segments, and the one where the next segment starts."""
        swallow = self._epsilon(start, "**")
        self.nodes[swallow].loop = Loop.ALL
        entry = self._literal(swallow, SLASH)
        self._link(start, entry)
        return swallow, entry

    def _segment(self, start: int, pieces: tuple[Piece, ...]) -> int:
        here = start
        for piece in pieces:
            here = self._piece(here, piece)
        return here

    def _piece(self, here: int, piece: Piece) -> int:
        match piece:
            case Literal(data=data):
                return self._literals(here, data)
            case Star():
                target = self._epsilon(here, "*")
                self.nodes[target].loop = Loop.SEGMENT
                return target
            case AnyCharacter():
                return self._character(here, piece, _NON_SLASH, or_wide=True)
            case OneOf(ranges=ranges, or_wide=or_wide):
                return self._character(here, piece, ranges, or_wide=or_wide)

    def _literal(self, here: int, byte: int) -> int:
        target = self.nodes[here].literals.get(byte)
        if target is None:
            target = self._new()
            self.nodes[here].literals[byte] = target
        return target

    def _literals(self, here: int, data: bytes) -> int:
        """What `_literal` gives for each byte in turn; most nodes are made here."""
        nodes = self.nodes
        for byte in data:
            literals = nodes[here].literals
            target = literals.get(byte)
            if target is None:
                target = literals[byte] = self._new()
            here = target
        return here

    def _epsilon(self, here: int, label: str) -> int:
        target = self._children.get((here, label))
        if target is None:
            target = self._new()
            self._children[here, label] = target
            self.nodes[here].add_epsilon(target)
        return target

    def _link(self, here: int, target: int) -> None:
        if target not in self.nodes[here].epsilons:
            self.nodes[here].add_epsilon(target)

    def _sticky_for(self, code: int) -> int:
        """The node that, once entered, matches everything for this mark."""
        target = self._sticky.get(code)
        if target is None:
            target = self._new()
            self._sticky[code] = target
            self.nodes[target].loop = Loop.ALL
            self.nodes[target].add_mark(code)
        return target

    def _character(
        self, here: int, piece: Piece, ranges: tuple[tuple[int, int], ...], *, or_wide: bool
    ) -> int:
        known = self._children.get((here, piece))
        if known is not None:
            return known
        tails = [self._new() for _ in _LEADS] if or_wide else []
        target = self._new()
        self._children[here, piece] = target
        for low, high in ranges:
            self.nodes[here].add_range(low, high, target)
        after = target
        for (low, high), tail in zip(_LEADS, reversed(tails), strict=False):
            self.nodes[tail].add_range(*_TAIL, after)
            self.nodes[here].add_range(low, high, tail)
            after = tail
        return target

    def closure(self, node: int) -> frozenset[int]:
        """`node` and what it reaches without a byte; only once all patterns are in."""
        known = self._closures.get(node)
        if known is None:
            epsilons = self.nodes[node].epsilons
            known = frozenset((node,))
            if epsilons:
                known = known.union(*(self.closure(target) for target in epsilons))
            self._closures[node] = known
        return known

    def marks(self, threads: frozenset[int]) -> frozenset[int]:
        """Every mark of the nodes in `threads`."""
        nodes = self.nodes
        return frozenset([code for node in threads for code in nodes[node].marks])

    def certain(self, covers: Mapping[int, tuple[int, int]]) -> dict[int, tuple[int, int]]:
        """The nodes from which marks in `covers` are met on every path: the least rank, and all they cover.

        `covers` gives rank and mask by mark; every pattern of such a mark must come from `add_cover`.
        """
        found: dict[int, tuple[int, int]] = {}
        for number, node in enumerate(self.nodes):
            met = (
                [covers[code] for code in node.marks if code in covers] if node.loop is not Loop.NONE else []
            )
            if met:
                found[number] = min(rank for rank, _ in met), reduce(or_, (mask for _, mask in met))
        return found

    def reach(self, affects: Mapping[int, int]) -> list[int]:
        """For each node, the masks of all owners in `affects` whose marks can still be met from it."""
        reach = [0] * len(self.nodes)
        for number, node in enumerate(self.nodes):
            for code in node.marks:
                reach[number] |= affects.get(code >> 2, 0)
        # INVARIANT: a node leads to itself, to younger nodes, and to sticky nodes, which lead nowhere else.
        for number in range(len(self.nodes) - 1, -1, -1):
            node = self.nodes[number]
            found = reach[number]
            for target in node.literals.values():
                found |= reach[target]
            for target in node.epsilons:
                found |= reach[target]
            for _, _, target in node.ranges:
                found |= reach[target]
            reach[number] = found
        return reach

    def run(self, start: int, text: bytes) -> frozenset[int]:
        """The threads that are left after `text`, from `start`."""
        threads = self.closure(start)
        for byte in text:
            threads = self.step(threads, byte)
        return threads

    def step(self, threads: frozenset[int], byte: int) -> frozenset[int]:
        """The threads after one more byte."""
        after = set[int]()
        for number in threads:
            node = self.nodes[number]
            if node.loop is Loop.ALL or (node.loop is Loop.SEGMENT and byte != SLASH):
                after |= self.closure(number)
            target = node.literals.get(byte)
            if target is not None:
                after |= self.closure(target)
            for low, high, goal in node.ranges:
                if low <= byte <= high:
                    after |= self.closure(goal)
        return frozenset(after)
