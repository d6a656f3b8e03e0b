"""Rules that decide nothing, and how it is said why."""

from __future__ import annotations

from policy import Finding, Severity, check_policy, load_document
from policy.bundle import Bundle
from policy.document import BoundaryDocument, load_any

BOUNDARY = b"""
version: 1
kind: Boundary
metadata: {name: most}
ceiling:
  storage: {roots: ["fs:///srv/**"], access: [read, list], never: ["**/.ssh/**"]}
"""


def findings(*allow: str, rules: str = "[]", is_bounded: bool = False) -> list[Finding]:
    text = "version: 1\nmetadata: {name: p}\npermissions: {storage: {allow: [" + ", ".join(allow) + "]}}\n"
    boundary = load_any(BOUNDARY, file="b.yaml")
    assert isinstance(boundary, BoundaryDocument)
    found = check_policy(
        load_document((text + f"rules: {rules}\n").encode(), file="p.yaml"),
        base_dir="/",
        now_ns=None,
        bundle=Bundle(boundaries=(boundary,) if is_bounded else ()),
        is_study=True,
    )
    return [each for each in found if each.id in {"dead-rule", "outside-boundary"}]


def test_a_rule_that_a_boundary_kills_is_an_error_that_names_it():
    rule = '{id: a, uri: "fs:///srv/x/.ssh/id", access: [read]}'
    (found,) = findings(rule, is_bounded=True)
    assert (found.id, found.severity) == ("dead-rule", Severity.ERROR)
    assert "the boundary most never grants **/.ssh/**" in found.problem
    assert not findings(rule)


def test_a_rule_outside_a_boundary_is_told_once():
    (found,) = findings('{id: a, uri: "fs:///data/x/**", access: [read]}', is_bounded=True)
    assert (found.id, found.severity) == ("outside-boundary", Severity.ERROR)
    assert "/data/x" in found.problem
    assert not findings('{id: a, uri: "fs:///srv/x/**", access: [read]}', is_bounded=True)


def test_a_rule_that_an_earlier_one_covers_is_shadowed_by_it():
    wide = '{id: wide, uri: "fs:///srv/**", access: [read, list]}'
    narrow = '{id: narrow, uri: "fs:///srv/**", access: [read], include: ["*.c"]}'
    (found,) = findings(wide, narrow)
    assert found.severity is Severity.WARNING
    assert found.problem.startswith("dead rule: shadowed by wide")
    assert not findings(narrow, wide)


def test_a_rule_over_time_that_watches_what_is_not_granted_never_starts():
    allow = '{id: a, uri: "fs:///srv/x/**", access: [read]}'
    rule = '[{{when: {{opened: "fs:///{}/**"}}, then: {{deny: [network]}}}}]'
    (found,) = findings(allow, rules=rule.format("data"))
    assert found.problem == "dead rule: what it watches lies in no mount, so it never starts"
    assert not findings(allow, rules=rule.format("srv/x/keys"))
