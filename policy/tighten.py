"""Which grants of a policy its runs never used, and the narrower policy that is left without them.

What a module could use at all is said in `reconcile.py`. A grant that no record shows may still be needed
one day, so this is a suggestion. INVARIANT: the narrower policy allows every fact that the policy allows.
"""

from __future__ import annotations

from dataclasses import dataclass
from difflib import unified_diff
from functools import reduce
from operator import or_
from typing import TYPE_CHECKING, cast

from policy.answer import answer
from policy.automaton import automaton_state, path_class
from policy.calls import CALL_CODES, CALLS
from policy.decisions import Allow, UnknownCallError
from policy.document import load_document
from policy.errors import PolicyError
from policy.learn.draft import copied
from policy.learn.writing import Remarks, Value, as_yaml
from policy.places import Plain
from policy.plan import RIGHTS, Right
from policy.question import Question
from policy.reconcile import words
from policy.targets import resolve

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from policy.document import PolicyDocument
    from policy.facts import Fact
    from policy.plan import Plan

_CONTENT = Right.READ | Right.WRITE | Right.APPEND
_FIELD = "permissions.storage.allow[{}]"

Tree = dict[str, Value]


@dataclass(frozen=True, slots=True)
class Unused:
    """A rule of which no record used some rights."""

    index: int  # in the document
    rule: str
    rights: Right
    is_whole: bool  # none of its rights was used

    @property
    def field(self) -> str:
        """Where it stands in the document."""
        return _FIELD.format(self.index)


@dataclass(frozen=True, slots=True)
class Tighter:
    """What was not used, and the document without it."""

    unused: tuple[Unused, ...]
    text: str  # of the narrower policy; empty when there is nothing to take away
    difference: str  # as `diff -u` writes it; comments are left out of both sides
    facts: int


def tightened(
    document: PolicyDocument, facts: tuple[Fact, ...], compiled: Callable[[PolicyDocument], Plan]
) -> Tighter:
    """What `facts` never used of `document`; `compiled` makes a plan of it, and of the narrower one.

    Raises:
        PolicyError: when `document` makes no plan.
    """
    plan = compiled(document)
    own = own_rules(document, plan)
    asked = [(each, question) for each in facts if (question := _question(each)) is not None]
    allowed = [(each, question) for each, question in asked if _is_allowed(plan, question)]
    used: dict[str, Right] = {}
    for fact, question in allowed:
        _mark(plan, question, used, _asked(fact))
    while True:
        unused = _unused(own, used)
        text = _without(document, unused) if unused else ""
        failing = _failing(text, compiled, [question for _, question in allowed]) if text else []
        if not failing:
            break
        for question in failing:
            # it passed because something was granted there or below: some of it stays
            wanted = question.wants or _one_right(plan, question)
            if not (_mark(plan, question, used, wanted) or _keep_mounts(plan, question, used)):
                return Tighter((), "", "", len(facts))
    before = as_yaml(copied(document.source.value), Remarks())
    difference = "".join(
        unified_diff(
            before.splitlines(keepends=True), text.splitlines(keepends=True), "the policy", "a narrower one"
        )
    )
    return Tighter(unused, text, difference if text else "", len(facts))


def own_rules(document: PolicyDocument, plan: Plan) -> dict[str, tuple[int, Right]]:
    """The allow rules that stand in the document itself, by id: where each stands, and its rights."""
    by_field = {rule.field: str(rule.id) for rule in plan.rules}
    found: dict[str, tuple[int, Right]] = {}
    for index, allow in enumerate(document.model.permissions.storage.allow):
        rule = by_field.get(_FIELD.format(index))
        if rule is not None:
            found[rule] = index, reduce(or_, (Right[each.upper()] for each in allow.access), Right(0))
    return found


def _question(fact: Fact) -> Question | None:
    """The fact as a question; None where no path decides it, or its path was not kept."""
    is_path = fact.target is not None and fact.target.startswith(("/", "tmp://"))
    if fact.call not in CALL_CODES or not is_path or fact.is_masked:
        return None
    if not fact.wants and not fact.call.startswith("path_"):
        return None  # what was opened is closed, or its position told
    return Question(
        call=fact.call if fact.wants else "path_filestat_get",
        target=fact.guest_target or _uri(fact.target),
        target2=_uri(fact.target2) if CALLS[CALL_CODES[fact.call]].rights2 else None,
        wants=fact.wants or None,
    )


def _uri(target: str | None) -> str | None:
    return f"fs://{target}" if target is not None and target.startswith("/") else target


def _asked(fact: Fact) -> Right:
    call = CALLS[CALL_CODES[fact.call]]
    # a rename gives a file no right that it lacks where it was: so what it has there was used
    return fact.wants | _CONTENT if call.rights2 else fact.wants


def _is_allowed(plan: Plan, question: Question) -> bool:
    try:
        return isinstance(answer(plan, question), Allow)
    except UnknownCallError:
        return False


def _mark(plan: Plan, question: Question, used: dict[str, Right], rights: Right) -> bool:
    """Note which rules grant `rights` there; says whether that was news."""
    before = dict(used)
    asked = [(question.target, rights)]
    if question.target2 is not None:
        asked.append((question.target2, Right.CREATE))
    for target, wanted in asked:
        for place in resolve(plan, target or ""):
            found = path_class(plan, automaton_state(plan, place.mount, place.segments))
            for right, index in zip(RIGHTS, found.rules, strict=True):
                also = wanted | (Right.WRITE if Right.APPEND in wanted else Right(0))
                if right & also & found.rights:
                    rule = plan.rules[index].id
                    used[rule] = used.get(rule, Right(0)) | right
    return used != before


def _keep_mounts(plan: Plan, question: Question, used: dict[str, Right]) -> bool:
    """Keep all rules, of which some made `question` pass by a grant below it; says if that is news."""
    before = dict(used)
    if resolve(plan, question.target or ""):
        for each in plan.rules:
            if each.field.startswith("permissions.storage.allow"):
                used[str(each.id)] = reduce(or_, RIGHTS)
    return used != before


def _one_right(plan: Plan, question: Question) -> Right:
    """The first right that is granted where something was only looked at."""
    for place in resolve(plan, question.target or ""):
        rights = path_class(plan, automaton_state(plan, place.mount, place.segments)).rights
        if rights:
            return next(right for right in RIGHTS if right & rights)
    return Right(0)


def _unused(own: dict[str, tuple[int, Right]], used: dict[str, Right]) -> tuple[Unused, ...]:
    found: list[Unused] = []
    for rule, (index, rights) in own.items():
        left = rights & ~used.get(rule, Right(0))
        if left:
            found.append(Unused(index, rule, left, left == rights))
    return tuple(found)


def _without(document: PolicyDocument, unused: Iterable[Unused]) -> str:
    tree = copied(document.source.value)
    allow = cast("list[Tree]", cast("Tree", cast("Tree", tree["permissions"])["storage"])["allow"])
    gone: set[int] = set()
    for each in unused:
        access = document.model.permissions.storage.allow[each.index].access
        kept = [word for word in access if not Right[word.upper()] & each.rights]
        if kept:
            allow[each.index]["access"] = [Plain(word) for word in kept]
        else:
            gone.add(each.index)
    allow[:] = [rule for index, rule in enumerate(allow) if index not in gone]
    return as_yaml(tree, Remarks())


def _failing(
    text: str, compiled: Callable[[PolicyDocument], Plan], questions: list[Question]
) -> list[Question]:
    """Which of the questions the narrower policy refuses; all of them when it makes no plan."""
    try:
        plan = compiled(load_document(text.encode(), file="narrower"))
    except PolicyError:
        return questions
    return [each for each in questions if not _is_allowed(plan, each)]


def told(tighter: Tighter) -> list[str]:
    """What was not used, a line each."""
    lines: list[str] = []
    for each in tighter.unused:
        what = "never decided anything" if each.is_whole else f"never used: {words(each.rights)}"
        lines.append(f"{each.field} ({each.rule}) {what}")
    return lines
