"""Whether two globs have a path in common.

How a glob is read stands in `policy/globs.py`; which pairs are compared in `generalise.py` and
`ceiling.py`. INVARIANT: the answer is exact for globs over segments of valid UTF-8.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from policy.globs import AnyCharacter, DoubleStar, Glob, Literal, OneOf, Piece, Star, parse_glob

if TYPE_CHECKING:
    from collections.abc import Sequence

Unit = str | AnyCharacter | OneOf | Star
"""One character, a kind of character, or any text."""

_ASCII = 0x80


def have_common(one: Glob, other: Glob) -> bool:
    """Say whether some path matches both."""

    @cache
    def meet(i: int, j: int) -> bool:
        if i == len(one):
            return all(isinstance(segment, DoubleStar) for segment in other[j:])
        if j == len(other):
            return all(isinstance(segment, DoubleStar) for segment in one[i:])
        first, second = one[i], other[j]
        if isinstance(first, DoubleStar):
            return meet(i + 1, j) or meet(i, j + 1)
        if isinstance(second, DoubleStar):
            return meet(i, j + 1) or meet(i + 1, j)
        return _segments_meet(_units(first), _units(second)) and meet(i + 1, j + 1)

    return meet(0, 0)


def covers_common(cover: Glob, glob: Glob) -> bool:
    """Say whether `cover`, with everything below what it matches, has a path of `glob`."""
    tail = () if cover and isinstance(cover[-1], DoubleStar) else (DoubleStar(),)
    return have_common((*cover, *tail), glob)


def name_matches(name: str, pattern: str) -> bool:
    """Say whether `pattern`, a glob over one segment, matches `name`."""
    return have_common(((Literal(name.encode("utf-8", "replace")),),), parse_glob(pattern))


def patterns_meet(one: str, other: str) -> bool:
    """Say whether two globs over one segment match a name in common."""
    return have_common(parse_glob(one), parse_glob(other))


def _units(pieces: Sequence[Piece]) -> tuple[Unit, ...]:
    units: list[Unit] = []
    for piece in pieces:
        if isinstance(piece, Literal):
            units.extend(piece.data.decode("utf-8", "replace"))
        else:
            units.append(piece)
    return tuple(units)


def _segments_meet(one: tuple[Unit, ...], other: tuple[Unit, ...]) -> bool:
    @cache
    def meet(i: int, j: int) -> bool:
        if i == len(one):
            return all(isinstance(unit, Star) for unit in other[j:])
        if j == len(other):
            return all(isinstance(unit, Star) for unit in one[i:])
        first, second = one[i], other[j]
        if isinstance(first, Star) or isinstance(second, Star):
            return meet(i + isinstance(first, Star), j + isinstance(second, Star)) or (
                meet(i + 1, j) or meet(i, j + 1)
            )
        return _units_meet(first, second) and meet(i + 1, j + 1)

    return meet(0, 0)


def _units_meet(one: Unit, other: Unit) -> bool:
    match one, other:
        case str(), str():
            return one == other
        case str(), OneOf():
            return _holds(other, one)
        case OneOf(), str():
            return _holds(one, other)
        case OneOf(), OneOf():
            return (one.or_wide and other.or_wide) or any(
                low <= end and start <= high for low, high in one.ranges for start, end in other.ranges
            )
        case _:
            return True


def _holds(members: OneOf, char: str) -> bool:
    point = ord(char)
    if point >= _ASCII:
        return members.or_wide
    return any(low <= point <= high for low, high in members.ranges)
