"""The paths that two plans tell apart: a walk over both automata at once, shortest paths first.

What the plans say at the end of a path is in `verdicts.py`. A step is one byte, and bytes that no edge
of either plan tells apart are tried once. INVARIANT: every canonical path (no empty segment, `.`, `..`
or NUL, and not too long to be decided) ends in one of the kinds of `kinds`, and each kind has such a path.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING

from policy.automaton import step
from policy.diff.change import TooDifferentError
from policy.diff.roots import OFF, Naming, Roots
from policy.diff.spelling import BROKEN, RANK, UTF8_CUTS, best_byte, some_byte, utf8_step
from policy.globs import MAX_PATH, SLASH
from policy.plan import LIVE, Mode

if TYPE_CHECKING:
    from collections.abc import Iterable

    from policy.plan import Plan

MAX_NODES = 1_000_000  # of one walk: some hundred megabytes
_DOT = 0x2E

# Where a text stands in its segment.
_ROOT, _SLASH, _ONE_DOT, _TWO_DOTS, _NAME = range(5)
_IS_PATH = (True, False, False, False, True)

Place = tuple[int, int, int]
"""A mount that holds the text: its index while the trie goes on, the rights to content that other
mounts have there, and the state of the automaton; `-1 - state` while the text is the mount itself."""

Places = tuple[Place, ...]
Key = tuple[int, int, Places, Places]
"""Node of the trie, place in the segment and in a character, places of A and of B."""

End = tuple[tuple[int, int], ...]
"""What decides at a path in one plan: for each place `elsewhere` and twice the class, plus 1 if live."""


@dataclass(frozen=True, slots=True)
class Spot:
    """Where a kind of path was first met."""

    node: int
    suffix: bytes = b""


@dataclass(slots=True)
class Side:
    """One plan's automaton, ready to be walked."""

    plan: Plan
    elsewhere: tuple[int, ...]
    singles: dict[int, tuple[int, ...] | None] = field(default_factory=dict)

    @property
    def is_audit(self) -> bool:
        """Whether it matters which place is first: its refusal is the one that may be final."""
        return self.plan.mode is Mode.AUDIT

    def edges(self, state: int) -> tuple[tuple[int, int, int], ...]:
        """The edges of a state."""
        first, count, _, _, _ = self.plan.automaton.states[state]
        return self.plan.automaton.edges[first : first + count]

    def bytes_of(self, state: int) -> tuple[int, ...] | None:
        """The bytes that a state tells apart from all others; None when it has ranges."""
        if state not in self.singles:
            edges = self.edges(state)
            only = all(low == high for low, high, _ in edges)
            self.singles[state] = tuple(low for low, _, _ in edges) if only else None
        return self.singles[state]

    def end(self, place: Place) -> tuple[int, int]:
        """What decides where a text ends in `place`."""
        state = place[2] if place[2] >= 0 else -1 - place[2]
        row = self.plan.automaton.states[state]
        return place[1], row[2] * 2 + (row[4] & LIVE)

    def is_settled(self, places: Places) -> bool:
        """Whether nothing that follows changes what `places` say."""
        states = self.plan.automaton.states
        return all(
            state >= 0 and not states[state][1] and states[state][3] == state for _, _, state in places
        )


class Product:
    """The walk over paths that are named in one way."""

    def __init__(self, sides: tuple[Side, Side], naming: Naming, *, is_strict: bool = False) -> None:
        """Walk all there is; `is_strict` takes valid UTF-8 only.

        Raises:
            TooDifferentError: when the plans interlock too much.
        """
        self.naming = naming
        self._sides = sides
        self._is_strict = is_strict
        self._roots = Roots.of((sides[0].plan, sides[1].plan), naming)
        self._is_ordered = any(side.is_audit for side in sides)
        self._keys: list[Key] = []
        self._known: dict[Key, int] = {}
        self._parents: list[int] = []
        self._bytes = bytearray()
        self._is_one = bytearray()  # of a node: whether it was met once only, after one byte only
        self._counts: dict[tuple[End, End], int] = {}
        self.kinds: dict[tuple[End, End], Spot] = {}
        self._walk()

    def text(self, spot: Spot) -> bytes:
        """The path, without what `naming` puts before it."""
        found = bytearray()
        node = spot.node
        while node:
            found.append(self._bytes[node])
            node = self._parents[node]
        found.reverse()
        return bytes(found) + spot.suffix or b"/"

    def is_alone(self, spot: Spot, kind: tuple[End, End]) -> bool:
        """Whether the path at `spot` is the only one of its kind."""
        return self._counts[kind] == 1 and self._is_only(spot)

    def covers_below(self, spot: Spot, kind: tuple[End, End]) -> bool:
        """Whether the kind is the path at `spot` with everything below it, and nothing else."""
        if self._counts[kind] != 2 or not self._is_only(spot):
            return False
        below = self._after(self._keys[spot.node], SLASH)
        return below is not None and self._is_settled(below) and self._kind(below) == kind

    def _is_only(self, spot: Spot) -> bool:
        """Whether no other path leads to where this one leads."""
        node = spot.node
        while node:
            if not self._is_one[node]:
                return False
            node = self._parents[node]
        return not spot.suffix

    def _kind(self, key: Key) -> tuple[End, End]:
        return tuple(map(self._sides[0].end, key[2])), tuple(map(self._sides[1].end, key[3]))

    def _is_settled(self, key: Key) -> bool:
        trie, where, first, second = key
        one, other = self._sides
        return trie == OFF and not where >> 3 and one.is_settled(first) and other.is_settled(second)

    def _walk(self) -> None:
        start = self._arrive(0, 0, (), ())
        self._add(start, 0, 0, is_one=True)
        level, length = [0], len(self.naming)
        while level and length < MAX_PATH:
            beyond: list[int] = []
            for node in level:
                beyond.extend(self._visit(node))
            level, length = beyond, length + 1

    def _visit(self, node: int) -> Iterable[int]:
        key = self._keys[node]
        where = key[1]
        is_path = _IS_PATH[where & 7] and not where >> 3
        settled = self._is_settled(key)
        if is_path or settled:
            kind = self._kind(key)
            self._counts[kind] = self._counts.get(kind, 0) + 1
            if kind not in self.kinds:
                self.kinds[kind] = Spot(node, b"" if is_path else b"x")
        if settled:
            return
        for found in self._alphabet(key):
            byte = found & 0xFF
            goal = self._after(key, byte)
            if goal is None:
                continue
            known = self._known.get(goal)
            if known is None:
                yield self._add(goal, node, byte, is_one=found == byte)
            else:
                self._is_one[known] = False

    def _add(self, key: Key, parent: int, byte: int, *, is_one: bool) -> int:
        number = len(self._keys)
        if number >= MAX_NODES:
            raise TooDifferentError
        self._known[key] = number
        self._keys.append(key)
        self._parents.append(parent)
        self._bytes.append(byte)
        self._is_one.append(is_one)
        return number

    def _alphabet(self, key: Key) -> list[int]:
        """One byte of each set that the next step doesn't tell apart, readable ones first.

        256 is added to one that stands for several.
        """
        trie, where, *both = key
        single = {SLASH, _DOT} if where & 7 in {_SLASH, _ONE_DOT} else {SLASH}
        if trie != OFF:
            single.update(self._roots.children[trie])
        ranged: list[tuple[int, int, int]] = []
        for side, places in zip(self._sides, both, strict=True):
            for _, _, state in places:
                if state >= 0:
                    own = side.bytes_of(state)
                    if own is None:
                        ranged.extend(side.edges(state))
                    else:
                        single.update(own)
        if not ranged and not self._is_strict:
            single.discard(0)
            return [some_byte(single) + 256, *sorted(single)]
        cuts = {1, 256, *single, *(byte + 1 for byte in single)}
        for low, high, _ in ranged:
            cuts |= {low, high + 1}
        if self._is_strict:
            cuts |= UTF8_CUTS
        cuts.discard(0)
        found = [
            best_byte(low, beyond) + (256 if beyond - low > 1 else 0)
            for low, beyond in pairwise(sorted(cuts))
        ]
        return sorted(found, key=_rank)

    def _after(self, key: Key, byte: int) -> Key | None:
        """Where one more byte leads; None where no path goes on that a plan says anything about."""
        trie, where, first, second = key
        segment = where & 7
        character = utf8_step(where >> 3, byte) if self._is_strict else 0
        if character == BROKEN:
            return None
        if byte == SLASH:
            if not _IS_PATH[segment]:
                return None
            segment = _SLASH
        elif segment == _ROOT:
            return None  # a path starts with a slash
        elif byte == _DOT and segment in {_SLASH, _ONE_DOT}:
            segment += 1
        else:
            segment = _NAME
        one, other = self._sides
        first, second = self._step(one, first, byte), self._step(other, second, byte)
        if trie != OFF:
            trie = self._roots.children[trie].get(byte, OFF)
            if trie != OFF or first or second:
                return self._arrive(trie, segment | character << 3, first, second)
            return None
        return (OFF, segment | character << 3, first, second) if first or second else None

    def _step(self, side: Side, places: Places, byte: int) -> Places:
        automaton = side.plan.automaton
        found: list[Place] = []
        for index, shared, state in places:
            if state < 0 and byte != SLASH:
                continue  # a name that only starts like the mount's
            goal = step(automaton, -1 - state if state < 0 else state, byte)
            if goal or self._is_ordered:
                found.append((index, shared, goal))
        return tuple(found)

    def _arrive(self, trie: int, where: int, first: Places, second: Places) -> Key:
        """The key of what was reached, with the mounts that begin here."""
        if trie == OFF:
            return (
                OFF,
                where,
                tuple((0, shared, state) for _, shared, state in first),
                tuple((0, shared, state) for _, shared, state in second),
            )
        begins = self._roots.mounts[trie]
        return trie, where, self._begin(0, first, begins[0]), self._begin(1, second, begins[1])

    def _begin(self, number: int, places: Places, indices: list[int]) -> Places:
        if not indices:
            return places
        side = self._sides[number]
        mounts = side.plan.mounts
        new = tuple((index, side.elsewhere[index], -1 - mounts[index].start) for index in indices)
        if self.naming is Naming.GUEST:
            return (*new, *places)  # the innermost mount is asked first
        return tuple(sorted((*places, *new)))


def _rank(found: int) -> int:
    return RANK[found & 0xFF]
