"""The paths that are enough to tell automata of requests apart.

Questions are made of them in `request_samples.py`. Why they are enough: the automata are walked together,
over paths in canonical form only. INVARIANT: each combination of classes that such a path has is met, by a
shortest one.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final

from policy.automaton import step
from policy.globs import SLASH
from policy.plan_network import RequestAutomaton

Class = tuple[int, tuple[int, ...]]

_LETTERS: Final = sorted(b"abcdefghijklmnopqrstuvwxyz")
_OTHERS: Final = sorted(
    b"ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_~!$&'()*+,=:@"
)  # a path takes these as they are
_DOT: Final = 0x2E
_PERCENT: Final = 0x25
_HEX: Final = b"0123456789ABCDEF"
# What stands behind a % in a canonical path: no unreserved character, and nothing that is ambiguous.
_UNESCAPED: Final = frozenset({*_LETTERS, *b"ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~"})
_ESCAPED: Final = frozenset(range(0x20, 0x100)) - _UNESCAPED - {0x7F, 0x2F, 0x3B, 0x5C}

# Where a canonical path stands, besides in the automata.
_ROOT, _AFTER_SLASH, _ONE_DOT, _TWO_DOTS, _INSIDE, _AFTER_PERCENT = range(6)
_SECOND_DIGIT: Final = 0x100  # plus the first digit
_NEXT_DOT: Final = {_AFTER_SLASH: _ONE_DOT, _ONE_DOT: _TWO_DOTS, _TWO_DOTS: _INSIDE, _INSIDE: _INSIDE}


@dataclass(slots=True)
class PathSamples:
    """Paths for the automata of two plans; what was found for some starts is kept."""

    automata: tuple[RequestAutomaton, RequestAutomaton]
    _known: dict[tuple[tuple[int, int], ...], list[tuple[str, tuple[Class, ...]]]] = field(
        default_factory=dict
    )
    _has_escapes: bool = field(init=False)

    def __post_init__(self) -> None:
        """Learn whether % stands apart from every other character in any of the automata."""
        cuts = {cut for each in self.automata for low, high, _ in each.edges for cut in (low, high + 1)}
        # `$` and `&` are the neighbours of `%`: where one of them is treated as `%` everywhere, a path with
        # an escape ends where the same path with that character instead ends.
        self._has_escapes = {_PERCENT, _PERCENT + 1} <= cuts

    def paths(self, starts: tuple[tuple[int, int], ...]) -> list[tuple[str, tuple[Class, ...]]]:
        """A path for each combination of classes; each of `starts` is a side (0, 1) and a state of it."""
        if starts not in self._known:
            self._known[starts] = self._search(starts)
        return self._known[starts]

    def _search(self, starts: tuple[tuple[int, int], ...]) -> list[tuple[str, tuple[Class, ...]]]:
        tables = [self.automata[side] for side, _ in starts]
        first = tuple(state for _, state in starts), _ROOT
        before: dict[tuple[tuple[int, ...], int], tuple[tuple[tuple[int, ...], int], int] | None] = {
            first: None
        }
        queue = [first]
        found: dict[tuple[Class, ...], str] = {}
        for place in queue:
            states, form = place
            if form in {_ROOT, _INSIDE}:
                classes = tuple(t.classes[t.states[s][2]] for t, s in zip(tables, states, strict=True))
                if classes not in found:
                    found[classes] = _path(before, place)
            for byte, next_form in self._moves(tables, states, form):
                after = tuple(step(t, s, byte) for t, s in zip(tables, states, strict=True)), next_form
                if after not in before:
                    before[after] = place, byte
                    queue.append(after)
        return [(path, classes) for classes, path in found.items()]

    def _moves(
        self, tables: list[RequestAutomaton], states: tuple[int, ...], form: int
    ) -> list[tuple[int, int]]:
        """The bytes to go on with, and where the path then stands; one of those that are treated alike."""
        if form == _ROOT:
            return [(SLASH, _AFTER_SLASH)]
        if form == _AFTER_PERCENT:
            return [(d, _SECOND_DIGIT + d) for d in _HEX if any(_byte(d, e) in _ESCAPED for e in _HEX)]
        if form >= _SECOND_DIGIT:
            return [(d, _INSIDE) for d in _HEX if _byte(form - _SECOND_DIGIT, d) in _ESCAPED]
        cuts = {0, 256}
        for table, state in zip(tables, states, strict=True):
            start, count, _, _, _ = table.states[state]
            for low, high, _ in table.edges[start : start + count]:
                cuts |= {low, high + 1}
        ordered = sorted(cuts)
        pieces = pairwise(ordered)
        moves = [(byte, _INSIDE) for low, beyond in pieces if (byte := _legal(low, beyond)) >= 0]
        moves.append((_DOT, _NEXT_DOT[form]))
        if self._has_escapes:
            moves.append((_PERCENT, _AFTER_PERCENT))
        if form == _INSIDE:
            moves.append((SLASH, _AFTER_SLASH))
        return moves


def _byte(first: int, second: int) -> int:
    return int(bytes((first, second)), 16)


def _legal(low: int, beyond: int) -> int:
    """A plain character of a path from `low` up to before `beyond`, a letter if there is one; -1 if none."""
    for choice in (_LETTERS, _OTHERS):
        index = bisect_left(choice, low)
        if index < len(choice) and choice[index] < beyond:
            return choice[index]
    return -1


def _path(
    before: dict[tuple[tuple[int, ...], int], tuple[tuple[tuple[int, ...], int], int] | None],
    place: tuple[tuple[int, ...], int],
) -> str:
    path = bytearray()
    link = before[place]
    while link is not None:
        place, byte = link
        path.append(byte)
        link = before[place]
    return bytes(reversed(path)).decode("ascii") or "/"
