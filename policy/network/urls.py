"""URLs of a policy and of a request, taken apart without a guess.

Whom a host or an address stands for is said in `names.py` and `addresses.py`, what a path may hold in
`request_paths.py`. INVARIANT: what a server could read in another way than this module is refused.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from policy.errors import closest
from policy.network.addresses import AddressError, Span, parse_asked, parse_place
from policy.network.names import HostNameError, Pattern, parse_name, parse_pattern
from policy.network.places import check_granted
from policy.network.ports import PortError, Range, parse_ports
from policy.plan_network import Scheme

DEFAULT_PORTS = {Scheme.HTTP: 80, Scheme.HTTPS: 443}
_SCHEMES = {"http": Scheme.HTTP, "https": Scheme.HTTPS}
_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://([^/?#]*)(.*)", re.DOTALL)
_AUTHORITY = re.compile(r"(\[[^\[\]@]*\]|[^:@\[\]]*)(?::([^:@\[\]]*))?")
MAX_URL = 8_192  # what servers commonly take for a line of a request


class UrlError(ValueError):
    """A text is no URL in its canonical form; says what was expected and what to write instead."""

    def __init__(self, expected: str, suggestion: str = "") -> None:
        """Keep what was `expected` and a corrected text, where one is plain."""
        self.expected = expected
        self.suggestion = suggestion
        super().__init__(expected)


@dataclass(frozen=True, slots=True)
class Origin:
    """Where requests of a rule may go: a scheme, a host and its ports."""

    scheme: Scheme
    host: Pattern | Span
    ports: Range

    @property
    def is_any(self) -> bool:
        """Whether the host is a bare `*`."""
        return isinstance(self.host, Pattern) and self.host.is_any


@dataclass(frozen=True, slots=True)
class Asked:
    """A URL of a request; its path is not looked at yet."""

    scheme: Scheme
    name: tuple[str, ...] | None  # labels from the last to the first; None where the host is an address
    address: int | None
    port: int
    path: str  # with query and fragment


def parse_origin(text: str) -> Origin:
    """`https://host`, with a port where it is not that of the scheme; the host may be a pattern.

    Raises:
        UrlError: when it is anything else, a path included.
    """
    scheme, host, port, rest = _split(text)
    base = f"{scheme.name.lower()}://{host}" + (f":{port}" if port is not None else "")
    if rest == "/":
        raise UrlError("a URL without a path", base)
    if rest:
        raise UrlError("a URL without a path: which paths are meant stands in `paths`", base)
    return Origin(scheme, _host(host), _ports(scheme, port))


def parse_granted_origin(text: str) -> Origin:
    """As `parse_origin`, for a rule that allows: no address that hides an IPv4 address.

    Raises:
        UrlError: when it is anything else.
    """
    origin = parse_origin(text)
    try:
        check_granted(origin.host if isinstance(origin.host, Span) else None)
    except AddressError as err:
        raise UrlError(err.expected, err.suggestion) from None
    return origin


def parse_asked_url(text: str) -> Asked:
    """The URL of a request.

    Raises:
        UrlError: for one with a user, without a host, with an odd port, or a host not in its canonical form.
    """
    if not text.isascii() or re.search(r"[\x00-\x20\x7f\\]", text):
        raise UrlError("a URL in printable ASCII, without a backslash")
    scheme, host, port, rest = _split(text)
    low, high = _ports(scheme, port)
    if low != high:
        raise UrlError("a port 1-65535")
    try:
        if host.startswith("["):
            return Asked(scheme, None, parse_asked(_bracketed(host)), low, rest)
        if re.fullmatch(r"[0-9.]+", host):
            return Asked(scheme, None, parse_asked(host), low, rest)
        return Asked(scheme, parse_name(host), None, low, rest)
    except (AddressError, HostNameError) as err:
        raise UrlError(err.expected, err.suggestion) from None


def _split(text: str) -> tuple[Scheme, str, str | None, str]:
    if len(text) > MAX_URL:
        raise UrlError(f"a URL of at most {MAX_URL} characters")
    found = _URL.fullmatch(text)
    if not found:
        proposal = "https://" + text if re.match(r"[A-Za-z0-9*]", text) and "://" not in text else ""
        raise UrlError("a URL such as https://api.example.com", proposal)
    word, authority, rest = found.groups()
    if word not in _SCHEMES:
        near = word.lower() if word.lower() in _SCHEMES else closest(word, _SCHEMES)
        raise UrlError("a URL with the scheme http or https", f"{near}://{authority}{rest}" if near else "")
    parts = _AUTHORITY.fullmatch(authority)
    if "@" in authority:
        raise UrlError("a URL without a user or a password", f"{word}://{authority.rpartition('@')[2]}{rest}")
    if not parts or not parts[1]:
        raise UrlError("a URL with a host, such as https://api.example.com")
    return _SCHEMES[word], parts[1], parts[2], rest


def _host(text: str) -> Pattern | Span:
    try:
        if text.startswith("["):
            return parse_place(_bracketed(text))
        if re.fullmatch(r"[0-9.]+", text):
            return parse_place(text)
        return parse_pattern(text)
    except (AddressError, HostNameError) as err:
        raise UrlError(err.expected, err.suggestion) from None


def _bracketed(host: str) -> str:
    """What stands in brackets, where it is an IPv6 address."""
    inner = host[1:-1]
    if ":" not in inner:
        raise AddressError("an IPv6 address in brackets", inner)
    return inner


def _ports(scheme: Scheme, text: str | None) -> Range:
    if text is None:
        return DEFAULT_PORTS[scheme], DEFAULT_PORTS[scheme]
    try:
        low, high = parse_ports(text)
    except PortError as err:
        raise UrlError("a port 1-65535, or :* for every port", err.suggestion) from None
    return low, high
