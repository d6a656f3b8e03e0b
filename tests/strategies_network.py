"""Random network sections and questions about them, from an alphabet so small that rules meet each other often."""

from __future__ import annotations

from typing import Any, Literal

from hypothesis import strategies as st

from policy.question import Question

PATTERNS = ("x", "a.x", "b.a.x", "*.x", "*.a.x", "*", "y", "A.X.")
NAMES = ("x", "a.x", "b.x", "b.a.x", "c.b.a.x", "y", "z", "A.x.")
NETWORKS = (
    "127.0.0.1", "127.0.0.0/8", "10.0.0.0/8", "10.1.2.3", "0.0.0.0/0", "::/0", "::1", "fc00::/7", "8.8.8.8",
    "169.254.169.254", "169.254.0.0/16", "8.8.8.0/24", "64:ff9b::/96", "2600::/16", "fd00:ec2::254", "10.0.0.0/7",
    "224.0.0.1", "64:ff9b::a01:203", "64:ff9b::a00:0/104", "192.0.2.0/24", "100.64.0.0/10", "128.0.0.0/1",
)  # fmt: skip
ADDRESSES = (
    "127.0.0.1", "127.255.0.1", "10.0.0.0", "10.1.2.3", "11.0.0.1", "8.8.8.8", "8.8.8.9", "9.9.9.9", "::1", "::", "0.0.0.0",
    "::ffff:127.0.0.1", "::ffff:8.8.8.8", "::127.0.0.1", "::8.8.8.8", "64:ff9b::808:808", "64:ff9b::a01:203", "64:ff9b::7f00:1",
    "2002:7f00:1::1", "2002:808:808::", "2002:a01:203::5", "2600::1", "2001:db8::1", "fd00:ec2::254", "fd00::1", "fe80::1",
    "169.254.169.254", "169.254.1.1", "224.0.0.1", "255.255.255.255", "192.0.2.7", "100.64.0.1", "100.100.100.200", "4000::1",
    "2001:0:1::1", "ff02::1", "168.63.129.16",
)  # fmt: skip
NOT_CANONICAL = (
    "127.1",
    "0x7f.1",
    "2130706433",
    "0177.0.0.1",
    "127.0.0.01",
    "127.0.0.383",
    "fe80::1%eth0",
    "1.2.3",
)
PORTS = ("80", "443", "80-443", "*", "81-90", "8080")
ASKED_PORTS = (1, 79, 80, 81, 90, 91, 443, 444, 8080, 65535)
METHODS = ("GET", "POST", "DELETE", "PURGE", "*")
PATHS = ("/", "/**", "/a", "/a/**", "/a/*", "/*/b", "/a?", "/**/c", "/a%20b", "/a%2A")
ASKED_PATHS = (
    "", "/", "/a", "/a/", "/a/b", "/a/b/c", "/ab", "/c", "/%61", "/%2e%2e/a", "/a//b", "/a%2Fb", "/a;x", "/a?q=1", "/a%20b",
    "/a/../b", "/a\\b", "/a%2a", "/d/b", "/a#f", "/a%", "/a/%2E",
)  # fmt: skip

ports = st.lists(st.sampled_from(PORTS), min_size=1, max_size=2)
places = st.one_of(st.sampled_from(PATTERNS), st.sampled_from(NETWORKS))


@st.composite
def socket_rules(draw: st.DrawFn, name: str) -> dict[str, Any]:
    rule: dict[str, Any] = {"id": name, "to": draw(places), "ports": draw(ports)}
    if rule["to"] == "*":
        rule["i_understand"] = "any-destination"
    if draw(st.booleans()):
        rule["private"] = draw(st.sampled_from(("allow", "deny")))
    return rule


@st.composite
def urls(draw: st.DrawFn) -> str:
    scheme = draw(st.sampled_from(("https", "https", "http")))
    host = draw(
        st.sampled_from(
            ("*", "*.x", *PATTERNS, "127.0.0.1", "10.1.2.3", "[::1]", "8.8.8.8", "[64:ff9b::a01:203]")
        )
    )
    return f"{scheme}://{host}{draw(st.sampled_from(('', '', ':80', ':8080', ':*')))}"


@st.composite
def http_rules(draw: st.DrawFn, name: str) -> dict[str, Any]:
    rule: dict[str, Any] = {"id": name, "url": draw(urls()), "i_understand": "any-destination"}
    if draw(st.booleans()):
        rule["access"] = draw(st.sampled_from(("read-only", "read-write", "full")))
    else:
        rule["methods"] = draw(st.lists(st.sampled_from(METHODS), min_size=1, max_size=2))
    rule["paths"] = draw(st.lists(st.sampled_from(PATHS), max_size=2))
    return rule


@st.composite
def deny_rules(draw: st.DrawFn, name: str) -> dict[str, Any]:
    if draw(st.booleans()):
        return {"id": name, "to": draw(places), "ports": draw(st.one_of(st.just([]), ports))}
    rule: dict[str, Any] = {"id": name, "url": draw(urls())}
    rule["methods"] = draw(st.lists(st.sampled_from(METHODS), max_size=2))
    rule["paths"] = draw(st.lists(st.sampled_from(PATHS), max_size=2))
    return rule


def _many(draw: st.DrawFn, make: Any, prefix: str, most: int) -> list[dict[str, Any]]:
    return [draw(make(f"{prefix}{index}")) for index in range(draw(st.integers(0, most)))]


@st.composite
def network_documents(draw: st.DrawFn) -> dict[str, Any]:
    """A document with network rules of all kinds; many decide nothing."""
    network = {
        "tcp": _many(draw, socket_rules, "tcp", 3),
        "udp": _many(draw, socket_rules, "udp", 1),
        "http": _many(draw, http_rules, "http", 4),
        "deny": _many(draw, deny_rules, "deny", 2),
        "dns": {"names": draw(st.lists(st.sampled_from(PATTERNS[:-1]), max_size=2, unique=True)), "i_understand": "any-destination"},
        "listen": draw(st.lists(st.sampled_from(("tcp://127.0.0.1:80", "udp://[::1]:80", "tcp://0.0.0.0:0")), max_size=2, unique=True)),
        "private": draw(st.sampled_from(("deny", "deny", "allow"))),
    }  # fmt: skip
    return {"version": 1, "metadata": {"name": "random"}, "permissions": {"network": network}}


@st.composite
def questions(draw: st.DrawFn) -> Question:
    """A question about the network."""
    call = draw(st.sampled_from(("connect", "connect", "http", "http", "resolve", "listen")))
    protocols: tuple[Literal["tcp", "udp"], ...] = ("tcp", "tcp", "udp")
    protocol = draw(st.sampled_from(protocols))
    address = draw(st.sampled_from(ADDRESSES * 3 + NOT_CANONICAL))
    host = draw(st.sampled_from(NAMES))
    port = draw(st.sampled_from(ASKED_PORTS))
    if call == "connect":
        shape = draw(st.sampled_from(("address", "host", "both")))
        return Question(
            call=call,
            protocol=protocol,
            port=port,
            address=None if shape == "host" else address,
            host=None if shape == "address" else host,
        )
    if call == "http":
        literal = draw(
            st.sampled_from(
                (
                    "127.0.0.1",
                    "10.1.2.3",
                    "8.8.8.8",
                    "[::1]",
                    "[64:ff9b::a01:203]",
                    "[64:ff9b::808:808]",
                    "9.9.9.9",
                )
            )
        )
        where = draw(st.sampled_from((host, host, literal)))
        port_text = draw(st.sampled_from(("", "", "", "", ":80", ":443", ":8080", ":99999")))
        scheme = draw(st.sampled_from(("https", "https", "http")))
        resolved = draw(st.one_of(st.none(), st.just(address))) if where is host else None
        resolved = draw(st.sampled_from((None, "8.8.8.8", resolved))) if where is host else None
        method = draw(st.sampled_from(("GET", "GET", "GET", *METHODS[:-1], "PATCH", "TRACE", "get", "LOCK")))
        path = draw(st.sampled_from((*ASKED_PATHS[:8] * 3, *ASKED_PATHS)))
        return Question(
            call=call, method=method, url=f"{scheme}://{where}{port_text}{path}", address=resolved
        )
    if call == "resolve":
        return Question(call=call, host=host)
    return Question(call=call, protocol=protocol, address=address, port=draw(st.sampled_from((0, 80, 81))))
