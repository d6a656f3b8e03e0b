"""Differences in renames and links: calls on two paths, which may not give a file rights it lacks.

What either path alone allows is compared in `storage.py`, and such a difference is not told again here.
INVARIANT: all pairs of kinds of path are compared, so the answer is exact for whatever two paths.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from policy.aliases import CONTENT
from policy.calls import CALL_CODES, CALLS
from policy.diff.change import Change, Direction, rule_ref, verdict
from policy.diff.verdicts import ALLOWED, usable
from policy.errors import printable
from policy.fixed import NO_WIDENING
from policy.question import Question

if TYPE_CHECKING:
    from policy.calls import HostCall
    from policy.diff.product import End
    from policy.diff.storage import Kind, Tree
    from policy.diff.verdicts import Verdicts
    from policy.plan import Plan, Rule

Masks = frozenset[int]
_Both = tuple[Masks, Masks]


@dataclass(frozen=True, slots=True)
class _Move:
    """A call that leads from one path to another, in both plans."""

    tree: Tree
    call: HostCall

    def sources(self) -> dict[_Both, Kind]:
        """Each way in which a path can be the source, with the first path of its kind."""
        return self._met(_rights_before, int(self.call.rights))

    def goals(self) -> dict[_Both, Kind]:
        """Each way in which a path can be the goal."""
        return self._met(_rights_after, int(self.call.rights2))

    def _met(self, masks: _Reader, needed: int) -> dict[_Both, Kind]:
        one, other = self.tree.verdicts
        found: dict[_Both, Kind] = {}
        for kind in self.tree.kinds:
            # A place that one plan refuses alone is a difference of that path, and told there.
            allowed = one.table(kind.ends[0])[needed] == other.table(kind.ends[1])[needed] == ALLOWED
            if allowed:
                both = masks(one, kind.ends[0], needed), masks(other, kind.ends[1], needed)
                found.setdefault(both, kind)
        return found


def move_changes(tree: Tree) -> Iterator[Change]:
    """Renames and links between paths that both plans allow each by itself, where one refuses the pair."""
    for name in ("path_rename", "path_link"):
        move = _Move(tree, CALLS[CALL_CODES[name]])
        sources, goals = move.sources(), move.goals()
        told = set[Direction]()
        for before, source in sources.items():
            for after, goal in goals.items():
                is_allowed = [_is_allowed(before[side], after[side]) for side in (0, 1)]
                direction = Direction.WIDER if is_allowed[1] else Direction.NARROWER
                if is_allowed[0] != is_allowed[1] and direction not in told:
                    told.add(direction)
                    yield _change(tree, name, direction, (source, goal))


def _is_allowed(before: Masks, after: Masks) -> bool:
    return any(not to & ~at for at in before for to in after)


def _change(tree: Tree, name: str, direction: Direction, kinds: tuple[Kind, Kind]) -> Change:
    source, goal = (tree.readable(kind) for kind in kinds)
    question = Question(call=name, target=source.target, target2=goal.target)
    rules = [_no_widening(plan) for plan in tree.plans]
    refusing = 0 if direction is Direction.WIDER else 1
    what = (
        f"{'renames' if name == 'path_rename' else 'links'} from paths such as {printable(source.target)} to "
        f"paths such as {printable(goal.target)}: only one plan would give the file rights that it lacks"
    )
    return Change(
        direction=direction,
        area="storage",
        what=what,
        rule_a=rule_ref(rules[0]) if refusing == 0 else None,
        rule_b=rule_ref(rules[1]) if refusing == 1 else None,
        witness=question,
        answer_a=verdict(tree.plans[0], question),
        answer_b=verdict(tree.plans[1], question),
    )


def _no_widening(plan: Plan) -> Rule:
    return next(rule for rule in plan.rules if rule.id == NO_WIDENING)


class _Reader:
    """Reads from the end of a path what decides a move there."""

    def __init__(self, *, is_goal: bool) -> None:
        self._is_goal = is_goal

    def __call__(self, verdicts: Verdicts, end: End, needed: int) -> Masks:
        """The rights to content at the places that allow the call: the largest, at a goal the smallest."""
        found: set[int] = set()
        for shared, kind in end:
            rights = verdicts.plan.automaton.classes[kind >> 1].rights
            if not needed & ~usable(rights):
                found.add((rights | (shared if self._is_goal else 0)) & CONTENT)
        return frozenset(mask for mask in found if not any(self._beats(other, mask) for other in found))

    def _beats(self, one: int, other: int) -> bool:
        small, large = (one, other) if self._is_goal else (other, one)
        return small != large and not small & ~large


_rights_before = _Reader(is_goal=False)
_rights_after = _Reader(is_goal=True)
