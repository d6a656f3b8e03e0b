"""From single files to globs, where enough siblings were seen and nothing sensitive would come along.

What counts as sensitive is in `names.py` and the boundary, and rules are made in `rules.py`. INVARIANT: no
glob matches a name that a forbidden pattern matches, and each glob that was thought of and not taken is
told.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from policy.globs import parse_glob
from policy.learn.ceiling import last_name, plain_name, spaced
from policy.learn.evidence import Seen, counted
from policy.learn.names import HIDDEN, is_sensitive, of_one_run, spelt, visible
from policy.learn.overlap import have_common, name_matches, patterns_meet
from policy.plan import RIGHTS, Right

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from policy.globs import Glob
    from policy.learn.ceiling import Ceiling, Habits
    from policy.learn.mounting import Mounted, Names, Place

_BOUNDARIES = "-_. "
_MOST_EXCEPTIONS = 3


@dataclass(frozen=True, slots=True)
class Grant:
    """Rights on one path or one glob below a mount."""

    mount: Mounted
    rights: Right
    glob: str  # relative to the mount
    seen: Seen
    exclude: tuple[str, ...] = ()
    members: int = 1  # files that were seen


@dataclass(frozen=True, slots=True, order=True)
class Refused:
    """A glob that was not taken."""

    where: str  # what it would have granted
    why: str
    instead: str


@dataclass(frozen=True, slots=True)
class Wanted:
    """One path with the rights that it needs; every name can be spelt."""

    place: Place
    rights: Right
    seen: Seen


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What decides whether a glob is taken."""

    habits: Habits
    ceiling: Ceiling
    others: Mapping[Mounted, tuple[tuple[Names, Right], ...]]  # all that runs needed, by mount
    denied: frozenset[str]  # targets that a rule refuses by name


def generalised(wanted: Iterable[Wanted], around: Surroundings) -> tuple[list[Grant], list[Refused]]:
    """The grants for `wanted`, and the globs that were not taken."""
    grants: list[Grant] = []
    refused: list[Refused] = []
    groups: dict[tuple[Mounted, Names, Right, str], list[Wanted]] = defaultdict(list)
    for each in sorted(wanted, key=lambda one: (one.place, one.rights)):
        names = each.place.names
        key = names[-1] if is_sensitive(names[-1], around.habits.forbidden) else ""
        groups[each.place.mount, names[:-1], each.rights, key or _ending(names[-1])].append(each)
    left: list[Wanted] = []
    for (mount, parent, rights, _), members in sorted(groups.items()):
        if len(members) < around.habits.min_siblings:
            left += members
            continue
        candidate = _Candidate(mount, rights, members, _in_one_folder(parent, members))
        taken = candidate.judged(around)
        if isinstance(taken, Grant):
            grants.append(taken)
        else:
            refused.append(taken)
            left += members
    trees, left, more = _trees(left, around)
    literals = [Grant(each.place.mount, each.rights, _literal(each.place.names), each.seen) for each in left]
    return [*grants, *trees, *literals], [*refused, *more]


def _trees(left: list[Wanted], around: Surroundings) -> tuple[list[Grant], list[Wanted], list[Refused]]:
    """Files with one ending in many folders of one folder."""
    grants: list[Grant] = []
    refused: list[Refused] = []
    groups: dict[tuple[Mounted, Right, str], list[Wanted]] = defaultdict(list)
    for each in left:
        ending = _ending(each.place.names[-1])
        if ending and not any(is_sensitive(name, around.habits.forbidden) for name in each.place.names):
            groups[each.place.mount, each.rights, ending].append(each)
    for (mount, rights, ending), members in sorted(groups.items()):
        shared = members[0].place.names[: _shared([each.place.names[:-1] for each in members])]
        folders = {
            each.place.names[len(shared)] for each in members if len(each.place.names) > len(shared) + 1
        }
        if len(folders) < around.habits.min_siblings:
            continue
        depths = {len(each.place.names) for each in members}
        middle = ("*",) * (depths.pop() - len(shared) - 1) if len(depths) == 1 else ("**",)
        head = tuple(spelt(name) or "" for name in shared)
        taken = _Candidate(mount, rights, members, (*head, *middle, f"*{spelt(ending)}")).judged(around)
        if isinstance(taken, Grant):
            grants.append(taken)
        else:
            refused.append(taken)
    covered = [(grant.mount, grant.rights, grant.glob) for grant in grants]
    kept = [
        each
        for each in left
        if not any(
            each.place.mount == mount
            and each.rights == rights
            and have_common(parse_glob(glob), parse_glob(_literal(each.place.names)))
            and not is_sensitive(each.place.names[-1], around.habits.forbidden)
            for mount, rights, glob in covered
        )
    ]
    return grants, kept, refused


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A glob that could stand for its members."""

    mount: Mounted
    rights: Right
    members: list[Wanted]
    glob: tuple[str, ...]

    def judged(self, around: Surroundings) -> Grant | Refused:
        """The grant with its exceptions, or why not."""
        runs = frozenset[str]().union(*(each.seen.runs for each in self.members))
        if len(runs) < around.habits.min_runs:
            return self._refused(
                f"seen in {counted(len(runs), 'run')}, and {around.habits.min_runs} are asked for"
            )
        folder = next((name for name in self.glob[:-1] if is_sensitive(name, around.habits.forbidden)), "")
        if folder:
            return self._refused(f"the folder {visible(folder)} looks sensitive")
        sensitive = self._sensitive(around)
        fewer = self._with_fewer_rights(around)
        if len(fewer) > _MOST_EXCEPTIONS:
            return self._refused(
                f"{len(fewer)} other files that it matches need less, such as {visible(fewer[0])}"
            )
        denied = self._denied(around)
        if isinstance(denied, str):
            return self._refused(denied)
        seen = Seen()
        for each in self.members:
            seen |= each.seen
        exclude = tuple(dict.fromkeys((*sensitive, *denied, *fewer)))
        return Grant(self.mount, self.rights, "/".join(self.glob), seen, exclude, len(self.members))

    def _refused(self, why: str) -> Refused:
        where = f"{words(self.rights)} on {visible('/'.join((self.mount.base.rstrip('/'), *self.glob)))}"
        return Refused(where, why, f"the {len(self.members)} files one by one")

    def _sensitive(self, around: Surroundings) -> list[str]:
        """Patterns of names that come out of it again."""
        found: list[str] = []
        for at, segment in enumerate(self.glob):
            if "*" not in segment:
                continue
            deep = ("**",) if segment == "**" else ()
            found += [
                "/".join((*self.glob[:at], *deep, pattern))
                for pattern in (HIDDEN, *around.habits.forbidden)
                if deep or patterns_meet(segment, pattern)
            ]
        return found

    def _with_fewer_rights(self, around: Surroundings) -> list[str]:
        """Files that were seen, that it matches, and that need fewer rights than it grants."""
        own = parse_glob("/".join(self.glob))
        return [
            _literal(names)
            for names, rights in around.others.get(self.mount, ())
            if names and rights & self.rights != self.rights and have_common(own, parse_glob(_literal(names)))
        ]

    def _denied(self, around: Surroundings) -> list[str] | str:
        """Names that some rule refuses, as exceptions; a sentence where they cannot be told apart."""
        own = parse_glob("/".join(self.glob))
        space, whole = spaced(self.mount.base, own)
        for clash in around.ceiling.clashes(space, whole):
            if clash.rights & self.rights and not self._is_excepted(last_name(clash), around):
                return f"{clash.name} is about files that it matches"
        found: list[str] = []
        base = self.mount.base.rstrip("/") + "/"
        for target in sorted(around.denied):
            names = target.removeprefix(base).split("/") if target.startswith(base) else []
            spelled = [spelt(name) for name in names]
            if names and all(spelled) and have_common(own, parse_glob(_literal(tuple(names)))):
                found.append(_literal(tuple(names)))
        return found

    def _is_excepted(self, last: Glob, around: Surroundings) -> bool:
        """Whether the exceptions for sensitive names leave out what a denial is about anyway."""
        if not last:
            return False
        patterns = (HIDDEN, *around.habits.forbidden)
        name = plain_name(last)
        return any(name_matches(name, each) if name else last == parse_glob(each) for each in patterns)


def _in_one_folder(parent: Names, members: list[Wanted]) -> tuple[str, ...]:
    """The narrowest glob over these names: what they begin with, any text, what they end in."""
    names = [each.place.names[-1] for each in members]
    ending = _ending(names[0])
    shared = names[0][: _shared([name.removesuffix(ending) for name in names])]
    while shared and shared[-1] not in _BOUNDARIES:
        shared = shared[:-1]
    if shared.strip(_BOUNDARIES) == "":
        shared = ""  # nothing but a dot or a dash in front says nothing
    return (*(spelt(name) or "" for name in parent), f"{spelt(shared) or ''}*{spelt(ending) or ''}")


def _shared(texts: Sequence[Sequence[str]]) -> int:
    """How far all of them begin alike."""
    length = min(map(len, texts))
    return next((at for at in range(length) if any(each[at] != texts[0][at] for each in texts)), length)


def _ending(name: str) -> str:
    """`.csv` of `a.csv`; empty for a name without one."""
    stem, dot, ending = name.rpartition(".")
    return f".{ending}" if dot and stem and ending else ""


def _literal(names: Names) -> str:
    return "/".join(spelt(name) or "" for name in names)


def is_of_one_run(names: Names) -> str:
    """What in a path will be different in the next run, as it looks."""
    return next((what for what in map(of_one_run, names) if what), "")


def words(rights: Right) -> str:
    """`read, list` for a mask of rights."""
    return ", ".join(str(right.name).lower() for right in RIGHTS if right & rights)
