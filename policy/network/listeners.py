"""Places where a guest may listen, as a policy writes them.

What is decided about them is in `decide.py`. INVARIANT: a listener is one address and one port; port 0, any
free one, is granted only where it is written.
"""

from __future__ import annotations

import re

from policy.network.addresses import AddressError, parse_place
from policy.network.zones import hides_v4, zone_of
from policy.plan_network import Zone


class ListenerError(ValueError):
    """A text is no place to listen at; says what was expected and what to write instead."""

    def __init__(self, expected: str, suggestion: str = "") -> None:
        """Keep what was `expected` and a corrected text, where one is plain."""
        self.expected = expected
        self.suggestion = suggestion
        super().__init__(expected)


def parse_listener(text: str) -> tuple[str, int, int]:
    """Protocol, address and port of `tcp://127.0.0.1:8080` or `udp://[::1]:53`.

    Raises:
        ListenerError: when it is anything else.
    """
    expected = "a place to listen at, such as tcp://127.0.0.1:8080 or udp://[::1]:53"
    found = re.fullmatch(r"(tcp|udp)://(\[[^\[\]/]*\]|[^:\[\]/]*):(0|[1-9][0-9]{0,4})", text)
    if not found:
        bare = re.fullmatch(r"(?:(tcp|udp)://)?((?:[0-9]{1,3}\.){3}[0-9]{1,3}):([1-9][0-9]{0,4})/?", text)
        raise ListenerError(expected, f"{bare[1] or 'tcp'}://{bare[2]}:{bare[3]}" if bare else "")
    protocol, host, port = found[1], found[2], int(found[3])
    if port > 0xFFFF:
        raise ListenerError("a port 0-65535; 0 is any free one")
    try:
        span = parse_place(host[1:-1] if host.startswith("[") else host)
    except AddressError as err:
        meant = f"{protocol}://{err.suggestion}:{port}" if err.suggestion else ""
        if host == "localhost":
            meant = f"{protocol}://127.0.0.1:{port}"
        raise ListenerError("an address of this machine to listen at, not a name", meant) from None
    if zone_of(span.low) is Zone.MULTICAST or hides_v4(span) or span.low != span.high:
        raise ListenerError("an address that a machine can have as its own")
    return protocol, span.low, port
