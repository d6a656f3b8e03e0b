"""The nondeterministic automaton made deterministic, and written as a plan's table.

The patterns are joined in `nfa.py`; what a class means is given by the caller. States are numbered
breadth-first from the mounts, so equal documents give equal tables, and a state all of whose
future lies in one class is folded into one absorbing state for that class.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from policy.globs import SLASH
from policy.nfa import Loop
from policy.plan import LIVE, UNIFORM, PathAutomaton, PathClass

if TYPE_CHECKING:
    from collections.abc import Mapping

    from policy.nfa import Nfa

MAX_STATES = 200_000
MAX_WORK = 20_000_000  # threads over all states: a bound on time where patterns interlock
MAX_CLASSES = 65_535

DEAD = 0
_NO_PATH = -1  # class of a state that no path ends in: just after a slash
_MIXED = -2  # future of a state below which classes differ

Threads = frozenset[int]
Edge = tuple[int, int, int]


class TooManyStates(ValueError):  # noqa: N818  # the compiler turns it into a finding
    """The patterns interlock so much that their table would be too large."""


@dataclass(slots=True)
class _State:
    """One state while it is being built."""

    threads: Threads
    kind: int  # class, or _NO_PATH
    edges: list[Edge] = field(default_factory=list)
    default: int = DEAD


@dataclass(frozen=True, slots=True)
class Determinised:
    """The finished table, and what is known about each start."""

    automaton: PathAutomaton
    starts: tuple[int, ...]
    reach: tuple[int, ...]  # for each start, the rights that some path at or below it has


class Meaning(Protocol):
    """What marks stand for."""

    @property
    def deny(self) -> Mapping[int, int]:
        """The rights that each deny rule refuses, by its index."""

    @property
    def allow(self) -> Mapping[int, int]:
        """The rights that each allow rule grants, by its index."""

    def classify(self, marks: frozenset[int]) -> PathClass:
        """The class of a path with these marks."""


def determinise(nfa: Nfa, starts: list[Threads], meaning: Meaning) -> Determinised:
    """The table for `starts`, in that order; `meaning` says what the marks stand for.

    Raises:
        TooManyStates: when there would be more than `MAX_STATES`.
    """
    subsets = _Subsets(nfa, meaning)
    first = [subsets.state(threads, after_slash=False) for threads in starts]
    subsets.explore()
    return _Folder(subsets).fold(first)


class _Subsets:
    """The subset construction; paths that end just after a slash don't occur, and are kept apart."""

    def __init__(self, nfa: Nfa, meaning: Meaning) -> None:
        self.nfa = nfa
        self.classify = meaning.classify
        self._deny = meaning.deny
        self._certain = nfa.certain(meaning.deny)
        self._certain_nodes = frozenset(self._certain)
        self._node_reach = nfa.reach({**meaning.deny, **meaning.allow})
        self.classes: dict[PathClass, int] = {self.classify(frozenset()): 0}
        self._kinds: dict[frozenset[int], int] = {frozenset(): 0}
        self.states = [_State(frozenset(), 0)]
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
                raise TooManyStates
            self._known[key] = number
            self.states.append(_State(threads, _NO_PATH if after_slash else self._kind(threads)))
        return number

    def _pruned(self, threads: Threads) -> Threads:
        """`threads` without those that can't change a decision, because a deny rule covers all that follows.

        Without this, each set of deny rules that a path has met would be a state of its own. Which of
        several deny rules is named for a path depends on it; that one of them refuses does not.
        """
        kept = set[int]()
        refused = 0
        for node in sorted(self._certain_nodes & threads, key=lambda node: (self._certain[node], node)):
            rights = self._deny[self._certain[node]]
            if rights & ~refused:
                kept.add(node)
                refused |= rights
        reach = self._node_reach
        others = threads - self._certain_nodes
        return frozenset(kept.union(node for node in others if reach[node] & ~refused))

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

    def _expand(self, number: int, state: _State) -> None:
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
        after = number if state.kind == _NO_PATH else self.state(descending, after_slash=True)
        edges = [(SLASH, SLASH, after)]
        if ranged:
            edges += self._spread(by_byte, ranged, base)
        else:
            edges += [(b, b, self.state(base | goal, after_slash=False)) for b, goal in sorted(by_byte.items())]
        state.edges = _joined(edges, state.default)

    def _spread(self, by_byte: dict[int, set[int]], ranged: list[Edge], base: Threads) -> list[Edge]:
        cuts = {0, SLASH, SLASH + 1, 256}
        for byte in by_byte:
            cuts |= {byte, byte + 1}
        for low, high, _ in ranged:
            cuts |= {low, high + 1}
        ordered = sorted(cuts)
        edges: list[Edge] = []
        for low, beyond in zip(ordered, ordered[1:], strict=False):
            if low == SLASH:
                continue
            goal = set(base) | by_byte.get(low, set())
            for first, last, target in ranged:
                if first <= low <= last:
                    goal |= self.nfa.closure(target)
            edges.append((low, beyond - 1, self.state(frozenset(goal), after_slash=False)))
        return edges


def _joined(edges: list[Edge], default: int) -> list[Edge]:
    """`edges` by rising byte, without those that say the same as the default, neighbours joined."""
    joined: list[Edge] = []
    for low, high, target in sorted(edges):
        if target == default:
            continue
        if joined and joined[-1][1] == low - 1 and joined[-1][2] == target:
            joined[-1] = (joined[-1][0], high, target)
        else:
            joined.append((low, high, target))
    return joined


class _Folder:
    """Folds uniform futures into absorbing states, and numbers what is left."""

    def __init__(self, subsets: _Subsets) -> None:
        self.states = subsets.states
        self.classes = list(subsets.classes)
        self.future, self.reach = _futures(self.states, [found.rights for found in self.classes])

    def fold(self, starts: list[int]) -> Determinised:
        """The table, from `starts`."""
        first = [self._name(number, is_start=True) for number in starts]
        numbers: dict[int, int] = {DEAD: DEAD}
        queue: list[int] = [DEAD]
        for name in first:
            self._number(name, numbers, queue)
        rows: list[tuple[list[Edge], int, int, int]] = []
        at = 0
        while at < len(queue):
            rows.append(self._row(queue[at], numbers, queue))
            at += 1
        return Determinised(
            self._table(rows), tuple(numbers[name] for name in first), tuple(self.reach[number] for number in starts)
        )

    def _name(self, number: int, *, is_start: bool = False) -> int:
        """What a state is called once folded: its number, or `-1 - class` for an absorbing one."""
        future = self._uniform(number) if is_start else self.future[number]
        if future == 0:
            return DEAD
        return -1 - future if future > 0 else number

    @staticmethod
    def _number(name: int, numbers: dict[int, int], queue: list[int]) -> int:
        if name not in numbers:
            numbers[name] = len(queue)
            queue.append(name)
        return numbers[name]

    def _row(self, name: int, numbers: dict[int, int], queue: list[int]) -> tuple[list[Edge], int, int, int]:
        if name == DEAD:
            return [], 0, DEAD, UNIFORM
        if name < 0:
            kind = -1 - name
            flags = UNIFORM | (LIVE if self.classes[kind].rights else 0)
            return [], kind, numbers[name], flags
        state = self.states[name]
        default = self._number(self._name(state.default), numbers, queue)
        edges = [(low, high, self._number(self._name(goal), numbers, queue)) for low, high, goal in state.edges]
        return _joined(edges, default), max(state.kind, 0), default, self._flags(name)

    def _uniform(self, number: int) -> int:
        """The class of the path that ends here and of all below it; `_MIXED` when they differ."""
        kind = self.states[number].kind
        return _join(kind, self.future[_after_slash(self.states[number])])

    def _flags(self, number: int) -> int:
        state = self.states[number]
        if state.kind == _NO_PATH:
            return (LIVE if self.reach[number] else 0) | (UNIFORM if self.future[number] != _MIXED else 0)
        below = self.reach[_after_slash(state)]
        is_live = self.classes[state.kind].rights or below
        return (LIVE if is_live else 0) | (UNIFORM if self._uniform(number) != _MIXED else 0)

    def _table(self, rows: list[tuple[list[Edge], int, int, int]]) -> PathAutomaton:
        classes: dict[int, int] = {0: 0}
        states: list[tuple[int, int, int, int, int]] = []
        edges: list[Edge] = []
        for found, kind, default, flags in rows:
            number = classes.setdefault(kind, len(classes))
            states.append((len(edges), len(found), number, default, flags))
            edges.extend(found)
        return PathAutomaton(tuple(states), tuple(edges), tuple(self.classes[kind] for kind in classes))


def _after_slash(state: _State) -> int:
    for low, high, target in state.edges:
        if low <= SLASH <= high:
            return target
    return state.default


def _join(one: int, other: int) -> int:
    if one == other or other == _NO_PATH:
        return one
    return other if one == _NO_PATH else _MIXED


def _futures(states: list[_State], rights: list[int]) -> tuple[list[int], list[int]]:
    """For each state, the one class of every path through it, and the rights that any of them has."""
    before: list[list[int]] = [[] for _ in states]
    for number, state in enumerate(states):
        before[state.default].append(number)
        for _, _, target in state.edges:
            if target != number:
                before[target].append(number)
    future = [state.kind for state in states]
    reach = [rights[state.kind] if state.kind >= 0 else 0 for state in states]
    queue = list(range(len(states)))
    while queue:
        number = queue.pop()
        for earlier in before[number]:
            joined = _join(future[earlier], future[number])
            reached = reach[earlier] | reach[number]
            if joined != future[earlier] or reached != reach[earlier]:
                future[earlier] = joined
                reach[earlier] = reached
                queue.append(earlier)
    return future, reach
