"""What recorded calls needed: rights on paths, streams, clocks, random bytes and limits.

How it is read off the records is said in `reading.py`, what is granted for it in `generalise.py` and
`rules.py`. INVARIANT: whatever order it is put together in, it is the same.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from policy.learn.evidence import Seen
from policy.plan import RIGHTS, Right

if TYPE_CHECKING:
    from policy.learn.mounting import Place

_NOTHING = Right(0)


@dataclass(frozen=True, slots=True, order=True)
class Complaint:
    """Something that is not learned, and why; hostile text in it is escaped already."""

    what: str
    why: str


@dataclass(frozen=True, slots=True)
class Asked:
    """A call that the draft is to allow."""

    call: str
    places: tuple[Place, ...] = ()
    rights: Right = _NOTHING
    stream: str | None = None  # or a clock


@dataclass(slots=True)
class Needs:
    """All of it, each with its evidence."""

    rights: dict[Place, dict[Right, Seen]] = field(default_factory=dict)
    looks: dict[Place, Seen] = field(default_factory=dict)  # asked for its type and size only
    entries: dict[Place, Seen] = field(default_factory=dict)  # opened as a directory
    moves: set[tuple[Place, Place]] = field(default_factory=set)
    capabilities: dict[str, Seen] = field(default_factory=dict)
    limits: dict[str, Seen] = field(default_factory=dict)
    used: dict[str, int] = field(default_factory=dict)  # of a limit, in the run that used most
    denied: dict[str, str] = field(default_factory=dict)  # target -> rule that refuses it by name
    complaints: dict[Complaint, Seen] = field(default_factory=dict)
    asked: set[Asked] = field(default_factory=set)
    opening: set[Place] = field(default_factory=set)  # that the last run was refused
    is_short: bool = False  # the last run was refused a capability, or ended by a limit
    reads_environment: bool = False

    def add(self, place: Place, rights: Right, seen: Seen) -> None:
        """Note rights that a path needs."""
        known = self.rights.setdefault(place, {})
        for right in RIGHTS:
            if right & rights:
                known[right] = known.get(right, Seen()) | seen

    @property
    def is_open(self) -> bool:
        """Whether the last run was refused something that is granted now: the next one may go further."""
        return self.is_short or bool(self.opening & self.known)

    @property
    def known(self) -> set[Place]:
        """Every path that something was needed of."""
        return {*self.rights, *self.looks, *self.entries}

    def mask(self, place: Place) -> Right:
        """The rights that a path needs."""
        mask = Right(0)
        for right in self.rights.get(place, {}):
            mask |= right
        return mask

    def complain(self, what: str, why: str, seen: Seen) -> None:
        """Note what is not learned."""
        complaint = Complaint(what, why)
        self.complaints[complaint] = self.complaints.get(complaint, Seen()) | seen
