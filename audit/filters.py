"""What a query asks for: one value object, checked when it is made.

How it is answered is the package `query`, where a page ends is `cursors.py`, and the language of `q` is
`expression.py`. Values come from people and scripts: each is checked here, and none becomes part of a
statement. INVARIANT: `tenants` is never widened by another field.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from functools import lru_cache
from hashlib import sha256

from audit.columns import CODES, REFUSING, SCHEMA
from audit.errors import FilterError, FormatError
from audit.expression import Expression, decisions_in
from audit.identity import execution_id
from audit.text import from_host, to_text
from audit.times import from_text

MAX_LIMIT = 10_000
DEFAULT_LIMIT = 100

_MAX_TEXT = 8_192
_MAX_TENANTS = 1_000
_INT64 = 1 << 63
_TEXTS = ("module", "call", "rule", "tenant", "policy", "path", "path_prefix", "path_glob", "cursor")
_NUMBERS = ("from_ns", "to_ns", "after_seq", "class_uid", "errno", "min_bytes", "min_duration_ns")
_TIMES = ("from_ns", "to_ns")


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordFilter:
    """Which records are wanted; all that is given must hold. Checked when it is made: FilterError."""

    execution: str | None = None
    tenant: str | None = None
    module: str | None = None  # `sha256:…`, or a name that a module was run under
    policy: str | None = None  # `sha256:…`, or a name that a run's policy had
    call: str | None = None  # glob (`*`, `?`, `[…]`) over the call's name, with or without its prefix
    class_uid: int | None = None  # OCSF class
    decision: str | None = None  # a word of `columns.WORDS`
    errno: int | None = None
    rule: str | None = None
    path: str | None = None  # as an operating system shows paths; of target, guest_target or target2
    path_prefix: str | None = None  # likewise
    path_glob: str | None = None  # likewise, as a glob over the whole path; `*` matches `/` as well
    addr: str | None = None  # refused: no record has an address yet
    port: int | None = None  # likewise
    from_ns: int | None = None
    to_ns: int | None = None  # not included
    min_bytes: int | None = None  # moved by the call, in and out together
    min_duration_ns: int | None = None  # of the row's longest call
    q: str | None = None  # see `expression.py`
    after_seq: int | None = None  # only records with a larger sequence number
    tenants: tuple[str, ...] | None = None  # whose records the asker may see; None: everybody's
    fields: tuple[str, ...] | None = None  # columns of the answer; None: all
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
        self._check_values()
        for name in ("addr", "port"):
            if getattr(self, name) is not None:
                # an empty answer would read as "nobody connected there"
                no_sockets = "nothing: no record has an address yet, as guests have no sockets"
                raise FilterError(name, no_sockets, getattr(self, name))
        self._check_lists()
        _ = self.expression
        if not 1 <= self.limit <= MAX_LIMIT:
            raise FilterError("limit", f"1 to {MAX_LIMIT}", self.limit)

    def _check_values(self) -> None:
        for name in _TEXTS:
            value = getattr(self, name)
            if value is not None and len(value) > _MAX_TEXT:
                raise FilterError(name, f"at most {_MAX_TEXT} characters", value)
        for name in _NUMBERS:
            value = getattr(self, name)
            if value is not None and not -_INT64 <= value < _INT64:
                unit = "a signed 64-bit number" + (" of nanoseconds" if name in _TIMES else "")
                raise FilterError(name, unit, value)

    def _check_lists(self) -> None:
        if self.tenants is not None and len(self.tenants) > _MAX_TENANTS:
            raise FilterError("tenants", f"at most {_MAX_TENANTS}", len(self.tenants))
        if self.fields is None:
            return
        unknown = [name for name in self.fields if name not in SCHEMA.names]
        if unknown or not self.fields:
            raise FilterError("fields", f"some of {', '.join(SCHEMA.names)}", ", ".join(unknown))

    @property
    def is_ascending(self) -> bool:
        """Whether the oldest record comes first."""
        return self.execution is not None if self.ascending is None else self.ascending

    @property
    def expression(self) -> Expression | None:
        """What `q` says."""
        return None if self.q is None else _parsed(self.q)

    @property
    def stored_prefix(self) -> str | None:
        """Give `path_prefix` in the form in which paths are stored."""
        return stored(self.path_prefix)

    @property
    def scope(self) -> tuple[str, ...] | None:
        """The tenants whose records can be in the answer, sorted; None: any."""
        if self.tenant is None:
            return None if self.tenants is None else tuple(sorted(set(self.tenants)))
        return (self.tenant,) if self.tenants is None or self.tenant in self.tenants else ()

    @property
    def wants_refusals_only(self) -> bool:
        """Whether every record that it names was refused, or would have been."""
        expression = self.expression
        said = None if expression is None else decisions_in(expression)
        codes = {CODES[self.decision]} if self.decision is not None else said
        return codes is not None and all(code in REFUSING for code in codes)

    def digest(self) -> bytes:
        """Name the filter apart from what only says where a page begins and ends: 16 bytes."""
        kept = {item.name: getattr(self, item.name) for item in fields(self)}
        kept |= {"limit": None, "cursor": None, "after_seq": None, "fields": None}
        kept |= {"ascending": self.is_ascending, "tenants": self.scope, "tenant": None}
        return sha256(json.dumps(kept, sort_keys=True).encode()).digest()[:16]


@lru_cache(maxsize=64)
def _parsed(text: str) -> Expression:
    # the parser takes most of a second to import, and most questions have no `q`
    from audit.expression_text import parse  # noqa: PLC0415

    return parse(text)


def stored(path: str | None) -> str | None:
    """Give a path, as an operating system shows it, in the form in which paths are stored."""
    if path is None:
        return None
    try:
        return to_text(path.encode("utf-8", "surrogateescape"))
    except UnicodeEncodeError:
        return from_host(path)


def time_filter(field: str, text: str) -> int:
    """Read a time of a filter (RFC 3339 or nanoseconds); FilterError names the field."""
    try:
        return from_text(text)
    except FormatError as err:
        raise FilterError(field, err.expected, text) from err
