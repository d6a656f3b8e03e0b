"""The nondeterministic automaton made deterministic.

The patterns are joined in `nfa.py`, the states are folded and numbered in `fold.py`, and what a class
means is given by the caller. The number of states is bounded, and the bound is an error that says so.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Protocol

from policy.fold import DEAD, NO_PATH, Determinised, Edge, State, Threads, fold, joined
from policy.globs import SLASH
from policy.nfa import Loop

if TYPE_CHECKING:
    from collections.abc import Mapping

    from policy.nfa import Nfa
    from policy.plan import PathClass

MAX_STATES = 200_000
MAX_WORK = 20_000_000  # threads over all states: a bound on time where patterns interlock
MAX_CLASSES = 65_535


class TooManyStatesError(ValueError):
    """The patterns interlock so much that their table would be too large."""


class Meaning(Protocol):
    """What marks stand for."""

    @property
    def deny(self) -> Mapping[int, int]:
        """The rights that each deny rule refuses, by its index."""
        ...

    @property
    def allow(self) -> Mapping[int, int]:
        """The rights that each allow rule grants, by its index."""
        ...

    @property
    def hard(self) -> Mapping[int, int]:
        """Those of `deny` that no other rule may stand in for."""
        ...

    def classify(self, marks: frozenset[int]) -> PathClass:
        """The class of a path with these marks."""
        ...


def determinise(nfa: Nfa, starts: list[Threads], meaning: Meaning) -> Determinised:
    """The table for `starts`, in that order; `meaning` says what the marks stand for.

    Raises:
        TooManyStatesError: when there would be more than `MAX_STATES`.
    """
    subsets = _Subsets(nfa, meaning)
    first = [subsets.state(threads, after_slash=False) for threads in starts]
    subsets.explore()
    return fold(subsets.states, list(subsets.classes), first)


class _Subsets:
    """The subset construction; paths that end just after a slash don't occur, and are kept apart."""

    def __init__(self, nfa: Nfa, meaning: Meaning) -> None:
        self.nfa = nfa
        self.classify = meaning.classify
        self._certain = nfa.certain(meaning.deny)
        self._certain_nodes = frozenset(self._certain)
        self._node_reach = nfa.reach({**meaning.deny, **meaning.allow})
        self._hard = frozenset(meaning.hard)
        self._hard_reach = nfa.reach(meaning.hard)
        self.classes: dict[PathClass, int] = {self.classify(frozenset()): 0}
        self._kinds: dict[frozenset[int], int] = {frozenset(): 0}
        self.states = [State(frozenset(), 0)]
        self._known: dict[tuple[Threads, bool], int] = {(frozenset(), False): DEAD, (frozenset(), True): DEAD}
        self._work = 0

    def state(self, threads: Threads, *, after_slash: bool) -> int:
        """The number of the state for `threads`; a new one is explored later."""
        if not self._certain_nodes.isdisjoint(threads):
            threads = self._pruned(threads)
        key = (threads, after_slash)
        number = self._known.get(key)
        if number is None:
            number = len(self.states)
            self._work += len(threads)
            if number >= MAX_STATES or self._work > MAX_WORK or len(self.classes) > MAX_CLASSES:
                raise TooManyStatesError
            self._known[key] = number
            self.states.append(State(threads, NO_PATH if after_slash else self._kind(threads)))
        return number

    def _pruned(self, threads: Threads) -> Threads:
        """`threads` without those that can't change a decision, because a deny rule covers all that follows.

        Without this, each set of deny rules that a path has met would be a state of its own. Which of
        several deny rules is named for a path depends on it; that one of them refuses does not.
        SECURITY: a built-in deny is refused in audit mode too, so no rule of the document stands in for it.
        """
        kept = set[int]()
        refused = hard_refused = 0
        for node in sorted(self._certain_nodes & threads, key=lambda node: (self._certain[node][0], node)):
            rights = self._certain[node][1]
            if rights & ~refused:
                kept.add(node)
                refused |= rights
                hard_refused |= rights if self._certain[node][0] in self._hard else 0
        reach, hard = self._node_reach, self._hard_reach
        others = threads - self._certain_nodes
        return frozenset(
            kept.union(node for node in others if reach[node] & ~refused or hard[node] & ~hard_refused)
        )

    def _kind(self, threads: Threads) -> int:
        marks = self.nfa.marks(threads)
        kind = self._kinds.get(marks)
        if kind is None:
            kind = self.classes.setdefault(self.classify(marks), len(self.classes))
            self._kinds[marks] = kind
        return kind

    def explore(self) -> None:
        """Follow every byte from every state."""
        number = 1
        while number < len(self.states):
            self._expand(number, self.states[number])
            number += 1

    def _expand(self, number: int, state: State) -> None:
        nodes = self.nfa.nodes
        closure = self.nfa.closure
        staying = set[int]()
        swallowing = set[int]()
        by_byte: dict[int, set[int]] = {}
        ranged: list[Edge] = []
        for thread in state.threads:
            node = nodes[thread]
            if node.loop is not Loop.NONE:
                staying |= closure(thread)
                if node.loop is Loop.ALL:
                    swallowing |= closure(thread)
            for byte, target in node.literals.items():
                by_byte.setdefault(byte, set()).update(closure(target))
            ranged.extend(node.ranges)
        base = frozenset(staying)
        state.default = self.state(base, after_slash=False)
        descending = frozenset(swallowing | by_byte.pop(SLASH, set()))
        # A repeated slash stands for one slash.
        after = number if state.kind == NO_PATH else self.state(descending, after_slash=True)
        edges = [(SLASH, SLASH, after)]
        if ranged:
            edges += self._spread(by_byte, ranged, base)
        else:
            edges += [
                (b, b, self.state(base | goal, after_slash=False)) for b, goal in sorted(by_byte.items())
            ]
        state.edges = joined(edges, state.default)

    def _spread(self, by_byte: dict[int, set[int]], ranged: list[Edge], base: Threads) -> list[Edge]:
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
            goal = set(base) | by_byte.get(low, set())
            for first, last, target in ranged:
                if first <= low <= last:
                    goal |= self.nfa.closure(target)
            edges.append((low, beyond - 1, self.state(frozenset(goal), after_slash=False)))
        return edges
