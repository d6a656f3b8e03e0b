r"""The texts of the audit section: what is kept of payloads, what is masked, and which calls a rule is for.

What they compile to is in `plan_audit.py`. INVARIANT: a mask is for every spelling of the paths that its glob
names: patterns are matched on stored text, in which a byte that is no UTF-8 is `\xNN` and a backslash `\\`.
"""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from typing import Final

from policy.calls import CALLS
from policy.globs import DoubleStar, GlobError, Literal, OneOf, Piece, Star, check_path_text, parse_glob
from policy.plan_audit import Kept, Mask, Payload

MAX_HEAD: Final = 65_536
"""Bytes that `head:N` may keep of one call; more is `full`."""
MAX_NAMES: Final = 32
NAMES: Final = 2
"""Names of a path that `path:prefix` leaves when it does not say how many."""

PAYLOAD_CALLS: Final = ("fd_read", "fd_pread", "fd_write", "fd_pwrite")
"""Calls whose bytes can be kept."""

_FORMS: Final = {
    "path": "path:hmac, path:drop or path:prefix[:N], with :/a/glob behind it or not",
    "payload": "payload:drop or payload:digest, with :/a/glob behind it or not",
    "json": "json: and a pointer such as json:/email",
}
_CHARACTER: Final = r"(?:\\\\|\\x[0-9a-f]{2}|[^/\\])"
_WIDE: Final = r"\\x[0-9a-f]{2}|[^\x00-\x7f]"


class TermError(ValueError):
    """A text of the audit section means nothing; says what was expected."""

    def __init__(self, expected: str) -> None:
        """Keep what was `expected`."""
        self.expected = expected
        super().__init__(expected)


def parse_payload(text: str) -> Payload:
    """What `none`, `digest`, `head:N` or `full` mean.

    Raises:
        TermError: for anything else.
    """
    head, colon, digits = text.partition(":")
    if head == Kept.HEAD and re.fullmatch("[1-9][0-9]{0,4}", digits) and int(digits) <= MAX_HEAD:
        return Payload(Kept.HEAD, int(digits))
    if colon or text not in {Kept.NONE.value, Kept.DIGEST.value, Kept.FULL.value}:
        raise TermError(f"none, digest, full, or head:N with 1 to {MAX_HEAD} bytes")
    return Payload(Kept(text))


def parse_mask(text: str) -> Mask | None:
    """What one entry of `mask` means; None for `default`, which is what no policy ever stores.

    Raises:
        TermError: for what is no mask.
        GlobError: for a glob that is none.
    """
    if text == "default":
        return None
    column, _, rest = text.partition(":")
    if column == "json":
        return _json(rest)
    if column not in _FORMS:
        raise TermError(f"default; {'; '.join(_FORMS.values())}")
    colon = rest.find(":/")
    said, glob = (rest, "") if colon < 0 else (rest[:colon], rest[colon + 1 :])
    veil, _, digits = said.partition(":")
    names = 0
    if column == "path" and veil == "prefix":
        names = _names(digits) if said != veil else NAMES
    elif said not in ({"hmac", "drop"} if column == "path" else {"drop", "digest"}):
        raise TermError(_FORMS[column])
    pattern = _pattern(glob) if glob else ""
    written = ":".join([column, veil, *([str(names)] if names else []), *([glob] if glob else [])])
    return Mask(text=written, column=column, veil=veil, names=names, glob=glob, pattern=pattern)


def calls_of(glob: str) -> tuple[str, ...]:
    """The names of the host calls that a rule's glob is for, in the order of their table."""
    return tuple(call.name for call in CALLS if fnmatchcase(call.name, glob))


def _names(digits: str) -> int:
    if not re.fullmatch("[1-9][0-9]?", digits) or int(digits) > MAX_NAMES:
        raise TermError(f"path:prefix:N with N from 1 to {MAX_NAMES}")
    return int(digits)


def _json(pointer: str) -> Mask:
    """SPEC: RFC 6901, 3: a tilde is `~0`, a slash in a name `~1`."""
    if not re.fullmatch(r"(?:/(?:[^~/\x00]|~[01])*)+", pointer):
        raise TermError(_FORMS["json"])
    return Mask(text=f"json:{pointer}", column="payload", veil="json", pointer=pointer)


def _pattern(glob: str) -> str:
    check_path_text(glob)
    if "${" in glob:
        raise GlobError("a glob without ${…}: masks are the same in every run")
    if glob.endswith("/"):
        raise GlobError("a glob that does not end in a slash", glob.rstrip("/") + "/**")
    parts = [
        "(?:/[^/]+)*" if isinstance(segment, DoubleStar) else "/" + "".join(map(_piece, segment))
        for segment in parse_glob(glob[1:])
    ]
    # a path that names the root alone is a slash
    return rf"\A(?:{''.join(parts)}|/)\z" if parts == ["(?:/[^/]+)*"] else rf"\A{''.join(parts)}\z"


def _piece(piece: Piece) -> str:
    match piece:
        case Literal(data):
            return re.escape(data.decode()).replace(r"\\", r"\\\\")
        case Star():
            return "[^/]*"
        case OneOf(ranges, or_wide):
            members = "".join(rf"\x{low:02x}-\x{high:02x}" for low, high in _without_backslash(ranges))
            has_backslash = any(low <= _BACKSLASH <= high for low, high in ranges)
            choices = [f"[{members}]"] if members else []
            choices += [r"\\\\"] if has_backslash else []
            choices += [_WIDE] if or_wide else []
            return f"(?:{'|'.join(choices)})"
        case _:
            return _CHARACTER


def _without_backslash(ranges: tuple[tuple[int, int], ...]) -> list[tuple[int, int]]:
    found: list[tuple[int, int]] = []
    for low, high in ranges:
        if low <= _BACKSLASH <= high:
            found += [(low, _BACKSLASH - 1), (_BACKSLASH + 1, high)]
        else:
            found.append((low, high))
    return [(low, high) for low, high in found if low <= high]


_BACKSLASH: Final = 0x5C
