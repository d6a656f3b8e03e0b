"""Differences in the network and in models: who may be reached, looked up, asked, listened at and loaded.

Which questions are enough to tell two plans apart is known by `policy/network/samples.py`, and what a plan
answers by `policy/answer.py`. INVARIANT: each of those questions that the plans answer differently is in the
region of some change; what no call tells (budgets, headers, credentials) is compared as values.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING

from policy.decisions import Allow, Decision, Deny
from policy.diff.amounts import shown_amount
from policy.diff.change import Change, Direction, decision, rule_ref, verdict_word
from policy.errors import printable
from policy.network.samples import representatives
from policy.plan import UNLIMITED, Mode

if TYPE_CHECKING:
    from policy.plan import Plan, Rule
    from policy.plan_network import Request
    from policy.question import Question


_SHOWN = 3  # examples of one group that are written out


@dataclass(slots=True)
class _Group:
    """Questions that the same two rules answer differently in the same way."""

    question: Question
    answers: tuple[Decision, Decision]
    count: int = 0
    shown: list[str] = field(default_factory=list)

    def add(self, question: Question) -> None:
        """Count one more, and keep its words if they are new and few are kept."""
        self.count += 1
        if len(self.shown) < _SHOWN and (words := described(question)) not in self.shown:
            self.shown.append(words)


def network_changes(a: Plan, b: Plan) -> Iterator[Change]:
    """What one plan reaches and the other does not, and what else differs about the network."""
    plans = a, b
    rules = [{rule.id: rule for rule in plan.rules} for plan in plans]
    has_levels = a.mode is b.mode is Mode.AUDIT
    groups: dict[tuple[Direction, str, str, str, str], _Group] = {}
    pairs: dict[tuple[Rule, Rule], Question] = {}
    for question in representatives(a, b):
        found = decision(a, question), decision(b, question)
        levels = [_level(each, has_levels=has_levels) for each in found]
        deciders = [own.get(each.rule_id) for own, each in zip(rules, found, strict=True)]
        if levels[0] != levels[1]:
            direction = Direction.WIDER if levels[1] > levels[0] else Direction.NARROWER
            key = direction, question.call, question.protocol, str(found[0].rule_id), str(found[1].rule_id)
            group = groups.setdefault(key, _Group(question, found))
            group.add(question)
        elif question.call == "http" and deciders[0] is not None and deciders[1] is not None:
            pairs.setdefault((deciders[0], deciders[1]), question)
    for (direction, *_), group in groups.items():
        yield _change(plans, direction, group)
    for (first, second), question in pairs.items():
        yield from _requests(plans, (first, second), question)
    yield from _values(a, b)
    yield from _models(a, b)


def _level(decision: Decision, *, has_levels: bool) -> int:
    match decision:
        case Allow():
            return 2
        case Deny():
            return 0
        case _:
            return 1 if has_levels else 0


def _change(plans: tuple[Plan, Plan], direction: Direction, group: _Group) -> Change:
    question, answers = group.question, group.answers
    deciders = [
        next((rule for rule in plan.rules if rule.id == found.rule_id), None)
        for plan, found in zip(plans, answers, strict=True)
    ]
    more = ", …" if group.count > len(group.shown) else ""
    return Change(
        direction=direction,
        area="nn" if question.call == "load_model" else "network",
        what=printable(", ".join(group.shown) + more),
        rule_a=rule_ref(deciders[0]),
        rule_b=rule_ref(deciders[1]),
        witness=question,
        answer_a=verdict_word(answers[0]),
        answer_b=verdict_word(answers[1]),
    )


def described(question: Question) -> str:
    """The call in a few words, as `connect: tcp api.example.com:443`."""
    where = question.host or ""
    if question.address and question.address != where:
        where = f"{where} ({question.address})" if where else question.address
    if question.port is not None:
        where = (
            f"[{where}]:{question.port}"
            if where.count(":") > 1 and "(" not in where
            else f"{where}:{question.port}"
        )
    match question.call:
        case "http":
            return f"http: {question.method or 'GET'} {question.url}"
        case "load_model":
            return f"load_model: {question.digest}"
        case "resolve":
            return f"resolve: {where}"
        case _:
            return f"{question.call}: {question.protocol} {where}"


def _requests(plans: tuple[Plan, Plan], rules: tuple[Rule, Rule], question: Question) -> Iterator[Change]:
    """What two rules that allow the same request ask of it besides."""
    one, other = (_request(plan, rule) for plan, rule in zip(plans, rules, strict=True))
    if one is None or other is None:
        return
    for each in fields(one):
        values = getattr(one, each.name), getattr(other, each.name)
        shown = [_shown(each.name, value) for value in values]
        if each.name != "rule" and values[0] != values[1]:
            yield Change(
                direction=_request_direction(each.name, values),
                area="network",
                what=printable(f"{described(question)}: {each.name} {shown[1]}, not {shown[0]}"),
                rule_a=rule_ref(rules[0]),
                rule_b=rule_ref(rules[1]),
                answer_a=printable(shown[0]),
                answer_b=printable(shown[1]),
            )


def _request(plan: Plan, rule: Rule) -> Request | None:
    return next((each for each in plan.network.requests if plan.rules[each.rule] == rule), None)


def _request_direction(name: str, values: tuple[object, object]) -> Direction:
    match values:
        case (bool() as before, bool()) if name == "follows_redirects":
            return Direction.NARROWER if before else Direction.WIDER
        case (int() as before, int() as after) if name.startswith("max_"):
            return _larger(before, after)
        case (tuple() as before, tuple() as after) if name == "denied_headers":
            if set(before) > set(after):
                return Direction.WIDER
            return Direction.NARROWER if set(before) < set(after) else Direction.CHANGED
        case _:
            return Direction.CHANGED


def _larger(before: int, after: int) -> Direction:
    if UNLIMITED in {before, after}:
        return Direction.WIDER if after == UNLIMITED else Direction.NARROWER
    return Direction.WIDER if after > before else Direction.NARROWER


def _values(a: Plan, b: Plan) -> Iterator[Change]:
    """Budgets, and whether a name is pinned to what was looked up."""
    one, other = a.network.lookups, b.network.lookups
    for area, name, before, after in (
        ("network", "max_queries", one.max_queries, other.max_queries),
        ("nn", "max_calls", a.nn.max_calls, b.nn.max_calls),
        ("nn", "max_tensor_bytes", a.nn.max_tensor_bytes, b.nn.max_tensor_bytes),
    ):
        if before != after:
            shown = shown_amount(name, before), shown_amount(name, after)
            yield Change(
                direction=_larger(before, after),
                area=area,
                what=f"{name}: {shown[1]}, not {shown[0]}",
                answer_a=shown[0],
                answer_b=shown[1],
            )
    if one.pin != other.pin:
        yield Change(
            direction=Direction.WIDER if one.pin else Direction.NARROWER,
            area="network",
            what=f"only plan {'A' if one.pin else 'B'} pins names to the addresses that a lookup returned",
            answer_a="pinned" if one.pin else "not pinned",
            answer_b="pinned" if other.pin else "not pinned",
        )


def _models(a: Plan, b: Plan) -> Iterator[Change]:
    """Models that have another name, or are run by something else: which may be loaded tells the digest."""
    before = {each.digest: f"{each.name} with {each.backend}" for each in a.nn.models}
    for each in b.nn.models:
        old, new = before.get(each.digest), f"{each.name} with {each.backend}"
        if old not in {None, new}:
            yield Change(
                direction=Direction.CHANGED,
                area="nn",
                what=printable(f"the model {each.digest} is {new}, not {old}"),
                answer_a=printable(str(old)),
                answer_b=printable(new),
            )


def _shown(name: str, value: object) -> str:
    match value:
        case bool():
            return "yes" if value else "no"
        case int():
            return shown_amount(name, value)
        case tuple():
            return ", ".join(map(str, value)) or "none"
        case _:
            return str(value) or "none"
