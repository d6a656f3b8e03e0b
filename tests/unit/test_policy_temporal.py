"""Rules over time: what a document may say, and what a plan holds of it."""

from __future__ import annotations

import pytest

from policy import PolicyError, Right, compile_policy, load_document
from policy.explain import explain_plan
from policy.path_rules import ALL_RIGHTS
from policy.plan import RuleKind
from policy.plan_temporal import Reach, TemporalRule, Trigger
from policy.show import plan_as_json
from policy.temporal import OverTime, is_enforced, not_enforced, resolve_temporal


def rules_of(*rules: str) -> OverTime:
    text = "version: 1\nmetadata: {name: p}\nrules:\n" + "".join(f"  - {rule}\n" for rule in rules)
    return resolve_temporal(load_document(text.encode(), file="p.yaml"))


def one(rule: str) -> TemporalRule:
    (found,) = rules_of(rule).compiled(7)
    return found


def test_opening_a_file_can_take_the_network_away():
    found = one(
        '{id: k, when: {opened: "fs:///keys/**"}, then: {deny: [network.tcp, network.dns], for: run}}'
    )
    assert found == TemporalRule(7, Trigger.OPENED, "storage", 0, 0, 0, Reach.TCP | Reach.DNS, False, "")


def test_a_budget_of_bytes_can_take_everything_away_and_raise_a_finding():
    found = one(
        '{when: {bytes_out: {to: "*", over: 8Mi, window: 1h}}, then: {deny: [network, storage, nn], raise: finding/high}}'
    )
    reach = Reach.TCP | Reach.UDP | Reach.HTTP | Reach.DNS | Reach.LISTEN
    assert found == TemporalRule(
        7, Trigger.BYTES_OUT, "*", 8 * 2**20, 3_600_000, int(ALL_RIGHTS), reach, True, "high"
    )


def test_bytes_that_come_in_and_calls_are_counted_too():
    came = one("{when: {bytes_in: {from: API.example, over: 1k}}, then: {raise: finding/low}}")
    assert (came.trigger, came.watches, came.over, came.rights) == (Trigger.BYTES_IN, "api.example", 1000, 0)
    calls = one(
        '{when: {calls: {to: "tmp://out", over: 100}}, then: {deny: [storage.write, storage.create]}}'
    )
    assert (calls.trigger, calls.watches, calls.over) == (Trigger.CALLS, "storage", 100)
    assert calls.rights == Right.WRITE | Right.CREATE


def test_rules_that_watch_paths_come_first_and_their_place_is_their_bit():
    found = rules_of(
        '{id: a, when: {calls: {to: "*", over: 1}}, then: {deny: [network]}}',
        '{id: b, when: {opened: "fs:///x"}, then: {deny: [nn]}}',
        '{id: c, when: {opened: "fs:./y/**"}, then: {deny: [nn]}}',
    )
    assert [each.id for each in found.rules] == ["b", "c", "a"]
    assert [each.rule for each in found.compiled(5)] == [5, 6, 7]
    watches = found.watches("/base", 5)
    assert [(each.index, each.bit) for each in watches] == [(5, 0), (6, 1)]
    assert len(watches[1].glob) == 3


def test_a_rule_says_what_it_does_from_when_on():
    (rule,) = rules_of(
        '{id: k, when: {opened: "fs:///keys/**"}, then: {deny: [network], raise: finding/low}}'
    ).rules
    assert rule.rule().kind is RuleKind.TEMPORAL
    assert rule.rule().summary == (
        "refuses network for the rest of the run and raises a finding of severity low, once fs:///keys/** or something below was opened"
    )
    assert rule.rule().field == "rules[0]"


def test_an_id_that_is_not_given_is_made_of_what_the_rule_says():
    same = [
        rules_of(f'{{when: {{opened: "fs:///x"}}, then: {{deny: [{denied}]}}}}').rules[0].id
        for denied in ("nn, network", "network, nn", "network")
    ]
    assert same[0] == same[1]
    assert same[0] != same[2]


def test_no_more_rules_may_watch_paths_than_a_plan_has_bits_for():
    rule = '{{when: {{opened: "fs:///x{}"}}, then: {{deny: [nn]}}}}'
    assert not rules_of(*(rule.format(index) for index in range(32))).findings
    (finding,) = rules_of(*(rule.format(index) for index in range(33))).findings
    assert finding.id == "too-many-rules"
    assert finding.field == "rules[32]"


@pytest.mark.parametrize(
    ("rule", "missing"),
    [
        ('{when: {opened: "fs:///x"}, then: {deny: [storage, network, nn]}}', ()),
        ('{when: {opened: "tmp://x"}, then: {deny: [storage.write]}}', ()),
        ('{when: {bytes_in: {from: "fs:///x", over: 1k}}, then: {deny: [network]}}', ()),
        ('{when: {bytes_out: {to: "fs:///x", over: 1k, window: run}}, then: {deny: [storage]}}', ()),
        ('{when: {calls: {to: "fs:///x", over: 1}}, then: {deny: [storage]}}', ()),
        (
            '{when: {calls: {to: "fs:///x", over: 1, window: 1h}}, then: {deny: [storage]}}',
            ("with a window shorter than the run",),
        ),
        (
            '{when: {opened: "fs:///x"}, then: {deny: [storage], raise: finding/low}}',
            ("that raises a finding",),
        ),
        (
            '{when: {bytes_out: {to: "*", over: 1, window: 1s}}, then: {raise: finding/high}}',
            ("that watches the network", "with a window shorter than the run", "that raises a finding"),
        ),
    ],
)
def test_a_rule_is_enforced_when_it_watches_paths_the_whole_run_and_raises_nothing(rule, missing):
    assert not_enforced(one(rule)) == missing
    assert is_enforced(one(rule)) == (not missing)


def test_what_is_not_enforced_of_a_rule_is_named():
    text = (
        "version: 1\nmetadata: {name: p}\nrules:\n"
        '  - {id: a, when: {opened: "fs:///x"}, then: {deny: [network]}}\n'
        '  - {id: b, when: {calls: {to: "*", over: 1}}, then: {deny: [network]}}\n'
    )
    with pytest.raises(PolicyError) as caught:
        compile_policy(load_document(text.encode(), file="p.yaml"), base_dir="/", now_ns=None)
    (found,) = [each for each in caught.value.findings if each.id == "not-enforceable-yet"]
    assert (found.field, found.problem) == (
        "rules[1]",
        "not enforceable yet: a rule over time that watches the network",
    )


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("{when: {}, then: {deny: [nn]}}", "exactly one of"),
        ('{when: {opened: "fs:///x", calls: {to: "*", over: 1}}, then: {deny: [nn]}}', "exactly one of"),
        ('{when: {opened: "fs:///x"}, then: {}}', "deny, raise, or both"),
        ('{when: {opened: "/x"}, then: {deny: [nn]}}', "fs:///x"),
        ('{when: {opened: "fs:///x"}, then: {deny: [storge]}}', "storage"),
        ('{when: {opened: "fs:///x"}, then: {deny: [nn], for: 1h}}', "run"),
        ('{when: {opened: "fs:///x"}, then: {deny: [nn], raise: high}}', "finding/high"),
        ('{when: {bytes_out: {to: "http://x", over: 1}}, then: {deny: [nn]}}', "fs:///"),
        ('{when: {bytes_out: {to: "a b", over: 1}}, then: {deny: [nn]}}', "a host such as"),
        ("{when: {calls: {to: Storage, over: 1}}, then: {deny: [nn]}}", "a host such as"),
        ('{when: {bytes_out: {to: "*", over: unlimited}}, then: {deny: [nn]}}', "starts nothing"),
        ('{when: {bytes_in: {to: "*", over: 1}}, then: {deny: [nn]}}', "from"),
        ('{when: {bytes_in: {from: "*", over: 1, window: 3}}, then: {deny: [nn]}}', "3s"),
        ('{when: {bytes_in: {from: "*", over: 1, window: 5us}}, then: {deny: [nn]}}', "milliseconds"),
        ('{when: {calls: {to: "*", over: -1}}, then: {deny: [nn]}}', "over"),
    ],
)  # fmt: skip
def test_what_a_rule_over_time_may_not_say(rule, expected):
    with pytest.raises(PolicyError, match=expected):
        rules_of(rule)


def test_a_plan_shows_its_rules_over_time_and_says_them():
    text = b"""
version: 1
metadata: {name: p}
permissions: {storage: {allow: [{id: all, uri: "fs:///srv/**", access: [read]}]}}
rules: [{id: k, when: {opened: "fs:///srv/keys/**"}, then: {deny: [storage.read, network.tcp], raise: finding/high}}]
"""
    plan = compile_policy(load_document(text, file="p.yaml"), base_dir="/", now_ns=None, is_study=True)
    assert plan_as_json(plan)["temporal"] == [
        {
            "rule": "k",
            "trigger": "opened",
            "watches": "storage",
            "over": 0,
            "window_ms": 0,
            "rights": ["read"],
            "reach": ["tcp"],
            "denies_nn": False,
            "severity": "high",
        }
    ]
    lines = explain_plan(plan)
    assert any(line.startswith("Rule k refuses storage.read, network.tcp for the rest") for line in lines)
    assert "This version does not enforce: rules[0]." in lines
    (mount,) = plan.mounts
    assert mount.is_split
