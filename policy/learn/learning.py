"""From the records of runs to the least policy under which they pass.

What the steps do is said in their own files. Learning is a function of its arguments: the same facts in any
order give the same text. INVARIANT: what was learned is compiled and asked about each fact before it is
handed back, and what it still refuses is told.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from policy.answer import answer
from policy.automaton import automaton_state, path_class
from policy.boundary import applying
from policy.bundle import ALONE, Bundle
from policy.compiler import check_policy, compile_policy
from policy.decisions import Deny, UnknownCallError
from policy.document import load_document
from policy.errors import Finding, PolicyError, Severity
from policy.fmt import format_document
from policy.learn.ceiling import Habits, ceiling_of, habits_of
from policy.learn.draft import Frame, written
from policy.learn.evidence import LearnError, Run, Seen, counted
from policy.learn.generalise import Refused, words
from policy.learn.mounting import Mounted, Place
from policy.learn.names import visible
from policy.learn.needs import Complaint, Needs
from policy.learn.reading import needs_of
from policy.learn.rules import Learned, LearnedRule, drop_what_cannot_be, learned_rules
from policy.plan import Right
from policy.question import Question
from policy.subject import ANYONE, Subject
from policy.uris import Extent, Space, parse_allow

if TYPE_CHECKING:
    from policy.document import BoundaryDocument, PolicyDocument
    from policy.plan import Plan

CANNOT = (
    "arguments: records do not hold them; those of the policy that is extended stay",
    "environment: which variables a program looks for cannot be seen",
    "memory, processor time and wall time: a run that was cut short does not show how much it needs",
    "the network: rules for it are not drafted yet",
    "calls that no run has made yet: after a refusal a program may take another way, so run it again",
)
"""What no record shows."""

_NEVER = 2**31
_ANY = b"version: 1\nmetadata: {name: learned}\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Material:
    """What is learned from, and for what."""

    runs: tuple[Run, ...]
    modules: tuple[str, ...] = ()  # digests
    name: str = "learned"
    mounts: tuple[Mounted, ...] = ()  # those that the log still knows
    start: PolicyDocument | None = None  # the policy to extend, best the one that the runs used
    base_dir: str = "/"  # its folder
    boundaries: tuple[BoundaryDocument, ...] = ()  # hold whatever they match
    bundle: Bundle = ALONE
    subject: Subject = ANYONE


@dataclass(frozen=True, slots=True)
class Draft:
    """A policy to review, and what is not in it."""

    text: str
    rules: tuple[LearnedRule, ...]
    refused: tuple[Refused, ...]  # globs that were not taken
    not_learned: tuple[tuple[Complaint, Seen], ...]
    notes: tuple[str, ...]
    still_refused: tuple[str, ...]  # facts that the draft does not allow, though it was made for them
    findings: tuple[Finding, ...]  # of the check
    is_final: bool  # no run was refused anything that is granted now, in its last run
    cannot: tuple[str, ...] = field(default=CANNOT)

    @property
    def has_errors(self) -> bool:
        """Whether the draft is no policy yet."""
        return any(each.severity is Severity.ERROR for each in self.findings)


def learn(material: Material) -> Draft:
    """The least policy that makes the runs of `material` pass.

    Raises:
        LearnError: when there is nothing to learn from.
        PolicyError: when the policy to extend is no policy.
    """
    if not material.runs:
        raise LearnError("nothing to learn from: name at least one execution")
    if not any(run.facts for run in material.runs):
        raise LearnError("nothing to learn from: these executions have no records")
    habits = habits_of(_boundaries(material))
    draft = _learned(material, habits)
    if draft.has_errors and draft.rules:
        # INVARIANT: a glob is worth less than a policy that compiles
        draft = _learned(material, replace(habits, min_siblings=_NEVER))
    return draft


def _learned(material: Material, habits: Habits) -> Draft:
    start = material.start
    plan = _plan(start, material) if start else None
    mounts = _mounts(plan, start, material)
    needs = needs_of(material.runs, mounts, from_audits=habits.from_audits)
    boundaries = _boundaries(material)
    ceiling = ceiling_of(boundaries, start, material.base_dir, material.subject)
    drop_what_cannot_be(needs, ceiling)
    learned = learned_rules(needs, habits, ceiling, _granted(plan, needs))
    if needs.reads_environment and start is None:
        note = "the program reads its environment; which variables it looks for cannot be seen in records"
        learned = replace(learned, notes=(*learned.notes, note))
    frame = Frame(
        name=material.name,
        modules=tuple(sorted(set(material.modules))),
        runs=tuple(sorted(run.id for run in material.runs)),
        start=start,
        base_dir=material.base_dir,
        plan=plan,
        boundaries=boundaries,
    )
    return _checked(_canonical(written(needs, learned, frame)), needs, learned, material)


def _canonical(text: str) -> str:
    """`text` as `policy fmt` writes it; what is no document is told when it is checked."""
    try:
        formatted = format_document(text.encode(), file="draft")
    except PolicyError:
        return text
    # SECURITY: names come from guests; letters that look like others stay escaped
    return formatted if formatted.isascii() else text


def _checked(text: str, needs: Needs, learned: Learned, material: Material) -> Draft:
    plan: Plan | None = None
    try:
        document = load_document(text.encode(), file="draft")
        bundle = _with_boundaries(material)
        findings = check_policy(
            document,
            base_dir=material.base_dir,
            now_ns=None,
            bundle=bundle,
            subject=material.subject,
            is_study=True,
        )
        if not any(each.severity is Severity.ERROR for each in findings):
            plan = _plan(document, material)
    except PolicyError as err:
        findings = err.findings
    return Draft(
        text=text,
        rules=learned.rules,
        refused=learned.refused,
        not_learned=tuple(sorted(needs.complaints.items(), key=lambda each: each[0])),
        notes=learned.notes,
        still_refused=tuple(_still_refused(plan, needs)) if plan else (),
        findings=findings,
        is_final=not needs.is_open,
    )


def _boundaries(material: Material) -> tuple[BoundaryDocument, ...]:
    """The boundaries that were named, and those of the bundle that are for this module and tenant."""
    document = material.start or load_document(_ANY, file="draft")
    found = applying(document, material.bundle, material.subject).boundaries
    names = {each.name for each in material.boundaries}
    return (*material.boundaries, *(each for each in found if each.name not in names))


def _with_boundaries(material: Material) -> Bundle:
    names = {each.name for each in material.bundle.boundaries}
    more = tuple(each for each in material.boundaries if each.name not in names)
    both = tuple(sorted((*material.bundle.boundaries, *more), key=lambda each: each.name))
    return Bundle(material.bundle.baselines, both)


def _plan(document: PolicyDocument, material: Material) -> Plan:
    return compile_policy(
        document,
        base_dir=material.base_dir,
        now_ns=None,
        bundle=_with_boundaries(material),
        subject=material.subject,
        is_study=True,
    )


def _mounts(plan: Plan | None, start: PolicyDocument | None, material: Material) -> tuple[Mounted, ...]:
    """The mounts that are known: those of the policy that is extended, then those of the log."""
    if plan is None or start is None:
        return material.mounts
    uris = dict(_uris(start, material.base_dir))
    own = [Mounted(mount.guest, mount.base, uris.get(mount.guest, "")) for mount in plan.mounts]
    taken = {mount.guest for mount in own}
    return (*own, *(mount for mount in material.mounts if mount.guest not in taken))


def _uris(start: PolicyDocument, base_dir: str) -> list[tuple[str, str]]:
    """How the extended policy writes each directory that it mounts as a whole."""
    found: list[tuple[str, str]] = []
    for allow in start.model.permissions.storage.allow:
        target = parse_allow(allow.uri)
        if target.space is Space.SCRATCH:
            found.append((allow.mount or "", f"tmp://{target.segments[0]}"))
        elif target.extent is Extent.TREE:
            path = target.host_path(base_dir)
            found.append((allow.mount or path, f"fs://{path.rstrip('/')}/**"))
    return found


def _granted(plan: Plan | None, needs: Needs) -> dict[Place, Right]:
    """What the extended policy grants on each path that runs used."""
    if plan is None:
        return {}
    mounts = {mount.guest: mount for mount in plan.mounts}
    granted: dict[Place, Right] = {}
    for place in {*needs.rights, *needs.looks, *needs.entries}:
        mount = mounts.get(place.mount.guest)
        if mount is None:
            continue
        names = [name.encode("utf-8", "surrogateescape") for name in place.names]
        granted[place] = Right(path_class(plan, automaton_state(plan, mount, names)).rights)
    return granted


def _still_refused(plan: Plan, needs: Needs) -> list[str]:
    """What the plan refuses of what it was made for."""
    found: set[str] = set()
    for asked in needs.asked:
        if any(place not in needs.known for place in asked.places):
            continue
        question = Question(
            call=asked.call,
            target=asked.stream or (asked.places[0].guest if asked.places else None),
            target2=asked.places[1].guest if len(asked.places) > 1 else None,
            wants=asked.rights,
        )
        try:
            decision = answer(plan, question)
        except UnknownCallError:
            continue
        if isinstance(decision, Deny):
            where = f" {visible(asked.places[0].target)}" if asked.places else ""
            found.add(f"{words(asked.rights) or asked.call}{where}: {visible(decision.reason)}")
    return sorted(found)


def told(draft: Draft) -> list[str]:
    """The report on a draft, a line each."""
    lines = [f"{counted(len(draft.rules), 'rule')} learned"]
    for title, items in (
        ("not learned", [f"{each.what}: {each.why} ({seen.told})" for each, seen in draft.not_learned]),
        ("not generalised", [f"{each.where}: {each.why}; instead: {each.instead}" for each in draft.refused]),
        ("to look at", list(draft.notes)),
        ("still refused", list(draft.still_refused)),
        ("what no record shows", list(draft.cannot)),
    ):
        lines += [f"{title}:", *(f"  {item}" for item in items)] if items else []
    if not draft.is_final:
        lines.append("the last run was refused something: run the program with the draft, and learn again")
    return lines


def rule_as_json(rule: LearnedRule) -> dict[str, object]:
    """One learned rule, with its evidence, as plain values."""
    return {
        "id": rule.id,
        "uri": rule.uri,
        "mount": rule.mount.guest,
        "access": words(rule.rights).split(", "),
        "include": [
            {"glob": glob, "calls": seen.calls, "runs": len(seen.runs), "first": seen.first}
            for glob, seen in rule.include
        ],
        "exclude": list(rule.exclude),
        "calls": rule.seen.calls,
        "runs": len(rule.seen.runs),
        "first": rule.seen.first,
    }


__all__ = ["CANNOT", "Draft", "LearnError", "Material", "Mounted", "Run", "learn", "rule_as_json", "told"]
