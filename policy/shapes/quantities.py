"""The shapes of sizes, counts, durations, times and ports.

How they are read is said in `policy/units.py` and `policy/fields.py`. Bounds that somebody could meet by
mistake stand in the patterns; that a number fits 63 bits does not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from policy.shapes.shape import WIDEST, Shape, numbers, text
from policy.units import COUNT_UNITS, SIZE_UNITS, TIME_UNITS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from policy.digest import Json

_MOST = 10**WIDEST - 1
_EDGE = 10**15  # above it a bound is that of the arithmetic, and no pattern says it
_MS = TIME_UNITS["ms"]
_DAY = TIME_UNITS["d"]
_HOUR = TIME_UNITS["h"]

_YEAR = r"(?:1969|19[7-9][0-9]|20[0-9]{2}|21[0-9]{2}|22[0-5][0-9]|226[0-2])"
_DATE = rf"{_YEAR}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12][0-9]|3[01])"
_CLOCK = r"(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]"
_MOMENT = rf"{_DATE}[Tt ]{_CLOCK}(?:\.[0-9]{{1,9}})?(?:[Zz]|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])"


def _quantity(units: Mapping[str, int], low: int, high: int) -> str:
    """A number with one of `units`, between the bounds where these are given in the base unit."""
    by_range: dict[str, list[str]] = {}
    for unit, factor in units.items():
        least, most = -(-low // factor), high // factor if high < _EDGE else _MOST
        if least <= most:
            by_range.setdefault(_digits(least, most), []).append(unit)
    alternatives = [
        f"{digits}{names[0]}" if len(names) == 1 else f"{digits}(?:{'|'.join(names)})"
        for digits, names in by_range.items()
    ]
    return rf"(?![0-9]{{{WIDEST + 1}}})(?:{'|'.join(alternatives)})"


def _digits(low: int, high: int) -> str:
    """Numbers between the bounds, with any zeros in front."""
    if high == _MOST and low < 2:
        return "0*[1-9][0-9]*" if low else "[0-9]+"
    return f"0*(?:{numbers(low, high)})"


def _of_milliseconds() -> str:
    """A duration of whole milliseconds, at least one."""
    finer = [rf"0*[1-9][0-9]*0{{{zeros}}}{unit}" for unit, zeros in (("ns", 6), ("us", 3))]
    coarser = [rf"0*[1-9][0-9]*{unit}" for unit in TIME_UNITS if unit not in {"ns", "us"}]
    return rf"(?![0-9]{{{WIDEST + 1}}})(?:{'|'.join([*finer, *coarser])})"


def _number(low: int, high: int, unquoted: str, *, is_bounded: bool) -> dict[str, Json]:
    pattern = unquoted if is_bounded else f"{unquoted}|unlimited"
    whole: dict[str, Json] = {"type": "integer", "minimum": low, "maximum": min(high, _MOST)}
    return {"anyOf": [whole, text(pattern)]}


def _size(name: str, words: str, *, low: int = 0, high: int = 2**62, is_bounded: bool = False) -> Shape:
    schema = _number(low, high, _quantity(SIZE_UNITS, low, high), is_bounded=is_bounded)
    return Shape(name, words, schema, write_size)


def _count(name: str, words: str, *, high: int = 2**62, is_bounded: bool = False) -> Shape:
    schema = _number(0, high, _quantity(COUNT_UNITS, 0, high), is_bounded=is_bounded)
    return Shape(name, words, schema, write_count)


def write_size(value: int) -> str:
    """A size in the largest power of 1024 that leaves it whole."""
    units = ((unit, SIZE_UNITS[unit]) for unit in ("Ti", "Gi", "Mi", "Ki"))
    return (
        "unlimited"
        if value < 0
        else next((f"{value // f}{u}" for u, f in units if not value % f), str(value))
    )


def write_count(value: int) -> str:
    """A count."""
    return "unlimited" if value < 0 else str(value)


def write_nanoseconds(value: int) -> str:
    """A duration in the largest unit up to hours that leaves it whole."""
    units = ((unit, TIME_UNITS[unit]) for unit in ("h", "m", "s", "ms", "us"))
    return next((f"{value // factor}{unit}" for unit, factor in units if not value % factor), f"{value}ns")


def write_milliseconds(value: int) -> str:
    """A duration that is kept in milliseconds."""
    return "unlimited" if value < 0 else write_nanoseconds(value * _MS)


def _write_on_full(value: int) -> str:
    return {0: "kill", 10_000: "block"}.get(value, f"block:{write_milliseconds(value)}")


SIZE = _size("size", "a size such as 64Mi, 1G or 4096, or unlimited")
MEMORY = _size("memory-size", "a size of at least 64Ki, or unlimited", low=65_536)
STACK = _size("stack-size", "a size from 16Ki to 4Mi", low=16_384, high=4 * 2**20, is_bounded=True)
BUDGET = _size("budget", "a size such as 8Mi, which can't be unlimited", is_bounded=True)
COUNT = _count("count", "a count such as 1000000, 64k or 20G, or unlimited")
NUMBER = _count("number", "a count such as 6 or 1000, which can't be unlimited", is_bounded=True)
OPEN_FILES = _count("open-files", "a count of at most 4000", high=4_000, is_bounded=True)
HOST_CALLS = _count("host-calls", "a count of at most 2^40, or unlimited", high=2**40)
DURATION = Shape(
    "duration",
    "a duration of whole milliseconds such as 250ms, 10s or 1h, or unlimited",
    text(f"{_of_milliseconds()}|unlimited"),
    write_milliseconds,
)
WINDOW = Shape(
    "window",
    "run, or a duration of whole milliseconds such as 1h",
    text(f"run|{_of_milliseconds()}"),
    lambda value: "run" if value == 0 else write_milliseconds(value),
)
ON_FULL = Shape(
    "on-full",
    "block (which waits 10s), block:<duration>, or kill",
    text(f"block|kill|block:{_of_milliseconds()}"),
    _write_on_full,
)
DAYS = Shape(
    "days",
    "a duration of whole days such as 90d",
    text(_quantity(TIME_UNITS, _DAY, 2**63)),
    lambda value: f"{value}d",
)
RESOLUTION = Shape(
    "resolution", "a duration from 1ns to 1h", text(_quantity(TIME_UNITS, 1, _HOUR)), write_nanoseconds
)
TIME = Shape("time", "an RFC 3339 time with its offset, such as 2026-01-01T00:00:00Z", text(_MOMENT))
WALL_CLOCK = Shape("wall-clock", "real, none, or frozen:<time>", text(f"real|none|frozen:{_MOMENT}"))
MONOTONIC_CLOCK = Shape(
    "monotonic-clock",
    "real, none, or frozen:<a time or a duration>",
    text(f"real|none|frozen:(?:{_MOMENT}|{_quantity(TIME_UNITS, 0, 2**63)})"),
)
RANDOM = Shape(
    "random",
    "real, none, or seeded: and 2 to 64 hexadecimal digits",
    text("real|none|seeded:(?:[0-9a-fA-F]{2}){1,32}"),
)

_PORT = numbers(1, 65_535)
PORT = Shape(
    "port", "a port from 1 to 65535, without quotes", {"type": "integer", "minimum": 1, "maximum": 65_535}
)
PORTS = Shape(
    "ports",
    "a port from 1 to 65535, a range such as 8000-8010, or * for every port",
    {
        "anyOf": [
            {"type": "integer", "minimum": 1, "maximum": 65_535},
            text(rf"\*|(?:{_PORT})(?:-(?:{_PORT}))?"),
        ]
    },
)
