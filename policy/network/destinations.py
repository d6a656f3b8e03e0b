"""The rules of one protocol as a table of addresses and an automaton of names.

What a row says is told in `rows.py`, how a call is decided with the table in `decide.py`. INVARIANT: the
ranges cover every address once, and rules of equal meaning give equal tables whatever their order.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field
from typing import Final, Generic

from policy.network.addresses import EVERYWHERE, LAST
from policy.network.rows import Classes, Entry, Maker, segments
from policy.network.zones import ZONE_STARTS, ZONES
from policy.plan_network import Destinations, NameTable, Row, Zone

MAX_MEETINGS: Final = 2_000_000
"""Rules over all places where they meet: a bound on the time that a compilation takes."""


class TooManyMeetingsError(ValueError):
    """So many rules meet at so many places that their table would be too large."""


def compile_destinations(entries: list[Entry], maker: Maker[Row]) -> Destinations[Row]:
    """The table for `entries`.

    Raises:
        TooManyMeetingsError: when the rules overlap too much.
    """
    work = _Work(maker)
    starts, zones, classes = work.addresses(entries)
    everywhere = tuple(entry for entry in entries if EVERYWHERE in entry.spans)
    elsewhere = work.at_address(Zone.PUBLIC, everywhere)
    names = work.names(entries)
    return Destinations(starts, zones, classes, elsewhere, names, work.classes.rows)


@dataclass(slots=True)
class _Node:
    """A name while the tree grows: what stands below it, and the rules for itself and for what is below."""

    children: dict[str, _Node] = field(default_factory=dict)
    exact: list[Entry] = field(default_factory=list)
    below: list[Entry] = field(default_factory=list)


@dataclass(slots=True)
class _Kept:
    """A name of the finished automaton."""

    exact: int
    below: int
    children: list[tuple[str, _Kept]]


class _Work(Generic[Row]):
    def __init__(self, maker: Maker[Row]) -> None:
        self.maker: Maker[Row] = maker
        self.classes: Classes[Row] = Classes()
        self._at_address: dict[tuple[Zone, tuple[Entry, ...]], int] = {}
        self._at_name: dict[tuple[Entry, ...], int] = {(): 0}
        self._meetings = 0

    def addresses(self, entries: list[Entry]) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
        events: dict[int, list[tuple[bool, Entry]]] = {start: [] for start in ZONE_STARTS}
        for entry in entries:
            for span in entry.spans:
                events.setdefault(span.low, []).append((True, entry))
                events.setdefault(span.high + 1, []).append((False, entry))
        met: dict[Entry, int] = {}
        ranges: list[tuple[int, Zone, int]] = []
        for low in sorted(events):
            for is_start, entry in events[low]:
                met[entry] = met.get(entry, 0) + (1 if is_start else -1)
                if not met[entry]:
                    del met[entry]
            if low > LAST:
                break
            self._spend(len(met))
            zone = ZONES[bisect_right(ZONE_STARTS, low) - 1]
            number = self.at_address(zone, tuple(sorted(met, key=lambda entry: entry.rule)))
            if not ranges or ranges[-1][1:] != (zone, number):
                ranges.append((low, zone, number))
        starts, zones, classes = zip(*ranges, strict=True)
        return starts, zones, classes

    def _spend(self, meetings: int) -> None:
        self._meetings += meetings
        if self._meetings > MAX_MEETINGS:
            raise TooManyMeetingsError

    def at_address(self, zone: Zone, met: tuple[Entry, ...]) -> int:
        known = self._at_address.get((zone, met))
        if known is None:
            rows = (
                self.maker.at_address(zone, ports, each) for ports, each in segments(met, self.maker.domain)
            )
            known = self._at_address[zone, met] = self.classes.number(rows)
        return known

    def _named(self, met: tuple[Entry, ...]) -> int:
        known = self._at_name.get(met)
        if known is None:
            self._spend(len(met))
            rows = (self.maker.at_name(ports, each) for ports, each in segments(met, self.maker.domain))
            known = self._at_name[met] = self.classes.number(rows)
        return known

    def names(self, entries: list[Entry]) -> NameTable:
        root = _Node()
        for entry in entries:
            if entry.pattern is not None:
                node = root
                for label in entry.pattern.labels:
                    node = node.children.setdefault(label, _Node())
                (node.below if entry.pattern.is_below else node.exact).append(entry)
        return _numbered(self._kept(root, ()))

    def _kept(self, node: _Node, inherited: tuple[Entry, ...]) -> _Kept:
        """The automaton for `node`, without the names that are decided as all others beside them."""
        below = (*inherited, *node.below)
        kept = _Kept(self._named((*inherited, *node.exact)), self._named(below), [])
        for label in sorted(node.children):
            child = self._kept(node.children[label], below)
            if child.children or (child.exact, child.below) != (kept.below, kept.below):
                kept.children.append((label, child))
        return kept


def _numbered(root: _Kept) -> NameTable:
    """The automaton as a table, numbered breadth-first from the root."""
    queue = [root]
    states: list[tuple[int, int, int, int]] = []
    edges: list[tuple[str, int]] = []
    for kept in queue:
        first = len(edges)
        for label, child in kept.children:
            edges.append((label, len(queue)))
            queue.append(child)
        states.append((first, len(kept.children), kept.exact, kept.below))
    return NameTable(tuple(states), tuple(edges))


def name_class(table: NameTable, labels: tuple[str, ...]) -> int:
    """The class of the name with these labels, which stand from the last to the first."""
    state = 0
    for label in labels:
        first, count, _, below = table.states[state]
        low, high = first, first + count
        while low < high:
            middle = (low + high) // 2
            if table.edges[middle][0] < label:
                low = middle + 1
            else:
                high = middle
        if low == first + count or table.edges[low][0] != label:
            return below
        state = table.edges[low][1]
    return table.states[state][2]


def range_of(table: Destinations[Row], address: int) -> int:
    """The index of the range that `address` lies in."""
    return bisect_right(table.starts, address) - 1


def row_at(rows: tuple[Row, ...], port: int) -> Row | None:
    """The row that holds `port`; None where there is none."""
    index = bisect_right(rows, port, key=lambda row: row[0]) - 1
    return rows[index] if index >= 0 and port <= rows[index][1] else None
