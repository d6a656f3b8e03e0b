"""The head of a request, as the bridge writes it and the broker reads it: one definition for both.

It is a line, `GET https://api.example.com/v1`, and behind it fixed numbers and the header fields.
SECURITY: it comes from the cell: each length is checked against what there is, each name and value against
what may stand in a header, so that nothing in it can end a line or begin another request.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from typing import Final

HEAD: Final = struct.Struct("<I4x6Q")
"""Whether there is a body; then three times in nanoseconds, each behind a 1, or a 0 where it is not said: for
the connection, the first byte of the answer, and between bytes."""

FIELD: Final = struct.Struct("<II")  # bytes of a name, of a value; both follow
MAX_LINE: Final = 8_192
MAX_FIELDS_BYTES: Final = 65_472
MAX_FIELDS: Final = 256
TOKEN: Final = b"!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
"""The characters of a name. SPEC: RFC 9110, 5.6.2."""

FORBIDDEN: Final = (
    "connection",
    "host",
    "http2-settings",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "transfer-encoding",
    "upgrade",
)
"""Names that are the host's alone, as they say how a message travels."""

_NAME: Final = re.compile(b"[" + re.escape(TOKEN) + b"]+")
_VALUE: Final = re.compile(rb"[\t\x20-\x7e\x80-\xff]*")
_LENGTH: Final = re.compile(r"0|[1-9][0-9]{0,17}")
_LINE: Final = re.compile(r"([!-~]{1,64}) ([!-~]+)")


class HeadError(ValueError):
    """What was asked for is no request."""


@dataclass(frozen=True, slots=True)
class RequestHead:
    """A request without its body."""

    method: str
    url: str
    fields: tuple[tuple[str, str], ...]  # names in lower case; values in Latin 1
    has_body: bool
    length: int | None  # of the body, where the request says so
    connect_s: float | None  # how long to wait; None: as long as is usual
    first_byte_s: float | None
    between_bytes_s: float | None

    @property
    def line(self) -> str:
        """Method and URL, as they are recorded."""
        return f"{self.method} {self.url}"


def parse(line: bytes, head: bytes) -> RequestHead:
    """Read a request; raises HeadError."""
    try:
        found = _LINE.fullmatch(line.decode("ascii"))
        has_body, *times = HEAD.unpack_from(head)
    except (UnicodeDecodeError, struct.error) as err:
        raise HeadError(str(err)) from None
    if found is None or len(line) > MAX_LINE:
        raise HeadError("no method and URL")
    fields = parse_fields(head[HEAD.size :])
    connect, first, between = (
        ns / 1e9 if is_told else None for is_told, ns in zip(times[::2], times[1::2], strict=True)
    )
    return RequestHead(
        method=found[1],
        url=found[2],
        fields=fields,
        has_body=bool(has_body),
        length=_length(fields, has_body=bool(has_body)),
        connect_s=connect,
        first_byte_s=first,
        between_bytes_s=between,
    )


def parse_fields(block: bytes) -> tuple[tuple[str, str], ...]:
    """Read header fields; raises HeadError."""
    if len(block) > MAX_FIELDS_BYTES:
        raise HeadError("too long")
    at = 0
    found: list[tuple[str, str]] = []
    while at < len(block):
        if len(found) == MAX_FIELDS or at + FIELD.size > len(block):
            raise HeadError("too many, or cut off")
        name_len, value_len = FIELD.unpack_from(block, at)
        at += FIELD.size
        end = at + name_len + value_len
        if end > len(block):
            raise HeadError("cut off")
        name, value = block[at : at + name_len], block[at + name_len : end]
        if not _NAME.fullmatch(name) or not _VALUE.fullmatch(value):
            raise HeadError("a character that no header has")
        text = name.decode("ascii").lower()
        if text in FORBIDDEN:
            raise HeadError("a header of the host's own")
        found.append((text, value.decode("latin-1").strip(" \t")))
        at = end
    return tuple(found)


def pack_fields(fields: list[tuple[str, str]]) -> bytes:
    """Write header fields; what is no name or value of one is left out."""
    rows = []
    for name, value in fields:
        key, content = name.lower().encode("latin-1", "replace"), value.encode("latin-1", "replace")
        if _NAME.fullmatch(key) and _VALUE.fullmatch(content):
            rows.append(FIELD.pack(len(key), len(content)) + key + content)
    return b"".join(rows)


def _length(fields: tuple[tuple[str, str], ...], *, has_body: bool) -> int | None:
    """How long the body is, where that is said; raises HeadError where it is said in two ways or oddly."""
    said = {value for name, value in fields if name == "content-length"}
    if not said:
        return None
    (text,) = said if len(said) == 1 else ("",)
    if not _LENGTH.fullmatch(text) or (int(text) and not has_body):
        raise HeadError("an odd length")
    return int(text)
