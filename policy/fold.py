"""A deterministic automaton folded, numbered, and written as a plan's table.

The states come from `dfa.py`. States are numbered breadth-first from the mounts, so equal documents
give equal tables, and a state all of whose future lies in one class becomes one absorbing state.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from policy.globs import SLASH
from policy.plan import LIVE, UNIFORM, PathAutomaton, PathClass, Right

DEAD = 0
NO_PATH = -1  # class of a state that no path ends in: just after a slash
MIXED = -2  # future of a state below which classes differ

Threads = frozenset[int]
Edge = tuple[int, int, int]


@dataclass(slots=True)
class State:
    """One state while it is being built."""

    threads: Threads
    kind: int  # class, or NO_PATH
    edges: list[Edge] = field(default_factory=list)
    default: int = DEAD


@dataclass(frozen=True, slots=True)
class Outside:
    """A right that an allow rule would grant, did a boundary not refuse it."""

    allow: int  # index of the allow rule in `Plan.rules`
    ceiling: int  # index of the boundary's rule
    right: Right
    path: str  # a shortest such path: `/srv/in/x` on the host, or `tmp://out/x`


@dataclass(frozen=True, slots=True)
class Determinised:
    """The finished table, and what is known about each start."""

    automaton: PathAutomaton
    starts: tuple[int, ...]
    reach: tuple[int, ...]  # for each start, the rights that some path at or below it has
    outside: tuple[Outside, ...] = ()  # by allow rule, boundary and right


def fold(states: list[State], classes: list[PathClass], starts: list[int]) -> Determinised:
    """The table of `states`, which name `classes` by index, from `starts`."""
    return _Folder(states, classes).fold(starts)


class _Folder:
    """Folds uniform futures into absorbing states, and numbers what is left."""

    def __init__(self, states: list[State], classes: list[PathClass]) -> None:
        self.states = states
        self.classes = classes
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
            self._table(rows),
            tuple(numbers[name] for name in first),
            tuple(self.reach[number] for number in starts),
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
        edges = [
            (low, high, self._number(self._name(goal), numbers, queue)) for low, high, goal in state.edges
        ]
        return joined(edges, default), max(state.kind, 0), default, self._flags(name)

    def _uniform(self, number: int) -> int:
        """The class of the path that ends here and of all below it; `MIXED` when they differ."""
        kind = self.states[number].kind
        return _join(kind, self.future[_after_slash(self.states[number])])

    def _flags(self, number: int) -> int:
        state = self.states[number]
        if state.kind == NO_PATH:
            return (LIVE if self.reach[number] else 0) | (UNIFORM if self.future[number] != MIXED else 0)
        below = self.reach[_after_slash(state)]
        is_live = self.classes[state.kind].rights or below
        return (LIVE if is_live else 0) | (UNIFORM if self._uniform(number) != MIXED else 0)

    def _table(self, rows: list[tuple[list[Edge], int, int, int]]) -> PathAutomaton:
        classes: dict[int, int] = {0: 0}
        states: list[tuple[int, int, int, int, int]] = []
        edges: list[Edge] = []
        for found, kind, default, flags in rows:
            number = classes.setdefault(kind, len(classes))
            states.append((len(edges), len(found), number, default, flags))
            edges.extend(found)
        return PathAutomaton(tuple(states), tuple(edges), tuple(self.classes[kind] for kind in classes))


def _after_slash(state: State) -> int:
    for low, high, target in state.edges:
        if low <= SLASH <= high:
            return target
    return state.default


def _join(one: int, other: int) -> int:
    if other in {one, NO_PATH}:
        return one
    return other if one == NO_PATH else MIXED


def _futures(states: list[State], rights: list[int]) -> tuple[list[int], list[int]]:
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


def joined(edges: list[Edge], default: int) -> list[Edge]:
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
