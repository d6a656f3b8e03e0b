"""Storage rules, brought into one automaton over the paths of all mounts.

Automata as such live in `nfa.py` and `dfa.py`; reading the document's rules in `compiler.py`. What
decides a right at a path is, in this order: a built-in deny, a deny rule, the first allow rule
that grants it, the default deny; and a denied path takes everything below it along.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce
from operator import or_
from typing import TYPE_CHECKING

from policy.dfa import determinise
from policy.fold import Determinised
from policy.nfa import Mark, Nfa, unmark
from policy.plan import RIGHTS, PathClass, Right
from policy.uris import Space, literal_glob

if TYPE_CHECKING:
    from policy.globs import Glob

ALL_RIGHTS = reduce(or_, RIGHTS)


@dataclass(frozen=True, slots=True)
class DenyRule:
    """A deny rule, built in or of the document, as paths see it."""

    index: int  # in `Plan.rules`
    rights: Right
    space: Space
    glob: Glob  # over absolute host paths, or over `/name/…` for scratch
    is_hard: bool = False  # built in: refused in every mode, so no other rule may stand in for it


@dataclass(frozen=True, slots=True)
class AllowRule:
    """An allow rule, relative to its mount."""

    index: int
    rights: Right
    file: str = ""  # name of the one file it grants; empty for the whole directory
    include: tuple[Glob, ...] = ()
    exclude: tuple[Glob, ...] = ()

    @property
    def is_total(self) -> bool:
        """Whether it grants its rights on every path of the mount."""
        return not (self.file or self.include or self.exclude)


@dataclass(frozen=True, slots=True)
class MountRules:
    """A mount, and the allow rules that share it, in the order of the document."""

    space: Space
    root: str  # absolute host path, or the name of a scratch directory
    rules: tuple[AllowRule, ...]


def compile_paths(mounts: tuple[MountRules, ...], denies: tuple[DenyRule, ...]) -> Determinised:
    """The automaton with one start for each of `mounts`, in order.

    Raises:
        TooManyStatesError: when the rules interlock too much.
    """
    nfa = Nfa()
    spaces = {space: nfa.root() for space in Space}
    for deny in denies:
        nfa.add_cover(spaces[deny.space], deny.glob, deny.index, Mark.MATCH)
    roots = [_add_mount(nfa, mount) for mount in mounts]
    meaning = _Classifier(
        {deny.index: int(deny.rights) for deny in denies},
        {rule.index: int(rule.rights) for mount in mounts for rule in mount.rules},
        {deny.index: int(deny.rights) for deny in denies if deny.is_hard},
    )
    starts = [
        nfa.closure(root) | nfa.run(spaces[mount.space], _base(mount))
        for mount, root in zip(mounts, roots, strict=True)
    ]
    return determinise(nfa, starts, meaning)


def _base(mount: MountRules) -> bytes:
    return (mount.root.rstrip("/") if mount.space is Space.HOST else f"/{mount.root}").encode()


def _add_mount(nfa: Nfa, mount: MountRules) -> int:
    """Add the patterns of one mount's rules; those that can't decide anything are left out."""
    root = nfa.root()
    settled = Right(0)
    for rule in mount.rules:
        if rule.rights & ~settled == Right(0):
            continue  # earlier rules grant all this on every path, so this one never decides
        if rule.is_total:
            settled |= rule.rights
        for glob in rule.exclude:
            nfa.add_cover(root, glob, rule.index, Mark.EXCLUDE)
        if rule.file:
            nfa.add(root, literal_glob(rule.file), rule.index, Mark.MATCH)
        elif not rule.include:
            nfa.add_cover(root, (), rule.index, Mark.MATCH)
        for glob in rule.include:
            nfa.add(root, glob, rule.index, Mark.MATCH, has_descent=True)
    return root


@dataclass(frozen=True, slots=True)
class _Classifier:
    """Says what a path's marks mean for each right; rights are masks by the rule's index."""

    deny: dict[int, int]
    allow: dict[int, int]
    hard: dict[int, int]

    def classify(self, marks: frozenset[int]) -> PathClass:
        """The class of a path that carries `marks`; indices rise in the order of evaluation."""
        found: dict[Mark, set[int]] = {kind: set() for kind in Mark}
        for code in marks:
            owner, kind = unmark(code)
            found[kind].add(owner)
        matched = found[Mark.MATCH]
        deciders = [0] * len(RIGHTS)
        undecided = int(ALL_RIGHTS)
        for owner in sorted(owner for owner in matched if owner in self.deny):
            undecided = _settle(deciders, undecided, self.deny[owner], owner)
        allowed = 0
        for owner in sorted((matched | found[Mark.DESCEND]) - found[Mark.EXCLUDE]):
            granted = self.allow.get(owner, 0)
            if owner not in matched:
                granted &= int(Right.LIST)
            before = undecided
            undecided = _settle(deciders, undecided, granted, owner)
            allowed |= before & ~undecided
        return PathClass(allowed, tuple(deciders))


def _settle(deciders: list[int], undecided: int, rights: int, owner: int) -> int:
    """Let `owner` decide those of `rights` that are still undecided, and return the rest of these."""
    settled = undecided & rights
    if settled:
        for position in range(len(RIGHTS)):
            if settled >> position & 1:
                deciders[position] = owner
    return undecided & ~rights
