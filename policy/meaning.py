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

# A mask: the rights that built-in denies decide, those that the rules of the document decide, then one bit
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

        A built-in deny that takes every right settles the ceilings too; what a boundary never grants, the
        rules of the document.
        """
        found: dict[int, tuple[int, int]] = {}
        bits = self._bits()
        ceilings = reduce(or_, (bits[owner] for owner in self.ceiling), 0)
        for owner, rights in self.builtin.items():
            settled = rights << _BUILTIN | rights << _DOCUMENT | (ceilings if rights == _ALL else 0)
            found[mark(owner, Mark.MATCH)] = owner, settled
        second = 1 + max(self.builtin, default=0)
        for owner in self.ceiling:
            found[mark(owner, Mark.EXCLUDE)] = second + owner, _ALL << _DOCUMENT | bits[owner]
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
        found = _Met.of(marks)
        deciders = [0] * len(RIGHTS)
        open_rights = _ALL
        for owner in sorted(found.matched & self.builtin.keys()):
            open_rights = _settle(deciders, open_rights, self.builtin[owner], owner)
        for owner, rights in self._ceilings:
            open_rights = _settle(deciders, open_rights, _ALL & ~found.within(owner, rights), owner)
        for owner in sorted(found.matched & self.deny.keys()):
            open_rights = _settle(deciders, open_rights, self.deny[owner], owner)
        allowed = 0
        for owner, granted in self._grants(found):
            allowed |= open_rights & granted
            open_rights = _settle(deciders, open_rights, granted, owner)
        bits = reduce(or_, (self.watch[owner] for owner in found.matched & self.watch.keys()), 0)
        return PathClass(allowed, tuple(deciders), bits)

    def outside(self, marks: frozenset[int]) -> list[tuple[int, int, Right]]:
        """The allow rules that a boundary alone keeps from granting a right here: rule, boundary, right.

        Below what a boundary never grants that is told only where the rules of the document still matter.
        """
        if not self._ceilings:
            return []
        found = _Met.of(marks)
        refused = 0
        for owner in found.matched:
            refused |= self.builtin.get(owner, 0) | self.deny.get(owner, 0)
        beyond = [(index, ~refused & ~found.within(index, rights)) for index, rights in self._ceilings]
        return [
            (owner, ceiling, right)
            for owner, granted in self._grants(found)
            for ceiling, mask in beyond
            if granted & mask
            for right in RIGHTS
            if right & granted & mask
        ]

    def _grants(self, found: _Met) -> list[tuple[int, int]]:
        """The allow rules that grant something here, in order, and what."""
        return [
            (owner, self.allow[owner] if owner in found.matched else self.allow[owner] & int(Right.LIST))
            for owner in sorted((found.matched | found.descending) - found.excluded)
            if owner in self.allow
        ]


@dataclass(frozen=True, slots=True)
class _Met:
    """The owners of the marks at a path, by the kind of the mark."""

    matched: set[int]
    descending: set[int]
    excluded: set[int]

    @staticmethod
    def of(marks: frozenset[int]) -> _Met:
        sets: tuple[set[int], ...] = (set(), set(), set())
        for code in marks:
            owner, kind = unmark(code)
            sets[kind].add(owner)
        return _Met(*sets)

    def within(self, ceiling: int, rights: int) -> int:
        """The rights that this boundary lets pass here: its own, at or below a root, unless never."""
        return rights if ceiling in self.matched and ceiling not in self.excluded else 0


def _settle(deciders: list[int], open_rights: int, rights: int, owner: int) -> int:
    """Let `owner` decide those of `rights` that are still open, and return the rest of these."""
    settled = open_rights & rights
    if settled:
        for position in range(len(RIGHTS)):
            if settled >> position & 1:
                deciders[position] = owner
    return open_rights & ~rights
