"""The nondeterministic automaton made deterministic.

The patterns are joined in `nfa.py`, the states are folded and numbered in `fold.py`, and what a class
means is given by the caller. The number of states is bounded, and the bound is an error that says so.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING, Protocol

from policy.fold import DEAD, NO_PATH, Determinised, Edge, Outside, State, Threads, fold, joined
from policy.globs import SLASH
from policy.nfa import Loop, TooManyNodesError
from policy.witnesses import Witnesses

if TYPE_CHECKING:
    from collections.abc import Mapping

    from policy.nfa import Nfa
    from policy.plan import PathClass, Right

MAX_STATES = 300_000  # 10,000 rules inside a boundary that never grants some names need 210,000
MAX_WORK = 20_000_000  # threads over all states: a bound on time where patterns interlock
# SECURITY: globs made to interlock have hundreds of threads in a state, ordinary ones a handful: such a table
# is given up within half a second, long before it is too large. So is one that has many more states than its
# patterns have characters.
_FREE_WORK = 300_000
_TANGLED = 24
_FREE_STATES = 10_000
_BLOW_UP = 3
MAX_CLASSES = 65_535
MAX_OUTSIDE = 100  # rules that are told to exceed one boundary: more are no help to a reader


class TooManyStatesError(TooManyNodesError):
    """The patterns interlock so much that their table would be too large."""


class Meaning(Protocol):
    """What marks stand for."""

    def covers(self) -> Mapping[int, tuple[int, int]]:
        """By mark, for those that take all paths below along: a rank, and the mask of what they settle."""
        ...

    def affects(self) -> Mapping[int, int]:
        """By the owner of marks: the mask of what they can change where it is not settled."""
        ...

    def classify(self, marks: frozenset[int]) -> PathClass:
        """The class of a path with these marks."""
        ...

    def outside(self, marks: frozenset[int]) -> list[tuple[int, int, Right]]:
        """What a boundary alone refuses at a path with these marks: allow rule, boundary, right."""
        ...


def determinise(nfa: Nfa, starts: list[Threads], meaning: Meaning, bases: list[str]) -> Determinised:
    """The table for `starts`, in that order; `meaning` says what the marks stand for.

    `bases` are the absolute paths that the starts stand for, which witnesses begin with.

    Raises:
        TooManyStatesError: when there would be more than `MAX_STATES`.
    """
    subsets = _Subsets(nfa, meaning)
    first = [subsets.state(threads, after_slash=False) for threads in starts]
    subsets.explore()
    found = fold(subsets.states, list(subsets.classes), first)
    return replace(found, outside=_outside(subsets, dict(zip(first, bases, strict=True))))


def _outside(subsets: _Subsets, bases: dict[int, str]) -> tuple[Outside, ...]:
    """What boundaries alone refuse, each with the path that reads best."""
    if not subsets.outside:
        return ()
    wanted = {each for found in subsets.outside.values() for each in found}
    kinds = {subsets.kinds[marks] for marks in subsets.outside}
    paths = Witnesses(subsets.states, bases)
    first: dict[tuple[int, int, Right], str] = {}
    for number in paths.order:
        state = subsets.states[number]
        if state.kind in kinds and len(first) < len(wanted):
            for each in subsets.outside.get(subsets.nfa.marks(state.threads), ()):
                if each not in first:
                    first[each] = paths.path(number)
    return tuple(
        Outside(allow, ceiling, right, path) for (allow, ceiling, right), path in sorted(first.items())
    )


class _Subsets:
    """The subset construction; paths that end just after a slash don't occur, and are kept apart."""

    def __init__(self, nfa: Nfa, meaning: Meaning) -> None:
        self.nfa = nfa
        self.meaning = meaning
        self._certain = nfa.certain(meaning.covers())
        self._certain_nodes = frozenset(self._certain)
        self._reach = nfa.reach(meaning.affects())
        self.classes: dict[PathClass, int] = {meaning.classify(frozenset()): 0}
        self.outside: dict[frozenset[int], list[tuple[int, int, Right]]] = {}  # by the marks of a path
        self._told: dict[int, set[int]] = {}  # by boundary, the allow rules that exceed it
        self.kinds: dict[frozenset[int], int] = {frozenset(): 0}
        self.states = [State(frozenset(), 0)]
        self._known: dict[tuple[Threads, bool], int] = {(frozenset(), False): DEAD, (frozenset(), True): DEAD}
        self._work = 0
        self._most = min(MAX_STATES, _FREE_STATES + _BLOW_UP * len(nfa.nodes))

    def state(self, threads: Threads, *, after_slash: bool) -> int:
        """The number of the state for `threads`; a new one is explored later."""
        if not self._certain_nodes.isdisjoint(threads):
            threads = self._pruned(threads)
        key = (threads, after_slash)
        number = self._known.get(key)
        if number is None:
            number = len(self.states)
            self._work += len(threads)
            is_tangled = self._work > _FREE_WORK and self._work > _TANGLED * number
            if number >= self._most or self._work > MAX_WORK or is_tangled or len(self.classes) > MAX_CLASSES:
                raise TooManyStatesError
            self._known[key] = number
            self.states.append(State(threads, NO_PATH if after_slash else self._kind(threads)))
        return number

    def _pruned(self, threads: Threads) -> Threads:
        """`threads` without those that can't change a decision, because other rules settle all that follows.

        Without this, each set of deny rules that a path has met would be a state of its own. Which of
        several deny rules is named for a path depends on it; that one of them refuses does not.

        Why it is right: a node in `_certain` carries its marks on every path from here on, so what they
        settle stays settled. Any other node goes only if nothing that can be reached from it, its own marks
        included, is open; and so does a certain node that settles nothing new, since patterns share nodes and
        one that is settled itself may lead to a rule that is not.
        SECURITY: what can refuse in audit mode too is settled apart. No deny of the document settles what a
        built-in deny or a boundary does. The root of a boundary is no refusal but the lack of one: without
        its thread the boundary would refuse, so it goes only where the `never` of the same boundary, or a
        built-in deny, refuses anyway. What is watched is settled only by itself, whatever is refused.
        """
        certain = self._certain
        kept = set[int]()
        covered = 0
        for node in sorted(self._certain_nodes & threads, key=lambda node: (certain[node][0], node)):
            mask = certain[node][1]
            if mask & ~covered:
                kept.add(node)
                covered |= mask
        reach, is_open = self._reach, ~covered
        return frozenset(kept.union(node for node in threads if reach[node] & is_open))

    def _kind(self, threads: Threads) -> int:
        marks = self.nfa.marks(threads)
        kind = self.kinds.get(marks)
        if kind is None:
            kind = self.classes.setdefault(self.meaning.classify(marks), len(self.classes))
            self.kinds[marks] = kind
            self._tell(marks)
        return kind

    def _tell(self, marks: frozenset[int]) -> None:
        """Keep what lies outside a boundary; of many rules that exceed one, the first ones."""
        for found in self.meaning.outside(marks):
            told = self._told.setdefault(found[1], set())
            if len(told) < MAX_OUTSIDE or found[0] in told:
                told.add(found[0])
                self.outside.setdefault(marks, []).append(found)

    def explore(self) -> None:
        """Follow every byte from every state."""
        number = 1
        while number < len(self.states):
            self._expand(number, self.states[number])
            number += 1

    def _expand(self, number: int, state: State) -> None:
        nodes = self.nfa.nodes
        closure = self.nfa.closure
        staying: Threads = frozenset()
        swallowing: Threads = frozenset()
        by_byte: dict[int, Threads] = {}
        ranged: list[Edge] = []
        for thread in state.threads:
            node = nodes[thread]
            if node.loop is not Loop.NONE:
                staying |= closure(thread)
                if node.loop is Loop.ALL:
                    swallowing |= closure(thread)
            for byte, target in node.literals.items():
                goal = closure(target)
                known = by_byte.get(byte)
                by_byte[byte] = goal if known is None else known | goal
            if node.ranges:
                ranged.extend(node.ranges)
        state.default = self.state(staying, after_slash=False) if staying else DEAD
        descending = swallowing | by_byte.pop(SLASH, frozenset())
        # A repeated slash stands for one slash.
        after = number if state.kind == NO_PATH else self.state(descending, after_slash=True)
        if ranged:
            edges = [(SLASH, SLASH, after), *self._spread(by_byte, ranged, staying)]
        else:
            edges = [
                (b, b, self.state(staying | goal if staying else goal, after_slash=False))
                for b, goal in sorted(by_byte.items())
            ]
            edges.append((SLASH, SLASH, after))
        state.edges = joined(edges, state.default)

    def _spread(self, by_byte: dict[int, Threads], ranged: list[Edge], base: Threads) -> list[Edge]:
        cuts = {0, SLASH, SLASH + 1, 256}
        for byte in by_byte:
            cuts |= {byte, byte + 1}
        for low, high, _ in ranged:
            cuts |= {low, high + 1}
        ordered = sorted(cuts)
        edges: list[Edge] = []
        for low, beyond in pairwise(ordered):
            if low == SLASH:
                continue
            goal = base | by_byte.get(low, frozenset())
            for first, last, target in ranged:
                if first <= low <= last:
                    goal |= self.nfa.closure(target)
            edges.append((low, beyond - 1, self.state(goal, after_slash=False)))
        return edges
