"""What a write-ahead log holds besides executions: events of the control plane, and gaps.

Who writes them is `writer.py`; which entries of the transparency log they become, `leaves.py`. Both are
values that are checked when they are made and when they are read. INVARIANT: `from_json(x.to_json()) == x`,
and a value that was made fits into a frame.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from audit import canonical
from audit.errors import FormatError
from audit.identity import execution_id
from audit.text import from_host
from audit.times import to_ns, to_rfc3339

if TYPE_CHECKING:
    from collections.abc import Mapping

    from audit.canonical import Json
    from audit.identity import ExecutionId
    from audit.wal import Bytes

Detail = str | int | None

EventName = Literal[
    "audit-on",
    "audit-off",
    "policy",
    "read",
    "export",
    "prune",
    "hold",
    "release",
    "key",
    "disk",
    "damage",
]
"""What the service writes as `ControlEvent.event`; a log may hold other words, from a newer one."""

MAX_DETAILS = 64
"""Entries of `ControlEvent.details`."""

MAX_TEXT = 16_384
"""Characters of an actor, of a detail or of a reason."""

MAX_NAME = 256
"""Characters of a tenant's name, and of the name of a detail."""

_WORD = re.compile(r"[a-z][a-z0-9-]{0,31}\Z")
_MAX_NUMBER = (1 << 53) - 1  # what JSON holds exactly
_MAX_SEQ = (1 << 63) - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlEvent:
    """Something that was done to the log or to what it trusts: a read, an export, a policy, a key.

    Raises FormatError when it is made of what no log may hold.
    """

    event_id: str  # a UUID
    at_ns: int  # since 1970 UTC
    event: str  # `audit-on`, `read`, `policy`, …
    actor: str  # who did it
    tenant: str | None = None  # None: it is about all of them, or about none
    details: Mapping[str, Detail] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check each field."""
        execution_id(self.event_id)
        to_rfc3339(self.at_ns)
        if not _WORD.match(self.event):
            raise FormatError("event", "a word of a-z, 0-9 and -", self.event)
        _text("event.actor", self.actor, MAX_TEXT)
        if self.tenant is not None:
            _text("event.tenant", self.tenant, MAX_NAME)
        if len(self.details) > MAX_DETAILS:
            raise FormatError("event.details", f"at most {MAX_DETAILS} entries", len(self.details))
        for name, value in self.details.items():
            _text("event.details", name, MAX_NAME)
            _detail(name, value)

    def to_json(self) -> bytes:
        """Give the canonical JSON."""
        details: dict[str, Json] = dict(self.details)
        document: dict[str, Json] = {
            "event_id": self.event_id,
            "at": to_rfc3339(self.at_ns),
            "event": self.event,
            "actor": self.actor,
            "tenant": self.tenant,
            "details": details,
        }
        return canonical.dumps(document)

    @staticmethod
    def from_json(text: Bytes) -> ControlEvent:
        """Read it back; FormatError if a field is missing or of another type."""
        read = canonical.loads("event", memoryview(text))
        details = read.child("details").fields
        return ControlEvent(
            event_id=read.text("event_id"),
            at_ns=to_ns(read.text("at")),
            event=read.text("event"),
            actor=read.text("actor"),
            tenant=read.optional_text("tenant"),
            details={name: _detail(name, value) for name, value in details.items()},
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """Records that were made and are not in the log, as far as it is known which.

    Raises FormatError when its numbers make no sense.
    """

    exec_id: ExecutionId | None  # None: not known, or of no execution
    first_seq: int | None  # None: not known
    last_seq: int | None
    reason: str
    at_ns: int  # when it was noticed, since 1970 UTC

    def __post_init__(self) -> None:
        """Check each field."""
        if self.exec_id is not None:
            execution_id(self.exec_id)
        to_rfc3339(self.at_ns)
        _text("gap.reason", self.reason, MAX_TEXT)
        for name, value in (("first_seq", self.first_seq), ("last_seq", self.last_seq)):
            if value is not None and not 0 <= value <= _MAX_SEQ:
                raise FormatError(f"gap.{name}", "a sequence number", value)
        if self.first_seq is not None and self.last_seq is not None and self.last_seq < self.first_seq:
            raise FormatError("gap.last_seq", f"at least {self.first_seq}", self.last_seq)

    def to_json(self) -> bytes:
        """Give the canonical JSON; sequence numbers are text."""
        document: dict[str, Json] = {
            "exec_id": self.exec_id,
            "first_seq": None if self.first_seq is None else str(self.first_seq),
            "last_seq": None if self.last_seq is None else str(self.last_seq),
            "reason": self.reason,
            "at": to_rfc3339(self.at_ns),
        }
        return canonical.dumps(document)

    @staticmethod
    def from_json(text: Bytes) -> Gap:
        """Read it back; FormatError if a field is missing or of another type."""
        read = canonical.loads("gap", memoryview(text))
        name = read.optional_text("exec_id")
        return Gap(
            exec_id=None if name is None else execution_id(name),
            first_seq=_number("gap.first_seq", read.optional_text("first_seq")),
            last_seq=_number("gap.last_seq", read.optional_text("last_seq")),
            reason=read.text("reason"),
            at_ns=to_ns(read.text("at")),
        )


def _text(where: str, text: str, most: int) -> None:
    if len(text) > most:
        raise FormatError(where, f"at most {most} characters", len(text))
    if from_host(text) != text:
        raise FormatError(where, "text that is valid Unicode", text)


def _detail(name: str, value: object) -> Detail:
    where = f"event.details.{name[:MAX_NAME]}"
    match value:
        case bool():
            raise FormatError(where, "text, a whole number or null", value)
        case None:
            return None
        case int():
            if abs(value) > _MAX_NUMBER:
                raise FormatError(where, "a number that JSON holds exactly, or text", value)
            return value
        case str():
            _text(where, value, MAX_TEXT)
            return value
        case _:
            raise FormatError(where, "text, a whole number or null", value)


def _number(where: str, text: str | None) -> int | None:
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= len(str(_MAX_SEQ))):
        raise FormatError(where, "digits", text)
    return int(text)
