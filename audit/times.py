"""Points in time: nanoseconds since 1970 UTC inside, RFC 3339 outside.

No clock is read here. Text has nine decimals and ends in `Z`, so it sorts like the number.
INVARIANT: `to_ns(to_rfc3339(n)) == n` for every time of the years 1970 to 9999.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone

from audit.errors import FormatError

_NS = 1_000_000_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FORM = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[Tt ](\d\d):(\d\d):(\d\d)(?:\.(\d{1,9}))?(?:([Zz])|([+-])(\d\d):(\d\d))\Z",
    re.ASCII,
)


def to_rfc3339(t_ns: int) -> str:
    """Write a time, as `2026-11-22T18:14:40.000000000Z`; FormatError outside the years 1 to 9999."""
    seconds, rest = divmod(t_ns, _NS)
    try:
        moment = _EPOCH + timedelta(seconds=seconds)
    except OverflowError as err:
        raise FormatError("time", "nanoseconds of a year up to 9999", t_ns) from err
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{rest:09d}Z".rjust(30, "0")


def to_ns(text: str) -> int:
    """Read an RFC 3339 time with an offset; FormatError if it is not one. A leap second is refused."""
    match = _FORM.match(text)
    if match is None:
        raise FormatError("time", "RFC 3339 with an offset, as 2026-11-22T18:14:40Z", text)
    year, month, day, hour, minute, second = (int(part) for part in match.groups()[:6])
    fraction, _, sign, off_hours, off_minutes = match.groups()[6:]
    try:
        offset = timedelta(hours=int(off_hours or 0), minutes=int(off_minutes or 0))
        zone = timezone(-offset if sign == "-" else offset)
        moment = datetime(year, month, day, hour, minute, second, tzinfo=zone)
    except ValueError as err:
        raise FormatError("time", "a date and time that exist", text) from err
    delta = moment - _EPOCH
    return (delta.days * 86_400 + delta.seconds) * _NS + int((fraction or "").ljust(9, "0"))


def day_of(t_ns: int) -> str:
    """Give the UTC day of a time, as `2026-11-22`."""
    return to_rfc3339(t_ns)[:10]


def from_text(text: str) -> int:
    """Read a time as people type it: RFC 3339, or nanoseconds since 1970 as digits."""
    if text.isascii() and text.isdigit() and len(text) <= 19:
        return int(text)
    return to_ns(text)
