"""Addresses in one form: 128-bit integers, with IPv4 at `::ffff:a.b.c.d`.

What kind of network one belongs to is said in `zones.py`. What a guest asks for is read as strictly as
what a policy says. INVARIANT: an address has one number, however it was written; what has no canonical
spelling (`127.1`, `0x7f.1`, `2130706433`, `fe80::1%eth0`) is refused and never guessed.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import Final

from policy.errors import shown

MAPPED: Final = 0xFFFF << 32
"""What an IPv4 address is added to: `::ffff:0.0.0.0`."""
UNSPECIFIED: Final = frozenset({0, MAPPED})
"""No address at all, which a kernel takes for the machine itself where it is connected to."""

LAST: Final = 2**128 - 1
LAST_V4: Final = 2**32 - 1

_TEXT = 64  # an address is shorter; longer text is not looked at
_QUAD = re.compile(r"[0-9]{1,3}(\.[0-9]{1,3}){3}")
_OLD_FORMS = re.compile(r"(0[xX][0-9a-fA-F]*|[0-9]+)(\.(0[xX][0-9a-fA-F]*|[0-9]+)){0,3}\.?")


class AddressError(ValueError):
    """A text is no address in its canonical form; says what was expected and what to write instead."""

    def __init__(self, expected: str, suggestion: str = "") -> None:
        """Keep what was `expected` and a corrected text, where one is plain."""
        self.expected = expected
        self.suggestion = suggestion
        super().__init__(expected)


@dataclass(frozen=True, slots=True, order=True)
class Span:
    """All addresses from `low` to `high`, both included."""

    low: int
    high: int

    def holds(self, other: Span) -> bool:
        """Say whether all of `other` lies in it."""
        return self.low <= other.low and other.high <= self.high


EVERYWHERE: Final = Span(0, LAST)


def v4(address: int) -> int:
    """The number of an IPv4 address that is given as 32 bits."""
    return MAPPED | address


def is_v4(address: int) -> bool:
    """Say whether the number is that of an IPv4 address."""
    return address >> 32 == 0xFFFF


def format_address(address: int) -> str:
    """The canonical spelling: dotted decimal for IPv4, RFC 5952 for IPv6."""
    if is_v4(address):
        return str(ipaddress.IPv4Address(address & LAST_V4))
    return str(ipaddress.IPv6Address(address))


def format_span(span: Span) -> str:
    """The span as a CIDR or one address where it is one, else as its two ends."""
    size = span.high - span.low + 1
    if size == 1:
        return format_address(span.low)
    if size & (size - 1) == 0 and span.low % size == 0 and is_v4(span.low) == is_v4(span.high):
        bits = (32 if is_v4(span.low) else 128) - (size.bit_length() - 1)
        return f"{format_address(span.low)}/{bits}"
    return f"{format_address(span.low)}-{format_address(span.high)}"


def parse_asked(asked: str | bytes) -> int:
    """The address that a guest names, as text or as its 4 or 16 bytes.

    An IPv4-mapped address is the IPv4 address that it maps. Other forms that embed one keep their own
    number; their zone tells what they embed.

    Raises:
        AddressError: when it is no address, or is spelt in a way that some resolvers read otherwise.
    """
    if isinstance(asked, bytes):
        if len(asked) == 4:
            return v4(int.from_bytes(asked, "big"))
        if len(asked) == 16:
            return int.from_bytes(asked, "big")
        raise AddressError("an address of 4 or 16 bytes")
    return _parse(asked)


def looks_like_address(text: str) -> bool:
    """Say whether some resolver or browser would read `text` as an address rather than as a name."""
    return ":" in text or bool(_OLD_FORMS.fullmatch(text))


def parse_place(text: str) -> Span:
    """An address or a CIDR of a policy.

    Raises:
        AddressError: with the corrected text where bits of the host are set, or where an IPv4 address is
            written as IPv6.
    """
    whole, slash, length = text.partition("/")
    if not slash:
        return _single(text)
    address = _parse_plain(whole)
    bits = 32 if is_v4(address) else 128
    if not re.fullmatch(r"0|[1-9][0-9]{0,2}", length) or int(length) > bits:
        raise AddressError(f"a prefix length from 0 to {bits} after the slash")
    size = 1 << (bits - int(length))
    low = address & ~(size - 1) if bits == 128 else MAPPED | (address & LAST_V4 & ~(size - 1))
    if low != address:
        corrected = f"{format_address(low)}/{length}"
        raise AddressError(f"a network whose bits after the first {length} are 0", corrected)
    return Span(low, low + size - 1)


def _single(text: str) -> Span:
    address = _parse_plain(text)
    return Span(address, address)


def _parse_plain(text: str) -> int:
    """An address as `parse_asked` reads it, where IPv4 stands as IPv4."""
    address = _parse(text)
    if is_v4(address) and ":" in text:
        raise AddressError("an IPv4 address written as IPv4", format_address(address))
    return address


def _parse(text: str) -> int:
    expected = "an IPv4 address as 192.0.2.1 or an IPv6 address as 2001:db8::1"
    if not text.isascii() or len(text) > _TEXT:
        raise AddressError(expected)
    if "%" in text:
        raise AddressError("an address without a zone: interfaces are not named", text.partition("%")[0])
    if ":" in text:
        try:
            return int(ipaddress.IPv6Address(text))
        except ValueError:
            raise AddressError(expected) from None
    try:
        return v4(int(ipaddress.IPv4Address(text)))
    except ValueError:
        raise AddressError(expected, _quad(text)) from None


def _quad(text: str) -> str:
    """What an IPv4 address with zeros in front was probably meant to be; empty when that is not plain."""
    if not _QUAD.fullmatch(text):
        return ""
    parts = [str(int(part)) for part in text.split(".")]
    return shown(".".join(parts)) if all(int(part) < 256 for part in parts) else ""
