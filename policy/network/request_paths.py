"""The path of a request in one form, and the methods that a request may have.

Globs over such paths are those of `policy/globs.py`. A path is judged as the server will read it; where
two servers could read it differently it is refused. INVARIANT: bringing a path into its form
twice changes nothing.
"""

from __future__ import annotations

import re
from typing import Final

from policy.globs import Glob, GlobError, parse_glob
from policy.network.urls import UrlError

PRESETS: Final = {
    "read-only": ("GET", "HEAD", "OPTIONS"),
    "read-write": ("GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH"),
    "full": ("*",),
}
"""What `access` stands for, as methods."""

TUNNELS: Final = frozenset({"CONNECT", "TRACE", "TRACK"})
"""CONNECT opens a tunnel to anywhere; the other two send back the headers, a credential included."""

KNOWN: Final = ("GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE")

_METHOD = re.compile(r"[A-Z][A-Z0-9-]{0,31}")
_UNRESERVED = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
_PLAIN = re.compile(r"[A-Za-z0-9._~!$&'()*+,=:@/%-]*")
_PERCENT = re.compile(r"%(.{0,2})", re.DOTALL)
_HEX = re.compile(r"[0-9A-Fa-f]{2}")
# Bytes that some servers read as a separator, an end, or the beginning of another line, once decoded.
_AMBIGUOUS = frozenset({*range(0x20), 0x7F, 0x2F, 0x3B, 0x5C})


def is_method(text: str) -> bool:
    """Say whether `text` is a method as it is written in a request: capital letters."""
    return bool(_METHOD.fullmatch(text))


def canonical_path(text: str) -> tuple[bytes, ...]:
    """The segments of a request's path; query and fragment are cut off, and so is a slash at the end.

    `%41` is `A`; other escapes stay, in capitals.

    Raises:
        UrlError: for a path that a server may read in another way: `//`, `.` and `..` in any spelling, `;`,
            an escaped slash, backslash or control character, a broken escape, anything but printable ASCII.
    """
    path = re.split(r"[?#]", text, maxsplit=1)[0] or "/"
    if not path.startswith("/"):
        raise UrlError("a path that starts with a slash")
    if not _PLAIN.fullmatch(path):
        raise UrlError("a path of the characters that a URL takes as they are, without `;` and backslash")
    plain = _PERCENT.sub(_decoded, path)
    if plain == "/":
        return ()
    segments = plain.removesuffix("/")[1:].split("/")
    if "" in segments:
        raise UrlError("a path without empty segments")
    if not {".", ".."}.isdisjoint(segments):
        raise UrlError("a path without `.` and `..`")
    return tuple(segment.encode() for segment in segments)


def _decoded(found: re.Match[str]) -> str:
    digits = found[1]
    if not _HEX.fullmatch(digits):
        raise UrlError("two hexadecimal digits after each %")
    byte = int(digits, 16)
    if byte in _AMBIGUOUS:
        raise UrlError("a path without escaped slashes, backslashes, semicolons and control characters")
    return chr(byte) if byte in _UNRESERVED else f"%{digits.upper()}"


def parse_path_glob(text: str) -> Glob:
    """A glob of `paths`, which starts with a slash; `/` is the root and `/**` every path.

    Raises:
        GlobError: when it is none, or when no path in canonical form could match it as it was meant.
    """
    if not text.startswith("/"):
        raise GlobError("a path glob that starts with a slash", "/" + text if text else "")
    if text == "/":
        return ()
    if text.endswith("/"):
        raise GlobError(
            "a path glob that does not end in a slash: one at the end is not looked at", text[:-1]
        )
    if not text.isascii():
        encoded = "".join(c if c.isascii() else "".join(f"%{b:02X}" for b in c.encode()) for c in text)
        raise GlobError("a path glob in ASCII, with % escapes", encoded)
    found = re.search(r"[\x00-\x20\x7f\\\"<>^`|;#]", text)
    if found:
        raise GlobError("a path glob of the characters that a URL takes as they are")
    try:
        plain = _PERCENT.sub(_decoded, text)
    except UrlError as err:
        raise GlobError(err.expected) from None
    if plain != text:
        raise GlobError("escapes in capitals, and none for letters, digits and -._~", plain)
    return parse_glob(text[1:])
