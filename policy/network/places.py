"""What a rule's `to` names: an address, a network, a name, or names below one.

Addresses are read in `addresses.py`, names in `names.py`. INVARIANT: an IPv4 address is granted as IPv4 only,
never as an IPv6 address that hides it.
"""

from __future__ import annotations

from dataclasses import dataclass

from policy.network.addresses import (
    EVERYWHERE,
    LAST_V4,
    MAPPED,
    AddressError,
    Span,
    format_address,
    is_v4,
    looks_like_address,
    parse_place,
)
from policy.network.names import Pattern, parse_pattern
from policy.network.zones import COMPATIBLE, SIX_TO_FOUR, hides_v4, single_zone
from policy.plan_network import Zone

_V4 = Span(MAPPED, MAPPED | LAST_V4)
ANYWHERE = "*"


@dataclass(frozen=True, slots=True)
class Place:
    """Addresses, names, or with `*` both."""

    span: Span | None
    pattern: Pattern | None

    @property
    def spans(self) -> tuple[Span, ...]:
        """Its addresses; an IPv6 network such as `::/0` holds no IPv4 address."""
        span = self.span
        if span is None:
            return ()
        if self.pattern or is_v4(span.low) or not span.holds(_V4):
            return (span,)
        return Span(span.low, _V4.low - 1), Span(_V4.high + 1, span.high)

    @property
    def literal_zone(self) -> Zone | None:
        """The zone that it names literally, which holds all its addresses; None for names and wider nets."""
        return single_zone(self.span) if self.span and not self.pattern else None


def parse_refused(text: str) -> Place:
    """The `to` of a rule that refuses, or an entry of a ceiling's `never`.

    Raises:
        AddressError: for what looks like an address and is none in its canonical form.
        HostNameError: for what is neither.
    """
    if text == ANYWHERE:
        return Place(EVERYWHERE, parse_pattern(text))
    if "/" in text or looks_like_address(text) or "%" in text:
        head = text.partition("/")[0]
        if "://" not in text and (looks_like_address(head) or "%" in head):
            return Place(parse_place(text), None)
    return Place(None, parse_pattern(text))


def parse_granted(text: str) -> Place:
    """The `to` of a rule that allows.

    Raises:
        AddressError: as `parse_refused`, and for an IPv6 address that hides an IPv4 address.
        HostNameError: as `parse_refused`.
    """
    place = parse_refused(text)
    check_granted(place.span)
    return place


def check_granted(span: Span | None) -> None:
    """Refuse addresses that hide an IPv4 address.

    Raises:
        AddressError: with the IPv4 address where it can be told.
    """
    if span is not None and span != EVERYWHERE and hides_v4(span):
        hidden = ""
        if span.low == span.high and COMPATIBLE.holds(span):
            hidden = format_address(0xFFFF << 32 | span.low)
        elif span.low == span.high and SIX_TO_FOUR.holds(span):
            hidden = format_address(0xFFFF << 32 | (span.low >> 80 & 0xFFFFFFFF))
        raise AddressError("an address that hides no IPv4 address (6to4, Teredo, IPv4-compatible)", hidden)
