"""Storage rules, brought into one automaton over the paths of all mounts.

Automata as such live in `nfa.py` and `dfa.py`; reading the document's rules in `compiler.py`. What
decides a right at a path is, in this order: a built-in deny, a boundary, a deny rule, the first allow
rule that grants it, the default deny; and a denied path takes everything below it along.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce
from operator import or_
from typing import TYPE_CHECKING

from policy.dfa import determinise
from policy.fold import Determinised
from policy.meaning import MAX_WATCHES, PathMeaning
from policy.nfa import Mark, Nfa
from policy.plan import RIGHTS, Right
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
class Ceiling:
    """The most that a boundary lets any rule grant: some rights, at or below a root, and never elsewhere."""

    index: int  # of the boundary's rule in `Plan.rules`
    rights: Right
    roots: tuple[tuple[Space, Glob], ...]
    never: tuple[tuple[Space | None, Glob], ...] = ()  # None: in every space


@dataclass(frozen=True, slots=True)
class Watch:
    """Paths that a rule over time watches, with all that lies below them."""

    index: int  # of that rule in `Plan.rules`
    bit: int  # its place in `Plan.temporal`, and in `PathClass.marks`
    space: Space | None  # None: in every space
    glob: Glob


@dataclass(frozen=True, slots=True)
class MountRules:
    """A mount, and the allow rules that share it, in the order of the document."""

    space: Space
    root: str  # absolute host path, or the name of a scratch directory
    rules: tuple[AllowRule, ...]

    @property
    def base(self) -> str:
        """The absolute path of the mount, as globs see it; empty for the root of the host."""
        return self.root.rstrip("/") if self.space is Space.HOST else f"/{self.root}"


def compile_paths(
    mounts: tuple[MountRules, ...],
    denies: tuple[DenyRule, ...],
    ceilings: tuple[Ceiling, ...] = (),
    watches: tuple[Watch, ...] = (),
) -> Determinised:
    """The automaton with one start for each of `mounts`, in order.

    Raises:
        TooManyStatesError: when the rules interlock too much.
        ValueError: for a watch beyond the bits of a mask.
    """
    if any(not 0 <= watch.bit < MAX_WATCHES for watch in watches):
        raise ValueError(MAX_WATCHES)
    nfa = Nfa()
    spaces = {space: nfa.root() for space in Space}
    for deny in denies:
        nfa.add_cover(spaces[deny.space], deny.glob, deny.index, Mark.MATCH)
    for ceiling in ceilings:
        for place, glob in ceiling.roots:
            nfa.add_cover(spaces[place], glob, ceiling.index, Mark.MATCH)
        for space, glob in ceiling.never:
            for place in _places(space):
                nfa.add_cover(spaces[place], glob, ceiling.index, Mark.EXCLUDE)
    for watch in watches:
        for place in _places(watch.space):
            nfa.add_cover(spaces[place], watch.glob, watch.index, Mark.MATCH)
    roots = [_add_mount(nfa, mount) for mount in mounts]
    starts = [
        nfa.closure(root) | nfa.run(spaces[mount.space], mount.base.encode())
        for mount, root in zip(mounts, roots, strict=True)
    ]
    bases = [f"tmp:/{mount.base}" if mount.space is Space.SCRATCH else mount.base for mount in mounts]
    return determinise(nfa, starts, _meaning(mounts, denies, ceilings, watches), bases)


def _places(space: Space | None) -> tuple[Space, ...]:
    return tuple(Space) if space is None else (space,)


def _meaning(
    mounts: tuple[MountRules, ...],
    denies: tuple[DenyRule, ...],
    ceilings: tuple[Ceiling, ...],
    watches: tuple[Watch, ...],
) -> PathMeaning:
    return PathMeaning(
        builtin={deny.index: int(deny.rights) for deny in denies if deny.is_hard},
        ceiling={ceiling.index: int(ceiling.rights) for ceiling in ceilings},
        deny={deny.index: int(deny.rights) for deny in denies if not deny.is_hard},
        allow={rule.index: int(rule.rights) for mount in mounts for rule in mount.rules},
        watch={watch.index: 1 << watch.bit for watch in watches},
    )


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
