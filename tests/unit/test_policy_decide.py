"""Decisions on single calls, each refusal beside a twin that is allowed."""

from __future__ import annotations

import pytest

from policy import Plan, Right, compile_policy, fixed, load_document
from policy.calls import PLACED_CALLS
from policy.decide import Allow, Deny, UnknownCallError, WouldDeny, decide, decide_module
from policy.explain import explain_decision, explain_plan
from policy.show import plan_as_json, render_plan

POLICY = """
version: 1
metadata: {name: demo}
match: {digest: ["sha256:DIGEST"], name: "demo*"}
mode: MODE
permissions:
  storage:
    allow:
      - {id: in, uri: "fs:///srv/in/**", mount: /in, access: [read, list], include: ["**/*.csv"]}
      - {id: out, uri: "tmp://out", mount: /out, access: [list, create, write, delete], max_bytes: 1k, max_files: 3}
      - {id: log, uri: "fs:///srv/log/run.log", mount: /log/run.log, access: [append]}
      - {id: both, uri: "fs:///srv/both/**", mount: /both, access: [read, create, write, delete, symlink]}
    deny:
      - {id: no-dots, uri: "fs:///srv/**/.*"}
  environment: {allow: [{key: LANG, value: C}]}
  clocks: {wall: none}
  stdio: {stdin: none}
  random: none
""".replace("DIGEST", "0" * 64)


def plan_of(mode: str = "enforce") -> Plan:
    text = POLICY.replace("MODE", mode).encode()
    return compile_policy(load_document(text, file="demo.yaml"), base_dir="/base", now_ns=None)


PLAN = plan_of()


@pytest.mark.parametrize(
    ("call", "target", "wants", "rule"),
    [
        ("path_open", "/in/a.csv", None, "in"),
        ("path_open", "/in/../in/./x//a.csv", None, "in"),
        ("path_open", "fs:///srv/in/a.csv", None, "in"),
        ("path_open", "tmp://out/a", Right.CREATE, "out"),
        ("path_open", "/out/a", Right.CREATE | Right.WRITE, "out"),
        ("path_open", "/log/run.log", Right.APPEND, "log"),
        ("path_open", "/out/a", Right.APPEND, "out"),
        ("path_filestat_get", "/in/x", None, ""),
        ("path_unlink_file", "/out/a", None, "out"),
        ("path_symlink", "/both/a", None, "both"),
        ("fd_read", "/in/a.csv", None, "in"),
        ("fd_write", "/log/run.log", None, "log"),
        ("fd_readdir", "/in", None, "in"),
        ("fd_write", "stdout", None, ""),
        ("fd_tell", None, None, ""),
        ("clock_time_get", "monotonic", None, ""),
        ("environ_get", None, None, ""),
        ("sched_yield", None, None, ""),
    ],
)
def test_what_is_allowed(call, target, wants, rule):
    decision = decide(PLAN, call, target=target, wants=wants)
    assert isinstance(decision, Allow)
    assert decision.rule_id == rule


@pytest.mark.parametrize(
    ("call", "target", "wants", "rule"),
    [
        ("path_open", "/in/a.txt", None, "default"),
        ("path_open", "/in/.a.csv", None, "no-dots"),
        ("path_open", "/in/a.csv", Right.READ | Right.WRITE, "default"),
        ("path_open", "/etc/passwd", None, "default"),
        ("path_open", "/in/../etc/passwd", None, "default"),
        ("path_open", "/inx/a.csv", None, "default"),
        ("path_open", "fs:///srv/inx/a.csv", None, "default"),
        ("path_open", "/log/run.log", Right.WRITE, "default"),
        ("path_open", "/in/" + "a" * 4096 + ".csv", None, "path-length"),
        ("path_filestat_get", "/in/.x", None, "no-dots"),
        ("path_unlink_file", "/both/.a", None, "no-dots"),
        ("path_unlink_file", "/in/a.csv", None, "default"),
        ("path_symlink", "/out/a", None, "default"),
        ("fd_read", "/out/a", None, "default"),
        ("fd_pwrite", "/log/run.log", None, "default"),
        ("fd_readdir", "/log", None, "default"),
        ("fd_read", "stdin", None, "stdio.stdin"),
        ("clock_time_get", "wall", None, "clocks.wall"),
        ("random_get", None, None, "random.none"),
        ("sock_send", None, None, "network.none"),
    ],
)
def test_what_is_refused(call, target, wants, rule):
    decision = decide(PLAN, call, target=target, wants=wants)
    assert isinstance(decision, Deny)
    assert decision.rule_id == rule
    assert decision.reason
    assert decision.hint


@pytest.mark.parametrize("call", sorted(PLACED_CALLS))
def test_a_call_that_a_place_decides_is_asked_about_as_what_it_does(call):
    open_plan = compile_policy(
        load_document(
            b"version: 1\nmetadata: {name: n}\npermissions: {network: {tcp: [{to: 192.0.2.1, ports: [1]}],"
            b" http: [{url: 'https://a.example', access: full}]}}\n",
            file="n",
        ),
        base_dir="/",
        now_ns=None,
    )
    with pytest.raises(UnknownCallError, match="ask about connect, listen, resolve or http"):
        decide(open_plan, call, target="192.0.2.1:1")
    assert isinstance(decide(open_plan, "sock_send"), Allow)
    assert isinstance(decide(PLAN, call), Deny)


def test_the_limits_of_the_network_are_explained_where_there_is_one():
    text = b"version: 1\nmetadata: {name: n}\npermissions: {network: {tcp: [{to: 192.0.2.1, ports: [1]}]}}\n"
    text += b"resources: {limits: {connections: 2, net_in: 4Mi, net_out: unlimited}}\n"
    plan = compile_policy(load_document(text, file="n"), base_dir="/", now_ns=None)
    said = "connections 2, from the network 4Mi, to the network unlimited."
    assert said in "\n".join(explain_plan(plan))
    assert "connections" not in "\n".join(explain_plan(PLAN))


def test_a_rename_needs_rights_at_both_ends():
    assert isinstance(decide(PLAN, "path_rename", target="/out/a", target2="/out/b"), Allow)
    assert isinstance(decide(PLAN, "path_rename", target="/in/a.csv", target2="/out/b"), Deny)
    assert isinstance(decide(PLAN, "path_rename", target="/out/a", target2="/in/b.csv"), Deny)


@pytest.mark.parametrize(
    ("goal", "last"),
    [("/out/b", "create: allow rules: granted by out"), ("/in/b.csv", "create: default: refused")],
)
def test_a_rename_is_explained_at_both_ends(goal, last):
    decision = decide(PLAN, "path_rename", target="/out/a", target2=goal)
    assert "delete: allow rules: granted by out" in decision.chain
    assert decision.chain[-1] == last


def test_a_rename_may_not_widen():
    decision = decide(PLAN, "path_rename", target="/out/a", target2="/both/a")
    assert isinstance(decision, Deny)
    assert decision.rule_id == fixed.NO_WIDENING
    assert isinstance(decide(PLAN, "path_rename", target="/both/a", target2="/out/a"), Allow)


def test_in_audit_mode_a_refusal_would_be_one():
    plan = plan_of("audit")
    assert isinstance(decide(plan, "path_open", target="/in/a.txt"), WouldDeny)
    assert isinstance(decide(plan, "path_open", target="/in/a.csv"), Allow)


@pytest.mark.parametrize("target", ["/in/a.csv", "/in/a.txt"])
def test_a_decision_has_no_truth_value(target):
    with pytest.raises(TypeError):
        bool(decide(PLAN, "path_open", target=target))


def test_a_clock_that_does_not_exist_is_an_error():
    with pytest.raises(UnknownCallError, match="no clock is named"):
        decide(PLAN, "clock_time_get", target="wal")
    assert isinstance(decide(PLAN, "clock_time_get"), Allow)


def test_a_call_that_does_not_exist_is_an_error():
    with pytest.raises(UnknownCallError):
        decide(PLAN, "path_opne")
    with pytest.raises(UnknownCallError):
        decide(PLAN, "path_open")
    with pytest.raises(UnknownCallError):
        decide(PLAN, "path_rename", target="/out/a")


def test_a_policy_is_for_its_modules_only():
    assert isinstance(decide_module(PLAN, digest="sha256:" + "0" * 64, name="demo.wasm"), Allow)
    assert isinstance(decide_module(PLAN, digest="sha256:" + "1" * 64, name="demo.wasm"), Deny)
    assert isinstance(decide_module(PLAN, digest="sha256:" + "0" * 64, name="other.wasm"), Deny)


def test_the_explanation_of_a_plan(golden):
    golden("policy/explain-plan.txt", "\n".join(explain_plan(PLAN)) + "\n")


def test_the_explanations_of_decisions(golden):
    asked = [
        ("path_open", "/in/a.csv", None),
        ("path_open", "/in/a.txt", None),
        ("path_open", "/in/.a.csv", Right.READ),
        ("path_open", "/etc/\x1b[31m\u202epasswd", None),
        ("sock_send", None, None),
    ]
    lines: list[str] = []
    for call, target, wants in asked:
        lines += [
            f"{call} {target!a}",
            *explain_decision(decide(PLAN, call, target=target, wants=wants)),
            "",
        ]
    golden("policy/explain-decisions.txt", "\n".join(lines))


def test_the_plan_as_text_and_as_json():
    assert PLAN.plan_digest in render_plan(PLAN)
    value = plan_as_json(PLAN)
    assert value["name"] == "demo"
    assert "seed" not in str(value["random"]).replace("is_seeded", "")
    assert isinstance(value["rules"], list)
    assert len(value["rules"]) == len(PLAN.rules)


HOME = """
version: 1
metadata: {name: home}
mode: MODE
permissions:
  storage:
    allow:
      - {id: in, uri: "fs:///srv/in/**", mount: /in, access: [read]}
      - {id: home, uri: "fs:///home/**", mount: /home, access: [read, write, create, delete]}
"""


@pytest.mark.parametrize("call", ["path_rename", "path_link"])
@pytest.mark.parametrize(
    ("mode", "goal", "found", "rule"),
    [
        ("enforce", "/home/u/x", Deny, "default"),
        ("audit", "/home/u/x", WouldDeny, "default"),
        ("enforce", "/home/u/.ssh/x", Deny, "default"),
        ("audit", "/home/u/.ssh/x", Deny, "builtin.ssh"),
        ("audit", "/elsewhere/x", Deny, "default"),
    ],
)
def test_a_refusal_that_is_only_recorded_does_not_hide_one_of_the_other_path(call, mode, goal, found, rule):
    text = HOME.replace("MODE", mode).encode()
    plan = compile_policy(load_document(text, file="home.yaml"), base_dir="/base", now_ns=None)
    decision = decide(plan, call, target="/in/a", target2=goal)
    assert isinstance(decision, found)
    assert decision.rule_id == rule


def test_the_second_path_is_asked_for_where_the_first_refusal_is_only_recorded():
    plan = compile_policy(
        load_document(HOME.replace("MODE", "audit").encode(), file="home.yaml"), base_dir="/b", now_ns=None
    )
    with pytest.raises(UnknownCallError):
        decide(plan, "path_rename", target="/in/a")
