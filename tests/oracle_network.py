"""A naive second opinion on the network: decides straight from a document, one rule at a time.

It shares no code with the package that it checks, and only its meaning as the reference page tells it.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import Any

from tests.oracle import covers, matches

Document = dict[str, Any]
Address = ipaddress.IPv4Address | ipaddress.IPv6Address

METADATA = {
    "100.100.100.200", "168.63.129.16", "169.254.0.23", "169.254.42.42", "169.254.169.123", "169.254.169.249",
    "169.254.169.250", "169.254.169.251", "169.254.169.253", "169.254.169.254", "169.254.170.2",
    "169.254.170.23", "192.0.0.192", "fd00:ec2::23", "fd00:ec2::123", "fd00:ec2::253", "fd00:ec2::254",
    "fd00:42::42", "fd20:ce::254",
}  # fmt: skip
PRIVATE = ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7")
SPECIAL = (
    *PRIVATE, *METADATA, "127.0.0.0/8", "0.0.0.0/8", "169.254.0.0/16", "192.0.0.0/24", "192.0.2.0/24", "198.18.0.0/15",
    "192.88.99.0/24", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4", "255.255.255.255",
    "::/128", "::1/128", "::/96", "64:ff9b::/96", "64:ff9b:1::/48", "100::/64", "2001::/23", "2001:db8::/32",
    "2002::/16", "3fff::/20", "5f00::/16", "fe80::/10", "fec0::/10", "ff00::/8", "2000::/3", "::ffff:0:0/96",
)  # fmt: skip
STRICTNESS = ("public", "private", "reserved", "multicast", "link-local", "loopback", "metadata")
READS = {"GET", "HEAD", "OPTIONS"}
PRESETS = {"read-only": READS, "read-write": READS | {"POST", "PUT", "PATCH"}, "full": {"*"}}


@dataclass(frozen=True)
class Opinion:
    """Whether it is allowed, at which stage, and the rules of which one must be named."""

    is_allowed: bool
    stage: str  # builtin, boundary, deny, allow, default
    deciders: frozenset[str]


def within(address: Address, network: str) -> bool:
    net = ipaddress.ip_network(network)
    return address.version == net.version and address in net


def zone(address: Address) -> str:
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped:
            return zone(address.ipv4_mapped)
        inner = embedded(address)
        own = own_zone(address)
        return own if inner is None else max(own, zone(inner), key=STRICTNESS.index)
    return own_zone(address)


def embedded(address: Address) -> ipaddress.IPv4Address | None:
    if within(address, "::/96") or within(address, "64:ff9b::/96"):
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    if within(address, "2002::/16"):
        return ipaddress.IPv4Address(int(address) >> 80 & 0xFFFFFFFF)
    return None


def own_zone(address: Address) -> str:  # noqa: PLR0911  # a list of cases
    if str(address) in METADATA:
        return "metadata"
    if address.is_loopback:
        return "loopback"
    if address.is_link_local:
        return "link-local"
    if address.is_multicast or str(address) == "255.255.255.255":
        return "multicast"
    if any(within(address, net) for net in PRIVATE):
        return "private"
    if any(within(address, net) for net in ("64:ff9b::/96", "2002::/16")):
        return "public"
    if address.version == 6 and not within(address, "2000::/3"):
        return "reserved"
    hidden = ("192.0.0.0/24", "192.88.99.0/24", "2001::/23", "3fff::/20")
    return "public" if address.is_global and not any(within(address, net) for net in hidden) else "reserved"


def read(text: str) -> Address | None:
    """The address that a guest names, mapped ones as IPv4; None where it is not canonical."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address):
        if address.scope_id:
            return None
        return address.ipv4_mapped or address
    return address


def is_network(to: str) -> bool:
    return bool(re.fullmatch(r"[0-9./]+", to)) or ":" in to


def names_literally(to: str) -> bool:
    """Whether all addresses of `to` lie in one zone."""
    if not is_network(to):
        return False
    net = ipaddress.ip_network(to)
    kind = type(net[0])
    points = {int(net[0]), int(net[-1])}
    for text in SPECIAL:
        special = ipaddress.ip_network(text)
        if special.version == net.version:
            first, last = int(special[0]), int(special[-1])
            points |= {first - 1, first, last, last + 1}
        for image in images(special) if net.version == 6 else ():
            points |= {image[0] - 1, *image, image[1] + 1}
    inside = [kind(point) for point in points if int(net[0]) <= point <= int(net[-1])]
    return len({zone(address) for address in inside}) == 1


def images(net: Any) -> list[tuple[int, int]]:
    """Where an IPv4 network stands inside IPv6."""
    if net.version == 6:
        return []
    first, last = int(net[0]), int(net[-1])
    nat64, six = int(ipaddress.ip_address("64:ff9b::")), int(ipaddress.ip_address("2002::"))
    tail = (1 << 80) - 1
    return [(first, last), (nat64 + first, nat64 + last), (six + (first << 80), six + (last << 80) + tail)]


def name_fits(pattern: str, host: str) -> bool:
    wanted, name = pattern.lower().removesuffix("."), host.lower().removesuffix(".")
    if wanted == "*":
        return True
    return name.endswith(wanted[1:]) and name != wanted[2:] if wanted.startswith("*.") else name == wanted


def port_fits(ports: list[Any], port: int) -> bool:
    for text in map(str, ports):
        low, _, high = ("1-65535" if text == "*" else text).partition("-")
        if int(low) <= port <= int(high or low):
            return True
    return False


def to_fits(to: str, address: Address | None, host: str | None, *, is_deny: bool) -> bool:
    if to == "*":
        return True
    if is_network(to):
        if address is None:
            return False
        inner = embedded(address) if is_deny else None
        return within(address, to) or (inner is not None and within(inner, to))
    return host is not None and name_fits(to, host)


def network_of(document: Document) -> Document:
    found: Document = document.get("permissions", {}).get("network", {})
    return found


def connect(document: Document, protocol: str, asked: tuple[str | None, str | None], port: int) -> Opinion:
    text, host = asked
    address = read(text) if text is not None else None
    if not 1 <= port <= 65535 or (text is not None and address is None):
        return Opinion(False, "builtin", frozenset())
    network = network_of(document)
    kind = zone(address) if address is not None else "public"
    by_address, by_name = set[str](), set[str]()
    for rule in network.get(protocol, []):
        if not port_fits(rule["ports"], port):
            continue
        is_private_fine = network.get("private") == "allow" or rule.get("private") == "allow"
        reaches = kind == "public" or (kind == "private" and is_private_fine)
        is_by_address = to_fits(rule["to"], address, None, is_deny=False)
        if is_by_address and (reaches or names_literally(rule["to"])):
            by_address.add(rule["id"])
        elif to_fits(rule["to"], address, host, is_deny=False) and reaches:
            by_name.add(rule["id"])
    is_shut = kind not in {"public", "private"} or (kind == "private" and network.get("private") != "allow")
    if is_shut and not by_address and not by_name:
        return Opinion(False, "builtin", frozenset({f"builtin.{kind}"}))
    refusing = {
        rule["id"]
        for rule in network.get("deny", [])
        if "to" in rule
        and port_fits(rule.get("ports") or ["*"], port)
        and to_fits(rule["to"], address, host, is_deny=True)
    }
    return verdict(refusing, by_address | by_name)


def verdict(refusing: set[str], granting: set[str]) -> Opinion:
    if refusing:
        return Opinion(False, "deny", frozenset(refusing))
    if granting:
        return Opinion(True, "allow", frozenset(granting))
    return Opinion(False, "default", frozenset({"default"}))


def resolve(document: Document, host: str) -> Opinion:
    network = network_of(document)
    refusing = {
        rule["id"]
        for rule in network.get("deny", [])
        if "to" in rule
        and not rule.get("ports")
        and not is_network(rule["to"])
        and name_fits(rule["to"], host)
    }
    names = (network.get("dns") or {}).get("names", [])
    return verdict(refusing, {"dns"} if any(name_fits(name, host) for name in names) else set())


def origin_of(url: str) -> tuple[str, str, str]:
    found = re.fullmatch(r"(https?)://(\[[^\]]*\]|[^:/]*)(?::([^/]*))?", url)
    if found is None:
        raise ValueError(url)
    scheme, host, port = found.groups()
    return scheme, host.strip("[]"), port or {"http": "80", "https": "443"}[scheme]


def path_of(rest: str) -> list[str] | None:
    """The segments of a path; None where it is not canonical."""
    path = re.sub(r"[?#].*", "", rest) or "/"
    if path[0] != "/" or not re.fullmatch(r"([A-Za-z0-9._~!$&'()*+,=:@/-]|%[0-9A-Fa-f]{2})*", path):
        return None
    if re.search(r"%(2[fF]|5[cC]|3[bB]|[01][0-9a-fA-F]|7[fF])", path):
        return None
    decoded = re.sub(
        r"%([0-9A-Fa-f]{2})",
        lambda m: c if re.fullmatch(r"[A-Za-z0-9._~-]", c := chr(int(m[1], 16))) else m[0].upper(),
        path,
    )
    parts = decoded.split("/")[1:]
    parts = parts[:-1] if parts[-1] == "" else parts
    return None if "" in parts or "." in parts or ".." in parts else parts


def http(  # noqa: C901  # one rule after the other, on purpose
    document: Document, method: str, url: str, resolved: str | None
) -> Opinion:
    found = re.fullmatch(r"(https?)://(\[[0-9a-f:.]+\]|[A-Za-z0-9._-]+)(?::([0-9]+))?((?:[/?#].*)?)", url)
    builtin = Opinion(False, "builtin", frozenset())
    if method in {"CONNECT", "TRACE", "TRACK"} or not re.fullmatch(r"[A-Z][A-Z0-9-]*", method) or not found:
        return builtin
    scheme, host, port_text, rest = found.groups()
    port = int(port_text or {"http": 80, "https": 443}[scheme])
    parts, host = path_of(rest), host.strip("[]")
    literal = read(host) if is_network(host) else None
    if parts is None or not 1 <= port <= 65535 or (is_network(host) and literal is None):
        return builtin
    address = literal if literal is not None else (read(resolved) if resolved is not None else None)
    if resolved is not None and (
        read(resolved) is None or (literal is not None and read(resolved) != literal)
    ):
        return builtin
    network, name = network_of(document), None if literal is not None else host

    def origin_fits(rule_url: str, *, is_deny: bool) -> bool:
        wanted = origin_of(rule_url)
        if wanted[0] != scheme or not port_fits([wanted[2]], port):
            return False
        if wanted[1] == "*":
            return name is not None
        if is_network(wanted[1]):
            return to_fits(wanted[1], address if is_deny else literal, None, is_deny=is_deny)
        return name is not None and name_fits(wanted[1], name)

    def methods_fit(rule: Document) -> bool:
        named = PRESETS.get(rule.get("access", ""), set()) | set(rule.get("methods", []))
        return "*" in named or method in named

    grants = [rule for rule in network.get("http", []) if origin_fits(rule["url"], is_deny=False)]
    kind = zone(address) if address is not None else "public"
    is_open = kind == "public" or (kind == "private" and network.get("private") == "allow")
    if not is_open and not (literal is not None and grants):
        return Opinion(False, "builtin", frozenset({f"builtin.{kind}"}))
    refusing = set[str]()
    for rule in network.get("deny", []):
        if "to" in rule:
            hits = port_fits(rule.get("ports") or ["*"], port) and to_fits(
                rule["to"], address, name, is_deny=True
            )
        else:
            paths = [glob.strip("/").split("/") for glob in rule.get("paths", [])]
            hits = (
                origin_fits(rule["url"], is_deny=True)
                and methods_fit({"methods": rule.get("methods") or ["*"]})
                and (not paths or any(covers(glob if glob != [""] else [], parts) for glob in paths))
            )
        refusing |= {rule["id"]} if hits else set()
    granting = {
        rule["id"]
        for rule in grants
        if methods_fit(rule)
        and (
            not rule.get("paths")
            or any(matches([] if glob == "/" else glob[1:].split("/"), parts) for glob in rule["paths"])
        )
    }
    return verdict(refusing, granting)


def listen(document: Document, protocol: str, text: str, port: int) -> Opinion:
    address = read(text)
    if address is None or not 0 <= port <= 65535:
        return Opinion(False, "builtin", frozenset())
    for entry in network_of(document).get("listen", []):
        scheme, _, place = entry.partition("://")
        host, _, number = place.rpartition(":")
        if (scheme, ipaddress.ip_address(host.strip("[]")), int(number)) == (protocol, address, port):
            return Opinion(True, "allow", frozenset())
    return Opinion(False, "default", frozenset({"default"}))
