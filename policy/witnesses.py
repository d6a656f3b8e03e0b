"""Shortest paths to states of an automaton that is being built, for people to read.

The states are explored in `dfa.py`. INVARIANT: a witness leads to the state it is asked for, and where a byte
can be chosen, it is a letter.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from policy.globs import SLASH

if TYPE_CHECKING:
    from policy.fold import State

_READABLE: Final = (
    b"abcdefghijklmnopqrstuvwxyz0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ_-+=@,~%#!:;&()[]{}'$^`\"|<>?*\\ ."
)
_RANK: Final = {byte: rank for rank, byte in enumerate((SLASH, *_READABLE))}

_BEST_FIRST: Final = (*_RANK, *(byte for byte in range(1, 256) if byte not in _RANK))


class Witnesses:
    """One path to each state from a start: the shortest of those that read well, where there is one."""

    def __init__(self, states: list[State], bases: dict[int, str]) -> None:
        """Search `states`, breadth first, from those in `bases`, which says what path each stands for."""
        self._bases = bases
        self._before: dict[int, tuple[int, int]] = {}
        seen = dict.fromkeys(bases)
        for is_any in (False, True):
            queue = list(seen)
            for number in queue:
                for byte, target in _ways(states[number]):
                    if target not in seen and (is_any or byte in _RANK):
                        seen[target] = None
                        self._before[target] = number, byte
                        queue.append(target)
        self.order = tuple(seen)

    def path(self, number: int) -> str:
        """The path that ends in the state `number`; bytes that are no text are escaped."""
        found = bytearray()
        while number in self._before:
            number, byte = self._before[number]
            found.append(byte)
        text = bytes(reversed(found)).decode("utf-8", "backslashreplace")
        return (self._bases[number] + text) or "/"


def _ways(state: State) -> list[tuple[int, int]]:
    """Every state that one byte leads to, each with the byte that reads best, the best first."""
    ways = [(_best(range(low, high + 1)), target) for low, high, target in state.edges]
    spare = next((byte for byte in _BEST_FIRST if not _is_taken(state, byte)), None)
    if spare is not None:
        ways.append((spare, state.default))
    return sorted(ways, key=lambda way: _RANK.get(way[0], 256 + way[0]))


def _is_taken(state: State, byte: int) -> bool:
    return any(low <= byte <= high for low, high, _ in state.edges)


def _best(members: range) -> int:
    return members[0] if len(members) == 1 else next(byte for byte in _BEST_FIRST if byte in members)
