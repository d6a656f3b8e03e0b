"""Quantities with units, read into whole numbers.

Which field takes which quantity is said in `schema.py`. A text that is not exactly a quantity is
an error that says what was expected; nothing is rounded and nothing overflows 63 bits.
"""

from __future__ import annotations

import hashlib
import re
from datetime import UTC, datetime, timedelta

from policy.plan import UNLIMITED

SIZE_UNITS = {
    "": 1,
    "k": 10**3,
    "M": 10**6,
    "G": 10**9,
    "T": 10**12,
    "Ki": 2**10,
    "Mi": 2**20,
    "Gi": 2**30,
    "Ti": 2**40,
}
COUNT_UNITS = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
TIME_UNITS = {
    "ns": 1,
    "us": 10**3,
    "ms": 10**6,
    "s": 10**9,
    "m": 60 * 10**9,
    "h": 3600 * 10**9,
    "d": 86_400 * 10**9,
}
_QUANTITY = re.compile(r"([0-9]{1,18})([A-Za-z]{0,12})")
_INSTANT = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})[Tt ]([0-9]{2}:[0-9]{2}:[0-9]{2})"
    r"(?:\.([0-9]{1,9}))?([Zz]|[+-][0-9]{2}:[0-9]{2})"
)
_MAX = 2**63 - 1
SEED_BYTES = 32


class UnitError(ValueError):
    """A text is not a quantity of the kind that was expected."""

    def __init__(self, expected: str, suggestion: str = "") -> None:
        """Keep what was `expected` and a corrected text, where one is likely."""
        self.expected = expected
        self.suggestion = suggestion
        super().__init__(expected)


def _parse(text: str, units: dict[str, int], expected: str) -> int:
    match = _QUANTITY.fullmatch(text)
    if match is None:
        raise UnitError(expected)
    number, unit = match.groups()
    factor = units.get(unit)
    if factor is None:
        raise UnitError(expected, _near(number, unit, units))
    value = int(number) * factor
    if value > _MAX:
        raise UnitError(f"{expected}, below 2**63")
    return value


def _near(number: str, unit: str, units: dict[str, int]) -> str:
    # Slips that are common because other tools write these units so.
    bare = unit.removesuffix("B").removesuffix("b") if unit[-1:] in {"B", "b"} and len(unit) > 1 else unit
    for candidate in (bare, bare.capitalize(), bare.lower(), {"sec": "s", "min": "m"}.get(bare, "")):
        if candidate and candidate in units:
            return number + candidate
    return ""


def parse_bytes(text: str) -> int:
    """Bytes, from `64Mi`, `1G` or `4096`."""
    return _parse(text, SIZE_UNITS, "a size such as 64Mi, 1G or 4096")


def parse_count(text: str) -> int:
    """A count, from `20G`, `64k` or `1000000`."""
    return _parse(text, COUNT_UNITS, "a count such as 1000000, 64k or 20G")


def parse_duration(text: str) -> int:
    """Nanoseconds, from `10s`, `250ms` or `400d`; the unit must be written."""
    expected = "a duration such as 250ms, 10s or 90d"
    if text.isascii() and text.isdigit():
        raise UnitError(expected, f"{text[:18]}s")
    return _parse(text, TIME_UNITS, expected)


def parse_limit(text: str, *, kind: str) -> int:
    """A limit in its base unit (bytes, count, nanoseconds), or `UNLIMITED` where that is spelt."""
    if text == "unlimited":
        return UNLIMITED
    parse = {"bytes": parse_bytes, "count": parse_count, "duration": parse_duration}[kind]
    try:
        return parse(text)
    except UnitError as err:
        raise UnitError(f"{err.expected}, or unlimited", err.suggestion) from None


def parse_instant(text: str) -> int:
    """Nanoseconds since 1970 UTC, from an RFC 3339 time with its offset."""
    expected = "an RFC 3339 time such as 2026-01-01T00:00:00Z"
    match = _INSTANT.fullmatch(text)
    if match is None:
        raise UnitError(expected, _whole_day(text))
    day, time, fraction, offset = match.groups()
    try:
        whole = datetime.fromisoformat(f"{day}T{time}{'+00:00' if offset in {'Z', 'z'} else offset}")
        seconds = (whole - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(seconds=1)
    except (ValueError, OverflowError):
        raise UnitError(expected) from None
    value = seconds * 10**9 + int((fraction or "0").ljust(9, "0"))
    if not 0 <= value <= _MAX:
        raise UnitError("an RFC 3339 time between 1970 and 2262")
    return value


def _whole_day(text: str) -> str:
    return f"{text}T00:00:00Z" if re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", text) else ""


def parse_seed(text: str) -> bytes:
    """32 bytes of seed, from 2 to 64 hexadecimal digits; a shorter seed is stretched with SHA-256."""
    if not re.fullmatch(r"(?:[0-9a-fA-F]{2}){1,32}", text):
        raise UnitError("2 to 64 hexadecimal digits, an even number of them")
    seed = bytes.fromhex(text)
    return seed if len(seed) == SEED_BYTES else hashlib.sha256(seed).digest()
