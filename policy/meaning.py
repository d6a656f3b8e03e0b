"""What it means that rules meet at a path: the class of the path, and which rules no longer matter there.

The marks come from the automaton in `nfa.py`; `path_rules.py` puts them there. INVARIANT: the order of
evaluation is written once, in `classify`, and what `covers` and `affects` let `dfa.py` leave out follows it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import reduce
from operator import or_
from typing import TYPE_CHECKING

from policy.nfa import Mark, mark, unmark
from policy.plan import RIGHTS, PathClass, Right

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_WATCHES = 32
"""Rules over time that can watch paths: the bits of `PathClass.marks`."""

_ALL = int(reduce(or_, RIGHTS))

# A mask: the rights that the built-in denies decide, those that the rules of the document decide, then one bit
# for each ceiling and each watch. A bit is settled where no mark met later can change what it stands for.
_BUILTIN = 0
_DOCUMENT = len(RIGHTS)
_BITS = 2 * len(RIGHTS)


@dataclass(frozen=True, slots=True)
class PathMeaning:
    """The rules by their index in `Plan.rules`: masks of rights, and of bits for what is watched."""

    builtin: Mapping[int, int]
    ceiling: Mapping[int, int]  # the rights that each boundary lets pass at its roots
    deny: Mapping[int, int]
    allow: Mapping[int, int]
    watch: Mapping[int, int]
    _ceilings: tuple[tuple[int, int], ...] = field(init=False)

    def __post_init__(self) -> None:
        """Bring the ceilings into order once."""
        object.__setattr__(self, "_ceilings", tuple(sorted(self.ceiling.items())))

    def covers(self) -> dict[int, tuple[int, int]]:
        """For each mark that refuses or watches: its rank in the evaluation, and what it settles.

        A built-in deny that takes every right settles the ceilings too. What a boundary never grants leaves
        the rules of the document open: which of them would have granted it is reported.
        """
        found: dict[int, tuple[int, int]] = {}
        bits = self._bits()
        ceilings = reduce(or_, (bits[owner] for owner in self.ceiling), 0)
        for owner, rights in self.builtin.items():
            settled = rights << _BUILTIN | rights << _DOCUMENT | (ceilings if rights == _ALL else 0)
            found[mark(owner, Mark.MATCH)] = owner, settled
        second = 1 + max(self.builtin, default=0)
        for owner in self.ceiling:
            found[mark(owner, Mark.EXCLUDE)] = second + owner, bits[owner]
        third = 1 + second + max(self.ceiling, default=0)
        for owner, rights in self.deny.items():
            found[mark(owner, Mark.MATCH)] = third + owner, rights << _DOCUMENT
        for owner in self.watch:
            found[mark(owner, Mark.MATCH)] = third + owner, bits[owner]
        return found

    def affects(self) -> dict[int, int]:
        """For each rule, what its marks can change, wherever that is not settled."""
        return {
            **{owner: rights << _BUILTIN for owner, rights in self.builtin.items()},
            **{owner: rights << _DOCUMENT for owner, rights in (*self.deny.items(), *self.allow.items())},
            **self._bits(),
        }

    def _bits(self) -> dict[int, int]:
        return {owner: 1 << _BITS + place for place, owner in enumerate((*self.ceiling, *self.watch))}

    def classify(self, marks: frozenset[int]) -> PathClass:
        """The class of a path that carries `marks`."""
        found = _by_kind(marks)
        matched = found[Mark.MATCH]
        deciders = [0] * len(RIGHTS)
        open_rights = _ALL
        for owner in sorted(matched & self.builtin.keys()):
            open_rights = _settle(deciders, open_rights, self.builtin[owner], owner)
        for owner, rights in self._ceilings:
            open_rights = _settle(deciders, open_rights, _ALL & ~_within(found, owner, rights), owner)
        for owner in sorted(matched & self.deny.keys()):
            open_rights = _settle(deciders, open_rights, self.deny[owner], owner)
        allowed = 0
        for owner, granted in self._grants(found):
            allowed |= open_rights & granted
            open_rights = _settle(deciders, open_rights, granted, owner)
        bits = reduce(or_, (self.watch[owner] for owner in matched & self.watch.keys()), 0)
        return PathClass(allowed, tuple(deciders), bits)

    def outside(self, marks: frozenset[int]) -> list[tuple[int, int, Right]]:
        """The allow rules that a boundary alone keeps from granting a right here: rule, boundary, right."""
        found = _by_kind(marks)
        matched = found[Mark.MATCH]
        refused = reduce(or_, (self.builtin.get(owner, 0) | self.deny.get(owner, 0) for owner in matched), 0)
        return [
            (owner, ceiling, right)
            for owner, granted in self._grants(found)
            for ceiling, rights in self._ceilings
            for right in RIGHTS
            if right & granted & ~refused & ~_within(found, ceiling, rights)
        ]

    def _grants(self, found: Mapping[Mark, set[int]]) -> list[tuple[int, int]]:
        """The allow rules that grant something here, in order, and what."""
        matched, descending = found[Mark.MATCH], found[Mark.DESCEND]
        return [
            (owner, self.allow[owner] if owner in matched else self.allow[owner] & int(Right.LIST))
            for owner in sorted((matched | descending) - found[Mark.EXCLUDE])
            if owner in self.allow
        ]


def _by_kind(marks: frozenset[int]) -> dict[Mark, set[int]]:
    found: dict[Mark, set[int]] = {kind: set() for kind in Mark}
    for code in marks:
        owner, kind = unmark(code)
        found[kind].add(owner)
    return found


def _within(found: Mapping[Mark, set[int]], ceiling: int, rights: int) -> int:
    """The rights that this boundary lets pass here: its own, at or below a root, unless never."""
    is_inside = ceiling in found[Mark.MATCH] and ceiling not in found[Mark.EXCLUDE]
    return rights if is_inside else 0


def _settle(deciders: list[int], open_rights: int, rights: int, owner: int) -> int:
    """Let `owner` decide those of `rights` that are still open, and return the rest of these."""
    settled = open_rights & rights
    if settled:
        for position in range(len(RIGHTS)):
            if settled >> position & 1:
                deciders[position] = owner
    return open_rights & ~rights
