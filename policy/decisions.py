"""What a decision is: allow, deny, or would deny, each with its rule, its reason and the way to it.

How decisions on calls come about is said in `decide.py` and `policy/network/`; which of the two is asked,
in `answer.py`. INVARIANT: a decision is a value to match on and has no truth value.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NoReturn

from policy.plan import Mode, Plan, RuleId, RuleKind


@dataclass(frozen=True, slots=True)
class _Decided:
    """What all decisions carry: the rule, the reason, and how it came about, step by step."""

    rule_id: RuleId
    reason: str
    chain: tuple[str, ...] = ()

    def __bool__(self) -> NoReturn:
        """A decision is matched on, never tested."""
        raise TypeError("match on Allow, Deny and WouldDeny: a decision has no truth value")


@dataclass(frozen=True, slots=True)
class Allow(_Decided):
    """The call happens."""

    __bool__ = _Decided.__bool__


@dataclass(frozen=True, slots=True)
class Deny(_Decided):
    """The call is refused."""

    hint: str = ""  # how to allow it
    is_final: bool = False  # refused in audit mode too
    __bool__ = _Decided.__bool__


@dataclass(frozen=True, slots=True)
class WouldDeny(_Decided):
    """The call happens, since the policy only audits; it would be refused if it were enforced."""

    hint: str = ""
    __bool__ = _Decided.__bool__


Decision = Allow | Deny | WouldDeny

NOTHING_DECIDES = RuleId("")
"""The rule of a call that is allowed because nothing in the policy is about it."""


class UnknownCallError(ValueError):
    """A name that is no host call, or a call that lacks what decides it."""


def in_mode(plan: Plan, decision: Decision) -> Decision:
    """What becomes of `decision` in the mode of `plan`: one that only audits lets refusals happen."""
    match decision:
        case Deny(is_final=False) if plan.mode is Mode.AUDIT:
            return WouldDeny(decision.rule_id, decision.reason, decision.chain, decision.hint)
        case _:
            return decision


_ORDER = (
    (RuleKind.BUILTIN, "built-in deny", "refused"),
    (RuleKind.BOUNDARY, "boundary", "refused"),
    (RuleKind.DENY, "deny rules", "refused"),
    (RuleKind.TEMPORAL, "rules over time", "refused"),
    (RuleKind.ALLOW, "allow rules", "granted"),
    (RuleKind.DEFAULT, "default", "refused"),
)
assert {kind for kind, _, _ in _ORDER} == set(RuleKind)


def steps_to(kind: RuleKind, rule: RuleId, what: str) -> list[str]:
    """The evaluation of `what` (a right, an address) in order, up to the rule that decides it."""
    steps: list[str] = []
    for each, stage, verdict in _ORDER:
        if each is kind:
            steps.append(f"{what}: {stage}: {verdict}" + ("" if kind is RuleKind.DEFAULT else f" by {rule}"))
            break
        steps.append(f"{what}: {stage}: none applies")
    return steps
