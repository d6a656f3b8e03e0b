"""What boundaries let a policy do with files: the ceilings as rules of a plan, and grants that exceed them.

How a ceiling is brought into the automaton is `path_rules.py`; limits and modes are in `boundary.py`. What a
boundary never grants is cut out of the grants around it; a grant outside the roots, or of a right that the
boundary does not give, is an error. INVARIANT: each ceiling has its own rule, so a refusal names the boundary
and the part of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from policy.dead_rules import Compiled, deciding_rules
from policy.errors import Finding
from policy.globs import GlobError
from policy.path_rules import ALL_RIGHTS, Ceiling, MountRules
from policy.placeholders import names_in
from policy.plan import Rule, RuleId, RuleKind
from policy.storage import GuestMount, rights_of, words
from policy.uris import Extent, Space, parse_allow, parse_never, parse_root

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from policy.document import BoundaryDocument, PolicyDocument
    from policy.fold import Outside

_EVERYWHERE = tuple((space, ()) for space in Space)


@dataclass(frozen=True, slots=True)
class StorageCeilings:
    """The rules that boundaries add to a plan, and what paths see of them; in the same order."""

    rules: tuple[Rule, ...]
    ceilings: tuple[Ceiling, ...]
    soft: frozenset[int]  # indices of the rules that only cut out a part of a grant


def storage_ceilings(boundaries: Sequence[BoundaryDocument], first: int) -> StorageCeilings:
    """The ceilings of `boundaries`, whose rules count from `first` in the plan.

    Each boundary has two: what it never grants comes first, since that says more.
    """
    rules: list[Rule] = []
    ceilings: list[Ceiling] = []
    soft: set[int] = set()
    for number, boundary in enumerate(boundaries, 1):
        # Ids tell a second boundary from the first; which one it is stands in the field.
        suffix = f".{number}" if number > 1 else ""
        section = boundary.model.ceiling.storage
        if section.never:
            soft.add(first + len(rules))
            never = tuple((each.space, each.glob) for uri in section.never for each in parse_never(uri))
            ceilings.append(Ceiling(first + len(rules), ALL_RIGHTS, _EVERYWHERE, never))
            what = f"never grants {', '.join(section.never)}"
            rules.append(_rule(boundary, "ceiling.storage.never", suffix, what))
        targets = [parse_root(uri) for uri in section.roots]
        roots = tuple((each.space, each.glob) for each in targets)
        rights = rights_of(section.access)
        ceilings.append(Ceiling(first + len(rules), rights, roots))
        what = f"grants at most {words(rights)} on {', '.join(section.roots)}"
        what = what if roots and rights else "grants no files"
        rules.append(_rule(boundary, "ceiling.storage", suffix, what))
    return StorageCeilings(tuple(rules), tuple(ceilings), frozenset(soft))


def _rule(boundary: BoundaryDocument, field: str, suffix: str, what: str) -> Rule:
    return Rule(
        id=RuleId(field + suffix),
        kind=RuleKind.BOUNDARY,
        field=f"{boundary.name}: {field}",
        summary=f"the boundary {boundary.name} {what}",
        hint=f"no policy can grant this: only those who own the boundary {boundary.name} can widen it",
    )


def outside_findings(
    document: PolicyDocument, compiled: Compiled, ceilings: StorageCeilings, outside: Sequence[Outside]
) -> Iterator[Finding]:
    """Yield an error for each grant and each boundary that it exceeds, with a path that shows it."""
    # A word about what is never granted: only where nothing else is wrong and nothing of the grant is left.
    fine = deciding_rules(compiled.automaton) | {
        each.allow for each in outside if each.ceiling not in ceilings.soft
    }
    seen: set[tuple[int, int]] = set()
    for each in outside:
        is_cut_out = each.ceiling in ceilings.soft and each.allow in fine
        if is_cut_out or (each.allow, each.ceiling) in seen:
            continue
        seen.add((each.allow, each.ceiling))
        grant = compiled.storage.grants[each.allow - compiled.first_allow]
        summary = compiled.rules[each.ceiling].summary
        problem = f"this grants {words(each.right)} on {each.path}: {summary}"
        yield document.source.finding("outside-boundary", (*grant.path, "uri"), problem=problem)


def learning_mounts(boundaries: Sequence[BoundaryDocument], taken: Sequence[GuestMount]) -> list[GuestMount]:
    """Mounts without rights for the directories that `boundaries` name as roots, by their own paths.

    In mode `learn` a program finds them, and each refusal below them is recorded with its path.
    """
    guests = {mount.guest for mount in taken}
    found: dict[str, GuestMount] = {}
    for boundary in boundaries:
        for uri in boundary.model.ceiling.storage.roots:
            path = _tree(uri)
            if path and path not in guests:
                found[path] = GuestMount(path, MountRules(Space.HOST, path, ()), is_optional=True)
    return list(found.values())


def _tree(uri: str) -> str:
    """The directory that a root names, where it is one on the host, without a wildcard or a `${…}` in it."""
    try:
        target = parse_allow(uri)
    except GlobError:
        return ""
    is_plain = target.space is Space.HOST and target.extent is Extent.TREE and not names_in(uri)
    return target.host_path("") if is_plain else ""
