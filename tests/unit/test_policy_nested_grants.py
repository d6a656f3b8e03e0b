"""Grants that lie inside one another, and what explain says of them."""

from __future__ import annotations

from policy import Plan, PolicyDocument, check_policy, compile_policy, load_document
from policy.decide import Allow, Deny, decide
from policy.plan import Right

OUTER = "{id: outer, uri: 'fs:///srv/m/**', mount: /m, access: [read, list, write]}"


def _document(inner: str, outer: str = OUTER) -> PolicyDocument:
    text = f"""version: 1
metadata: {{name: nested}}
permissions: {{storage: {{allow: [{outer}, {inner}]}}}}
"""
    return load_document(text.encode(), file="p.yaml")


def _plan(inner: str) -> Plan:
    return compile_policy(_document(inner), base_dir="/", now_ns=None)


def _ids(document: PolicyDocument) -> list[str]:
    return [finding.id for finding in check_policy(document, base_dir="/", now_ns=None)]


def test_a_narrower_grant_inside_a_wider_one_is_pointed_out() -> None:
    assert "nested-grants" in _ids(
        _document("{id: inner, uri: 'fs:///srv/m/a/**', mount: /m/a, access: [read, list]}")
    )


def test_an_equal_grant_or_one_beside_it_is_not() -> None:
    assert "nested-grants" not in _ids(
        _document("{id: inner, uri: 'fs:///srv/m/a/**', mount: /m/a, access: [write, read, list]}")
    )
    assert "nested-grants" not in _ids(
        _document("{id: inner, uri: 'fs:///srv/n/**', mount: /n, access: [read, list]}")
    )


def test_explain_knows_both_ways_to_a_file() -> None:
    plan = _plan("{id: inner, uri: 'fs:///srv/m/a/**', mount: /m/a, access: [read, list]}")
    for target in ("/m/a/x", "fs:///srv/m/a/x"):
        assert isinstance(decide(plan, "path_open", target=target, wants=Right.WRITE), Allow)
    plan = _plan("{id: inner, uri: 'fs:///srv/n/**', mount: /n, access: [read, list]}")
    assert isinstance(decide(plan, "path_open", target="/n/x", wants=Right.WRITE), Deny)


def test_a_frozen_clock_has_a_rule_to_name() -> None:
    text = "version: 1\nmetadata: {name: c}\npermissions: {clocks: {wall: 'frozen:2026-01-01T00:00:00Z'}}\n"
    plan = compile_policy(load_document(text.encode(), file="p.yaml"), base_dir="/", now_ns=None)
    named = {rule.id for rule in plan.rules}
    assert "clocks.wall" in named
    assert "clocks.monotonic" not in named
