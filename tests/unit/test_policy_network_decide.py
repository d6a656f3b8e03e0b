from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from policy.decisions import Allow, Deny
from policy.network.decide import decide_network
from policy.network.samples import representatives
from policy.plan import Plan
from policy.question import Question
from tests import oracle_network as oracle
from tests.network_plans import plan_of
from tests.strategies_network import deny_rules, network_documents, questions

PHASES = [Phase.explicit, Phase.reuse, Phase.generate]


def opinion(document: dict[str, Any], question: Question) -> oracle.Opinion:
    match question.call:
        case "connect":
            return oracle.connect(
                document, question.protocol, (question.address, question.host), question.port or 0
            )
        case "http":
            return oracle.http(document, str(question.method), str(question.url), question.address)
        case "resolve":
            return oracle.resolve(document, str(question.host))
        case _:
            return oracle.listen(document, question.protocol, str(question.address), question.port or 0)


def kind_of(compiled: Plan, decision: Allow | Deny) -> str:
    return next(rule.kind for rule in compiled.rules if rule.id == decision.rule_id).name.lower()


@given(network_documents(), st.lists(questions(), min_size=20, max_size=20))
@settings(max_examples=60, deadline=None, phases=PHASES)
def test_a_plan_decides_as_the_naive_reading_of_its_document(document, asked):
    compiled = plan_of(document)
    for question in asked:
        expected = opinion(document, question)
        found = decide_network(compiled, question)
        assert isinstance(found, Allow) == expected.is_allowed, (question, found, expected)
        assert kind_of(compiled, found) == expected.stage, (question, found, expected)
        named = {name for name in expected.deciders if name != "dns"}
        assert not named or found.rule_id in named, (question, found, expected)


def verdicts(compiled: Plan, asked: list[Question]) -> list[tuple[bool, bool]]:
    found = [decide_network(compiled, question) for question in asked]
    return [(isinstance(each, Allow), isinstance(each, Deny) and each.is_final) for each in found]


@st.composite
def near_pairs(draw: st.DrawFn) -> tuple[dict[str, Any], dict[str, Any]]:
    """A document, and one that differs from it in one place, where it may make no difference."""
    one = draw(network_documents())
    other = copy.deepcopy(one)
    network, source = other["permissions"]["network"], draw(network_documents())["permissions"]["network"]
    key = draw(st.sampled_from(("tcp", "http", "http", "deny", "deny", "dns", "listen", "private")))
    if draw(st.booleans()) and isinstance(network[key], list):
        network[key] = network[key][1:]
    else:
        network[key] = source[key]
    return one, other


@given(near_pairs(), st.lists(questions(), min_size=40, max_size=40))
@settings(max_examples=25, deadline=None, phases=PHASES)
def test_plans_that_agree_on_all_representatives_agree_on_everything(pair, asked):
    a, b = plan_of(pair[0]), plan_of(pair[1])
    if verdicts(a, asked) != verdicts(b, asked):
        chosen = list(representatives(a, b))
        assert verdicts(a, chosen) != verdicts(b, chosen)


@given(network_documents(), st.lists(questions(), min_size=40, max_size=40), st.data())
@settings(max_examples=20, deadline=None, phases=PHASES)
def test_removing_an_allow_rule_or_adding_a_denial_never_allows_more(document, asked, data):
    before = plan_of(document)
    less = copy.deepcopy(document)
    network = less["permissions"]["network"]
    key = data.draw(st.sampled_from(("tcp", "http", "listen", "deny")))
    if key == "deny":
        network["deny"].append(data.draw(deny_rules("one-more")))
    else:
        network[key] = network[key][1:]
    after = plan_of(less)
    for question in (*asked, *representatives(before, after)):
        is_allowed = isinstance(decide_network(after, question), Allow)
        assert not is_allowed or isinstance(decide_network(before, question), Allow), question


@given(network_documents(), st.randoms(use_true_random=False))
@settings(max_examples=20, deadline=None, phases=PHASES)
def test_the_order_of_rules_changes_no_verdict(document, random):
    shuffled = copy.deepcopy(document)
    network = shuffled["permissions"]["network"]
    for key in ("tcp", "udp", "http", "deny", "listen"):
        random.shuffle(network[key])
    random.shuffle(network["dns"]["names"])
    a, b = plan_of(document), plan_of(shuffled)
    chosen = list(representatives(a, b))
    assert verdicts(a, chosen) == verdicts(b, chosen)


@pytest.mark.slow
@given(near_pairs(), st.lists(questions(), min_size=60, max_size=60))
@settings(max_examples=1_500, deadline=None, phases=PHASES)
def test_no_difference_between_many_near_plans_is_missed(pair, asked):
    a, b = plan_of(pair[0]), plan_of(pair[1])
    if verdicts(a, asked) != verdicts(b, asked):
        chosen = list(representatives(a, b))
        assert verdicts(a, chosen) != verdicts(b, chosen)
