"""Walking a plan's path automaton, byte by byte.

How it is built is said in `dfa.py`; the monitor walks the same tables in its own memory. A path is
given as segments that are normalised already: no empty one, no `.` and no `..`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from policy.globs import SLASH
from policy.plan import LIVE, PathClass

if TYPE_CHECKING:
    from collections.abc import Iterable

    from policy.plan import Mount, Plan


class Table(Protocol):
    """States and edges as a path automaton has them, whatever its classes say."""

    @property
    def states(self) -> tuple[tuple[int, int, int, int, int], ...]:
        """As `PathAutomaton.states`."""
        ...

    @property
    def edges(self) -> tuple[tuple[int, int, int], ...]:
        """As `PathAutomaton.edges`."""
        ...


def step(automaton: Table, state: int, byte: int) -> int:
    """The state after one more byte."""
    first, count, _, default, _ = automaton.states[state]
    low = first
    high = first + count
    while low < high:
        middle = (low + high) // 2
        start, end, target = automaton.edges[middle]
        if byte < start:
            high = middle
        elif byte > end:
            low = middle + 1
        else:
            return target
    return default


def walk(automaton: Table, state: int, segments: Iterable[bytes]) -> int:
    """The state after `segments`, each with the slash before it."""
    for segment in segments:
        state = step(automaton, state, SLASH)
        for byte in segment:
            state = step(automaton, state, byte)
    return state


def automaton_state(plan: Plan, mount: Mount, segments: Iterable[bytes]) -> int:
    """The state of the path that `segments` make below `mount`; none of them is the mount itself."""
    return walk(plan.automaton, mount.start, segments)


def path_class(plan: Plan, state: int) -> PathClass:
    """What the path that ends in `state` may have done to it."""
    return plan.automaton.classes[plan.automaton.states[state][2]]


def is_live(plan: Plan, state: int) -> bool:
    """Say whether some right may be allowed at the path that ends in `state`, or below it."""
    return bool(plan.automaton.states[state][4] & LIVE)
