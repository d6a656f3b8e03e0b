"""What a run did with the network, by the account of the broker outside its cell: a part of its receipt.

Single calls are in records. INVARIANT: `network_from` gives back what `network_json` was given.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from audit.canonical import Document, Json


@dataclass(frozen=True, slots=True)
class Attempt:
    """Something that was asked of the network's broker and that no monitor would have asked for."""

    op: str
    place: str
    rule: str


@dataclass(frozen=True, slots=True)
class RequestMade:
    """A request that the network's broker made; its path is on the records only, as the policy keeps them."""

    request: str  # method and origin: `GET https://api.example.com`
    rule: str
    status: int  # 0: there was no answer
    bytes_out: int  # of its body
    bytes_in: int


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
    requests: tuple[RequestMade, ...] = ()  # the first hundred
    is_complete: bool = True  # False: the broker was ended before it could count up


def network_json(used: NetworkUse) -> dict[str, Json]:
    """Give it as a receipt has it."""
    told: dict[str, Json] = dict(zip(COUNTED, used.counts, strict=True))
    told["walls"] = used.walls
    told["attempts"] = [{"op": one.op, "place": one.place, "rule": one.rule} for one in used.attempts]
    if used.requests:
        told["requests"] = [asdict(one) for one in used.requests]
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
        requests=tuple(
            RequestMade(
                one.text("request"),
                one.text("rule"),
                one.integer("status"),
                one.integer("bytes_out"),
                one.integer("bytes_in"),
            )
            for one in (read.children("requests") if "requests" in read.fields else ())
        ),
        is_complete=read.flag("is_complete"),
    )
