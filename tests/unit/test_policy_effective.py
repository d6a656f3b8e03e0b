"""Documents with the baselines they extend: what is included, what replaces what, and where faults point."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policy import Plan, check_policy, compile_policy, load_document
from policy.bundle import make_bundle
from policy.effective import effective, joined_digest
from policy.plan import RuleKind
from tests.documents import baseline, compiled, findings, policy, refused


def allow(rule: str, path: str, more: str = "") -> str:
    return f'{{id: {rule}, uri: "fs:///{path}/**", access: [read]{more}}}'


def storage(*allows: str, deny: str = "") -> str:
    return f"permissions: {{storage: {{allow: [{', '.join(allows)}], deny: [{deny}]}}}}"


def ids(plan: Plan, kind: RuleKind = RuleKind.ALLOW) -> list[str]:
    return [rule.id for rule in plan.rules if rule.kind is kind and rule.field]


def test_rules_of_a_baseline_come_after_the_documents_own():
    base = baseline("base", storage(allow("theirs", "b"), deny='{id: no, uri: "fs:///a/x"}'))
    plan = compiled(policy("extends: [base]\n" + storage(allow("own", "a"))), base)
    assert ids(plan) == ["own", "theirs"]
    assert ids(plan, RuleKind.DENY) == ["no"]
    fields = {str(rule.id): rule.field for rule in plan.rules}
    assert fields["own"] == "permissions.storage.allow[0]"
    assert fields["theirs"] == "base: permissions.storage.allow[0]"


def test_the_first_rule_that_grants_is_the_documents_own():
    base = baseline("base", storage(allow("theirs", "a")))
    plan = compiled(policy("extends: [base]\n" + storage(allow("own", "a", ", max_bytes: 1k"))), base)
    deciders = {plan.rules[found.rules[0]].id for found in plan.automaton.classes if found.rights & 1}
    assert deciders == {"own"}


def test_what_a_document_sets_replaces_what_its_baseline_sets():
    base = baseline(
        "base", "resources: {limits: {cpu: 1s, memory: 1Mi}}\npermissions: {random: none, args: [a, b]}"
    )
    plan = compiled(policy("extends: [base]\nresources: {limits: {cpu: 2s}}"), base)
    assert (plan.limits.cpu_ms, plan.limits.memory_bytes, plan.args) == (2_000, 2**20, ("a", "b"))
    own = compiled(policy("extends: [base]\npermissions: {args: [c], random: real}"), base)
    assert (own.args, own.random.kind.name, own.limits.cpu_ms) == (("c",), "REAL", 1_000)


def test_a_value_set_to_its_default_is_set():
    base = baseline("base", "resources: {limits: {cpu: 1s}}")
    assert compiled(policy("extends: [base]\nresources: {limits: {cpu: 5s}}"), base).limits.cpu_ms == 5_000


def test_baselines_of_baselines_are_included_once():
    root = baseline("root", storage(allow("r", "r")))
    left = baseline("left", "extends: [root]\n" + storage(allow("l", "l")))
    right = baseline("right", "extends: [root]\n" + storage(allow("x", "x")))
    plan = compiled(policy("extends: [left, right, left]"), root, left, right)
    assert ids(plan) == ["l", "r", "x"]


def test_a_nearer_baseline_replaces_a_farther_one():
    root = baseline("root", "resources: {limits: {cpu: 1s, stack: 64Ki}}")
    near = baseline("near", "extends: [root]\nresources: {limits: {cpu: 3s}}")
    plan = compiled(policy("extends: [near]"), root, near)
    assert (plan.limits.cpu_ms, plan.limits.stack_bytes) == (3_000, 64 * 2**10)


def test_two_baselines_that_disagree_need_a_word_from_the_document():
    one, two = baseline("one", "permissions: {random: none}"), baseline("two", "permissions: {random: real}")
    (finding,) = refused(policy("extends: [one, two]"), one, two)
    assert (finding.id, finding.field) == ("conflicting-parents", "extends[1]")
    assert "one and two disagree about permissions.random" in finding.sentence
    plan = compiled(policy("extends: [one, two]\npermissions: {random: none}"), one, two)
    assert plan.random.kind.name == "NONE"
    same = baseline("two", "permissions: {random: none}")
    assert compiled(policy("extends: [one, two]"), one, same).random.kind.name == "NONE"


def test_a_variable_is_one_value():
    base = baseline("base", "permissions: {environment: {allow: [{key: A, value: b}, {key: B, value: b}]}}")
    text = "extends: [base]\npermissions: {environment: {allow: [{key: C, value: p}, {key: A, value: p}]}}"
    assert compiled(policy(text), base).environment == (("C", "p"), ("A", "p"), ("B", "b"))
    other = baseline("other", "permissions: {environment: {allow: [{key: A, value: o}]}}")
    assert [each.id for each in refused(policy("extends: [base, other]"), base, other)] == [
        "conflicting-parents"
    ]
    twice = "permissions: {environment: {allow: [{key: A, value: p}, {key: A, value: q}]}}"
    assert [each.id for each in refused(policy("extends: [base]\n" + twice), base)] == ["environment-name"]


def test_an_unknown_baseline_is_an_error_with_a_suggestion():
    (finding,) = refused(policy("extends: [base/untrustd]"), baseline("base/untrusted"))
    assert (finding.id, finding.line, finding.field) == ("unknown-baseline", 3, "extends[0]")
    assert 'did you mean "base/untrusted"?' in finding.sentence
    (finding,) = refused(policy("extends: [x]"))
    assert "no baselines were given" in finding.sentence


def test_a_circle_is_an_error_where_it_closes():
    one, two = baseline("one", "extends: [two]"), baseline("two", "extends: [one]")
    (finding,) = refused(policy("extends: [one]"), one, two)
    assert (finding.id, finding.file, finding.field) == ("extends-cycle", "two.yaml", "extends[0]")
    assert "p -> one -> two -> one" in finding.problem
    (own,) = refused(policy("extends: [self]"), baseline("self", "extends: [self]"))
    assert own.id == "extends-cycle"


def test_a_policy_is_no_baseline():
    other = policy(name="other")
    (finding,) = refused(policy("extends: [other]"), other)
    assert finding.id == "unknown-baseline"


def test_a_relative_path_in_a_baseline_is_an_error_in_its_file():
    relative = '{id: r, uri: "fs:./r/**", access: [read]}'
    base = baseline("base", storage(relative, deny='{uri: "fs:./x"}'))
    found = refused(policy("extends: [base]"), base)
    assert {(each.id, each.file) for each in found} == {("relative-baseline", "base.yaml")}
    assert len(found) == 2
    assert {each.id for each in findings(base)} == {"relative-baseline"}
    compiled(policy(storage(relative)))


def test_faults_of_a_baseline_point_into_its_file():
    base = baseline("base", "\n" + storage(allow("a", "proc/self")))
    (finding,) = refused(policy("extends: [base]\n" + storage(allow("b", "b"))), base)
    assert (finding.id, finding.file, finding.line) == ("dead-rule", "base.yaml", 5)
    assert finding.field == "permissions.storage.allow[0].uri"
    (own,) = refused(policy("extends: [base]\n" + storage(allow("b", "proc/self"))), baseline("base"))
    assert (own.file, own.line, own.field) == ("p.yaml", 4, "permissions.storage.allow[0].uri")


def test_the_same_id_in_two_documents_is_an_error():
    base = baseline("base", storage(allow("a", "a")))
    (finding,) = refused(policy("extends: [base]\n" + storage(allow("a", "b"))), base)
    assert (finding.id, finding.file) == ("duplicate-id", "base.yaml")
    compiled(policy("extends: [base]\n" + storage(allow("b", "b"))), base)


def test_an_expired_baseline_is_as_good_as_an_expired_policy():
    text = "version: 1\nkind: Baseline\nmetadata: {name: base, expires: 1970-01-01T00:00:10Z}\n"
    base = load_document(text.encode(), file="base.yaml")
    compiled(policy("extends: [base]"), base, now_ns=10**9)
    (finding,) = refused(policy("extends: [base]"), base, now_ns=10**10)
    assert (finding.id, finding.file) == ("expired", "base.yaml")


def test_a_baseline_is_not_run_but_can_be_studied():
    base = baseline("base", storage(allow("a", "a")))
    (finding,) = refused(base)
    assert finding.id == "wrong-kind"
    plan = compiled(base, is_study=True)
    assert (ids(plan), plan.may_run) == (["a"], False)
    assert findings(base) == ()


def test_the_digest_covers_every_document_in_any_order():
    one, two = baseline("one"), baseline("two")
    alone = policy("extends: []")
    assert compiled(alone, one).policy_digest == alone.digest
    document, turned = policy("extends: [one, two]"), policy("extends: [two, one]")
    plan = compiled(document, one, two)
    assert plan.policy_digest == joined_digest([two.digest, document.digest, one.digest])
    assert plan.policy_digest == compiled(document, two, one).policy_digest
    assert plan.policy_digest != compiled(turned, one, two).policy_digest
    changed = baseline("two", "# a remark")
    assert plan.policy_digest != compiled(document, one, changed).policy_digest
    assert plan.plan_digest == compiled(document, one, changed).plan_digest


def test_a_document_that_extends_nothing_is_returned_as_it_is():
    document = policy(storage(allow("a", "a")))
    assert effective(document, make_bundle([baseline("b")])).document is document


# --- one baseline means the same as one long document -----------------------------------------------------------

NAMES = st.sampled_from("abcdef")
RULES = st.lists(NAMES, unique=True, max_size=3)
LIMITS = st.dictionaries(st.sampled_from(["cpu", "timeout", "compile"]), st.sampled_from(["1s", "2s"]))
BODIES = st.fixed_dictionaries(
    {"allow": RULES, "deny": RULES, "limits": LIMITS, "env": st.dictionaries(NAMES, NAMES, max_size=2)},
    optional={"random": st.sampled_from(["real", "none"]), "args": st.lists(NAMES, max_size=2)},
)


def body_of(found: dict[str, Any], prefix: str) -> dict[str, Any]:
    permissions = {
        "storage": {
            "allow": [
                {"id": f"{prefix}-{name}", "uri": f"fs:///{prefix}/{name}/**", "access": ["read"]}
                for name in found["allow"]
            ],
            "deny": [{"id": f"{prefix}-no-{name}", "uri": f"fs:///**/{name}"} for name in found["deny"]],
        },
        "environment": {"allow": [{"key": key, "value": value} for key, value in found["env"].items()]},
    } | {key: found[key] for key in ("random", "args") if key in found}
    return {"version": 1, "permissions": permissions, "resources": {"limits": found["limits"]}}


def joined(own: dict[str, Any], base: dict[str, Any]) -> dict[str, Any]:
    one, other = own["permissions"], base["permissions"]
    variables = {each["key"]: each for each in one["environment"]["allow"]}
    storage_of = {key: one["storage"][key] + other["storage"][key] for key in ("allow", "deny")}
    environment = one["environment"]["allow"] + [
        each for each in other["environment"]["allow"] if each["key"] not in variables
    ]
    permissions = other | one | {"storage": storage_of, "environment": {"allow": environment}}
    limits = base["resources"]["limits"] | own["resources"]["limits"]
    return {"version": 1, "permissions": permissions, "resources": {"limits": limits}}


def content(plan: Plan) -> Plan:
    rules = tuple(dataclasses.replace(rule, field="", hint="") for rule in plan.rules)
    return dataclasses.replace(plan, policy_digest="", plan_digest="", rules=rules)


@given(BODIES, BODIES)
def test_to_extend_one_baseline_is_to_write_it_behind_the_document(one, other):
    own, base = body_of(one, "own"), body_of(other, "base")
    metadata = {"metadata": {"name": "p"}}
    whole = load_document(json.dumps(joined(own, base) | metadata).encode(), file="p")
    named = {"kind": "Baseline", "metadata": {"name": "base"}}
    parent = load_document(json.dumps(base | named).encode(), file="base")
    document = load_document(json.dumps(own | metadata | {"extends": ["base"]}).encode(), file="p")
    bundle = make_bundle([parent])
    plan = compile_policy(document, base_dir="/", now_ns=None, bundle=bundle)
    assert content(plan) == content(compile_policy(whole, base_dir="/", now_ns=None))
    assert len(check_policy(document, base_dir="/", now_ns=None, bundle=bundle)) == len(
        check_policy(whole, base_dir="/", now_ns=None)
    )


@pytest.mark.parametrize("key", ["audit", "runtime"])
def test_sections_of_a_run_are_merged_by_value(key):
    texts = {"audit": ("{sync: all}", "{retain: 1d}"), "runtime": ("{engine: pulley}", "{cache: false}")}
    own, theirs = texts[key]
    plan = compiled(policy(f"extends: [base]\n{key}: {own}"), baseline("base", f"{key}: {theirs}"))
    whole = compiled(policy(f"{key}: {own[:-1]}, {theirs[1:]}"))
    assert content(plan) == content(whole)


def test_rules_are_counted_with_those_of_the_baselines(monkeypatch):
    names = [f"a{number}" for number in range(11)]
    listed = "permissions: {network: {listen: [%s]}}"
    parents = [
        baseline(name, listed % ", ".join(f"tcp://127.0.0.{index}:{port}" for port in range(1, 2_001)))
        for index, name in enumerate(names)
    ]
    (finding,) = refused(policy(f"extends: [{', '.join(names)}]"), *parents)
    assert (finding.id, finding.field) == ("too-many-rules", "permissions.network.listen")
    fewer = findings(policy(f"extends: [{names[0]}]"), parents[0], is_study=True)
    assert fewer == ()
