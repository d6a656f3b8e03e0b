"""Ports of a policy: single ones, ranges, and `*` for all.

Which rule decides a port is said in `rows.py`. INVARIANT: a range is never empty and never holds port 0,
which is no port but asks for a free one.
"""

from __future__ import annotations

import re
from typing import Final

LAST_PORT: Final = 65_535
ALL_PORTS: Final = (1, LAST_PORT)

Range = tuple[int, int]
"""The first and the last port, both included."""


class PortError(ValueError):
    """A text is no port and no range; says what was expected and what to write instead."""

    def __init__(self, expected: str, suggestion: str = "") -> None:
        """Keep what was `expected` and a corrected text, where one is plain."""
        self.expected = expected
        self.suggestion = suggestion
        super().__init__(expected)


def parse_ports(text: str) -> Range:
    """`443`, `8000-8010`, or `*`.

    Raises:
        PortError: when it is none of these.
    """
    expected = "a port 1-65535, a range such as 8000-8010, or * for every port"
    if text == "*":
        return ALL_PORTS
    found = re.fullmatch(r"([1-9][0-9]{0,4})(?:-([1-9][0-9]{0,4}))?", text)
    if not found:
        raise PortError(expected, _meant(text))
    low, high = int(found[1]), int(found[2] or found[1])
    if max(low, high) > LAST_PORT:
        raise PortError(expected)
    if low > high:
        raise PortError("a range in rising order", f"{high}-{low}")
    return low, high


def _meant(text: str) -> str:
    """A range for `8000..8010`, and a number without zeros in front; empty where nothing is plain."""
    found = re.fullmatch(r"0*([1-9][0-9]{0,4})(?:\s*(?:-|\.\.)\s*0*([1-9][0-9]{0,4}))?", text)
    if not found:
        return ""
    low, high = int(found[1]), int(found[2] or found[1])
    if max(low, high) > LAST_PORT:
        return ""
    return "" if low > high else (f"{low}-{high}" if found[2] else str(low))


def joined(ranges: list[Range]) -> tuple[Range, ...]:
    """`ranges` in rising order, those that meet or touch joined."""
    found: list[Range] = []
    for low, high in sorted(ranges):
        if found and low <= found[-1][1] + 1:
            found[-1] = (found[-1][0], max(high, found[-1][1]))
        else:
            found.append((low, high))
    return tuple(found)


def format_ports(low: int, high: int) -> str:
    """As a policy writes it."""
    if (low, high) == ALL_PORTS:
        return "*"
    return str(low) if low == high else f"{low}-{high}"
