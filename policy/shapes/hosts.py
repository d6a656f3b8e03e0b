"""The shapes of hosts, addresses, URLs, methods and headers, and of what a rule over time watches.

How they are read is said in `policy/network/` and `policy/schema_network.py`. Whether the bits of a network
are 0, whether an IPv6 address hides an IPv4 address, and whether a range of ports rises is no matter of a
pattern.
"""

from __future__ import annotations

from typing import Final

from policy.globs import GlobError
from policy.network.request_paths import TUNNELS, parse_path_glob
from policy.shapes.shape import Shape, numbers, scalar, text
from policy.shapes.texts import DENY_PATTERN, GLOB_SET, PLACEHOLDER

_OCTET: Final = r"(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
_V4: Final = rf"{_OCTET}(?:\.{_OCTET}){{3}}"
_H: Final = "[0-9A-Fa-f]{1,4}"


def _groups(most: int) -> str:
    """Up to `most` groups of an IPv6 address, of which the last two may be an IPv4 address; none as well."""
    found: list[str] = []
    if most >= 1:
        found.append(rf"{_H}(?::{_H}){{0,{most - 1}}}")
    if most >= 2:
        found.append(rf"(?:{_H}:){{0,{most - 2}}}{_V4}")
    return f"(?:{'|'.join(found)})?" if found else ""


def _v6() -> str:
    whole = rf"(?:{_H}:){{7}}{_H}|(?:{_H}:){{6}}{_V4}"
    short = [rf"{_H}(?::{_H}){{{count - 1}}}::{_groups(7 - count)}" for count in range(1, 8)]
    return f"(?:{'|'.join([whole, f'::{_groups(7)}', *short])})"


_V6: Final = _v6()
_PLACE: Final = rf"{_V4}(?:/(?:[12]?[0-9]|3[0-2]))?|{_V6}(?:/(?:[1-9]?[0-9]|1[01][0-9]|12[0-8]))?"
_LABEL: Final = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
# The last label is no number; 253 characters are followed by no more than a dot.
_LAST: Final = rf"(?!(?:[0-9]+|0[xX][0-9A-Fa-f]*)\.?(?![A-Za-z0-9_.-])){_LABEL}"
_NAME: Final = rf"(?![A-Za-z0-9_.-]{{253}}[A-Za-z0-9_-])(?:{_LABEL}\.)*{_LAST}\.?"
_PATTERN: Final = rf"\*|(?:\*\.)?{_NAME}"
_PORT: Final = numbers(1, 65_535)
_PORTS: Final = rf"\*|(?:{_PORT})(?:-(?:{_PORT}))?"
_HEADER: Final = r"[A-Za-z0-9_-]*[A-Za-z0-9][A-Za-z0-9_-]*"


def _escapes() -> str:
    """The escapes that may stand in a glob over the paths of requests."""
    by_first: dict[str, str] = {}
    for byte in range(256):
        digits = f"{byte:02X}"
        high, low = digits[0], digits[1]
        try:
            parse_path_glob(f"/%{high}{low}")
        except GlobError:
            continue
        by_first[high] = by_first.get(high, "") + low
    by_rest: dict[str, str] = {}
    for high, rest in by_first.items():
        by_rest[rest] = by_rest.get(rest, "") + high
    return "%(?:" + "|".join(f"[{highs}][{rest}]" for rest, highs in by_rest.items()) + ")"


# What a URL takes as it is, but the wildcards; braces stand in sets and placeholders only.
_CHARACTER: Final = r"[!$&'()+,.0-9:=@A-Z\]_a-z~*?-]"
_SEGMENT: Final = (
    rf"\*\*|(?!\.{{1,2}}(?:/|$))(?![^/]*\*\*)(?:{PLACEHOLDER}|{GLOB_SET}|{_escapes()}|{_CHARACTER})+"
)
_UNFIT: Final = (
    rf"(?![\s\S]*%(?!{_escapes()[1:]}))"
    r"(?![\s\S]*[^\u0021\u0024-\u003a\u003d\u003f-\u005b\u005d\u005f\u0061-\u007b\u007d\u007e])"
)

PLACE = Shape(
    "place",
    "the name of a host, *.example.com, an address, a network such as 192.0.2.0/24, or *",
    {"anyOf": [text(f"{_PLACE}|{_PATTERN}"), {"type": "boolean"}]},
)
HOST_PATTERN = Shape(
    "host-pattern",
    "the name of a host, *.example.com for what is below a name, or *",
    {"anyOf": [text(_PATTERN), {"type": "boolean"}]},
)
URL = Shape(
    "url",
    "http:// or https:// and a host, with a port where it is another one, without a path",
    text(rf"https?://(?:{_V4}|\[{_V6}\]|{_PATTERN})(?::(?:{_PORTS}))?"),
)
LISTENER = Shape(
    "listener",
    "tcp:// or udp://, an address of the machine and a port, such as tcp://127.0.0.1:8080",
    text(rf"(?:tcp|udp)://(?:{_V4}|\[(?:{_V4}|{_V6})\]):(?:{numbers(0, 65_535)})"),
)
PATH_GLOB = Shape(
    "path-glob",
    "a glob over the paths of requests, which starts with a slash",
    text(rf"{_UNFIT}/(?:(?:{_SEGMENT})(?:/(?:{_SEGMENT}))*)?"),
)
METHOD = Shape(
    "method",
    "a method in capitals such as GET, or * for every method",
    text(rf"\*|(?!(?:{'|'.join(sorted(TUNNELS))})$)[A-Z][A-Z0-9-]{{0,31}}"),
)
HEADER = Shape(
    "header",
    "the name of a header, such as Authorization",
    {"anyOf": [text(_HEADER), {"type": "integer"}, {"type": "boolean"}]},
)
SECRET = Shape("secret", "secret:// and the name of a secret", text(r"secret://[^\u0000]+"))
PLACEMENT = Shape("placement", "header: and the name of a header", text(f"header:{_HEADER}"))
WATCHED = Shape(
    "watched",
    "fs:/// or tmp:// and a path or a glob, a host such as *.example.com, an address, or *",
    scalar(
        rf"(?![sS][tT][oO][rR][aA][gG][eE]$)(?:\*|(?:\*\.)?[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*"
        rf"|[0-9A-Fa-f:.]+(?:/[0-9]{{1,3}})?)|{DENY_PATTERN}"
    ),
)
