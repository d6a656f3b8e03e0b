"""Replaying records: many facts at once get what each gets alone, and that is what the plan answers."""

from __future__ import annotations

import json
import random
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from policy import Plan, PolicyError, Right, Severity, compile_policy, load_document
from policy.answer import answer
from policy.automaton import walk
from policy.calls import CALLS
from policy.decisions import Allow, Deny, UnknownCallError, WouldDeny
from policy.facts import Fact
from policy.plan import RIGHTS
from policy.simulate import FactColumns, Verdict, judge, question_of, simulate
from policy.simulate.columns import DECISIONS, REASONS
from policy.simulate.reach import Targets
from policy.simulate.verdicts import verdicts
from policy.simulate.walk import Walker
from policy.targets import resolve
from tests.strategies import NAMES, storage_documents

CALL_NAMES = (*(call.name for call in CALLS), "no_such_call")
PIECES = (*NAMES, "..", ".", "", "\udc80", "\udcff\udcfe", "...", "..a", "m", "srv", "home")
BASES = ("/srv/m", "/srv/m", "/srv/m/a", "/home/b", "/", "/etc", "tmp://s", "tmp://s", "tmp://t", "/srv/mm")
WORDS = ("stdin", "stdout", "stderr", "wall", "monotonic", "<masked>", "/srv/m/" + "a" * 4085, "/srv/m/" + "a" * 4084)


def some_target(chance: random.Random) -> str | None:
    if chance.random() < 0.2:
        return chance.choice((None, *WORDS))
    base = chance.choice(BASES)
    return "/".join([base.rstrip("/"), *chance.choices(PIECES, k=chance.randrange(5))]) or "/"


def some_fact(chance: random.Random) -> Fact:
    decision = chance.choice(DECISIONS)
    return Fact(
        call=chance.choice((*CALL_NAMES, "path_open", "path_open", "path_rename", "path_link", "fd_write")),
        wants=Right(chance.choice((0, 1, 2, 8, 16, chance.randrange(128)))),
        target=some_target(chance),
        target2=some_target(chance),
        decision=decision,
        rule=chance.choice(("", "allow0", "gone")),
        reason="" if decision == "allow" else chance.choice(("", "rule", "rule", "rule", *REASONS)),
        missing=chance.choice((None, *RIGHTS)),
        is_masked=chance.random() < 0.05,
        flags=chance.choice((0, 1, 5, 0x8001)),
        count=chance.randrange(1, 9),
        bytes_out=chance.randrange(9),
        evidence="x:1",
    )


VERDICT_OF = {Allow: Verdict.ALLOW, Deny: Verdict.DENY, WouldDeny: Verdict.WOULD_DENY}


def is_place(target: str | None) -> bool:
    return target is not None and target.startswith(("/", "tmp://"))


def compiled(document: dict[str, Any]) -> Plan:
    try:
        loaded = load_document(json.dumps(document).encode(), file="random.yaml")
        return compile_policy(loaded, base_dir="/base", now_ns=None)
    except PolicyError as err:
        assume({each.id for each in err.findings if each.severity is Severity.ERROR} != {"dead-rule"})
        raise


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    document = draw(storage_documents())
    document["mode"] = draw(st.sampled_from(("enforce", "enforce", "audit")))
    document["permissions"] |= {
        "clocks": {
            "wall": draw(st.sampled_from(("real", "none", "frozen:2026-01-01T00:00:00Z"))),
            "monotonic": draw(st.sampled_from(("real", "none"))),
        },
        "stdio": {"stdin": draw(st.sampled_from(("none", "caller"))), "stdout": draw(st.sampled_from(("none", "capture")))},
        "random": draw(st.sampled_from(("real", "none"))),
    }
    return compiled(document)


@settings(max_examples=40)
@given(plans(), st.integers(0, 1 << 32))
def test_many_facts_at_once_get_what_each_gets_alone(plan, seed):
    chance = random.Random(seed)
    found = [some_fact(chance) for _ in range(150)]
    columns = FactColumns.of(found)
    together = verdicts(plan, columns, Targets.of(plan, columns.texts))
    for fact, verdict, rule in zip(found, together.verdict.tolist(), together.rule.tolist(), strict=True):
        alone = judge(plan, fact)
        assert (Verdict(verdict), "" if rule < 0 else plan.rules[rule].id) == (alone.verdict, alone.rule), fact


@settings(max_examples=30)
@given(plans(), st.integers(0, 1 << 32))
def test_an_allowed_call_is_judged_as_its_question_is_answered(plan, seed):
    chance = random.Random(seed)
    for fact in (some_fact(chance) for _ in range(150)):
        if fact.call == "no_such_call" or fact.call == "poll_oneoff" or fact.is_masked:
            continue
        question = question_of(fact)
        if question is None or fact.reason in {"escape", "too_long"}:
            continue
        try:
            answered = VERDICT_OF[type(answer(plan, question))]
        except UnknownCallError:  # the record lacks its second path
            answered = Verdict.UNKNOWN
        found = judge(plan, fact).verdict
        if fact.decision == "allow" and is_place(fact.target2):
            assert found is answered
        else:
            assert found in {answered, Verdict.UNKNOWN}
