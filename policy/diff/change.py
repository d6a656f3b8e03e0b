"""What a difference between two plans is: changes, each with its direction, its rules and a witness.

How changes are found is in the files beside this one; `render.py` writes them for people. INVARIANT:
every change but a `changed` one says for which of the two plans it means more: for the guest, or for the
trail that is kept of it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING

from policy.answer import answer
from policy.decisions import Allow, Decision, Deny, WouldDeny

if TYPE_CHECKING:
    from collections.abc import Iterable

    from policy.plan import Plan, Rule
    from policy.question import Question


class Direction(StrEnum):
    """What a change means for plan B, seen from plan A."""

    WIDER = "wider"  # B allows more
    NARROWER = "narrower"  # B allows less
    CHANGED = "changed"  # neither contains the other; counts as wider where nothing may widen
    WEAKER = "weaker"  # B keeps less of a trail; no call is answered otherwise
    STRONGER = "stronger"  # B keeps more of a trail

    @property
    def mirrored(self) -> Direction:
        """The same change seen from B."""
        pairs = ((Direction.WIDER, Direction.NARROWER), (Direction.WEAKER, Direction.STRONGER))
        return {one: other for pair in pairs for one, other in (pair, pair[::-1])}.get(self, self)


class TooDifferentError(Exception):
    """The product of two plans' automata is too large to be walked in full, so nothing is proven."""


@dataclass(frozen=True, slots=True)
class RuleRef:
    """A rule that decides in one of the plans."""

    id: str
    field: str  # of the document; empty for a rule that every plan has
    summary: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One difference.

    `witness` is a call that the plans answer differently; None where no call tells, as for a limit.
    `answer_a` and `answer_b` are `allow`, `deny` or `would_deny`, or else the two values. A rule over
    time that only one plan has is taken as started in that plan alone.
    """

    direction: Direction
    area: str  # section of the policy: `storage`, `environment`, …
    what: str
    rule_a: RuleRef | None = None
    rule_b: RuleRef | None = None
    witness: Question | None = None
    answer_a: str = ""
    answer_b: str = ""
    rights: tuple[str, ...] = ()  # of storage: what it is about, as `read` or `read+write`


@dataclass(frozen=True, slots=True)
class Difference:
    """All changes from plan A to plan B; none exactly when both decide alike."""

    items: tuple[Change, ...] = ()
    notes: tuple[str, ...] = ()  # what the comparison took as given

    @property
    def is_wider(self) -> bool:
        """Whether B may allow something that A does not; a change without an order counts."""
        return any(each.direction in {Direction.WIDER, Direction.CHANGED} for each in self.items)

    @property
    def is_weaker(self) -> bool:
        """Whether B may keep less of a trail than A."""
        return any(each.direction is Direction.WEAKER for each in self.items)


def rule_ref(rule: Rule | None) -> RuleRef | None:
    """`rule` as a change names it."""
    return None if rule is None else RuleRef(str(rule.id), rule.field, rule.summary)


def decision(plan: Plan, question: Question) -> Decision:
    """What `plan` answers; rules over time in `question.after` that it does not have never started."""
    if question.after:
        own = {str(plan.rules[each.rule].id) for each in plan.temporal}
        question = replace(question, after=tuple(name for name in question.after if name in own))
    return answer(plan, question)


def verdict(plan: Plan, question: Question) -> str:
    """The same in a word."""
    return verdict_word(decision(plan, question))


def verdict_word(found: Decision) -> str:
    """`allow`, `deny` or `would_deny`."""
    match found:
        case Allow():
            return "allow"
        case WouldDeny():
            return "would_deny"
        case Deny():
            return "deny"


def ordered(changes: Iterable[Change]) -> tuple[Change, ...]:
    """Changes with the wider ones first, otherwise as they were found."""
    rank = [
        Direction.WIDER,
        Direction.CHANGED,
        Direction.WEAKER,
        Direction.NARROWER,
        Direction.STRONGER,
    ]
    return tuple(sorted(changes, key=lambda each: rank.index(each.direction)))
