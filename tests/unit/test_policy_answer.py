"""Answers to questions about a plan: where each goes, and what has started over time before it."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policy import Plan, Right, RuleId, compile_policy, load_document
from policy.answer import answer
from policy.calls import CALLS
from policy.decide import Allow, Deny, UnknownCallError, WouldDeny, decide, decide_module
from policy.plan import RIGHTS, Mode, Rule, RuleKind
from policy.plan_temporal import TemporalRule, Trigger
from policy.question import Question
from tests.oracle import RIGHTS as NAMES
from tests.oracle import opinion
from tests.strategies import access, segments, storage_documents
from tests.unit.test_policy_path_rules import compiled_or_skipped

POLICY = b"""
version: 1
metadata: {name: demo}
permissions:
  storage:
    allow: [{id: all, uri: "fs:///srv/in/**", mount: /in, access: [read, list, write, create, delete]}]
    deny: [{id: hide, uri: "fs:///srv/in/secret/**"}]
"""


def with_rules(plan: Plan, *denied: Right) -> Plan:
    """The plan with a rule over time for each of `denied`, named later0, later1 and so on."""
    rules = [
        Rule(RuleId(f"later{index}"), RuleKind.TEMPORAL, f"rules[{index}]", "refuses it now", "start anew")
        for index in range(len(denied))
    ]
    temporal = [
        TemporalRule(
            rule=len(plan.rules) + index,
            trigger=Trigger.OPENED,
            watches="storage",
            over=0,
            window_ms=0,
            rights=int(rights),
            reach=0,
            denies_nn=False,
            severity="",
        )
        for index, rights in enumerate(denied)
    ]
    return dataclasses.replace(plan, rules=(*plan.rules, *rules), temporal=tuple(temporal))


ALL = Right(sum(RIGHTS))
PLAN = with_rules(
    compile_policy(load_document(POLICY, file="demo.yaml"), base_dir="/", now_ns=None), Right.WRITE, ALL
)


def ask(call: str, target: str, *after: str, wants: Right | None = None, plan: Plan = PLAN) -> Any:
    return answer(plan, Question(call=call, target=target, wants=wants, after=after))


def test_a_question_about_a_file_is_decided_as_the_call_is():
    assert ask("path_open", "/in/a") == decide(PLAN, "path_open", target="/in/a")
    assert isinstance(ask("path_open", "/in/a"), Allow)
    assert isinstance(ask("path_open", "/other"), Deny)


def test_what_has_started_refuses_what_it_names_and_no_more():
    refused = ask("path_open", "/in/a", "later0", wants=Right.WRITE)
    assert isinstance(refused, Deny)
    assert refused.rule_id == "later0"
    assert refused.hint == "start anew"
    assert refused.chain[-1] == "write: rules over time: refused by later0"
    assert "write: boundary: none applies" in refused.chain
    assert isinstance(ask("path_open", "/in/a", wants=Right.WRITE), Allow)
    assert isinstance(ask("path_open", "/in/a", "later0", wants=Right.READ), Allow)


def test_a_deny_rule_comes_before_rules_over_time():
    refused = ask("path_open", "/in/secret/a", "later0", "later1", wants=Right.WRITE)
    assert isinstance(refused, Deny)
    assert refused.rule_id == "hide"


def test_where_all_of_storage_is_refused_nothing_is_looked_at_either():
    assert isinstance(ask("path_filestat_get", "/in/a", "later0"), Allow)
    assert isinstance(ask("path_filestat_get", "/in/a", "later1"), Deny)


def test_what_rules_over_time_refuse_happens_where_a_policy_only_audits():
    plan = dataclasses.replace(PLAN, mode=Mode.AUDIT)
    assert isinstance(ask("path_open", "/in/a", "later0", wants=Right.WRITE, plan=plan), WouldDeny)


def test_a_rule_over_time_that_is_not_in_the_plan_is_an_error():
    with pytest.raises(UnknownCallError, match="rule over time"):
        ask("path_open", "/in/a", "all")
    with pytest.raises(UnknownCallError, match="host call"):
        ask("path_opne", "/in/a")


@pytest.mark.parametrize(
    ("globs", "tenant", "fits"),
    [
        ((), None, True),
        ((), "acme", True),
        (("acme",), "acme", True),
        (("ac*",), "acme", True),
        (("x", "*"), "acme", True),
        (("acme",), "globex", False),
        (("*",), None, False),
    ],
)
def test_a_policy_for_tenants_is_for_no_unknown_one(globs, tenant, fits):
    plan = dataclasses.replace(PLAN, match_tenants=globs)
    found = decide_module(plan, digest="sha256:0", name="m", tenant=tenant)
    assert isinstance(found, Allow if fits else Deny)


def mask(names: Sequence[str]) -> Right:
    found = Right(0)
    for name in names:
        found |= Right[name.upper()]
    return found


later = st.lists(access, min_size=1, max_size=3)


@given(storage_documents(), later, st.lists(segments, min_size=1, max_size=6), st.data())
def test_decisions_agree_with_the_oracle_whatever_has_started(document, rules, paths, data):
    plan = with_rules(compiled_or_skipped(document), *(mask(names) for names in rules))
    document = {**document, "rules": [{"id": f"later{i}", "denies": names} for i, names in enumerate(rules)]}
    after = data.draw(st.lists(st.sampled_from(range(len(rules))), unique=True))
    for mount in plan.mounts:
        for path in paths:
            for name, right in zip(NAMES, RIGHTS, strict=True):
                whole = "/".join([mount.guest.rstrip("/"), *path]) or "/"
                expected = opinion(
                    document, mount.guest, path, name, started=frozenset(f"later{i}" for i in after)
                )
                if name == "append" and not expected.is_allowed:
                    continue  # another right stands in for it
                found = answer(
                    plan,
                    Question(
                        call="path_open", target=whole, wants=right, after=tuple(f"later{i}" for i in after)
                    ),
                )
                # an outer mount may hold the path too, and decide otherwise
                if len([each for each in plan.mounts if covers(each.guest, whole)]) == 1:
                    assert isinstance(found, Allow) == expected.is_allowed, json.dumps(document)
                    name_of = "builtin" if found.rule_id.startswith("builtin.") else found.rule_id
                    assert name_of in expected.deciders or name == "append"


def covers(outer: str, path: str) -> bool:
    return (path.rstrip("/") + "/").startswith(outer.rstrip("/") + "/")


CALLS_ON_PATHS = [call.name for call in CALLS if call.name.startswith("path_") or call.name == "fd_write"]


@given(storage_documents(), later, st.sampled_from(CALLS_ON_PATHS), st.tuples(segments, segments), st.data())
def test_what_has_started_never_allows_more(document, rules, call, paths, data):
    path, goal = paths
    plan = with_rules(compiled_or_skipped(document), *(mask(names) for names in rules))
    one, other = (data.draw(st.sampled_from(plan.mounts)) for _ in range(2))
    wants = data.draw(st.none() | access.map(mask))
    question = Question(
        call=call,
        target="/".join([one.guest.rstrip("/"), *path]) or "/",
        target2="/".join([other.guest.rstrip("/"), *goal]) or "/",
        wants=wants,
    )
    after = data.draw(st.lists(st.sampled_from([f"later{i}" for i in range(len(rules))]), unique=True))
    if isinstance(answer(plan, question), Deny):
        later_on = answer(plan, dataclasses.replace(question, after=tuple(after)))
        assert isinstance(later_on, Deny)
