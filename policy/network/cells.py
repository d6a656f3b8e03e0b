"""The addresses, names and ports that are enough to tell two tables apart.

Questions are made of them in `samples.py`. Why they are enough: a table gives one answer for all addresses
between two of its cuts, for all names that leave its tree at one place, and for all ports of one row.
INVARIANT: each pair of classes that some address or some name has in the two tables is met once.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final, Generic, TypeVar

from policy.network.addresses import format_address
from policy.network.names import name_text
from policy.network.ports import Range
from policy.plan_network import Destinations, NameTable, Row, Zone

T = TypeVar("T")

_LETTERS: Final = "abcdefghijklmnopqrstuvwxyz"


@dataclass(frozen=True, slots=True)
class AddressCell:
    """An address, and its zone and class in either table; `text` None is one that no rule names."""

    text: str | None
    zones: tuple[Zone, Zone]
    classes: tuple[int, int]


@dataclass(frozen=True, slots=True)
class NameCell:
    """A name, and its class in either table."""

    text: str
    classes: tuple[int, int]


def address_cells(a: Destinations[Row], b: Destinations[Row]) -> Iterator[AddressCell]:
    """An address for each pair of zones and classes, the lowest first."""
    seen = set[tuple[tuple[Zone, Zone], tuple[int, int]]]()
    at = [0, 0]
    for low in sorted({*a.starts, *b.starts}):
        for side, table in enumerate((a, b)):
            while at[side] + 1 < len(table.starts) and table.starts[at[side] + 1] <= low:
                at[side] += 1
        zones = Zone(a.zones[at[0]]), Zone(b.zones[at[1]])
        classes = a.classes[at[0]], b.classes[at[1]]
        if (zones, classes) not in seen:
            seen.add((zones, classes))
            yield AddressCell(format_address(low), zones, classes)


def unnamed_cell(a: Destinations[Row], b: Destinations[Row]) -> AddressCell:
    """A public address that no rule of either names."""
    return AddressCell(None, (Zone.PUBLIC, Zone.PUBLIC), (a.elsewhere, b.elsewhere))


@dataclass(frozen=True, slots=True)
class _Walk:
    """Where a walk along labels stands in one automaton: at a state, or off the tree in a class."""

    table: NameTable
    state: int  # -1: off
    off: int

    @property
    def exact(self) -> int:
        return self.off if self.state < 0 else self.table.states[self.state][2]

    @property
    def below(self) -> int:
        return self.off if self.state < 0 else self.table.states[self.state][3]

    def edges(self) -> dict[str, int]:
        if self.state < 0:
            return {}
        first, count, _, _ = self.table.states[self.state]
        return dict(self.table.edges[first : first + count])

    def stepped(self, target: int | None) -> _Walk:
        return _Walk(self.table, -1 if target is None else target, self.below)


def name_cells(a: NameTable, b: NameTable) -> Iterator[NameCell]:
    """A name for each pair of classes, short ones first: nodes of either tree, and a new label below each."""
    seen = set[tuple[int, int]]()
    queue: list[tuple[tuple[str, ...], _Walk, _Walk]] = [((), _Walk(a, 0, 0), _Walk(b, 0, 0))]
    for labels, one, other in queue:
        if labels and (one.exact, other.exact) not in seen:
            seen.add((one.exact, other.exact))
            yield NameCell(name_text(labels), (one.exact, other.exact))
        left, right = one.edges(), other.edges()
        if (one.below, other.below) not in seen:
            seen.add((one.below, other.below))
            yield NameCell(name_text((*labels, fresh(left.keys() | right.keys()))), (one.below, other.below))
        for label in sorted(left.keys() | right.keys()):
            step = (*labels, label), one.stepped(left.get(label)), other.stepped(right.get(label))
            queue.append(step)  # the list grows while it is read


def fresh(taken: set[str]) -> str:
    """The shortest label of letters that is not in `taken`."""
    length = 1
    while True:
        for number in range(len(_LETTERS) ** length):
            label, rest = "", number
            for _ in range(length):
                rest, letter = divmod(rest, len(_LETTERS))
                label = _LETTERS[letter] + label
            if label not in taken:
                return label
        length += 1


def port_cells(lists: list[tuple[Row, ...]], domain: Range) -> Iterator[tuple[Range, list[Row | None]]]:
    """`domain` cut at the ends of all rows, and the row of each list on each piece."""
    cuts = {domain[0], domain[1] + 1}
    for rows in lists:
        for row in rows:
            cuts |= {cut for cut in (row[0], row[1] + 1) if domain[0] < cut <= domain[1]}
    ordered = sorted(cuts)
    at = [0] * len(lists)
    for low, beyond in pairwise(ordered):
        found: list[Row | None] = []
        for side, rows in enumerate(lists):
            while at[side] < len(rows) and rows[at[side]][1] < low:
                at[side] += 1
            is_in = at[side] < len(rows) and rows[at[side]][0] <= low
            found.append(rows[at[side]] if is_in else None)
        yield (low, beyond - 1), found


@dataclass(slots=True)
class Coverage(Generic[T]):
    """Ports that something holds on, with a witness for each; the first witness of a port stays."""

    pieces: list[tuple[int, int, T]] = field(default_factory=list)  # disjoint, rising

    def add(self, ports: Range, witness: T) -> None:
        """Take `witness` for those of `ports` that have none yet."""
        low, high = ports
        added: list[tuple[int, int, T]] = []
        for start, end, _ in self.pieces:
            if end < low:
                continue
            if start > high:
                break
            if low < start:
                added.append((low, start - 1, witness))
            low = end + 1
        if low <= high:
            added.append((low, high, witness))
        if added:
            self.pieces = sorted([*self.pieces, *added], key=lambda piece: piece[0])

    def meet(self, other: Coverage[T]) -> tuple[int, T, T] | None:
        """The least port of both, with its two witnesses; None where they share none."""
        mine, theirs = 0, 0
        while mine < len(self.pieces) and theirs < len(other.pieces):
            one, two = self.pieces[mine], other.pieces[theirs]
            if max(one[0], two[0]) <= min(one[1], two[1]):
                return max(one[0], two[0]), one[2], two[2]
            mine, theirs = (mine + 1, theirs) if one[1] < two[1] else (mine, theirs + 1)
        return None
