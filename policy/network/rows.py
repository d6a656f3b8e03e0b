"""What decides each port of an address or a name: the rules that meet there, brought into rows.

Which rules meet where is found in `destinations.py`. INVARIANT: a row says the outcome of each stage of the
evaluation on its own, so that what an address says and what a name says can be joined when a call is decided.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final, Generic, Protocol, TypeVar

from policy.network.addresses import Span
from policy.network.names import Pattern
from policy.network.ports import LAST_PORT, Range
from policy.plan_network import NO_RULE, PortRow, RequestRow, Row, Scheme, Zone

PORTS: Final = (0, LAST_PORT)
SLOTS: Final = (0, Scheme.HTTPS.slot(LAST_PORT))
NO_ORIGIN: Final = -1


@dataclass(frozen=True, slots=True, eq=False)
class Entry:
    """One rule as the tables see it: where it leads, and on which ports (or slots, for requests)."""

    rule: int  # index in `Plan.rules`, which rises in the order of evaluation
    ranges: tuple[Range, ...]
    is_grant: bool
    spans: tuple[Span, ...] = ()
    pattern: Pattern | None = None
    is_literal: bool = False  # its addresses lie in one zone, which it so names
    is_lifting: bool = False  # holds for private addresses too
    origin: int = NO_ORIGIN  # of a rule that looks at requests: which set of paths it belongs to


_Made_co = TypeVar("_Made_co", bound=PortRow | RequestRow, covariant=True)


class Maker(Protocol[_Made_co]):
    """Makes rows of one kind."""

    @property
    def domain(self) -> Range:
        """The first and the last port, or slot."""
        ...

    def at_address(self, zone: Zone, ports: Range, met: list[Entry]) -> _Made_co:
        """The row for `ports` at an address of `zone`; `met` are the rules there, in order."""
        ...

    def at_name(self, ports: Range, met: list[Entry]) -> _Made_co:
        """The row for `ports` at a name."""
        ...


@dataclass(frozen=True, slots=True)
class Standing:
    """What the plan as a whole says about zones."""

    builtins: tuple[int, ...]  # the rule of each `Builtin`
    is_private_open: bool

    def allows(self, zone: Zone, entry: Entry) -> bool:
        """Whether a grant holds at addresses of `zone`."""
        if zone is Zone.PUBLIC or entry.is_literal:
            return True
        return zone is Zone.PRIVATE and (self.is_private_open or entry.is_lifting)

    def hard(self, zone: Zone) -> int:
        """The built-in rule that refuses addresses of `zone`."""
        if zone is Zone.PUBLIC or (zone is Zone.PRIVATE and self.is_private_open):
            return NO_RULE
        return self.builtins[zone - 1]


@dataclass(frozen=True, slots=True)
class SocketRows:
    """Rows of TCP or UDP."""

    standing: Standing
    domain: Range = PORTS

    def at_address(self, zone: Zone, ports: Range, met: list[Entry]) -> PortRow:
        """The row for `ports` at an address of `zone`."""
        grant = _first(met, lambda entry: entry.is_grant and self.standing.allows(zone, entry))
        hard = NO_RULE if grant else self.standing.hard(zone)
        return PortRow(*ports, hard, _first(met, _refuses), grant, NO_RULE)

    def at_name(self, ports: Range, met: list[Entry]) -> PortRow:
        """The row for `ports` at a name."""
        grant = _first(met, lambda entry: entry.is_grant)
        lift = _first(met, lambda entry: entry.is_grant and self.standing.allows(Zone.PRIVATE, entry))
        return PortRow(*ports, NO_RULE, _first(met, _refuses), grant, lift)


@dataclass(frozen=True, slots=True)
class RequestRows:
    """Rows of requests; `starts` numbers the sets of origins in the order in which they are met."""

    standing: Standing
    starts: dict[frozenset[int], int] = field(default_factory=dict)
    domain: Range = SLOTS

    def at_address(self, zone: Zone, ports: Range, met: list[Entry]) -> RequestRow:
        """The row for `ports` at an address of `zone`."""
        grant = _first(met, lambda entry: entry.is_grant and self.standing.allows(zone, entry))
        hard = NO_RULE if grant else self.standing.hard(zone)
        return RequestRow(*ports, hard, _first(met, _refuses), self._start(met))

    def at_name(self, ports: Range, met: list[Entry]) -> RequestRow:
        """The row for `ports` at a name."""
        return RequestRow(*ports, NO_RULE, _first(met, _refuses), self._start(met))

    def _start(self, met: list[Entry]) -> int:
        origins = frozenset(entry.origin for entry in met if entry.origin != NO_ORIGIN)
        return self.starts.setdefault(origins, len(self.starts) + 1) if origins else 0


def _refuses(entry: Entry) -> bool:
    return not entry.is_grant and entry.origin == NO_ORIGIN


def _first(met: list[Entry], holds: Callable[[Entry], bool]) -> int:
    return next((entry.rule for entry in met if holds(entry)), NO_RULE)


def segments(entries: tuple[Entry, ...], domain: Range) -> Iterator[tuple[Range, list[Entry]]]:
    """`domain` cut where rules begin and end, with the rules that meet on each piece, in order."""
    events: dict[int, list[tuple[bool, Entry]]] = {domain[0]: [], domain[1] + 1: []}
    for entry in entries:
        for low, high in entry.ranges:
            events.setdefault(low, []).append((True, entry))
            events.setdefault(high + 1, []).append((False, entry))
    cuts = sorted(events)
    met: list[Entry] = []
    for low, beyond in pairwise(cuts):
        for is_start, entry in events[low]:
            if is_start:
                insort(met, entry, key=lambda each: each.rule)
            else:
                met.remove(entry)
        yield (low, beyond - 1), met


class Classes(Generic[Row]):
    """Numbers for lists of rows, in the order in which they are met; 0 is the empty list."""

    def __init__(self) -> None:
        self._known: dict[tuple[Row, ...], int] = {(): 0}

    def number(self, rows: Iterator[Row]) -> int:
        """The number of `rows`, which rise by port: neighbours that say the same are joined."""
        found: list[Row] = []
        for row in rows:
            if not any(row[2:]):
                continue
            if found and found[-1][1] == row[0] - 1 and found[-1][2:] == row[2:]:
                found[-1] = found[-1]._replace(high=row[1])
            else:
                found.append(row)
        return self._known.setdefault(tuple(found), len(self._known))

    @property
    def rows(self) -> tuple[tuple[Row, ...], ...]:
        """The lists, by number."""
        return tuple(self._known)
