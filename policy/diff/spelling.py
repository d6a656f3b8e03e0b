"""Bytes that stand for a set of bytes in a witness, so that people can read it and type it.

Which sets there are is found in `product.py`. INVARIANT: the byte that is chosen lies in its set.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Set as AbstractSet

_READABLE = b"xabcdefghijklmnopqrstuvwyz0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ_-.+=,@%~:"
# 0xA9 carries on every lead byte of UTF-8 but 0xED, so what follows a lead can be chosen alone.
_ORDER = (
    *_READABLE, *sorted(set(range(0x20, 0x7F)) - set(_READABLE)), 0xC3, 0xE2, 0xF0, 0xA9, 0x89,
    *range(0xC2, 0xF5), *range(0x80, 0xC2), *range(1, 0x20), 0x7F, *range(0xF5, 0x100),
)  # fmt: skip
RANK = {byte: _ORDER.index(byte) for byte in range(1, 256)}
"""How readable each byte is; 0 is the best."""

BROKEN = -1
"""What a byte makes of a character that it can't stand in."""

UTF8_CUTS = frozenset({0x80, 0x90, 0xA0, 0xC0, 0xC2, 0xE0, 0xE1, 0xED, 0xEE, 0xF0, 0xF1, 0xF4, 0xF5})
"""Where bytes start that UTF-8 tells apart."""

_LEADS = (
    (0xC2, 0xDF, 1), (0xE0, 0xE0, 4), (0xE1, 0xEC, 2), (0xED, 0xED, 5), (0xEE, 0xEF, 2), (0xF0, 0xF0, 6),
    (0xF1, 0xF3, 3), (0xF4, 0xF4, 7),
)  # fmt: skip
# For each state in a character: the bytes that carry it on, and the state then. Source: RFC 3629, section 4.
_TAILS = (
    (0, 0, 0), (0x80, 0xBF, 0), (0x80, 0xBF, 1), (0x80, 0xBF, 2), (0xA0, 0xBF, 1), (0x80, 0x9F, 1),
    (0x90, 0xBF, 2), (0x80, 0x8F, 2),
)  # fmt: skip


@cache
def best_byte(low: int, beyond: int) -> int:
    """The most readable byte from `low` up to, not including, `beyond`."""
    return min(range(low, beyond), key=RANK.__getitem__)


def some_byte(but: AbstractSet[int]) -> int:
    """The most readable byte that is not in `but`, or 1 when all are."""
    return next((byte for byte in _ORDER if byte not in but), 1)


def utf8_step(state: int, byte: int) -> int:
    """The state in a character after `byte`; 0 is between characters."""
    if state:
        low, high, after = _TAILS[state]
        return after if low <= byte <= high else BROKEN
    if byte < 0x80:
        return 0
    return next((after for low, high, after in _LEADS if low <= byte <= high), BROKEN)
