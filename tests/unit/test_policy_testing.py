"""Tests of policies pass on the verdict of the plan and the rule behind it, and on nothing else."""

from __future__ import annotations

import pytest

from policy import Plan, compile_policy, load_document
from policy.document import PolicyTestDocument, load_any
from policy.schema_test import Case
from policy.testing import coverage, is_about, run_case


def plan(mode: str = "enforce") -> Plan:
    text = f"""version: 1
metadata: {{name: t}}
mode: {mode}
permissions:
  storage:
    allow:
      - {{id: in, uri: "fs:///srv/in/**", mount: /in, access: [read, list]}}
      - {{id: out, uri: "tmp://out", mount: /out, access: [create, write]}}
    deny: [{{id: no-keys, uri: "fs:///srv/in/**/*.key"}}]
"""
    return compile_policy(load_document(text.encode(), file="t.yaml"), base_dir="/", now_ns=None)


def case(given: str, expect: str = "allow", more: str = "") -> Case:
    text = f"""version: 1
kind: PolicyTest
metadata: {{name: tests}}
policy: t
tests:
  - {{name: one, given: {{{given}}}, expect: {expect}{more}}}
"""
    document = load_any(text.encode(), file="tests.yaml")
    assert isinstance(document, PolicyTestDocument)
    return document.model.tests[0]


@pytest.mark.parametrize(
    ("given", "expect", "more"),
    [
        ('call: path_open, uri: "fs:///srv/in/a"', "allow", ", rule: in"),
        ("call: path_open, target: /in/a, access: [read]", "allow", ""),
        ("call: path_open, target: /in/a, access: [read, write]", "deny", ", rule: default"),
        ("call: wasi_snapshot_preview1.path_open, target: /in/a.key", "deny", ", rule: no-keys"),
        ("call: path_open, target: /in/a.key", "deny", ', rule: "permissions.storage.deny"'),
        ('call: path_rename, uri: "tmp://out/a", target2: "tmp://out/b"', "deny", ""),
        ("call: fd_write, target: stdout", "allow", ""),
    ],
)
def test_a_right_expectation_passes_and_its_opposite_fails(given, expect, more):
    assert run_case(plan(), case(given, expect, more)).is_passed
    opposite = "deny" if expect == "allow" else "allow"
    assert not run_case(plan(), case(given, opposite)).is_passed


def test_the_right_verdict_by_another_rule_fails_and_says_what_decided():
    found = run_case(plan(), case("call: path_open, target: /in/a", "allow", ", rule: out"))
    assert (found.is_passed, found.found, found.rule) == (False, "allow", "in")
    assert found.steps


def test_what_is_only_audited_is_a_verdict_of_its_own():
    given = "call: path_open, target: /in/a, access: [write]"
    assert run_case(plan("audit"), case(given, "would_deny")).is_passed
    assert not run_case(plan("audit"), case(given, "deny")).is_passed


@pytest.mark.parametrize(
    "given",
    [
        "call: no_such_call",
        "call: path_open",
        'call: path_open, target: /in/a, uri: "fs:///srv/in/a"',
        "call: path_open, target: /in/a, after: [nothing]",
    ],
)
@pytest.mark.parametrize("expect", ["allow", "deny", "would_deny"])
def test_a_call_that_cannot_be_answered_never_passes(given, expect):
    found = run_case(plan(), case(given, expect))
    assert (found.is_passed, found.found) == (False, "error")
    assert found.reason


def test_coverage_counts_the_rules_of_the_document_that_decided_a_test():
    outcomes = [
        run_case(plan(), case(f"call: path_open, target: {path}")) for path in ("/in/a", "/in/b", "/x")
    ]
    found = coverage(plan(), outcomes)
    assert (found.reached, found.percent) == ((("in", 2),), 33)
    assert set(found.unreached) == {"out", "no-keys"}
    assert coverage(plan(), []).percent == 0


def test_a_test_is_about_the_modules_it_names():
    assert is_about(case("call: proc_exit"), ["x"])
    assert is_about(case("call: proc_exit, module: x"), ["x"])
    assert not is_about(case("call: proc_exit, module: y"), ["x"])
