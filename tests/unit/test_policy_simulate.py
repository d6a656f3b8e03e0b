"""Replaying records: many facts at once get what each gets alone, and that is what the plan answers."""

from __future__ import annotations

import json
import random
from typing import Any

import numpy as np
import pytest
from hypothesis import Phase, assume, given, settings
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
from policy.simulate.judge import Judged
from policy.simulate.reach import Targets
from policy.simulate.verdicts import verdicts
from policy.simulate.walk import Walker
from policy.targets import resolve
from tests.strategies import NAMES, storage_documents

CALL_NAMES = (*(call.name for call in CALLS), "no_such_call")
PIECES = (*NAMES, "..", ".", "", "\udc80", "\udcff\udcfe", "...", "..a", "m", "srv", "home")
BASES = ("/srv/m", "/srv/m", "/srv/m/a", "/home/b", "/", "/etc", "tmp://s", "tmp://s", "tmp://t", "/srv/mm")
WORDS = (
    "stdin",
    "stdout",
    "stderr",
    "wall",
    "monotonic",
    "<masked>",
    "/srv/m/" + "a" * 4085,
    "/srv/m/" + "a" * 4084,
)


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


QUICK = (Phase.explicit, Phase.reuse, Phase.generate)  # a smaller plan says no more: facts come from a seed
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
        "stdio": {
            "stdin": draw(st.sampled_from(("none", "caller"))),
            "stdout": draw(st.sampled_from(("none", "capture"))),
        },
        "random": draw(st.sampled_from(("real", "none"))),
        "network": draw(st.sampled_from(({}, {"tcp": [{"to": "192.0.2.1", "ports": [443]}]}))),
    }
    return compiled(document)


@settings(max_examples=40, phases=QUICK)
@given(plans(), st.integers(0, 1 << 32))
def test_many_facts_at_once_get_what_each_gets_alone(plan, seed):
    chance = random.Random(seed)
    found = [some_fact(chance) for _ in range(150)]
    columns = FactColumns.of(found)
    together = verdicts(plan, columns, Targets.of(plan, columns.texts))
    for fact, verdict, rule in zip(found, together.verdict.tolist(), together.rule.tolist(), strict=True):
        alone = judge(plan, fact)
        assert (Verdict(verdict), "" if rule < 0 else plan.rules[rule].id) == (alone.verdict, alone.rule), (
            fact
        )


@settings(max_examples=30, phases=QUICK)
@given(plans(), st.integers(0, 1 << 32))
def test_an_allowed_call_is_judged_as_its_question_is_answered(plan, seed):
    chance = random.Random(seed)
    for fact in (some_fact(chance) for _ in range(150)):
        if fact.call in {"no_such_call", "poll_oneoff"} or fact.is_masked:
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


@settings(max_examples=15, phases=QUICK)
@given(plans(), st.integers(0, 1 << 32))
def test_many_paths_end_where_each_ends_alone(plan, seed):
    chance = random.Random(seed)
    texts = [
        "".join(f"/{name}" for name in chance.choices(NAMES, k=chance.randrange(6))).encode()
        for _ in range(60)
    ]
    data = np.frombuffer(b"".join(texts) or b"\0", np.uint8)
    lengths = np.array([len(text) for text in texts], np.int64)
    at = np.cumsum(lengths) - lengths
    for mount in plan.mounts:
        alone = [walk(plan.automaton, mount.start, text.split(b"/")[1:]) for text in texts]
        for most_cells in (1 << 25, 0):  # by a table, and by searching
            walker = Walker.of(plan.automaton, most_cells=most_cells)
            assert (walker.steps is None) == (not most_cells)
            assert walker.walk(mount.start, data, at, lengths).tolist() == alone


@given(st.lists(st.sampled_from((*PIECES, "srv", "m")), max_size=12))
def test_an_odd_path_lies_where_it_is_resolved_to(pieces):
    plan = simple('{id: a, uri: "fs:///srv/m/**", access: [read]}')
    path = "/" + "/".join(pieces)
    found = Targets.of(plan, FactColumns.of([fact("path_open", path)]).texts)
    assert (found.reaches[0].kind[0] >= 0) == bool(resolve(plan, f"fs://{path}"))


def simple(*rules: str, more: str = "") -> Plan:
    listed = "".join(f"\n      - {rule}" for rule in rules) or " []"
    text = f"version: 1\nmetadata: {{name: candidate}}\npermissions:\n  storage:\n    allow:{listed}\n{more}"
    return compile_policy(load_document(text.encode(), file="candidate.yaml"), base_dir="/", now_ns=None)


def fact(call: str, target: str | None, wants: Right = Right.READ, **more: Any) -> Fact:
    return Fact(call=call, target=target, wants=wants, evidence="run:1", **more)


IN = '{id: in, uri: "fs:///in/**", access: [read]}'
OUT = '{id: out, uri: "tmp://out", mount: /out, access: [create, write], max_bytes: 10, max_files: 1}'


def test_what_happened_and_would_not_is_newly_refused_and_its_twin_is_unchanged():
    found = simulate(
        simple(IN), FactColumns.of([fact("path_open", "/in/a"), fact("path_open", "/on/a", count=3)])
    )
    assert (found.records, found.unchanged, found.newly_refused, found.newly_allowed, found.unknown) == (
        4,
        1,
        3,
        0,
        0,
    )
    refused = next(change for change in found.changes if change.is_refusal)
    assert (refused.call, refused.rule, refused.count) == ("path_open", "default", 3)
    assert refused.examples[0].target == "/on/a"


@pytest.mark.parametrize("call", ["sock_connect", "sock_send", "sock_getaddrinfo", "sock_recv"])
def test_what_was_done_on_the_network_is_told_only_where_a_plan_has_none(call):
    recorded = fact(call, "192.0.2.1:443", Right(0))
    network = simple(IN, more="  network: {tcp: [{to: 192.0.2.1, ports: [443]}]}\n")
    assert judge(network, recorded).verdict is Verdict.UNKNOWN
    assert judge(simple(IN), recorded) == Judged(Verdict.DENY, "network.none")
    assert (simulate(network, FactColumns.of([recorded])).unknown) == 1
    assert (simulate(simple(IN), FactColumns.of([recorded])).newly_refused) == 1


def test_what_was_refused_and_would_happen_is_newly_allowed():
    refused: dict[str, Any] = {"decision": "deny", "reason": "rule", "rule": "default", "missing": Right.READ}
    found = simulate(
        simple(IN),
        FactColumns.of([fact("path_open", "/in/a", **refused), fact("path_open", "/b", **refused)]),
    )
    assert (found.newly_allowed, found.unchanged) == (1, 1)


def test_what_only_an_audit_let_happen_is_newly_refused_when_it_is_enforced():
    recorded = fact(
        "path_open", "/in/b", Right.WRITE, decision="would_deny", reason="rule", missing=Right.WRITE
    )
    assert simulate(simple(IN), FactColumns.of([recorded])).newly_refused == 1
    assert simulate(simple(IN, more="mode: audit\n"), FactColumns.of([recorded])).newly_refused == 0


@pytest.mark.parametrize("reason", ["symlink", "file_type", "budget", "stopped", "widens", "handle"])
def test_a_refusal_that_only_a_running_guest_shows_is_unknown_where_the_plan_allows(reason):
    recorded = {"decision": "deny", "reason": reason, "rule": reason}
    assert judge(simple(IN), fact("path_open", "/in/a", **recorded)).verdict is Verdict.UNKNOWN
    assert judge(simple(IN), fact("path_open", "/on/a", **recorded)).verdict is Verdict.DENY


def test_a_target_that_was_not_kept_is_unknown():
    assert judge(simple(IN), fact("path_open", None, is_masked=True)).verdict is Verdict.UNKNOWN
    assert judge(simple(IN), fact("path_open", "<digest>")).verdict is Verdict.UNKNOWN


def test_a_path_that_leads_out_is_refused_by_every_plan():
    everything = simple('{id: all, uri: "fs:///srv/**", access: [read]}', more="mode: audit\n")
    recorded = fact("path_open", "/srv/a", decision="deny", reason="escape")
    assert judge(everything, recorded) == type(judge(everything, recorded))(Verdict.DENY, "beneath")


def test_closing_a_descriptor_is_never_refused():
    assert judge(simple(IN), fact("fd_close", "/elsewhere", Right(0))).verdict is Verdict.ALLOW


def test_budgets_are_summed_by_execution():
    writes = [fact("fd_write", "tmp://out/a", Right.WRITE, bytes_out=6) for _ in range(3)]
    found = simulate(simple(OUT), FactColumns.of(writes, executions=["one", "one", "two"]))
    assert [(each.limit, each.allowed, each.examples) for each in found.exceeded] == [
        ("out", 10, (("one", 12),))
    ]


def test_files_that_were_made_count_and_those_that_were_there_do_not():
    made = fact("path_open", "tmp://out/a", Right.CREATE | Right.WRITE, flags=0x8001)
    there = fact("path_open", "tmp://out/a", Right.WRITE, flags=1)
    for second, expected in ((made, [("out", 2)]), (there, [])):
        found = simulate(simple(OUT), FactColumns.of([made, second], executions=["one", "one"]))
        assert [(each.limit, each.examples[0][1]) for each in found.exceeded] == expected


def test_limits_of_calls_and_of_output_are_replayed():
    limits = "resources: {limits: {host_calls: 4, stdout: 10}}\n"
    calls = [fact("fd_write", "stdout", Right.WRITE, count=5, bytes_out=11)]
    found = simulate(simple(IN, more=limits), FactColumns.of(calls, executions=["one"]))
    assert {(each.limit, each.what, each.examples[0][1]) for each in found.exceeded} == {
        ("limit.host_calls", "calls", 5),
        ("limit.stdout", "bytes", 11),
    }


def test_without_executions_budgets_are_not_replayed_and_that_is_said():
    found = simulate(
        simple(OUT), FactColumns.of([fact("fd_write", "tmp://out/a", Right.WRITE, bytes_out=99)])
    )
    assert not found.exceeded
    assert any("budgets are not replayed" in note for note in found.notes)


def test_links_are_said_to_be_unseen_where_they_matter():
    split = simple('{id: in, uri: "fs:///in/**", access: [read], exclude: ["*.key"]}')
    assert any("symbolic link" in note for note in simulate(split, FactColumns.of([])).notes)
    assert not any("symbolic link" in note for note in simulate(simple(IN), FactColumns.of([])).notes)
