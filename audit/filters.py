"""What a query asks for, and the cursor with which the next page is asked for.

How it is answered is `query.py`. Values come from people and scripts: each is checked here, and none
becomes part of a statement. INVARIANT: a cursor belongs to the filter that it was made for; with
another one it is refused.
"""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import dataclass, fields, replace
from typing import cast

from blake3 import blake3

from audit.columns import CODES
from audit.errors import FilterError, FormatError
from audit.identity import execution_id
from audit.text import from_host, to_text
from audit.times import from_text

MAX_LIMIT = 10_000
DEFAULT_LIMIT = 100

_MAX_TEXT = 8_192
_INT64 = 1 << 63


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """Where a page ended: the sort key of its last row."""

    t_ns: int
    exec_id: str
    seq: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordFilter:
    """Which records are wanted; all that is given must hold. Checked when it is made: FilterError."""

    execution: str | None = None
    module: str | None = None  # `sha256:…`, or a name that a module was run under
    call: str | None = None  # glob (`*`, `?`, `[…]`) over the call's name, with or without its prefix
    decision: str | None = None  # a word of `columns.WORDS`
    rule: str | None = None
    path_prefix: str | None = None  # as an operating system shows paths; of target, guest_target or target2
    from_ns: int | None = None
    to_ns: int | None = None  # not included
    after_seq: int | None = None  # only records with a larger sequence number
    limit: int = DEFAULT_LIMIT
    cursor: str | None = None
    ascending: bool | None = None  # by time; None: oldest first within one execution, else newest first

    def __post_init__(self) -> None:
        """Check each value."""
        if self.execution is not None:
            try:
                execution_id(self.execution)
            except FormatError as err:
                raise FilterError("execution", err.expected, self.execution) from err
        if self.decision is not None and self.decision not in CODES:
            raise FilterError("decision", f"one of {', '.join(sorted(CODES))}", self.decision)
        for name in ("module", "call", "rule", "path_prefix", "cursor"):
            value = getattr(self, name)
            if value is not None and len(value) > _MAX_TEXT:
                raise FilterError(name, f"at most {_MAX_TEXT} characters", value)
        for name in ("from_ns", "to_ns"):
            value = getattr(self, name)
            if value is not None and not -_INT64 <= value < _INT64:
                raise FilterError(name, "a signed 64-bit number of nanoseconds", value)
        if self.after_seq is not None and not -_INT64 <= self.after_seq < _INT64:
            raise FilterError("after_seq", "a signed 64-bit number", self.after_seq)
        if not 1 <= self.limit <= MAX_LIMIT:
            raise FilterError("limit", f"1 to {MAX_LIMIT}", self.limit)

    @property
    def is_ascending(self) -> bool:
        """Whether the oldest record comes first."""
        return self.execution is not None if self.ascending is None else self.ascending

    @property
    def stored_prefix(self) -> str | None:
        """Give `path_prefix` in the form in which paths are stored."""
        if self.path_prefix is None:
            return None
        try:
            return to_text(self.path_prefix.encode("utf-8", "surrogateescape"))
        except UnicodeEncodeError:
            return from_host(self.path_prefix)

    def position(self) -> Position | None:
        """Give the position that the cursor holds; FilterError if it is none, or another filter's."""
        return None if self.cursor is None else _position(self.cursor, self._digest())

    def after(self, position: Position) -> RecordFilter:
        """Give the filter of the page that follows `position`."""
        key = [position.t_ns, position.exec_id, position.seq]
        text = json.dumps({"v": 1, "f": self._digest(), "k": key}, separators=(",", ":"))
        return replace(self, cursor=base64.urlsafe_b64encode(text.encode()).decode().rstrip("="))

    def _digest(self) -> str:
        """Name the filter apart from what only says where a page begins and ends."""
        kept = {item.name: getattr(self, item.name) for item in fields(self)}
        kept |= {"limit": None, "cursor": None, "after_seq": None, "ascending": self.is_ascending}
        return blake3(json.dumps(kept, sort_keys=True).encode()).hexdigest(length=8)


def _position(cursor: str, digest: str) -> Position:
    wrong = FilterError("cursor", "the cursor of a page of the same query", cursor)
    try:
        text = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        value = cast("object", json.loads(text))
    except (binascii.Error, ValueError, RecursionError) as err:
        raise wrong from err
    match value:
        case {"v": 1, "f": str(found), "k": [int(t_ns), str(exec_id), int(seq)], **rest} if not rest:
            pass
        case _:
            raise wrong
    is_whole = not isinstance(t_ns, bool) and not isinstance(seq, bool)
    if found != digest or not is_whole or not (-_INT64 <= t_ns < _INT64 and -_INT64 <= seq < _INT64):
        raise wrong
    try:
        return Position(t_ns=t_ns, exec_id=execution_id(exec_id), seq=seq)
    except FormatError as err:
        raise wrong from err


def time_filter(field: str, text: str) -> int:
    """Read a time of a filter (RFC 3339 or nanoseconds); FilterError names the field."""
    try:
        return from_text(text)
    except FormatError as err:
        raise FilterError(field, err.expected, text) from err
