"""A module's imports beside a policy's grants, and beside those of an older version."""

from __future__ import annotations

import pytest

from policy import Plan, compile_policy, load_document
from policy.calls import CALLS, MODULE
from policy.plan import RIGHTS, Right
from policy.reconcile import idle, lacking, versions
from policy.tighten import own_rules

EVERYTHING = frozenset(call.name for call in CALLS)


def plan_and_rights(text: str) -> tuple[Plan, dict[str, Right]]:
    document = load_document(b"version: 1\nmetadata: {name: t}\n" + text.encode(), file="t")
    plan = compile_policy(document, base_dir="/", now_ns=None)
    return plan, {rule: rights for rule, (_, rights) in own_rules(document, plan).items()}


def granting(access: str, more: str = "") -> str:
    return (
        "permissions:\n  storage:\n    allow:\n"
        f'      - {{id: d, uri: "fs:///srv/**", mount: /d, access: [{access}]}}\n{more}'
    )


def test_an_import_is_lacking_exactly_where_the_policy_gives_nothing():
    plan, _ = plan_and_rights(granting("read", "  random: none\n  clocks: {wall: none}\n"))
    found = {each.name: each.capability for each in lacking(EVERYTHING, plan)}
    assert found["random_get"] == "random"
    assert found["clock_time_get"] == "clocks"
    assert found["environ_get"] == "environment"
    assert found["sock_send"] == "network"
    assert found["path_unlink_file"] == "storage"
    assert "path_open" not in found
    assert [each.name for each in lacking({"random_get"}, plan)] == ["random_get"]
    more, _ = plan_and_rights(granting("read, delete", "  environment: {allow: [{key: A, value: b}]}\n"))
    left = {each.name for each in lacking(EVERYTHING, more)}
    assert not left & {"random_get", "clock_time_get", "environ_get", "path_unlink_file"}


@pytest.mark.parametrize("right", RIGHTS)
def test_a_right_is_idle_exactly_without_an_import_that_can_use_it(right):
    plan, rights = plan_and_rights(granting(str(right.name).lower()))
    fields = [each.field for each in idle(EVERYTHING, plan, rights)]
    assert "permissions.storage.allow[0].access" not in fields
    (found,) = [each for each in idle(set(), plan, rights) if "storage" in each.field]
    for name in found.needs:
        names = {name} if name.startswith("path_") else {name, "path_open"}
        still = [each.field for each in idle(names, plan, rights)]
        assert "permissions.storage.allow[0].access" not in still


def test_settings_without_an_import_are_idle():
    text = granting(
        "read", "  args: [x]\n  environment: {allow: [{key: A, value: b}]}\n  stdio: {stdin: caller}\n"
    )
    plan, rights = plan_and_rights(text)
    fields = {each.field.removeprefix("permissions.") for each in idle({"path_open"}, plan, rights)}
    assert {"args", "environment.allow", "stdio.stdin", "random", "clocks.wall", "clocks.monotonic"} <= fields
    assert not [each for each in idle(EVERYTHING, plan, rights) if "storage" not in each.field]


def test_two_versions_differ_in_what_they_can_ask_for():
    old = [(MODULE, "fd_write"), (MODULE, "path_open")]
    new = [(MODULE, "fd_write"), (MODULE, "sock_send"), ("env", "now")]
    found = versions(old, new)
    assert [(each.name, each.meaning) for each in found.added] == [
        ("env.now", "outside WASI"),
        ("sock_send", "network"),
    ]
    assert [each.name for each in found.removed] == ["path_open"]
    assert found.needs_more
    assert found.new_capabilities == ("network", "outside WASI")
    assert not versions(new, new).needs_more
