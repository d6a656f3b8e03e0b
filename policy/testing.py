"""Runs the tests of a policy: each gives a call and says what must become of it, and by which rule.

How tests are written is `schema_test.py`, and how they are made from records is `minting.py`. INVARIANT: a
test passes only on the verdict of the compiled plan, and a call that can't be answered never passes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import or_
from typing import TYPE_CHECKING, Final, Literal, assert_never

from policy.answer import answer
from policy.calls import MODULE
from policy.decisions import Allow, Deny, UnknownCallError, WouldDeny
from policy.plan import Plan, Right, RuleKind
from policy.question import Question

if TYPE_CHECKING:
    from policy.decisions import Decision
    from policy.schema_test import Case, Given

Word = Literal["allow", "deny", "would_deny", "error"]

ANY_MODULE: Final = "any"
"""The `module` of a test that is about every policy it is run on."""

_TESTED: Final = frozenset({RuleKind.ALLOW, RuleKind.DENY, RuleKind.BOUNDARY, RuleKind.TEMPORAL})


class BadTestError(ValueError):
    """A test whose call makes no question."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one test."""

    name: str
    policy: str  # the plan it was run on
    expected: Word
    expected_rule: str  # empty where any will do
    found: Word
    rule: str  # that decided; empty where none does
    reason: str
    steps: tuple[str, ...]
    is_passed: bool


@dataclass(frozen=True, slots=True)
class Coverage:
    """Which rules of a plan decided a test; those that every plan has do not count."""

    policy: str
    reached: tuple[tuple[str, int], ...]  # rule, and how many tests it decided
    unreached: tuple[str, ...]

    @property
    def percent(self) -> int:
        """Of the rules that count, how many decided a test, rounded down; 100 where there is none."""
        many = len(self.reached) + len(self.unreached)
        return 100 * len(self.reached) // many if many else 100


def run_case(plan: Plan, case: Case) -> Outcome:
    """Run one test on a plan."""
    expected_rule = case.rule or ""
    try:
        decision = answer(plan, question_of(case.given))
    except (UnknownCallError, BadTestError) as err:
        found: Word = "error"
        return Outcome(
            case.name, plan.name, case.expect, expected_rule, found, "", str(err), (), is_passed=False
        )
    word, rule = _word(decision), str(decision.rule_id)
    is_passed = word == case.expect and (not expected_rule or _is_named(plan, rule, expected_rule))
    return Outcome(
        case.name,
        plan.name,
        case.expect,
        expected_rule,
        word,
        rule,
        decision.reason,
        decision.chain,
        is_passed=is_passed,
    )


def question_of(given: Given) -> Question:
    """The question that a test's call makes.

    Raises:
        BadTestError: when it names two targets for one.
    """
    if given.uri is not None and given.target is not None:
        raise BadTestError("`uri` names the target on the host and `target` in the guest: give one of them")
    if given.resolves is not None and given.address is not None:
        raise BadTestError("`resolves` says which address the host has: give it or `address`")
    rights = (Right[name.upper()] for name in given.access)
    return Question(
        call=given.call.removeprefix(f"{MODULE}."),
        target=given.uri if given.uri is not None else given.target,
        target2=given.target2,
        wants=reduce(or_, rights, Right(0)) or None,
        protocol=given.protocol,
        host=given.host,
        address=given.resolves if given.resolves is not None else given.address,
        port=given.port,
        method=given.method,
        url=given.url,
        digest=given.digest,
        after=given.after,
    )


def coverage(plan: Plan, outcomes: Iterable[Outcome]) -> Coverage:
    """Which rules of `plan` decided the tests that were run on it, passed or not."""
    counts = {str(rule.id): 0 for rule in plan.rules if rule.kind in _TESTED}
    for outcome in outcomes:
        if outcome.rule in counts:
            counts[outcome.rule] += 1
    return Coverage(
        plan.name,
        tuple((rule, count) for rule, count in counts.items() if count),
        tuple(rule for rule, count in counts.items() if not count),
    )


def is_about(case: Case, names: Sequence[str]) -> bool:
    """Whether a test is about a policy for modules of these names."""
    return case.given.module == ANY_MODULE or case.given.module in names


def _is_named(plan: Plan, rule: str, expected: str) -> bool:
    """Whether `expected` is the id of a rule, or the part of the document that it stands in."""
    if rule == expected:
        return True
    fields = (each.field.rpartition(": ")[2] for each in plan.rules if each.id == rule)
    return any(field == expected or field.startswith((f"{expected}[", f"{expected}.")) for field in fields)


def _word(decision: Decision) -> Word:
    match decision:
        case Allow():
            return "allow"
        case Deny():
            return "deny"
        case WouldDeny():
            return "would_deny"
        case _:
            assert_never(decision)
