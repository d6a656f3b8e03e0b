"""What a plan says about the trail of a run: levels, payloads and masks.

They are compiled in `sections_audit.py`; what is done with them is known where the log is kept. A plan names
calls one by one, so two documents that say the same by other globs give one plan.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Sync(StrEnum):
    """What must be durable before a host call returns."""

    BATCH = "batch"
    DENY = "deny"
    ALL = "all"


class Timestamps(StrEnum):
    """When the monitor reads the clock."""

    AUTO = "auto"  # around calls that do I/O or can block; the last known time for the rest
    EXACT = "exact"  # twice for every call
    COARSE = "coarse"  # never: the time that the supervisor last wrote into the ring


class Level(StrEnum):
    """How many records the calls of a run leave; refusals leave one each, whatever the level."""

    COUNTS = "counts"  # one for each call, decision and rule: no targets
    SUMMARY = "summary"  # one for each call, target and decision
    CALLS = "calls"  # one for each call


class Kept(StrEnum):
    """What is kept of the bytes that a call moves."""

    NONE = "none"
    DIGEST = "digest"
    HEAD = "head"
    FULL = "full"


@dataclass(frozen=True, slots=True)
class Payload:
    """What is kept of the bytes of a call, with the number of bytes for `head`."""

    kept: Kept = Kept.NONE
    head_bytes: int = 0

    def __str__(self) -> str:
        """As a document writes it."""
        return f"{self.kept}:{self.head_bytes}" if self.kept is Kept.HEAD else str(self.kept)


@dataclass(frozen=True, slots=True)
class CallTerms:
    """How the records of one call differ from the rest."""

    call: str  # a name of `policy.calls.CALLS`
    level: Level
    payload: Payload


@dataclass(frozen=True, slots=True, kw_only=True)
class Mask:
    """One kind of value that is blotted out before it is stored."""

    text: str  # as a document writes it, the same for one meaning
    column: str  # `path` or `payload`
    veil: str  # `hmac`, `prefix`, `drop`, `digest` or `json`
    names: int = 0  # of a prefix: how many names of a path are left
    pointer: str = ""  # of `json`: an RFC 6901 pointer
    glob: str = ""  # guest or host paths that this is for; empty: all
    pattern: str = ""  # the same as a regular expression without look-around, over stored text

    def __str__(self) -> str:
        """As a document writes it."""
        return self.text


@dataclass(frozen=True, slots=True)
class Audit:
    """How the trail of a run is kept."""

    sync: Sync = Sync.DENY
    on_full_ms: int = 10_000  # how long a guest may wait for room in the ring; 0 kills at once
    timestamps: Timestamps = Timestamps.AUTO
    retain_days: int = 90
    level: Level = Level.CALLS
    payload: Payload = Payload()  # frozen
    mask: tuple[Mask, ...] = ()  # of those for paths, the first that fits a record counts
    calls: tuple[CallTerms, ...] = ()  # by the order of `policy.calls.CALLS`; at most one for each call

    def terms(self, call: str) -> CallTerms:
        """What is kept of one call."""
        own = next((each for each in self.calls if each.call == call), None)
        return own if own is not None else CallTerms(call, self.level, self.payload)
