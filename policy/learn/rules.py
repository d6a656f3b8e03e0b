"""The storage rules that grant what was needed, and no more than the format can say.

Which paths become globs is decided in `generalise.py`; how a rule is written, in `writing.py`. INVARIANT:
each path is granted the rights that it needed, and a directory is opened to `list` only where its names
were read or it was opened as a directory and nothing in it is granted.
"""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from policy.globs import GlobError, has_wildcard
from policy.learn.evidence import NOT_SEEN, Seen
from policy.learn.generalise import Grant, Surroundings, Wanted, generalised, is_of_one_run, words
from policy.learn.names import is_sensitive, spelt, visible, why_not_spelt
from policy.plan import Right
from policy.uris import check_mount, parse_allow

if TYPE_CHECKING:
    from collections.abc import Iterable

    from policy.learn.ceiling import Ceiling, Habits
    from policy.learn.generalise import Refused
    from policy.learn.mounting import Mounted, Names, Place
    from policy.learn.needs import Needs

_HERE = ("*",)
"""Exceptions that leave of a mount the directory itself."""


@dataclass(frozen=True, slots=True)
class LearnedRule:
    """One allow rule."""

    id: str
    mount: Mounted
    rights: Right
    include: tuple[tuple[str, Seen], ...] = ()  # none: everything, less what is excluded
    exclude: tuple[str, ...] = ()
    seen: Seen = NOT_SEEN
    remark: str = ""

    @property
    def uri(self) -> str:
        """What its `uri` says."""
        return uri_of(self.mount)


@dataclass(frozen=True, slots=True)
class Learned:
    """The rules, and what is to be told beside them."""

    rules: tuple[LearnedRule, ...]
    refused: tuple[Refused, ...]
    notes: tuple[str, ...]


def uri_of(mount: Mounted) -> str:
    """The URI of a mount's directory, with all below."""
    if mount.uri:
        return mount.uri
    return mount.base if mount.is_scratch else f"fs://{mount.base.rstrip('/')}/**"


def drop_what_cannot_be(needs: Needs, ceiling: Ceiling) -> None:
    """Take out of `needs` what no policy can name or a boundary refuses, with a complaint for each."""
    places = sorted({*needs.rights, *needs.looks, *needs.entries})
    for place in places:
        seen = _all_seen(needs, place)
        why = _unnameable(place)
        if why:
            needs.complain(f"{_what(needs, place)} {visible(place.target)}", why, seen)
            _forget(needs, place)
            continue
        asked = needs.mask(place) or (Right.LIST if place in needs.entries else Right.READ)
        refused, by = ceiling.refusal(place, asked)
        if not refused:
            continue
        needs.complain(f"{words(refused)} {visible(place.target)}", f"{visible(by)} refuses it", seen)
        for right in list(needs.rights.get(place, {})):
            if right & refused:
                del needs.rights[place][right]
        if not needs.rights.get(place):
            _forget(needs, place)


def _all_seen(needs: Needs, place: Place) -> Seen:
    seen = needs.looks.get(place, Seen()) | needs.entries.get(place, Seen())
    for each in needs.rights.get(place, {}).values():
        seen |= each
    return seen


def _what(needs: Needs, place: Place) -> str:
    return words(needs.mask(place)) or ("list" if place in needs.entries else "look at")


def _forget(needs: Needs, place: Place) -> None:
    for kept in (needs.rights, needs.looks, needs.entries):
        kept.pop(place, None)


def _unnameable(place: Place) -> str:
    for name in place.names:
        if spelt(name) is None:
            return why_not_spelt(name)
    mount = place.mount
    try:
        check_mount(mount.guest)
        parse_allow(uri_of(mount))
    except (GlobError, UnicodeEncodeError):
        return "no policy can name the directory that it is mounted from"
    if not mount.uri and ("${" in mount.base or has_wildcard(mount.base)):
        return "no policy can name the directory that it is mounted from"
    return ""


def learned_rules(needs: Needs, habits: Habits, ceiling: Ceiling, granted: dict[Place, Right]) -> Learned:
    """The rules for `needs`; `granted` is what the policy that is extended grants by itself."""
    wanted = _missing(needs, granted)
    _settle_looks(needs, habits, wanted, granted)
    others: dict[Mounted, list[tuple[Names, Right]]] = defaultdict(list)
    for place in sorted({*needs.rights, *wanted}):
        have = wanted[place].rights if place in wanted else Right(0)
        others[place.mount].append((place.names, have | needs.mask(place)))
    around = Surroundings(
        habits, ceiling, {mount: tuple(each) for mount, each in others.items()}, frozenset(needs.denied)
    )
    files = [
        replace(each, rights=each.rights & ~Right.LIST)
        for each in wanted.values()
        if each.place.names and each.rights & ~Right.LIST
    ]
    grants, refused = generalised(files, around)
    notes = _of_one_run(grants)
    rules = [*_file_rules(grants), *_root_rules(wanted), *_list_rules(wanted, notes)]
    return Learned(_named(rules), tuple(sorted(set(refused))), tuple(sorted(set(notes))))


def _missing(needs: Needs, granted: dict[Place, Right]) -> dict[Place, Wanted]:
    """What is needed and not granted yet."""
    wanted: dict[Place, Wanted] = {}
    for place, rights in needs.rights.items():
        have = granted.get(place, Right(0))
        if Right.WRITE in have:
            have |= Right.APPEND
        lacking = {right: seen for right, seen in rights.items() if not right & have}
        if not lacking:
            continue
        mask, seen = Right(0), Seen()
        for right, each in lacking.items():
            mask |= right
            seen |= each
        wanted[place] = Wanted(place, mask, seen)
    return wanted


def _settle_looks(
    needs: Needs, habits: Habits, wanted: dict[Place, Wanted], granted: dict[Place, Right]
) -> None:
    """Let what was only looked at or opened as a directory be seen, where no grant does that."""
    live = _Live({*wanted, *(place for place, rights in granted.items() if rights)})
    for place in sorted(needs.entries, key=_deepest_first):
        if not live.holds(place):
            wanted[place] = Wanted(place, Right.LIST, needs.entries[place])
            live.add(place)
    for place in sorted(needs.looks, key=_deepest_first):
        if live.holds(place):
            continue
        pattern = is_sensitive(place.names[-1], habits.forbidden) if place.names else ""
        if pattern:
            why = f"its name matches {visible(pattern)}, and to grant a look at a file is to grant reading it"
            needs.complain(f"look at {visible(place.target)}", why, needs.looks.pop(place))
            continue
        wanted[place] = Wanted(place, Right.READ, needs.looks[place])
        live.add(place)


class _Live:
    """The paths at or below which something is granted."""

    def __init__(self, places: Iterable[Place]) -> None:
        self._seen: set[tuple[Mounted, Names]] = set()
        for place in places:
            self.add(place)

    def add(self, place: Place) -> None:
        for length in range(len(place.names) + 1):
            self._seen.add((place.mount, place.names[:length]))

    def holds(self, place: Place) -> bool:
        return (place.mount, place.names) in self._seen


def _deepest_first(place: Place) -> tuple[int, Place]:
    return -len(place.names), place


def _file_rules(grants: list[Grant]) -> list[LearnedRule]:
    """One rule for all single files with the same rights, and one for each glob."""
    single: dict[tuple[Mounted, Right], list[Grant]] = defaultdict(list)
    rules: list[LearnedRule] = []
    for grant in grants:
        if grant.members == 1:
            single[grant.mount, grant.rights].append(grant)
            continue
        remark = f"stands for {grant.members} files that were seen"
        only = ((grant.glob, grant.seen),)
        rules.append(LearnedRule("", grant.mount, grant.rights, only, grant.exclude, grant.seen, remark))
    for (mount, rights), members in single.items():
        include = tuple(sorted((each.glob, each.seen) for each in members))
        rules.append(LearnedRule("", mount, rights, include, seen=_sum(members)))
    return rules


def _root_rules(wanted: dict[Place, Wanted]) -> list[LearnedRule]:
    """Rights on the mounted directory itself."""
    return [
        LearnedRule(
            "", each.place.mount, each.rights & ~Right.LIST, (), _HERE, each.seen, "the directory itself"
        )
        for each in wanted.values()
        if not each.place.names and each.rights & ~Right.LIST
    ]


def _list_rules(wanted: dict[Place, Wanted], notes: list[str]) -> list[LearnedRule]:
    """Rules that let names be read; a directory below another one opens those on the way, too."""
    by_mount: dict[Mounted, list[Wanted]] = defaultdict(list)
    for place in sorted(wanted):
        if wanted[place].rights & Right.LIST:
            by_mount[place.mount].append(wanted[place])
    rules: list[LearnedRule] = []
    for mount, members in sorted(by_mount.items()):
        # what is listed deeper opens the directories on the way as well
        ways = {each.place.names[:at] for each in members for at in range(1, len(each.place.names))}
        below = [each for each in members if each.place.names and each.place.names not in ways]
        if not below:
            seen = members[0].seen
            rules.append(
                LearnedRule("", mount, Right.LIST, (), _HERE, seen, "the names in the directory itself")
            )
            continue
        asked = {each.place.names for each in members}
        notes += [
            f"{visible(mount.base)}: its names can be listed as well, since a directory below it is listed"
            if not way
            else f"{visible('/'.join((mount.base.rstrip('/'), *way)))}: its names can be listed as well,"
            " since a directory below it is listed"
            for way in sorted({(), *ways} - asked)
        ]
        include = tuple(sorted((_glob(each.place.names), each.seen) for each in below))
        rules.append(LearnedRule("", mount, Right.LIST, include, seen=_sum(members)))
    return rules


def _glob(names: Names) -> str:
    return "/".join(spelt(name) or "" for name in names)


def _sum(members: Iterable[Grant | Wanted]) -> Seen:
    total = Seen()
    for each in members:
        total |= each.seen
    return total


def _of_one_run(grants: list[Grant]) -> list[str]:
    """What will not fit the next run."""
    notes: list[str] = []
    for grant in grants:
        what = is_of_one_run(tuple(grant.glob.split("/"))) if grant.members == 1 else ""
        if what:
            where = visible(f"{grant.mount.base.rstrip('/')}/{grant.glob}")
            notes.append(
                f"{where} looks as if it belonged to one run ({what}): it is granted as it is, and the next"
                " run may need another one; let the program use a fixed name, or write a glob by hand"
            )
    return notes


def _order(rule: LearnedRule) -> tuple[Mounted, int, tuple[str, ...], tuple[str, ...]]:
    return rule.mount, int(rule.rights), tuple(glob for glob, _ in rule.include), rule.exclude


def _named(rules: list[LearnedRule]) -> tuple[LearnedRule, ...]:
    """The rules in order, each with an id made of its mount and its rights."""
    ordered = sorted(rules, key=_order)
    used: dict[str, int] = {}
    named: list[LearnedRule] = []
    for rule in ordered:
        slug = re.sub(r"[^a-z0-9]+", "-", rule.mount.guest.lower()).strip("-")[:24].strip("-") or "root"
        stem = f"learned-{slug}-{words(rule.rights).replace(', ', '-')}"[:58]
        used[stem] = used.get(stem, 0) + 1
        named.append(replace(rule, id=stem if used[stem] == 1 else f"{stem}-{used[stem]}"))
    return tuple(named)
