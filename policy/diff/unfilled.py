"""Differences that show only once something takes the place of a `${…}` that is still open.

Paths are compared with it as it is written (`product.py`), where `${tenant}` is no name that a rule about
`globex` meets. INVARIANT: where all that plan A holds back from its grants is in plan B too, what is shown
for the text as written holds for whatever takes its place; elsewhere this says that it may not.
"""

from __future__ import annotations

import re
from itertools import combinations
from typing import TYPE_CHECKING

from policy.diff.change import Change, Direction, rule_ref
from policy.placeholders import OPENING, replaced
from policy.plan import UNLIMITED, RuleKind
from policy.plan_temporal import Trigger

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from policy.plan import Mount, Plan, Rule

_ANY = "\0"  # stands for what takes the place of a placeholder: no path holds it
_FILLED: dict[str, str] = dict.fromkeys(("tenant", "run.id", "module.name", "module.digest"), _ANY)

_GLOBS = (", only ", ", but not ")  # what stands before the globs in the summary of a grant
_WILD = {"*": ".*", "?": "."}
_CUTS = re.compile(r"[/\s,]")

_Key = tuple[object, ...]


def unfilled_changes(a: Plan, b: Plan, known: Iterable[Change]) -> Iterator[Change]:
    """Each rule that holds something back in one plan only; `known` are the changes that are told already."""
    if not any(OPENING in text for plan in (a, b) for text in _texts(plan)):
        return
    if _grants(a) != _grants(b) and _is_spelt_out(a, b):
        what = "a wildcard matches the letters of ${…} itself, and may not match what takes its place"
        yield Change(direction=Direction.CHANGED, area="placeholders", what=what)
    told = list(known)
    for direction, plan, other in ((Direction.WIDER, a, b), (Direction.NARROWER, b, a)):
        theirs = {key for key, _ in _holding_back(other)}
        named = {
            str(ref.id)
            for each in told
            if each.direction in {direction, Direction.CHANGED}
            for ref in (each.rule_a if plan is a else each.rule_b,)
            if ref is not None
        }
        for key, rule in _holding_back(plan):
            if key not in theirs and str(rule.id) not in named:
                yield _change(direction, rule)
        if _shares_a_mount(plan) and _grants(plan) != _grants(other):
            yield _change(direction, next(rule for rule in plan.rules if _has_budget(rule)))


def _change(direction: Direction, rule: Rule) -> Change:
    own, other = ("A", "B") if direction is Direction.WIDER else ("B", "A")
    what = f"what takes the place of ${{…}} may meet {rule.id}, which holds back less in plan {other}"
    ref = rule_ref(rule)
    return Change(
        direction=direction,
        area="placeholders",
        what=what,
        rule_a=ref if own == "A" else None,
        rule_b=ref if own == "B" else None,
    )


def _texts(plan: Plan) -> Iterator[str]:
    """Where an open placeholder of a path can be seen."""
    for mount in plan.mounts:
        yield from (mount.guest, mount.host, mount.scratch)
    yield from (rule.summary for rule in plan.rules)


def _holding_back(plan: Plan) -> Iterator[tuple[_Key, Rule]]:
    """The rules that take something from what others grant, each with all that it means."""
    watching = {each.rule: each for each in plan.temporal if each.watches == "storage"}
    for index, rule in enumerate(plan.rules):
        match rule.kind:
            case RuleKind.DENY if "permissions.storage" in rule.field:
                yield ("deny", rule.summary), rule
            case RuleKind.BOUNDARY if "ceiling.storage" in rule.field:
                yield ("boundary", rule.summary), rule
            case RuleKind.TEMPORAL if index in watching:
                each = watching[index]
                counted = () if each.trigger is Trigger.OPENED else (each.over, each.window_ms)
                yield ("later", rule.summary, counted), rule
            case RuleKind.ALLOW if _is_open_inside(rule):
                yield ("allow", rule.summary), rule
            case _:
                continue


def _is_open_inside(rule: Rule) -> bool:
    """Whether an exception of a grant may meet what takes the place of a placeholder in its own globs."""
    first = min((at for word in _GLOBS if (at := rule.summary.find(word)) >= 0), default=len(rule.summary))
    return _GLOBS[1] in rule.summary and OPENING in rule.summary[first:]


def _has_budget(rule: Rule) -> bool:
    return rule.kind is RuleKind.ALLOW and (rule.max_bytes, rule.max_files) != (UNLIMITED, UNLIMITED)


def _grants(plan: Plan) -> tuple[_Key, ...]:
    """The grants in their order: of two that meet, the first one's budget counts."""
    return tuple(
        (rule.summary, rule.max_bytes, rule.max_files)
        for rule in plan.rules
        if rule.kind is RuleKind.ALLOW and "permissions.storage" in rule.field
    )


def _shares_a_mount(plan: Plan) -> bool:
    """Whether two mounts may become one, so that the budget of the first holds for both."""
    return any(map(_has_budget, plan.rules)) and any(
        _meet(one.guest, other.guest) and _meet(_base(one), _base(other))
        for one, other in combinations(plan.mounts, 2)
    )


def _base(mount: Mount) -> str:
    return mount.host or f"tmp:/{mount.scratch}"


def _meet(one: str, other: str) -> bool:
    """Whether two paths may become the same; more than is sure where a segment holds other text as well."""
    left, right = replaced(one, _FILLED).split("/"), replaced(other, _FILLED).split("/")
    return len(left) == len(right) and all(
        mine == theirs or _ANY in mine or _ANY in theirs for mine, theirs in zip(left, right, strict=True)
    )


def _is_spelt_out(a: Plan, b: Plan) -> bool:
    """Whether a wildcard beside other characters may match a name that holds a placeholder as written."""
    paths = [path for plan in (a, b) for mount in plan.mounts for path in (mount.guest, _base(mount))]
    words = {word for plan in (a, b) for rule in plan.rules for word in _CUTS.split(rule.summary)}
    names = {name for path in paths for name in path.split("/")} | words
    names = {name for name in names if OPENING in name}
    mixed = [word for word in words if ("*" in word or "?" in word) and word not in {"*", "**"}]
    return any(_matches(word, name) for word in mixed for name in names if word != name)


def _matches(word: str, name: str) -> bool:
    if any(char in name for char in " ,*?"):
        # where a glob ends in a summary can't be told then: all its letters in the name are enough
        return all(part in name for part in re.split(r"[*?]+", word))
    return bool(re.fullmatch("".join(_WILD.get(char, re.escape(char)) for char in word), name))
