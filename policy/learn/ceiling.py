"""What a boundary and the built-in denials leave of what runs needed, told before a policy is written.

The boundary itself is compiled in `policy/boundary.py`, which has the last word on what was learned.
INVARIANT: what is refused here is never granted, and each refusal names what refuses.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce
from operator import or_
from typing import TYPE_CHECKING

from policy.builtin_denies import BUILTIN_DENIES
from policy.errors import quoted
from policy.globs import DoubleStar, Glob, GlobError, Literal, parse_glob
from policy.learn.evidence import LearnError
from policy.learn.names import SENSITIVE
from policy.learn.overlap import covers_common, have_common
from policy.placeholders import replaced
from policy.plan import RIGHTS, Right
from policy.substitution import values_of
from policy.uris import DenyTarget, Space, parse_deny, parse_never, parse_root

if TYPE_CHECKING:
    from policy.document import BoundaryDocument, PolicyDocument
    from policy.learn.mounting import Place
    from policy.subject import Subject

_ALL = reduce(or_, RIGHTS)
_NO_SCRATCH = "tmp://"


@dataclass(frozen=True, slots=True)
class Habits:
    """How far learning may go beyond what was seen: the strictest of every boundary."""

    min_siblings: int = 6
    min_runs: int = 1
    forbidden: tuple[str, ...] = SENSITIVE
    from_audits: bool = True


def habits_of(boundaries: tuple[BoundaryDocument, ...]) -> Habits:
    """What the boundaries say under `learn`."""
    sections = [each.model.learn for each in boundaries if each.model.learn is not None]
    if not sections:
        return Habits()
    own = {pattern for each in sections for pattern in each.generalise.forbid_if_unobserved_matches}
    return Habits(
        min_siblings=max(2, *(each.generalise.min_siblings for each in sections)),
        min_runs=max(1, *(each.min_runs for each in sections)),
        forbidden=tuple(sorted(map(_checked, own))) or SENSITIVE,
        from_audits=all(each.from_ != "denials" for each in sections),
    )


def _checked(pattern: str) -> str:
    """A pattern over one name; raises LearnError for what is none."""
    try:
        if len(parse_glob(pattern)) == 1:
            return pattern
        expected = "a glob over one name, without a slash"
    except GlobError as err:
        expected = err.expected
    raise LearnError(
        f"learn.generalise.forbid_if_unobserved_matches: expected {expected}, found {quoted(pattern)}"
    )


@dataclass(frozen=True, slots=True)
class Denial:
    """A glob of paths that some rule refuses."""

    name: str
    space: Space
    glob: Glob
    rights: Right = _ALL


@dataclass(frozen=True, slots=True)
class _Bound:
    """The storage ceiling of one boundary."""

    name: str
    roots: tuple[DenyTarget, ...]
    access: Right


@dataclass(frozen=True, slots=True)
class Ceiling:
    """Everything that stands above what is learned."""

    denials: tuple[Denial, ...]
    bounds: tuple[_Bound, ...] = ()

    def refusal(self, place: Place, rights: Right) -> tuple[Right, str]:
        """The rights of `rights` that are refused at a path, and what refuses them."""
        space, glob = literal(place)
        for denial in self.denials:
            if denial.space is space and denial.rights & rights and covers_common(denial.glob, glob):
                return denial.rights & rights, denial.name
        for bound in self.bounds:
            if not any(root.space is space and have_common(root.glob, glob) for root in bound.roots):
                return rights, f"{bound.name}: ceiling.storage.roots does not hold it"
            if rights & ~bound.access:
                return rights & ~bound.access, f"{bound.name}: ceiling.storage.access does not allow it"
        return Right(0), ""

    def clashes(self, space: Space, glob: Glob) -> tuple[Denial, ...]:
        """The denials that are about some path of `glob`."""
        return tuple(each for each in self.denials if each.space is space and covers_common(each.glob, glob))


def ceiling_of(
    boundaries: tuple[BoundaryDocument, ...], start: PolicyDocument | None, base_dir: str, subject: Subject
) -> Ceiling:
    """The built-in denials, those of the policy that is extended, and the ceilings of the boundaries."""
    found = [Denial(deny.id, Space.HOST, glob) for deny in BUILTIN_DENIES for glob in deny.parsed()]
    if start is not None:
        for index, deny in enumerate(start.model.permissions.storage.deny):
            target = parse_deny(deny.uri)
            name = deny.id or f"permissions.storage.deny[{index}]"
            rights = reduce(or_, (Right[each.upper()] for each in deny.access)) if deny.access else _ALL
            found.append(Denial(name, target.space, target.absolute(base_dir), rights))
    values = values_of(subject)
    bounds: list[_Bound] = []
    for boundary in boundaries:
        storage = boundary.model.ceiling.storage
        for text in storage.never:
            name = f"{boundary.name}: ceiling.storage.never {text}"
            found += [Denial(name, each.space, each.glob) for each in parse_never(replaced(text, values))]
        roots = tuple(parse_root(replaced(text, values)) for text in storage.roots)
        access = reduce(or_, (Right[each.upper()] for each in storage.access), Right(0))
        bounds.append(_Bound(boundary.name, roots, access))
    return Ceiling(tuple(found), tuple(bounds))


def literal(place: Place) -> tuple[Space, Glob]:
    """A path as a glob over whole paths, which matches only that."""
    return spaced(
        place.mount.base, tuple((Literal(name.encode("utf-8", "replace")),) for name in place.names)
    )


def spaced(base: str, tail: Glob) -> tuple[Space, Glob]:
    """`tail` below the directory `base`, over whole paths."""
    space = Space.SCRATCH if base.startswith(_NO_SCRATCH) else Space.HOST
    names = base.removeprefix(_NO_SCRATCH).split("/")
    head = tuple((Literal(name.encode("utf-8", "replace")),) for name in names if name)
    return space, (*head, *tail)


def last_name(denial: Denial) -> Glob:
    """The last segment of a denial that holds in every directory, as `**/.ssh/**`; empty for another."""
    segments = [segment for segment in denial.glob if not isinstance(segment, DoubleStar)]
    return (segments[-1],) if len(segments) == 1 and isinstance(denial.glob[0], DoubleStar) else ()


def plain_name(glob: Glob) -> str:
    """The name that a glob of one segment stands for; empty where it holds a wildcard."""
    segment = glob[0]
    if isinstance(segment, DoubleStar) or not all(isinstance(piece, Literal) for piece in segment):
        return ""
    return b"".join(piece.data for piece in segment if isinstance(piece, Literal)).decode("utf-8", "replace")
