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


def test_a_plan_names_itself():
    plan = plan_of()
    assert plan.plan_digest == plan_digest(plan)
    assert plan_digest(dataclasses.replace(plan, plan_digest="other")) == plan.plan_digest


def test_the_digest_is_the_same_on_every_machine():
    # Written once by hand; a change here changes the name of every plan in old audit logs.
    plan = dataclasses.replace(plan_of(), rules=())
    assert plan_digest(plan) == "sha256:cb73a22bd8dedde6c6d32ff83b3910f91f2e7f104c81b6d4be9b3128d8f51015"


@pytest.mark.parametrize(
    "change",
    [
        {"name": "other"},
        {"unenforced": ("rules[0]",)},
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
