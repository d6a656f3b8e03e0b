"""What holds for whole documents, with all their sections at once: one decision, one digest, one meaning.

Properties of single sections stand beside the modules that they are about; fields that are flipped one by one
are in `test_policy_fields.py`. The long profile tries each property some thousand times.
"""

from __future__ import annotations

import copy
import itertools
import json
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis import strategies as st

from policy import Plan, PolicyError, check_policy, compile_policy
from policy.aliases import CONTENT
from policy.answer import answer
from policy.bundle import make_bundle
from policy.decisions import Allow, Decision, Deny, WouldDeny
from policy.diff import diff
from policy.diff.change import verdict
from policy.document import load_any
from policy.errors import Severity
from policy.fmt import format_document
from policy.network.samples import representatives
from policy.plan import RIGHTS, Mode, Right
from policy.question import Question
from policy.subject import ANYONE, Subject
from tests import oracle, oracle_documents
from tests.strategies import deny_rules, segments
from tests.strategies_documents import (
    PREFIXES,
    Family,
    families,
    loaded,
    merged,
    path_questions,
    questions,
    temporal_rules,
)
from tests.strategies_network import deny_rules as network_deny_rules

Document = dict[str, Any]

ROOT = Path(__file__).parent.parent.parent
ALLOW_LISTS = (
    ("storage", "allow"), ("network", "tcp"), ("network", "udp"), ("network", "http"), ("network", "listen"),
    ("nn", "models"),
)  # fmt: skip


def tried(share: float) -> settings:
    """This share of the examples of the profile."""
    return settings(
        max_examples=max(5, int(settings().max_examples * share)),
        deadline=None,
        phases=[Phase.explicit, Phase.reuse, Phase.generate],
        suppress_health_check=[
            HealthCheck.too_slow,
            HealthCheck.filter_too_much,
            HealthCheck.data_too_large,
            HealthCheck.large_base_example,
        ],
    )


def compiled(family: Family, **options: Any) -> Plan:
    around: dict[str, Any] = {
        "base_dir": "/base",
        "now_ns": None,
        "bundle": family.bundle(),
        "is_study": True,
    }
    return compile_policy(family.loaded(), **(around | options))


def compiled_or_skipped(family: Family) -> Plan:
    try:
        return compiled(family)
    except PolicyError:
        assume(False)
        raise


def started_ids(plan: Plan) -> list[str]:
    return [str(plan.rules[each.rule].id) for each in plan.temporal]


# --- a plan decides as its documents read ---------------------------------------------------------


def must_agree(plan: Plan, decision: Decision, expected: oracle_documents.Opinion, what: object) -> None:
    assert isinstance(decision, Allow) == expected.is_allowed, what
    if not expected.is_allowed:
        refused = WouldDeny if plan.mode is Mode.AUDIT and not expected.is_final else Deny
        assert isinstance(decision, refused), (what, decision)


def named(decision: Decision) -> str:
    for group in ("builtin", "ceiling.storage", "ceiling.network.never"):
        if decision.rule_id.startswith(f"{group}.") or decision.rule_id == group:
            return group
    return decision.rule_id


@tried(0.7)
@given(families(), st.data())
def test_a_plan_decides_as_the_naive_reading_of_its_documents(family, data):
    plan = compiled_or_skipped(family)
    document = merged(family)
    started = frozenset(data.draw(st.lists(st.sampled_from(started_ids(plan) or [""]), max_size=1)))
    after = tuple(sorted(started - {""}))
    for question in data.draw(st.lists(questions(), min_size=12, max_size=12)):
        if question.target is None and question.call != "random_get":
            expected = oracle_documents.network(document, family.boundaries, question, started)
            found = answer(plan, replace(question, after=after))
            must_agree(plan, found, expected, (question, found, expected))
            known = {name for name in expected.deciders if name != "dns"}
            assert not known or named(found) in known or str(found.rule_id) in known, (question, found)
    guests = sorted({oracle.guest_root(rule) for rule in document["permissions"]["storage"]["allow"]})
    if not guests:
        return
    for guest, path, right in data.draw(st.lists(path_questions(guests), min_size=10, max_size=10)):
        whole = "/".join([guest.rstrip("/"), *path]) or "/"
        holding = [each for each in plan.mounts if covers(each.guest, whole)]
        expected = oracle_documents.storage(document, family.boundaries, (guest, path, right), started)
        if len(holding) > 1 or (right == "append" and not expected.is_allowed):
            continue  # another mount may hold the path too, and another right stands in for this one
        question = Question(call="path_open", target=whole, wants=Right[right.upper()], after=after)
        found = answer(plan, question)
        must_agree(plan, found, expected, (question, found, expected))
        assert named(found) in expected.deciders or right == "append", (question, found, expected)


def covers(outer: str, path: str) -> bool:
    return (path.rstrip("/") + "/").startswith(outer.rstrip("/") + "/")


# --- less in a document is less in its plan -------------------------------------------------------


@st.composite
def narrowed(draw: st.DrawFn, document: Document) -> Document:
    """The document with one allow less, or one denial more."""
    changed = copy.deepcopy(document)
    granted = changed["permissions"]
    filled = [way for way in ALLOW_LISTS if granted[way[0]][way[1]]]
    kind = draw(st.sampled_from(("allow", "allow", "names", "storage", "network", "rules")))
    if kind == "allow" and filled:
        section, key = draw(st.sampled_from(filled))
        items = granted[section][key]
        items.pop(draw(st.integers(0, len(items) - 1)))
    elif kind == "names":
        granted["network"]["dns"]["names"] = granted["network"]["dns"]["names"][1:]
    elif kind == "network":
        granted["network"]["deny"].append(draw(network_deny_rules("one-more")))
    elif kind == "rules":
        changed["rules"].append(draw(temporal_rules("one-more")))
    else:
        granted["storage"]["deny"].append(draw(deny_rules(77)))
    return changed


def level(decision: Decision) -> int:
    return {Allow: 2, WouldDeny: 1, Deny: 0}[type(decision)]


@tried(0.4)
@given(families(), st.data())
def test_an_allow_less_or_a_denial_more_never_allows_more(family, data):
    more = compiled_or_skipped(family)
    less = compiled_or_skipped(replace(family, document=data.draw(narrowed(family.document))))
    both = sorted(set(started_ids(more)) & set(started_ids(less)))
    after = tuple(data.draw(st.lists(st.sampled_from(both), unique=True))) if both else ()
    asked = data.draw(st.lists(questions(), min_size=15, max_size=15))
    for question in (*asked, *itertools.islice(representatives(more, less), 150)):
        timed = replace(question, after=after)
        assert level(answer(less, timed)) <= level(answer(more, timed)), timed


def reached(plan: Plan, targets: list[str]) -> set[tuple[str, Right]]:
    """What may be done with the content that stands at each target, there or where moves can bring it."""
    moves: dict[str, set[str]] = {source: {source} for source in targets}
    for call, source, goal in itertools.product(("path_rename", "path_link"), targets, targets):
        if isinstance(answer(plan, Question(call=call, target=source, target2=goal)), Allow):
            moves[source].add(goal)
    for middle, source in itertools.product(targets, targets):  # Warshall's closure
        if middle in moves[source]:
            moves[source] |= moves[middle]
    usable = {
        target: {
            right
            for right in RIGHTS
            if right & CONTENT
            and isinstance(answer(plan, Question(call="path_open", target=target, wants=right)), Allow)
        }
        for target in targets
    }
    return {(source, right) for source in targets for goal in moves[source] for right in usable[goal]}


@tried(0.3)
@given(families(), st.data())
def test_no_sequence_of_moves_does_more_with_a_content_after_an_allow_less_or_a_denial_more(family, data):
    """A denial of a content right at the goal may make a single rename or link possible.

    There the check against widening has nothing left to refuse: the file loses that right on its way. So what
    is asserted is not each move, but which rights can be had over each content after any sequence of moves.
    """
    enforced = replace(family, document=family.document | {"mode": "enforce"})
    more = compiled_or_skipped(enforced)
    less = compiled_or_skipped(replace(family, document=data.draw(narrowed(enforced.document))))
    paths = st.tuples(st.sampled_from(PREFIXES), segments).map(lambda pair: "/".join((pair[0], *pair[1])))
    targets = data.draw(st.lists(paths, min_size=5, max_size=6, unique=True))
    assert reached(less, targets) <= reached(more, targets)


def test_a_denial_can_make_a_single_move_possible_and_no_right_is_gained():
    rules = [
        {"id": "a", "uri": "fs:///srv/a/**", "access": ["read", "delete"]},
        {"id": "b", "uri": "fs:///srv/b/**", "access": ["read", "write", "create"]},
    ]
    storage: Document = {"allow": rules, "deny": []}
    document = {"version": 1, "metadata": {"name": "p"}, "permissions": {"storage": storage}}
    before = compiled(Family(document))
    storage["deny"] = [{"uri": "fs:///srv/b/**", "access": ["write"]}]
    after = compiled(Family(document))
    move = Question(call="path_rename", target="fs:///srv/a/x", target2="fs:///srv/b/x")
    assert isinstance(answer(before, move), Deny)
    assert isinstance(answer(after, move), Allow)
    targets = ["fs:///srv/a/x", "fs:///srv/b/x"]
    assert reached(after, targets) < reached(before, targets)


# --- differences ----------------------------------------------------------------------------------


@st.composite
def near(draw: st.DrawFn, family: Family) -> Family:
    """A family that differs in one or two sections, where that may make no difference."""
    other, changed = draw(families()), copy.deepcopy(family.document)
    for key in draw(st.lists(st.sampled_from(("permissions", "rules", "resources", "runtime", "audit", "mode", "match", "others")), min_size=1, max_size=2)):  # fmt: skip
        if key == "permissions":
            part = draw(st.sampled_from(sorted(changed[key])))
            if part in other.document[key]:
                changed[key][part] = other.document[key][part]
        elif key == "others":
            family = replace(family, boundaries=other.boundaries)
        else:
            changed[key] = other.document[key]
    if draw(st.booleans()):
        changed = draw(narrowed(changed))
    return replace(family, document=changed)


VALUES = (
    "match_digests", "match_names", "match_tenants", "match_signers", "args", "is_extra_args_allowed", "stdio", "clocks", "random",
    "limits", "runtime", "audit", "unenforced_digest",
)  # fmt: skip
"""Fields of a plan that no call tells."""


@tried(0.3)
@given(families(), st.data())
def test_a_difference_is_told_exactly_when_plans_differ(family, data):
    a = compiled_or_skipped(family)
    b = compiled_or_skipped(data.draw(near(family)))
    found = diff(a, b)
    for change in found.items:
        if change.witness is not None:
            answers = verdict(a, change.witness), verdict(b, change.witness)
            assert answers[0] != answers[1], change
            is_value = change.answer_a not in {"allow", "deny", "would_deny"}
            assert is_value or answers == (change.answer_a, change.answer_b), change
        if change.answer_a or change.answer_b:
            assert change.answer_a != change.answer_b, change
    if found.items:
        return
    assert [getattr(a, name) for name in VALUES] == [getattr(b, name) for name in VALUES]
    assert dict(a.environment) == dict(b.environment)
    asked = data.draw(st.lists(questions(), min_size=15, max_size=15))
    for question in (*asked, *itertools.islice(representatives(a, b), 200)):
        assert level(answer(a, question)) == level(answer(b, question)), question


@tried(0.4)
@given(families(), st.data())
def test_no_difference_that_a_question_shows_is_missed(family, data):
    a = compiled_or_skipped(family)
    b = compiled_or_skipped(data.draw(near(family)))
    asked = data.draw(st.lists(questions(), min_size=30, max_size=30))
    has_levels = a.mode is b.mode is Mode.AUDIT
    if any(told(a, each, has_levels=has_levels) != told(b, each, has_levels=has_levels) for each in asked):
        assert diff(a, b).items


def told(plan: Plan, question: Question, *, has_levels: bool) -> int:
    found = level(answer(plan, question))
    return found if has_levels else found // 2


# --- one form, one digest -------------------------------------------------------------------------


def written(document: Document, style: int) -> str:
    """The document as text, in one of several styles."""
    match style:
        case 0:
            return json.dumps(document)
        case 1:
            return json.dumps(document, indent=2, ensure_ascii=False)
        case _:
            return "\n".join(block(document, "")) + "\n"


def block(value: Document, indent: str) -> Iterator[str]:
    """Lines of YAML in which each mapping of sections stands on lines of its own."""
    for key, each in value.items():
        if isinstance(each, dict) and each:
            yield f"{indent}{key}:"
            yield from block(each, f"{indent}  ")
        elif isinstance(each, list) and each:
            yield f"{indent}{key}:"
            yield from (f"{indent}  - {json.dumps(item)}" for item in each)
        else:
            yield f"{indent}{key}: {json.dumps(each)}"


@tried(0.5)
@given(families(), st.integers(0, 2))
def test_the_canonical_form_means_the_same_and_is_its_own(family, style):
    for document in (family.document, *family.others):
        text = written(document, style)
        once = format_document(text.encode(), file="p.yaml")
        assert format_document(once.encode(), file="p.yaml") == once
        one, other = (load_any(each.encode(), file="p.yaml") for each in (text, once))
        assert unordered(one.model.model_dump()) == unordered(other.model.model_dump())
    plan = compiled_or_skipped(family)
    text = format_document(written(family.document, style).encode(), file="p.yaml")
    again = compile_policy(
        loaded_text(text), base_dir="/base", now_ns=None, bundle=family.bundle(), is_study=True
    )
    assert again.plan_digest == plan.plan_digest
    assert again.policy_digest != plan.policy_digest or text == written(family.document, style)


def unordered(value: Any, key: str = "") -> Any:
    """The values of a model; rights and ports in order, since theirs means nothing."""
    if isinstance(value, dict):
        return {name: unordered(each, name) for name, each in value.items()}
    if isinstance(value, tuple):
        return sorted(value) if key in {"access", "ports"} else [unordered(each) for each in value]
    return value


def loaded_text(text: str) -> Any:
    return load_any(text.encode(), file="p.yaml")


def shuffled(value: Any, order: random.Random) -> Any:
    """The same values with the keys of each mapping in another order."""
    if isinstance(value, dict):
        keys = list(value)
        order.shuffle(keys)
        return {key: shuffled(value[key], order) for key in keys}
    return [shuffled(each, order) for each in value] if isinstance(value, list) else value


@tried(0.4)
@given(families(), st.randoms(use_true_random=False))
def test_neither_order_nor_place_is_in_the_digest(family, order):
    plan = compiled_or_skipped(family)
    others = [load_any(json.dumps(shuffled(each, order)).encode(), file=f"{index}.yaml") for index, each in enumerate(family.others)]  # fmt: skip
    order.shuffle(others)
    document = loaded(shuffled(family.document, order))
    again = compile_policy(
        document, base_dir="/elsewhere", now_ns=None, bundle=make_bundle(others), is_study=True
    )
    assert again.plan_digest == plan.plan_digest
    assert replace(again, policy_digest="") == replace(plan, policy_digest="")


DIGESTING = """
import json, sys
from policy import PolicyError, compile_policy
from policy.bundle import make_bundle
from policy.document import load_any
for texts in json.load(sys.stdin):
    document, *others = [load_any(text.encode(), file="p.yaml") for text in texts]
    plan = compile_policy(document, base_dir="/base", now_ns=None, bundle=make_bundle(others), is_study=True)
    print(plan.plan_digest, plan.policy_digest)
"""


def test_another_process_with_other_hashes_finds_the_same_digests():
    found: list[tuple[Family, Plan]] = []

    @settings(
        max_examples=25,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=[
            HealthCheck.too_slow,
            HealthCheck.filter_too_much,
            HealthCheck.data_too_large,
            HealthCheck.large_base_example,
        ],
    )
    @given(families())
    def collect(family: Family) -> None:
        found.append((family, compiled_or_skipped(family)))

    collect()
    asked = [[json.dumps(each) for each in (family.document, *family.others)] for family, _ in found]
    digests = [f"{plan.plan_digest} {plan.policy_digest}" for _, plan in found]
    for seed in ("1", "2"):
        said = subprocess.run(
            [sys.executable, "-c", DIGESTING], input=json.dumps(asked), capture_output=True, text=True, check=True,
            cwd=ROOT, env={**os.environ, "PYTHONHASHSEED": seed},
        )  # fmt: skip
        assert said.stdout.splitlines() == digests
    assert len(set(digests)) > 10


# --- check and compile ----------------------------------------------------------------------------


@tried(0.8)
@given(families(), st.sampled_from((None, 1_800_000_000_000_000_000)), st.booleans(), st.booleans())
def test_what_passes_the_check_compiles_and_what_compiles_passes_the_check(
    family, now_ns, is_study, is_stored
):
    document = family.loaded()
    options: dict[str, Any] = {
        "base_dir": "/base", "now_ns": now_ns, "bundle": family.bundle(), "is_study": is_study, "is_stored": is_stored,
        "subject": Subject(tenant="acme") if is_stored else ANYONE,
    }  # fmt: skip
    findings = check_policy(document, **options)
    errors = [each for each in findings if each.severity is Severity.ERROR]
    try:
        plan = compile_policy(document, **options)
    except PolicyError as err:
        found = set(err.findings)
    else:
        assert plan.may_run or is_study
        found = set(findings)
        assert not errors
    assert found == set(findings)


@tried(0.3)
@given(families())
def test_a_document_for_some_tenants_is_checked_for_each(family):
    document = copy.deepcopy(family.document)
    document["match"]["tenant"] = ["acme", "globex"]
    document["permissions"]["storage"]["allow"].append(
        {"id": "own", "uri": "fs:///data/${tenant}/**", "access": ["read"]}
    )
    family = replace(family, document=document)
    options: dict[str, Any] = {
        "base_dir": "/base",
        "now_ns": None,
        "bundle": family.bundle(),
        "is_study": True,
    }
    has_errors = any(each.severity is Severity.ERROR for each in check_policy(family.loaded(), **options))
    failed = 0
    for tenant in document["match"]["tenant"]:
        try:
            plan = compile_policy(family.loaded(), **options, subject=Subject(tenant=tenant))
        except PolicyError:
            failed += 1
        else:
            assert f"/data/{tenant}" in {mount.host for mount in plan.mounts}
    assert has_errors == bool(failed)
