from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policy.compiler import compile_policy
from policy.decisions import Allow, Deny
from policy.document import load_document
from policy.network.compile import compile_network
from policy.network.decide import decide_network
from policy.network.samples import representatives
from policy.plan import Plan, RuleKind
from policy.question import Question
from tests import oracle_network as oracle
from tests.strategies_network import network_documents, questions

EMPTY = {"version": 1, "metadata": {"name": "base"}}


def load(document: dict[str, Any]):
    return load_document(json.dumps(document).encode(), file="p.yaml")


BASE = compile_policy(load(EMPTY), base_dir="/", now_ns=None)


def plan_of(document: dict[str, Any], ceilings: Any = ()) -> Plan:
    found = compile_network(load(document), ceilings=ceilings, first_rule=len(BASE.rules))
    errors = [each for each in found.findings if each.severity == "error"]
    assert not errors, errors
    return replace(BASE, rules=(*BASE.rules, *found.rules), network=found.plan, nn=found.nn)


def plan(**network: Any) -> Plan:
    return plan_of({**EMPTY, "permissions": {"network": network}})


def opinion(document: dict[str, Any], question: Question) -> oracle.Opinion:
    match question.call:
        case "connect":
            return oracle.connect(document, question.protocol, (question.address, question.host), question.port or 0)
        case "http":
            return oracle.http(document, str(question.method), str(question.url), question.address)
        case "resolve":
            return oracle.resolve(document, str(question.host))
        case _:
            return oracle.listen(document, question.protocol, str(question.address), question.port or 0)


def kind_of(plan: Plan, decision: Allow | Deny) -> str:
    return next(rule.kind for rule in plan.rules if rule.id == decision.rule_id).name.lower()


@given(network_documents(), st.lists(questions(), min_size=20, max_size=20))
@settings(max_examples=150, deadline=None)
def test_a_plan_decides_as_the_naive_reading_of_its_document(document, asked):
    compiled = plan_of(document)
    for question in asked:
        expected = opinion(document, question)
        found = decide_network(compiled, question)
        assert isinstance(found, Allow) == expected.is_allowed, (question, found, expected)
        assert kind_of(compiled, found) == expected.stage, (question, found, expected)
        named = {name for name in expected.deciders if name != "dns"}
        assert not named or found.rule_id in named, (question, found, expected)


def verdicts(plan: Plan, asked: list[Question]) -> list[tuple[bool, bool]]:
    found = [decide_network(plan, question) for question in asked]
    return [(isinstance(each, Allow), isinstance(each, Deny) and each.is_final) for each in found]


@given(network_documents(), network_documents(), st.lists(questions(), min_size=40, max_size=40))
@settings(max_examples=60, deadline=None)
def test_plans_that_agree_on_all_representatives_agree_on_everything(one, other, asked):
    a, b = plan_of(one), plan_of(other)
    chosen = list(representatives(a, b))
    if verdicts(a, chosen) == verdicts(b, chosen):
        assert verdicts(a, asked) == verdicts(b, asked)
