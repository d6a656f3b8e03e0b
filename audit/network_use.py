"""What a run did with the network, by the account of the broker outside its cell: a part of its receipt.

Single calls are in records. INVARIANT: `network_from` gives back what `network_json` was given.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from audit.canonical import Document, Json


@dataclass(frozen=True, slots=True)
class Attempt:
    """Something that was asked of the network's broker and that no monitor would have asked for."""

    op: str
    place: str
    rule: str


COUNTED = (
    "sockets",
    "connects",
    "accepts",
    "queries",
    "bytes_in",
    "bytes_out",
    "refused",
    "forged",
    "unasked",
)
"""What the network's broker counts."""


@dataclass(frozen=True, slots=True)
class NetworkUse:
    """What a run did with the network, by the account of the broker outside its cell."""

    counts: tuple[int, ...] = (0,) * len(COUNTED)  # in the order of `COUNTED`
    walls: tuple[str, ...] = ()  # around the broker
    attempts: tuple[Attempt, ...] = ()  # the first hundred that were forged
    is_complete: bool = True  # False: the broker was ended before it could count up


def network_json(used: NetworkUse) -> dict[str, Json]:
    """Give it as a receipt has it."""
    told: dict[str, Json] = dict(zip(COUNTED, used.counts, strict=True))
    told["walls"] = used.walls
    told["attempts"] = [{"op": one.op, "place": one.place, "rule": one.rule} for one in used.attempts]
    told["is_complete"] = used.is_complete
    return told


def network_from(read: Document) -> NetworkUse:
    """Read it back; FormatError if a field is missing or of another type."""
    return NetworkUse(
        counts=tuple(read.integer(name) for name in COUNTED),
        walls=read.texts("walls"),
        attempts=tuple(
            Attempt(one.text("op"), one.text("place"), one.text("rule")) for one in read.children("attempts")
        ),
        is_complete=read.flag("is_complete"),
    )
