from __future__ import annotations

import ipaddress
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policy.network.addresses import LAST, AddressError, format_address, parse_asked, parse_place
from policy.network.places import parse_granted
from policy.network.zones import V4_LINES, V6_LINES, ZONE_STARTS, ZONES, single_zone, zone_of
from policy.plan_network import Zone
from tests import oracle_network as oracle
from tests.strategies_network import ADDRESSES

NAMES = {zone: zone.name.lower().replace("_", "-") for zone in Zone}
EDGES = sorted({
    point
    for text, _, _ in (*V4_LINES, *V6_LINES)
    for net in [ipaddress.ip_network(text)]
    for first in [int(net[0]), int(net[-1])]
    for point in [first - 1, first, first + 1]
    if net.version == 6 and 0 <= point < 2**128
})  # fmt: skip


def test_the_table_of_zones_covers_every_address_once():
    assert ZONE_STARTS[0] == 0
    assert list(ZONE_STARTS) == sorted(set(ZONE_STARTS))
    assert len(ZONES) == len(ZONE_STARTS)
    assert ZONE_STARTS[-1] <= LAST
    assert all(one is not other for one, other in pairwise(ZONES))


@given(st.one_of(st.sampled_from(EDGES), st.integers(0, 2**128 - 1), st.sampled_from(ADDRESSES)))
@settings(deadline=None, max_examples=400)
def test_a_zone_is_what_the_naive_reading_says(point):
    address = ipaddress.ip_address(point if isinstance(point, str) else 0)
    address = address if isinstance(point, str) else ipaddress.IPv6Address(point)
    assert NAMES[zone_of(parse_asked(address.packed))] == oracle.zone(address)


@given(st.integers(0, 2**32 - 1))
@settings(deadline=None, max_examples=300)
def test_an_ipv4_address_has_one_zone_in_every_form_that_embeds_it(number):
    plain = ipaddress.IPv4Address(number)
    zone = zone_of(parse_asked(str(plain)))
    assert NAMES[zone] == oracle.zone(plain)
    assert parse_asked(f"::ffff:{plain}") == parse_asked(str(plain)) == parse_asked(plain.packed)
    for text in (f"64:ff9b::{plain}", f"2002:{number >> 16:x}:{number & 0xFFFF:x}::1"):
        assert zone_of(parse_asked(text)) is zone
    assert zone_of(parse_asked(f"::{plain}")) >= zone


@given(st.integers(0, 2**128 - 1))
def test_the_canonical_form_of_an_address_is_read_as_itself(number):
    assert parse_asked(format_address(number)) == number


@pytest.mark.parametrize(
    "text",
    [
        "0x7f.1",
        "127.1",
        "2130706433",
        "0177.0.0.1",
        "127.0.0.01",
        "fe80::1%eth0",
        "127.0.0.383",
        "",
        "1.2.3.4.",
        " 127.0.0.1",
        "127.0.0.1\n",
        "１27.0.0.1",
        "::1::",
        "[::1]",
        "a" * 1000,
    ],
)
def test_an_address_in_another_than_its_canonical_form_is_refused(text):
    with pytest.raises(AddressError):
        parse_asked(text)
    with pytest.raises(AddressError):
        parse_place(text)


@pytest.mark.parametrize(
    "text",
    [
        "127.0.0.1",
        "::1",
        "::ffff:127.0.0.1",
        "::FFFF:7F00:1",
        "0:0:0:0:0:0:0:1",
        "2002:7f00:1::",
        "64:ff9b::127.0.0.1",
        "::127.0.0.1",
    ],
)
def test_every_spelling_of_loopback_is_loopback(text):
    assert zone_of(parse_asked(text)) is Zone.LOOPBACK


def test_bytes_of_another_length_are_no_address():
    with pytest.raises(AddressError):
        parse_asked(b"\x7f\x00\x00")
    assert zone_of(parse_asked(b"\x7f\x00\x00\x01")) is Zone.LOOPBACK


@pytest.mark.parametrize(
    ("text", "corrected"),
    [
        ("10.0.0.1/8", "10.0.0.0/8"),
        ("2001:db8::1/32", "2001:db8::/32"),
        ("::ffff:10.0.0.1", "10.0.0.1"),
        ("010.0.0.1", "10.0.0.1"),
        ("fe80::1%eth0", "fe80::1"),
    ],
)
def test_what_was_probably_meant_is_proposed(text, corrected):
    with pytest.raises(AddressError) as caught:
        parse_place(text)
    assert caught.value.suggestion == corrected
    assert parse_place(corrected).low <= LAST


@pytest.mark.parametrize(
    "text", ["10.0.0.0/33", "10.0.0.0/08", "::/129", "10.0.0.0/", "10.0.0.0/8/8", "10.0.0.0/-1"]
)
def test_a_network_with_an_odd_length_is_refused(text):
    with pytest.raises(AddressError):
        parse_place(text)


@pytest.mark.parametrize("text", ["::7f00:1", "2002:7f00:1::", "2002::/16", "2001:0:1::1"])
def test_an_address_that_hides_another_is_not_granted(text):
    with pytest.raises(AddressError):
        parse_granted(text)


@pytest.mark.parametrize("text", ["::1", "::", "64:ff9b::808:808", "2600::/16", "::/0"])
def test_an_address_that_hides_none_is_granted(text):
    assert parse_granted(text).span is not None


@pytest.mark.parametrize(
    ("text", "zone"),
    [
        ("127.0.0.0/8", Zone.LOOPBACK),
        ("126.0.0.0/7", None),
        ("10.0.0.0/8", Zone.PRIVATE),
        ("169.254.0.0/16", None),
        ("169.254.169.254", Zone.METADATA),
    ],
)
def test_a_network_names_a_zone_only_where_it_lies_in_it_whole(text, zone):
    assert single_zone(parse_place(text)) is zone


def test_all_of_ipv6_holds_no_ipv4_address():
    inside = parse_asked("127.0.0.1")
    assert not any(span.low <= inside <= span.high for span in parse_granted("::/0").spans)
    assert any(span.low <= inside <= span.high for span in parse_granted("0.0.0.0/0").spans)
