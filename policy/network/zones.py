"""Which kind of network each address belongs to, as contiguous ranges over the whole space.

How addresses are read is said in `addresses.py`, what a zone means for rules in `destinations.py`.
INVARIANT: the table covers all 128-bit addresses, each once; an address that embeds an IPv4 address
has the stricter of its own zone and the zone of what it embeds.

Sources: the IANA special-purpose address registries for IPv4 and IPv6 (RFC 6890 and what updates it), the
IANA IPv6 address space registry, and, for METADATA, the manuals of the clouds named beside each line.
"""

from __future__ import annotations

from bisect import bisect_right
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from policy.network.addresses import EVERYWHERE, LAST, LAST_V4, MAPPED, Span, parse_place
from policy.plan_network import Zone

if TYPE_CHECKING:
    from collections.abc import Iterator

Line = tuple[str, Zone, str]
"""A network, its zone, and where that is said. A later line is an exception to an earlier one."""

V4_LINES: Final[tuple[Line, ...]] = (
    ("0.0.0.0/0", Zone.PUBLIC, "what no line below names"),
    ("0.0.0.0/8", Zone.RESERVED, "this network: RFC 791"),
    ("10.0.0.0/8", Zone.PRIVATE, "RFC 1918"),
    ("100.64.0.0/10", Zone.PRIVATE, "shared by carriers: RFC 6598"),
    ("127.0.0.0/8", Zone.LOOPBACK, "RFC 1122"),
    ("169.254.0.0/16", Zone.LINK_LOCAL, "RFC 3927"),
    ("172.16.0.0/12", Zone.PRIVATE, "RFC 1918"),
    ("192.0.0.0/24", Zone.RESERVED, "protocol assignments: RFC 6890"),
    ("192.0.2.0/24", Zone.RESERVED, "documentation: RFC 5737"),
    ("192.88.99.0/24", Zone.RESERVED, "6to4 relays, withdrawn: RFC 7526"),
    ("192.168.0.0/16", Zone.PRIVATE, "RFC 1918"),
    ("198.18.0.0/15", Zone.RESERVED, "benchmarks: RFC 2544"),
    ("198.51.100.0/24", Zone.RESERVED, "documentation: RFC 5737"),
    ("203.0.113.0/24", Zone.RESERVED, "documentation: RFC 5737"),
    ("224.0.0.0/4", Zone.MULTICAST, "RFC 5771"),
    ("240.0.0.0/4", Zone.RESERVED, "RFC 1112"),
    ("255.255.255.255/32", Zone.MULTICAST, "broadcast: RFC 919"),
    ("100.100.100.200/32", Zone.METADATA, "Alibaba Cloud"),
    ("168.63.129.16/32", Zone.METADATA, "Azure: the platform's own service"),
    ("169.254.0.23/32", Zone.METADATA, "Tencent Cloud"),
    ("169.254.42.42/32", Zone.METADATA, "Scaleway"),
    ("169.254.169.123/32", Zone.METADATA, "AWS: time"),
    ("169.254.169.249/32", Zone.METADATA, "AWS: Windows licensing"),
    ("169.254.169.250/31", Zone.METADATA, "AWS: Windows licensing"),
    ("169.254.169.253/32", Zone.METADATA, "AWS: names"),
    ("169.254.169.254/32", Zone.METADATA, "AWS, Azure, Google Cloud, OpenStack and others"),
    ("169.254.170.2/32", Zone.METADATA, "AWS: credentials of containers"),
    ("169.254.170.23/32", Zone.METADATA, "AWS: credentials of pods"),
    ("192.0.0.192/32", Zone.METADATA, "Oracle Cloud, first generation"),
)
"""IPv4. Exceptions reachable in public (anycast of PCP and TURN in 192.0.0.0/24) are left reserved."""

V6_LINES: Final[tuple[Line, ...]] = (
    ("::/0", Zone.RESERVED, "not given out yet: IANA IPv6 address space"),
    ("2000::/3", Zone.PUBLIC, "global unicast: RFC 4291"),
    ("::/96", Zone.RESERVED, "IPv4-compatible, withdrawn: RFC 4291"),
    ("::/128", Zone.RESERVED, "unspecified: RFC 4291"),
    ("::1/128", Zone.LOOPBACK, "RFC 4291"),
    ("64:ff9b::/96", Zone.PUBLIC, "NAT64: RFC 6052; judged by the IPv4 address in it"),
    ("64:ff9b:1::/48", Zone.RESERVED, "NAT64 with a prefix of one's own: RFC 8215"),
    ("100::/64", Zone.RESERVED, "discard: RFC 6666"),
    ("2001::/23", Zone.RESERVED, "protocol assignments, with Teredo: RFC 2928, RFC 4380"),
    ("2001:db8::/32", Zone.RESERVED, "documentation: RFC 3849"),
    ("2002::/16", Zone.PUBLIC, "6to4: RFC 3056; judged by the IPv4 address in it"),
    ("3fff::/20", Zone.RESERVED, "documentation: RFC 9637"),
    ("5f00::/16", Zone.RESERVED, "segment routing: RFC 9602"),
    ("fc00::/7", Zone.PRIVATE, "RFC 4193"),
    ("fe80::/10", Zone.LINK_LOCAL, "RFC 4291"),
    ("fec0::/10", Zone.RESERVED, "site-local, withdrawn: RFC 3879"),
    ("ff00::/8", Zone.MULTICAST, "RFC 4291"),
    ("fd00:ec2::23/128", Zone.METADATA, "AWS: credentials of pods"),
    ("fd00:ec2::123/128", Zone.METADATA, "AWS: time"),
    ("fd00:ec2::253/128", Zone.METADATA, "AWS: names"),
    ("fd00:ec2::254/128", Zone.METADATA, "AWS"),
    ("fd00:42::42/128", Zone.METADATA, "Scaleway"),
    ("fd20:ce::254/128", Zone.METADATA, "Google Cloud"),
)
"""IPv6 without the mapped IPv4 addresses."""

COMPATIBLE: Final = parse_place("::/96")
NAT64: Final = parse_place("64:ff9b::/96")
SIX_TO_FOUR: Final = parse_place("2002::/16")
TEREDO: Final = parse_place("2001::/32")

_SIX_TO_FOUR_SHIFT = 80  # bits after the IPv4 address


def embeddings(span: Span) -> Iterator[Span]:
    """`span`, and the IPv6 addresses that embed an IPv4 address of it at a fixed place.

    Teredo is not among them: its addresses are denied as they stand (they are reserved).
    """
    yield span
    low, high = max(span.low, MAPPED), min(span.high, MAPPED | LAST_V4)
    if low <= high and span != EVERYWHERE:
        low, high = low & LAST_V4, high & LAST_V4
        yield Span(COMPATIBLE.low + low, COMPATIBLE.low + high)
        yield Span(NAT64.low + low, NAT64.low + high)
        tail = (1 << _SIX_TO_FOUR_SHIFT) - 1
        shifted = Span(low << _SIX_TO_FOUR_SHIFT, (high << _SIX_TO_FOUR_SHIFT) | tail)
        yield Span(SIX_TO_FOUR.low | shifted.low, SIX_TO_FOUR.low | shifted.high)


def hides_v4(span: Span) -> bool:
    """Say whether `span` lies among the withdrawn forms that hide an IPv4 address."""
    return (
        any(each.holds(span) for each in (SIX_TO_FOUR, TEREDO))
        or (COMPATIBLE.holds(span) and span.high > 1)  # `::` and `::1` are themselves
    )


def _painted(lines: tuple[Line, ...], whole: Span) -> list[tuple[Span, Zone]]:
    """`whole` cut into spans of one zone each."""
    spans = [(parse_place(text), zone) for text, zone, _ in lines]
    cuts = {whole.low, whole.high + 1}
    for span, _ in spans:
        cuts |= {span.low, span.high + 1}
    found: list[tuple[Span, Zone]] = []
    for low, beyond in pairwise(sorted(cut for cut in cuts if whole.low <= cut <= whole.high + 1)):
        piece = Span(low, beyond - 1)
        found.append((piece, [zone for span, zone in spans if span.holds(piece)][-1]))
    return found


def _table() -> tuple[tuple[int, ...], tuple[Zone, ...]]:
    v4_span = parse_place("0.0.0.0/0")
    embedded = _painted(V4_LINES, v4_span)
    layers = [*_painted(V6_LINES, EVERYWHERE)]
    over = [(each, zone) for span, zone in embedded for each in embeddings(span)]
    cuts = sorted({0, *(span.low for span, _ in (*layers, *over)), *(span.high + 1 for span, _ in over)})
    starts: list[int] = []
    zones: list[Zone] = []
    for low in cuts:
        if low > LAST:
            continue
        own = next(zone for span, zone in layers if span.low <= low <= span.high)
        met = [zone for span, zone in over if span.low <= low <= span.high]
        zone = met[0] if v4_span.low <= low <= v4_span.high else max([own, *met])
        if not zones or zones[-1] != zone:
            starts.append(low)
            zones.append(zone)
    return tuple(starts), tuple(zones)


ZONE_STARTS, ZONES = _table()
"""Where each range begins (the first at 0), and its zone; a range ends where the next begins."""


def zone_of(address: int) -> Zone:
    """The zone of an address."""
    return ZONES[bisect_right(ZONE_STARTS, address) - 1]


def single_zone(span: Span) -> Zone | None:
    """The zone that all of `span` lies in; None where it meets several."""
    first = bisect_right(ZONE_STARTS, span.low)
    return ZONES[first - 1] if first == bisect_right(ZONE_STARTS, span.high) else None
