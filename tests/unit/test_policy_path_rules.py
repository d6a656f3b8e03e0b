"""Paths: the compiled automaton against the naive oracle, and what removing and adding rules does."""

from __future__ import annotations

import copy
import itertools
import json
import time
from typing import Any

from hypothesis import assume, given
from hypothesis import strategies as st

from policy import Plan, PolicyError, Right, Severity, compile_policy, load_document
from policy.automaton import automaton_state, is_live, path_class
from policy.plan import RIGHTS, UNIFORM, Mount, RuleKind
from tests.oracle import opinion
from tests.strategies import NAMES, deny_rules, segments, storage_documents


def compiled(document: dict[str, Any]) -> Plan:
    text = json.dumps(document).encode()
    return compile_policy(load_document(text, file="random.yaml"), base_dir="/base", now_ns=None)


def compiled_or_skipped(document: dict[str, Any]) -> Plan:
    """A built-in deny may leave a rule dead, which is an error; everything else must compile."""
    try:
        return compiled(document)
    except PolicyError as err:
        errors = {finding.id for finding in err.findings if finding.severity is Severity.ERROR}
        assert errors == {"dead-rule"}
        assume(False)
        raise


def rights_at(plan: Plan, mount: Mount, path: list[str]) -> int:
    return path_class(plan, automaton_state(plan, mount, [part.encode() for part in path])).rights


@given(storage_documents(), st.lists(segments, min_size=1, max_size=12))
def test_the_plan_agrees_with_the_oracle(document, paths):
    plan = compiled_or_skipped(document)
    for mount in plan.mounts:
        for path in paths:
            agree(plan, document, mount, path)


def agree(plan: Plan, document: dict[str, Any], mount: Mount, path: list[str]) -> None:
    found = path_class(plan, automaton_state(plan, mount, [part.encode() for part in path]))
    for right, index in zip(RIGHTS, found.rules, strict=True):
        expected = opinion(document, mount.guest, path, str(right.name).lower())
        assert bool(found.rights & right) == expected.is_allowed, (mount.guest, path, right)
        rule = plan.rules[index]
        name = "builtin" if rule.kind is RuleKind.BUILTIN else rule.id
        assert name in expected.deciders, (mount.guest, path, right)


@given(storage_documents(), segments)
def test_flags_say_what_lies_below(document, path):
    plan = compiled_or_skipped(document)
    tails = [list(tail) for count in range(3) for tail in itertools.product(NAMES, repeat=count)]
    for mount in plan.mounts:
        state = automaton_state(plan, mount, [part.encode() for part in path])
        below = [rights_at(plan, mount, path + tail) for tail in tails]
        assert is_live(plan, state) or not any(below)
        if plan.automaton.states[state][4] & UNIFORM:
            assert len(set(below)) == 1


@given(storage_documents(), st.lists(segments, min_size=1, max_size=8), st.data())
def test_removing_an_allow_rule_never_allows_more(document, paths, data):
    plan = compiled_or_skipped(document)
    smaller = copy.deepcopy(document)
    allow = smaller["permissions"]["storage"]["allow"]
    allow.pop(data.draw(st.integers(0, len(allow) - 1)))
    less = compiled_or_skipped(smaller)
    before = {mount.guest: mount for mount in plan.mounts}
    for mount in less.mounts:
        for path in paths:
            assert rights_at(less, mount, path) & ~rights_at(plan, before[mount.guest], path) == 0


@given(storage_documents(), st.lists(segments, min_size=1, max_size=8), deny_rules(9))
def test_adding_a_deny_rule_never_allows_more(document, paths, deny):
    plan = compiled_or_skipped(document)
    wider = copy.deepcopy(document)
    wider["permissions"]["storage"]["deny"].append(deny)
    less = compiled_or_skipped(wider)
    for before, after in zip(plan.mounts, less.mounts, strict=True):
        for path in paths:
            assert rights_at(less, after, path) & ~rights_at(plan, before, path) == 0


@given(storage_documents())
def test_equal_documents_give_equal_plans(document):
    assert compiled_or_skipped(document) == compiled_or_skipped(copy.deepcopy(document))


def plan_of(*allow: dict[str, Any], deny: list[dict[str, Any]] | None = None) -> Plan:
    storage = {"allow": list(allow), "deny": deny or []}
    return compiled({"version": 1, "metadata": {"name": "p"}, "permissions": {"storage": storage}})


def test_one_rule_for_a_whole_mount_leaves_it_unsplit():
    (mount,) = plan_of({"uri": "fs:///srv/in/**", "access": ["read", "list"]}).mounts
    assert not mount.is_split


def test_a_rule_with_an_include_splits_its_mount():
    (mount,) = plan_of({"uri": "fs:///srv/in/**", "access": ["read"], "include": ["*.csv"]}).mounts
    assert mount.is_split


def test_an_include_of_everything_does_not_split_a_mount():
    (mount,) = plan_of({"uri": "fs:///srv/in/**", "access": ["read"], "include": ["**"]}).mounts
    assert not mount.is_split


def test_a_deny_elsewhere_does_not_split_a_mount():
    deny = [{"uri": "fs:///srv/other/**"}]
    (mount,) = plan_of({"uri": "fs:///srv/in/**", "access": ["read"]}, deny=deny).mounts
    assert not mount.is_split


def test_a_deny_inside_splits_a_mount():
    deny = [{"uri": "fs:///srv/**/secret"}]
    (mount,) = plan_of({"uri": "fs:///srv/in/**", "access": ["read"]}, deny=deny).mounts
    assert mount.is_split


def test_a_built_in_deny_inside_splits_a_mount():
    (mount,) = plan_of({"uri": "fs:///home/**", "access": ["read"]}).mounts
    assert mount.is_split


def test_a_mount_that_is_only_read_is_not_mutable():
    (mount,) = plan_of({"uri": "fs:///srv/in/**", "access": ["read", "list"]}).mounts
    assert not mount.is_mutable


def test_a_mount_with_one_file_to_append_to_is_mutable():
    (mount,) = plan_of({"uri": "fs:///srv/in/log", "access": ["append"]}).mounts
    assert mount.is_mutable


def test_rights_to_change_that_are_all_refused_leave_a_mount_immutable():
    deny = [{"uri": "fs:///srv/in", "access": ["write"]}]
    (mount,) = plan_of({"uri": "fs:///srv/in/**", "access": ["read", "write"]}, deny=deny).mounts
    assert not mount.is_mutable


def test_listing_leads_to_what_an_include_names_and_no_further():
    plan = plan_of({"uri": "fs:///m/**", "access": ["list", "read"], "include": ["a/*.csv"]})
    (mount,) = plan.mounts
    assert rights_at(plan, mount, []) == Right.LIST
    assert rights_at(plan, mount, ["a"]) == Right.LIST
    assert rights_at(plan, mount, ["b"]) == 0
    assert rights_at(plan, mount, ["a", "x.csv"]) == Right.LIST | Right.READ
    assert rights_at(plan, mount, ["a", "x.txt"]) == 0


def test_a_denied_directory_denies_what_is_in_it():
    plan = plan_of({"uri": "fs:///m/**", "access": ["read"]}, deny=[{"uri": "fs:///m/keys"}])
    (mount,) = plan.mounts
    assert rights_at(plan, mount, ["keys", "id"]) == 0
    assert rights_at(plan, mount, ["keyset", "id"]) == Right.READ


def test_a_rule_for_one_file_grants_nothing_beside_it():
    plan = plan_of({"uri": "fs:///m/state.json", "access": ["read", "write", "list"]})
    (mount,) = plan.mounts
    assert rights_at(plan, mount, ["state.json"]) & Right.READ
    assert rights_at(plan, mount, []) == 0
    assert rights_at(plan, mount, ["state.jso"]) == 0
    assert rights_at(plan, mount, ["state.json5"]) == 0
    assert rights_at(plan, mount, ["state.json", "x"]) == 0


def test_many_deny_rules_stay_a_small_table():
    deny = [{"uri": f"fs:///srv/**/*key{index:03d}*"} for index in range(200)]
    plan = plan_of({"uri": "fs:///srv/**", "access": ["read"]}, deny=deny)
    assert len(plan.automaton.states) < 2_000


def test_edges_are_sorted_and_do_not_overlap():
    plan = plan_of(
        {
            "uri": "fs:///srv/**",
            "access": ["read"],
            "include": ["[a-m]*/?.c", "[!b-d]x"],
            "exclude": ["**/é*"],
        }
    )
    for first, count, _, _, _ in plan.automaton.states:
        edges = plan.automaton.edges[first : first + count]
        assert all(low <= high <= 255 for low, high, _ in edges)
        assert all(one[1] < other[0] for one, other in itertools.pairwise(edges))


def test_a_thousand_rules_compile_soon():
    deny = [{"uri": f"fs:///srv/customer-{index:05d}/keys.pem"} for index in range(1_000)]
    start = time.process_time()
    plan = plan_of({"uri": "fs:///srv/**", "access": ["read"]}, deny=deny)
    assert time.process_time() - start < 5.0  # seconds of a slow core; measured: 0.5
    (mount,) = plan.mounts
    assert rights_at(plan, mount, ["customer-00999", "keys.pem"]) == 0
    assert rights_at(plan, mount, ["customer-00999", "keys.pe"]) == Right.READ
