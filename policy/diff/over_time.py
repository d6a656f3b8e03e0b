"""Differences in rules over time: what they watch, when they start, and what they refuse from then on.

Which paths a rule watches is a mask in the path automaton, so it is compared for every kind of path. A rule
that counts is held against each single rule of the other plan: two that only together refuse as much as one
count as less. INVARIANT: nothing is called equal that starts later or refuses less.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import reduce
from operator import or_
from typing import TYPE_CHECKING

from policy.diff.change import Change, Direction, RuleRef, rule_ref, verdict
from policy.diff.verdicts import ALLOWED
from policy.errors import printable
from policy.plan import RIGHTS, Plan
from policy.plan_temporal import TemporalRule, Trigger
from policy.question import Question

if TYPE_CHECKING:
    from policy.diff.product import End
    from policy.diff.storage import Kind, Tree

_SEVERITIES = ("", "low", "medium", "high")
_EVERYTHING = "*"
_STORAGE = "storage"


@dataclass(frozen=True, slots=True)
class _Effect:
    """What is refused, and how loudly, once rules have started."""

    rights: int = 0
    reach: int = 0
    denies_nn: bool = False
    severity: int = 0

    def covers(self, other: _Effect) -> bool:
        """Whether it is no less than `other`."""
        return (
            not other.rights & ~self.rights
            and not other.reach & ~self.reach
            and self.denies_nn >= other.denies_nn
            and self.severity >= other.severity
        )


def temporal_changes(tree: Tree) -> Iterator[Change]:
    """Rules over time that one plan lacks, or that start later, watch less or refuse less in it."""
    a, b = tree.plans
    if not (a.temporal or b.temporal):
        return
    marks: dict[tuple[int, int], Kind] = {}
    for kind in tree.kinds:
        first, second = _marks(a, kind.ends[0]), _marks(b, kind.ends[1])
        if first is not None and second is not None:
            marks.setdefault((first, second), kind)
    yield from _opened(tree, marks)
    yield from _counted(tree, marks, 0)
    yield from _counted(tree, marks, 1)


def _marks(plan: Plan, end: End) -> int | None:
    """The rules that watch a path; None where nothing is allowed, so that nothing starts there."""
    classes = [plan.automaton.classes[kind >> 1] for _, kind in end]
    if not any(each.rights for each in classes):
        return None
    return reduce(or_, (each.marks for each in classes), 0)


def _watching(plan: Plan, marks: int) -> list[TemporalRule]:
    return [
        rule
        for index, rule in enumerate(plan.temporal)
        if rule.trigger is Trigger.OPENED and marks >> index & 1
    ]


def _effect(rules: list[TemporalRule]) -> _Effect:
    return _Effect(
        reduce(or_, (rule.rights for rule in rules), 0),
        reduce(or_, (rule.reach for rule in rules), 0),
        any(rule.denies_nn for rule in rules),
        max((_SEVERITIES.index(rule.severity) for rule in rules), default=0),
    )


def _opened(tree: Tree, marks: dict[tuple[int, int], Kind]) -> Iterator[Change]:
    """Opening a path starts rules that refuse different things; exact, by kind of path."""
    told: set[tuple[Direction, tuple[int, ...], tuple[int, ...]]] = set()
    for both, kind in marks.items():
        rules = _watching(tree.plans[0], both[0]), _watching(tree.plans[1], both[1])
        effects = _effect(rules[0]), _effect(rules[1])
        for direction, stricter in ((Direction.WIDER, 0), (Direction.NARROWER, 1)):
            key = direction, tuple(each.rule for each in rules[0]), tuple(each.rule for each in rules[1])
            if not effects[1 - stricter].covers(effects[stricter]) and key not in told:
                told.add(key)
                yield _opened_change(tree, direction, rules, kind)


def _opened_change(
    tree: Tree, direction: Direction, rules: tuple[list[TemporalRule], list[TemporalRule]], kind: Kind
) -> Change:
    stricter = 0 if direction is Direction.WIDER else 1
    path = printable(tree.readable(kind).target)
    own = rules[stricter][0]
    question = _witness(tree, kind, rules, direction)
    answers = ["", ""]
    if question is not None:
        answers = [verdict(plan, question) for plan in tree.plans]
    return Change(
        direction=direction,
        area="rules",
        what=f"after paths such as {path} have been opened, plan {'BA'[stricter]} refuses less",
        rule_a=_rule(tree.plans[0], own if stricter == 0 else next(iter(rules[0]), None)),
        rule_b=_rule(tree.plans[1], own if stricter == 1 else next(iter(rules[1]), None)),
        witness=question,
        answer_a=answers[0],
        answer_b=answers[1],
    )


def _witness(
    tree: Tree, kind: Kind, rules: tuple[list[TemporalRule], list[TemporalRule]], direction: Direction
) -> Question | None:
    """A path that one plan refuses once `rules` have started, if their kind of path has one."""
    ids: dict[str, None] = {}
    for plan, own in zip(tree.plans, rules, strict=True):
        ids.update({str(plan.rules[each.rule].id): None for each in own})
    refused = _effect([*rules[0], *rules[1]]).rights
    one, other = tree.verdicts
    loose = 1 if direction is Direction.WIDER else 0
    for candidate in (kind, *tree.kinds):
        tables = one.table(candidate.ends[0]), other.table(candidate.ends[1])
        for right in RIGHTS:
            if refused & right and tables[0][right] == tables[1][right] == ALLOWED:
                question = replace(tree.readable(candidate).wants(right), after=tuple(ids))
                found = verdict(tree.plans[0], question), verdict(tree.plans[1], question)
                if found[loose] == "allow" and found[1 - loose] != "allow":
                    return question
    return None


def _counted(tree: Tree, marks: dict[tuple[int, int], Kind], side: int) -> Iterator[Change]:
    """Rules that count bytes or calls, for which the other plan has none as strict."""
    own, other = tree.plans[side], tree.plans[1 - side]
    for index, rule in enumerate(own.temporal):
        if rule.trigger is Trigger.OPENED:
            continue
        near = [
            each
            for number, each in enumerate(other.temporal)
            if _watches_as_much(each, rule, _watched_less(marks, side, (index, number)))
        ]
        if not any(_is_as_strict(each, rule) for each in near):
            direction = Direction.WIDER if side == 0 else Direction.NARROWER
            facing = (rule, next(iter(near), None)) if side == 0 else (next(iter(near), None), rule)
            what = f"plan {'BA'[side]} has no rule over time as strict as {own.rules[rule.rule].id}"
            yield Change(
                direction=direction,
                area="rules",
                what=printable(what),
                rule_a=_rule(tree.plans[0], facing[0]),
                rule_b=_rule(tree.plans[1], facing[1]),
            )


def _watched_less(marks: dict[tuple[int, int], Kind], side: int, pair: tuple[int, int]) -> bool:
    return any(both[side] >> pair[0] & 1 and not both[1 - side] >> pair[1] & 1 for both in marks)


def _watches_as_much(one: TemporalRule, other: TemporalRule, is_less: bool) -> bool:  # noqa: FBT001  # a fact
    if one.trigger is not other.trigger:
        return False
    if _STORAGE in {one.watches, other.watches}:
        return one.watches == other.watches and not is_less
    return one.watches in {other.watches, _EVERYTHING}


def _is_as_strict(one: TemporalRule, other: TemporalRule) -> bool:
    """Whether `one` starts no later than `other` and refuses no less; no window is the whole run."""
    is_window_as_long = one.window_ms == 0 or 0 < other.window_ms <= one.window_ms
    return one.over <= other.over and is_window_as_long and _effect([one]).covers(_effect([other]))


def _rule(plan: Plan, rule: TemporalRule | None) -> RuleRef | None:
    return None if rule is None else rule_ref(plan.rules[rule.rule])
