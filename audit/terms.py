"""What is kept of an execution's host calls, as its policy says: levels, payloads and masks.

A policy document is turned into these terms in `policy/` and `sandbox/order.py`; `levels.py` and `masks.py`
act on them. INVARIANT: `AuditTerms.from_json(terms.to_json()) == terms`, and the terms name each call in
full, so that whoever reads them needs no policy and no glob of calls.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

from audit.errors import FormatError

if TYPE_CHECKING:
    from audit.canonical import Document, Json


class Level(StrEnum):
    """How many rows the calls of an execution get; refusals have one each, whatever the level."""

    COUNTS = "counts"  # one for each call, decision and rule: no targets
    SUMMARY = "summary"  # one for each call, target and decision
    CALLS = "calls"  # one for each call


class Kept(StrEnum):
    """What is kept of the bytes that a call moved."""

    NONE = "none"
    DIGEST = "digest"  # SHA-256 of all of them
    HEAD = "head"  # the same, and the first so many
    FULL = "full"  # the same, and all of them, up to what the monitor takes at once


@dataclass(frozen=True, slots=True)
class Payload:
    """What is kept of the bytes of a call, with the number of bytes for `head`."""

    kept: Kept = Kept.NONE
    head_bytes: int = 0

    def __str__(self) -> str:
        """As a policy writes it: `none`, `digest`, `head:256` or `full`."""
        return f"{self.kept}:{self.head_bytes}" if self.kept is Kept.HEAD else str(self.kept)

    @staticmethod
    def parse(text: str) -> Payload:
        """Read that back; FormatError if it is none of them."""
        kept, colon, digits = text.partition(":")
        if kept == Kept.HEAD and digits.isascii() and digits.isdigit():
            return Payload(Kept.HEAD, int(digits))
        if colon or kept not in tuple(Kept) or kept == Kept.HEAD:
            raise FormatError("payload", "none, digest, head:N or full", text)
        return Payload(Kept(kept))


class Veil(StrEnum):
    """What becomes of a value that is masked."""

    HMAC = "hmac"  # paths: a keyed hash of the text
    PREFIX = "prefix"  # paths: the first names only
    DROP = "drop"  # paths: nothing; payloads: neither bytes nor digest
    DIGEST = "digest"  # payloads: the digest only
    JSON = "json"  # payloads that are JSON: one value of them


@dataclass(frozen=True, slots=True, kw_only=True)
class Mask:
    """One kind of value that is blotted out before it is stored."""

    column: str  # `path` or `payload`
    veil: Veil
    names: int = 0  # of a prefix: how many names of a path are left
    pointer: str = ""  # of `json`: an RFC 6901 pointer to the value
    glob: str = ""  # paths that this is for, as the policy names them; empty: all
    pattern: str = ""  # the same as an RE2 expression over stored text

    def to_json(self) -> dict[str, Json]:
        """Give it as JSON values; what says nothing is left out."""
        values: dict[str, Json] = {"column": self.column, "veil": str(self.veil)}
        values |= {"names": self.names} if self.names else {}
        texts = {"pointer": self.pointer, "glob": self.glob, "pattern": self.pattern}
        return values | {name: text for name, text in texts.items() if text}

    @staticmethod
    def from_json(read: Document) -> Mask:
        """Read it back; FormatError if a field is missing or of another type."""
        return Mask(
            column=_one_of(read, "column", ("path", "payload")),
            veil=Veil(_one_of(read, "veil", tuple(Veil))),
            names=read.optional_integer("names") or 0,
            pointer=read.optional_text("pointer") or "",
            glob=read.optional_text("glob") or "",
            pattern=read.optional_text("pattern") or "",
        )


@dataclass(frozen=True, slots=True)
class CallTerms:
    """How one call differs from the rest."""

    call: str  # as the column of that name has it
    level: Level
    payload: Payload


@dataclass(frozen=True, slots=True)
class AuditTerms:
    """What is kept of the calls of one execution."""

    level: Level = Level.CALLS
    payload: Payload = field(default_factory=Payload)
    mask: tuple[Mask, ...] = ()  # of those for paths, the first that fits a row counts
    rules: tuple[CallTerms, ...] = ()  # at most one for each call

    @property
    def levels(self) -> Mapping[str, Level]:
        """The level of each call that has one of its own."""
        return {rule.call: rule.level for rule in self.rules}

    @property
    def payloads(self) -> Mapping[str, Payload]:
        """What is kept of each call that has terms of its own."""
        return {rule.call: rule.payload for rule in self.rules}

    def to_json(self) -> dict[str, Json]:
        """Give them as JSON values."""
        return {
            "level": str(self.level),
            "payload": str(self.payload),
            "mask": [mask.to_json() for mask in self.mask],
            "rules": [
                {"call": rule.call, "level": str(rule.level), "payload": str(rule.payload)}
                for rule in self.rules
            ],
        }

    @staticmethod
    def from_json(read: Document) -> AuditTerms:
        """Read them back; FormatError if a field is missing or of another type."""
        return AuditTerms(
            level=_level(read),
            payload=Payload.parse(read.text("payload")),
            mask=tuple(Mask.from_json(item) for item in read.children("mask")),
            rules=tuple(
                CallTerms(item.text("call"), _level(item), Payload.parse(item.text("payload")))
                for item in read.children("rules")
            ),
        )


def _level(read: Document) -> Level:
    return Level(_one_of(read, "level", tuple(Level)))


def _one_of(read: Document, key: str, known: tuple[str, ...]) -> str:
    found = read.text(key)
    if found not in known:
        raise FormatError(f"{read.where}.{key}", f"one of {', '.join(known)}", found)
    return found
