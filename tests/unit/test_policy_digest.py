"""Digests: every field counts, and nothing but the value does."""

from __future__ import annotations

import dataclasses

import pytest

from policy import Plan, compile_policy, load_document
from policy.digest import as_json, canonical, plan_digest
from policy.plan import Limits, PathClass, Right


def plan_of(text: str = "") -> Plan:
    document = load_document(f"version: 1\nmetadata: {{name: p}}\n{text}".encode(), file="p")
    return compile_policy(document, base_dir="/", now_ns=None)


def study_of(text: str) -> Plan:
    document = load_document(f"version: 1\nmetadata: {{name: p}}\n{text}".encode(), file="p")
    return compile_policy(document, base_dir="/", now_ns=None, is_study=True)


def test_a_plan_names_itself():
    plan = plan_of()
    assert plan.plan_digest == plan_digest(plan)
    assert plan_digest(dataclasses.replace(plan, plan_digest="other")) == plan.plan_digest


def test_the_digest_is_the_same_on_every_machine():
    # Written once by hand; a change here changes the name of every plan in old audit logs.
    plan = dataclasses.replace(plan_of(), rules=())
    assert plan_digest(plan) == "sha256:65439a22c656fb194576bcd8a765f11b203a1069f9278cbc14db6e5eada758ad"


@pytest.mark.parametrize(
    "change",
    [
        {"name": "other"},
        {"unenforced": ("rules[0]",)},
        {"unenforced_digest": "sha256:other"},
        {"may_run": False},
        {"args": ("x",)},
        {"environment": (("A", "b"),)},
        {"denied_calls": ()},
        {"rules": ()},
    ],
)
def test_a_change_of_a_field_changes_the_digest(change):
    plan = plan_of()
    assert plan_digest(dataclasses.replace(plan, **change)) != plan.plan_digest


def test_the_text_of_the_document_is_not_in_the_digest():
    plan = plan_of()
    assert plan_digest(dataclasses.replace(plan, policy_digest="sha256:other")) == plan.plan_digest


def test_the_order_of_keys_and_remarks_change_the_document_and_not_the_plan():
    one = plan_of("permissions: {random: none, args: [a]}\nresources: {limits: {cpu: 1s, memory: 1Mi}}\n")
    same = plan_of(
        "# a remark\nresources:\n  limits: {memory: 1Mi, cpu: 1s}\npermissions:\n  args: [a]\n  random: none\n"
    )
    other = plan_of("permissions: {random: none, args: [b]}\nresources: {limits: {cpu: 1s, memory: 1Mi}}\n")
    assert one.policy_digest != same.policy_digest
    assert one.plan_digest == same.plan_digest != other.plan_digest


def test_a_change_of_the_automaton_changes_the_digest():
    plan = plan_of('permissions: {storage: {allow: [{uri: "fs:///a/**", access: [read]}]}}')
    classes = (*plan.automaton.classes, PathClass(int(Right.READ), (0,) * 7))
    automaton = dataclasses.replace(plan.automaton, classes=classes)
    assert plan_digest(dataclasses.replace(plan, automaton=automaton)) != plan.plan_digest


def test_large_numbers_stay_exact():
    limits = dataclasses.replace(plan_of().limits, fuel=2**60 + 1)
    value = as_json(limits)
    assert isinstance(value, dict)
    assert value["fuel"] == str(2**60 + 1)
    assert canonical(value)
    assert isinstance(limits, Limits)


def test_a_value_of_another_kind_is_an_error():
    with pytest.raises(TypeError):
        as_json(1.5)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("runtime: {abi: wasi-0.2}", ""),
        ("permissions: {host_functions: [{name: a/b}]}", "permissions: {host_functions: [{name: a/c}]}"),
        (
            "permissions: {environment: {allow: [{key: A, from: secret://a}]}}",
            "permissions: {environment: {allow: [{key: A, from: secret://b}]}}",
        ),
    ],
)
def test_what_a_plan_does_not_hold_counts_too(one, other):
    plans = [study_of(text) for text in (one, other, one)]
    assert plans[0].unenforced_digest.startswith("sha256:")
    assert plans[0].unenforced_digest == plans[2].unenforced_digest != plans[1].unenforced_digest
    assert plans[0].plan_digest == plans[2].plan_digest != plans[1].plan_digest


@pytest.mark.parametrize("text", ["", "permissions: {network: {tcp: [{to: a.b, ports: [1]}]}}"])
def test_what_a_plan_holds_or_enforces_is_not_digested_twice(text):
    assert study_of(text).unenforced_digest == ""


NETWORK = """permissions:
  network:
    private: allow
    tcp: [{id: a, to: a.b, ports: [1]}, {id: b, to: 10.0.0.0/8, ports: ["1-9"]}]
    dns: {names: [a.b, "*.c"]}
    http: [{id: c, url: "https://a.b", methods: [GET, POST], paths: ["/x/**", "/y"]}]
    listen: ["tcp://127.0.0.1:80"]
"""


def test_a_change_of_any_table_of_the_network_changes_the_digest():
    plan = study_of(NETWORK)
    network = plan.network
    tcp, names, paths, lookups = network.tcp, network.tcp.names, network.paths, network.lookups
    changes = [
        dataclasses.replace(network, tcp=dataclasses.replace(tcp, **each))
        for each in (
            {"starts": (*tcp.starts[:-1], tcp.starts[-1] + 1)},
            {"starts": (*tcp.starts[:-1], tcp.starts[-1] + 2**127)},
            {"zones": (*tcp.zones[:-1], tcp.zones[-1] + 1)},
            {"classes": (*tcp.classes[:-1], tcp.classes[-1] + 1)},
            {"elsewhere": tcp.elsewhere + 1},
            {"rows": (*tcp.rows, ())},
            {"rows": (*tcp.rows[:-1], (tcp.rows[-1][0]._replace(high=9_999),))},
            {"names": dataclasses.replace(names, states=(*names.states[:-1], (9, 9, 9, 9)))},
            {"names": dataclasses.replace(names, edges=((f"{names.edges[0][0]}x", 1), *names.edges[1:]))},
            {"names": dataclasses.replace(names, edges=((names.edges[0][0], 9), *names.edges[1:]))},
        )
    ]
    changes += [
        dataclasses.replace(network, paths=dataclasses.replace(paths, **each))
        for each in (
            {"states": (*paths.states, (0,) * 5)},
            {"edges": (*paths.edges, (0,) * 3)},
            {"classes": (*paths.classes, (1 << 40, (0,)))},
            {"classes": (*paths.classes, (1 << 39, (0,)))},
        )
    ]
    changes += [
        dataclasses.replace(network, lookups=dataclasses.replace(lookups, **each))
        for each in ({"rows": (*lookups.rows, ())}, {"max_queries": 7}, {"pin": False})
    ]
    digests = {plan_digest(dataclasses.replace(plan, network=each)) for each in (network, *changes)}
    assert len(digests) == len(changes) + 1
    assert plan.plan_digest == study_of(NETWORK).plan_digest
