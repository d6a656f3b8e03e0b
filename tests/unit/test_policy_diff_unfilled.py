"""Differences that show once something takes the place of a `${…}`: against every plan that then comes out."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

from policy import Plan, PolicyError, compile_policy, load_document
from policy.diff import Direction, diff
from policy.subject import ANYONE, Subject

Document = dict[str, Any]
TENANTS = ("a", "b", "globex", "secret-1")


def compiled(document: Document, tenant: str | None = None) -> Plan:
    text = json.dumps({"version": 1, "kind": "ModulePolicy", "metadata": {"name": "p"}, **document}).encode()
    subject = ANYONE if tenant is None else Subject(tenant=tenant)
    return compile_policy(
        load_document(text, file="p.yaml"), base_dir="/b", now_ns=None, is_study=True, subject=subject
    )


def storage(*allow: Document, deny: tuple[str, ...] = (), opened: str = "") -> Document:
    rules = [{"id": "later", "when": {"opened": opened}, "then": {"deny": ["storage"]}}] if opened else []
    denied = [{"id": f"d{number}", "uri": uri} for number, uri in enumerate(deny)]
    return {"permissions": {"storage": {"allow": list(allow), "deny": denied}}, "rules": rules}


def grant(name: str, uri: str, **more: object) -> Document:
    return {"id": name, "uri": uri, "access": ["read", "write"], **more}


TENANT = grant("t", "fs:///d/${tenant}/**")
GLOBEX = grant("g", "fs:///d/globex/**")

WIDER = {
    "a denial of one of them": (storage(TENANT, deny=("fs:///d/globex/**",)), storage(TENANT)),
    "an exception": (
        storage(grant("t", "fs:///d/**", include=["${tenant}/**"], exclude=["globex/**"])),
        storage(grant("t", "fs:///d/**", include=["${tenant}/**"])),
    ),
    "a rule over time": (storage(TENANT, opened="fs:///d/globex/**"), storage(TENANT)),
    "a budget": (storage(GLOBEX | {"max_bytes": "1"}, TENANT), storage(TENANT)),
    "the order of budgets": (
        storage(GLOBEX | {"max_bytes": "1"}, TENANT),
        storage(TENANT, GLOBEX | {"max_bytes": "1"}),
    ),
    "a denial that meets the text only": (
        storage(grant("x", "fs:///e/**"), deny=("fs:///d/*ten*/**",)),
        storage(grant("x", "fs:///e/**"), TENANT, deny=("fs:///d/*ten*/**",)),
    ),
    "a grant that meets the text only": (
        storage(grant("x", "fs:///d/**", mount="/m", include=["?????????/**"])),
        storage(grant("x", "fs:///d/**", mount="/m", include=["${tenant}/**"])),
    ),
}


@pytest.mark.parametrize("name", WIDER)
def test_what_may_widen_once_a_name_is_put_in_counts_as_wider(name):
    a, b = WIDER[name]
    assert any(diff(compiled(a, tenant), compiled(b, tenant)).is_wider for tenant in TENANTS)
    assert diff(compiled(a), compiled(b)).is_wider


NO_WIDER = {
    "a grant less": (storage(TENANT, GLOBEX), storage(TENANT)),
    "a denial more": (storage(TENANT), storage(TENANT, deny=("fs:///d/globex/**",))),
    "the same denial": (
        storage(TENANT, GLOBEX, deny=("fs:///d/**/.*",)),
        storage(TENANT, deny=("fs:///d/**/.*",)),
    ),
    "a budget of its own": (
        storage(TENANT, grant("o", "tmp://o", mount="/o", max_bytes="1Mi")),
        storage(TENANT),
    ),
}


@pytest.mark.parametrize("name", NO_WIDER)
def test_what_is_narrower_for_every_name_stays_narrower(name):
    a, b = NO_WIDER[name]
    found = diff(compiled(a), compiled(b))
    assert {each.direction for each in found.items} == {Direction.NARROWER}


def nn(name: str, backend: str) -> Plan:
    model = {"name": name, "digest": "sha256:" + "0" * 64, "backend": backend}
    return compiled({"permissions": {"nn": {"models": [model]}}})


@pytest.mark.parametrize("other", [("m", "pytorch"), ("n", "onnx")])
def test_a_model_under_another_name_or_backend_counts_as_wider(other):
    found = diff(nn("m", "onnx"), nn(*other))
    assert [(each.area, each.direction) for each in found.items] == [("nn", Direction.CHANGED)]
    assert not diff(nn("m", "onnx"), nn("m", "onnx")).is_wider


SEGMENTS = ("a", "globex", "${tenant}", "x-${tenant}")
GLOBS = (*SEGMENTS, "*", "*e*", "?", "?*", "g*", "*}", "x-*")


@st.composite
def documents(draw: st.DrawFn) -> Document:
    def one(number: int) -> Document:
        rule = grant(f"r{number}", f"fs:///d/{draw(st.sampled_from(SEGMENTS))}/**")
        if draw(st.booleans()):
            rule = grant(f"r{number}", "fs:///d/**", include=[f"{draw(st.sampled_from(GLOBS))}/**"])
            if draw(st.booleans()):
                rule["exclude"] = [f"{draw(st.sampled_from(GLOBS))}/**"]
        if not draw(st.integers(0, 3)):
            rule["max_bytes"] = draw(st.sampled_from(("1", "2")))
        return rule

    allow = [one(number) for number in range(draw(st.integers(1, 3)))]
    deny = draw(st.lists(st.sampled_from(GLOBS), max_size=2))
    opened = draw(st.sampled_from(("", "", *GLOBS)))
    return storage(
        *allow, deny=tuple(f"fs:///d/{glob}/**" for glob in deny), opened=opened and f"fs:///d/{opened}/**"
    )


@st.composite
def pairs(draw: st.DrawFn) -> tuple[Document, Document]:
    """Two documents, of which the second is mostly the first with something taken out."""
    first = draw(documents())
    if not draw(st.integers(0, 4)):
        return first, draw(documents())
    rules = first["permissions"]["storage"]
    allow = [rule for rule in rules["allow"] if draw(st.integers(0, 3))] or rules["allow"]
    allow = draw(st.permutations(allow))
    deny = tuple(rule["uri"] for rule in rules["deny"] if draw(st.booleans()))
    opened = first["rules"][0]["when"]["opened"] if first["rules"] and draw(st.booleans()) else ""
    return first, storage(*allow, deny=deny, opened=opened)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much]
)
@example(both=WIDER["a denial of one of them"])
@given(both=pairs())
def test_the_gate_opens_only_where_no_name_widens(both):
    try:
        plans = [compiled(each) for each in both]
        filled = [[compiled(each, tenant) for each in both] for tenant in TENANTS]
    except PolicyError:
        assume(False)
        raise
    if not diff(*plans).is_wider:
        # two mounts that become one are two budgets more: that is a change, which may be no widening
        found = [each.direction for one, other in filled for each in diff(one, other).items]
        assert Direction.WIDER not in found


def links(*rules: tuple[str, list[str], int]) -> Plan:
    return compiled(
        storage(*(grant(name, "fs:///d/**", access=access, max_files=most) for name, access, most in rules))
    )


def test_links_are_files_that_a_budget_counts():
    two = links(("r", ["create", "symlink"], 2))
    assert diff(links(("r", ["symlink"], 2)), links(("r", ["symlink"], 3))).is_wider
    assert diff(two, links(("r", ["create"], 2), ("s", ["symlink"], 2))).is_wider
    assert not diff(two, links(("s", ["symlink"], 2))).is_wider
    assert not diff(two, links(("s", ["create", "symlink"], 1))).is_wider
