"""What a plan says at the end of a path, for everything that can be wanted there.

How paths are found is in `product.py`; decisions for people are made in `policy/decide.py`, which a test
holds this against. INVARIANT: two places with equal tables are answered alike whatever the call.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from policy.plan import RIGHTS, Mode, Right

if TYPE_CHECKING:
    from policy.diff.product import End
    from policy.plan import Plan, Rule

REFUSED, RECORDED, ALLOWED = range(3)
"""What becomes of a call; `RECORDED` happens, since the plan only audits, and is recorded as a refusal."""

LOOKED_AT = 0
"""The want of a call that needs no right, only that something is granted at the path or below."""

WANTS = range(1, 1 << len(RIGHTS))
"""Every set of rights that `path_open` can ask for."""

_BY_SIZE = sorted(WANTS, key=lambda wanted: (wanted.bit_count(), wanted))


@dataclass(frozen=True, slots=True)
class Seen:
    """One place, as far as it decides."""

    rights: int
    final: int  # rights whose refusal holds in mode audit too
    is_live: bool


@dataclass(frozen=True, slots=True)
class Verdicts:
    """A plan's tables, and the rules behind them."""

    plan: Plan
    has_levels: bool  # tell refused and recorded apart; else both are REFUSED

    def seen(self, end: End) -> tuple[Seen, ...]:
        """The places at the end of a path, the first asked first."""
        return tuple(self._seen(kind) for _, kind in end)

    def _seen(self, kind: int) -> Seen:
        found = self.plan.automaton.classes[kind >> 1]
        final = 0
        if self.has_levels:
            for right, index in zip(RIGHTS, found.rules, strict=True):
                if not found.rights & right and self.plan.rules[index].kind.is_final:
                    final |= right
        return Seen(found.rights, final, bool(kind & 1))

    def table(self, end: End) -> bytes:
        """For each want what becomes of it; `LOOKED_AT` is the first."""
        return _table(self.seen(end), self.has_levels)

    def answer(self, end: End, wanted: int) -> str:
        """What the plan answers to `wanted`, as a question to it would tell."""
        level = _table(
            Verdicts(self.plan, self.plan.mode is Mode.AUDIT).seen(end), self.plan.mode is Mode.AUDIT
        )
        return ("deny", "would_deny", "allow")[level[wanted]]

    def rule(self, end: End, wanted: int) -> Rule | None:
        """The rule that decides `wanted`; None where none is named."""
        classes, rules = self.plan.automaton.classes, self.plan.rules
        for _, kind in end:
            found = classes[kind >> 1]
            if wanted == LOOKED_AT and kind & 1:
                return None
            if wanted and not wanted & ~usable(found.rights):
                return rules[found.rules[_position(_needed(wanted, found.rights))]]
        if not end:
            return rules[0]
        found = classes[end[0][1] >> 1]
        return rules[found.rules[_position(_needed(wanted, found.rights) & ~found.rights)]]


def usable(rights: int) -> int:
    """`rights` with what they stand for: whoever may write may append."""
    return rights | (Right.APPEND if rights & Right.WRITE else 0)


def _needed(wanted: int, rights: int) -> int:
    if wanted & Right.APPEND and rights & Right.WRITE:
        return (wanted & ~Right.APPEND) | Right.WRITE
    return wanted


def _position(rights: int) -> int:
    """Where the first of `rights` stands in the tables."""
    return (rights & -rights).bit_length() - 1 if rights else 0


@cache
def _table(places: tuple[Seen, ...], has_levels: bool) -> bytes:  # noqa: FBT001  # a cache takes no keywords
    found = bytearray(1 << len(RIGHTS))
    for wanted in (LOOKED_AT, *WANTS):
        found[wanted] = _level(places, wanted, has_levels=has_levels)
    return bytes(found)


def _level(places: tuple[Seen, ...], wanted: int, *, has_levels: bool) -> int:
    for place in places:
        if place.is_live if wanted == LOOKED_AT else not wanted & ~usable(place.rights):
            return ALLOWED
    if not (has_levels and places):
        return REFUSED
    first = places[0]
    missing = wanted & ~usable(first.rights)
    return REFUSED if first.final >> _position(missing) & 1 else RECORDED


@cache
def gains(before: bytes, after: bytes) -> tuple[int, ...]:
    """The smallest wants for which `after` lets more happen than `before`.

    Every want that gains holds one of these. `LOOKED_AT` is told only where nothing else is gained.
    """
    if before == after:
        return ()
    found: list[int] = []
    for wanted in _BY_SIZE:
        if after[wanted] > before[wanted] and all(known & ~wanted for known in found):
            found.append(wanted)
    if not found and after[LOOKED_AT] > before[LOOKED_AT]:
        found.append(LOOKED_AT)
    return tuple(found)
