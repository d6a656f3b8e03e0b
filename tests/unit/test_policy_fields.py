"""Every field of a document does something: with another value a verdict changes, or the document is refused.

The fields are taken from the schema, so a new one fails here until somebody says what it does. What random
documents must satisfy is in `test_policy_properties.py`.
"""

from __future__ import annotations

import copy
import json
from dataclasses import dataclass, field
from typing import Any, get_args

import pytest
from pydantic import BaseModel

from policy import Plan, PolicyError, compile_policy
from policy.bundle import make_bundle
from policy.decide import decide_module
from policy.decisions import Allow
from policy.diff import diff
from policy.document import AnyDocument, PolicyDocument, load_any
from policy.schema import BaselineModel, PolicyModel
from policy.schema_boundary import BoundaryModel

Document = dict[str, Any]

NOW = 1_800_000_000_000_000_000  # in 2027
ONE, OTHER = (f"sha256:{char * 64}" for char in "01")
EXTENDED = {
    "version": 1, "kind": "Baseline", "metadata": {"name": "base"},
    "permissions": {"storage": {"deny": [{"id": "base-deny", "uri": "fs:///srv/in/base/**"}]}},
}  # fmt: skip

POLICY: Document = {
    "version": 1,
    "metadata": {"name": "p"},
    "permissions": {
        "storage": {
            "allow": [
                {"id": "tree", "uri": "fs:///srv/in/**", "access": ["read", "list", "write", "create"]}
            ],
            "deny": [{"id": "no", "uri": "fs:///srv/in/no/**"}],
        },
        "network": {
            "tcp": [{"id": "tcp", "to": "*.example", "ports": [443]}],
            "udp": [{"id": "udp", "to": "*.example", "ports": [53]}],
            "deny": [{"id": "never", "to": "no.example"}, {"id": "refuse", "url": "https://api.example"}],
            "dns": {"names": ["*.example"]},
            "http": [{"id": "http", "url": "https://*.example", "methods": ["GET", "POST"]}],
        },
        "environment": {"allow": [{"key": "A", "value": "1"}]},
        "nn": {"models": [{"name": "m", "digest": ONE, "backend": "onnx"}]},
        "host_functions": [{"name": "a/b"}],
    },
    "rules": [
        {"id": "later", "when": {"opened": "fs:///srv/in/keys/**"}, "then": {"deny": ["storage.write"]}}
    ],
    "resources": {"limits": {}},
    "runtime": {},
    "audit": {"rules": [{"call": "fd_*", "level": "counts"}]},
}
"""A policy in which each section has something that another value can change."""

BOUNDARY: Document = {
    "version": 1,
    "kind": "Boundary",
    "metadata": {"name": "c"},
    "ceiling": {
        "storage": {"roots": ["fs:///**"], "access": ["read", "list", "write", "create"]},
        "network": {"schemes": ["tcp", "udp", "https"], "ports": ["*"], "private": "allow-listed"},
        "limits": {},
        "require": {},
    },
    "change_control": {"break_glass": {}},
    "anchors": [{"kind": "file", "path": "/a", "every": "1000"}],
}

ABSENT = object()


@dataclass(frozen=True)
class Flip:
    """Two values of one field, and what stands beside it while it is tried."""

    one: Any
    other: Any
    beside: Document = field(default_factory=dict)  # places in the policy, with what stands there


def when(start: Document) -> Document:
    return {"rules[].when": start}


BYTES_IN: Document = {"bytes_in": {"from": "*.example", "over": "1k"}}
BYTES_OUT: Document = {"bytes_out": {"to": "*.example", "over": "1k"}}
CALLS: Document = {"calls": {"to": "*.example", "over": "10"}}
SECRET = {"from": "secret://a", "as": "header:Authorization"}

FLIPS: dict[str, Flip] = {
    "version": Flip(1, 2),
    "kind": Flip("ModulePolicy", "PolicyTest"),
    "metadata.name": Flip("p", "not a name"),
    "metadata.labels": Flip({}, {"trust": "untrusted"}, {"match": {"name": ["m"]}}),
    "metadata.expires": Flip("2030-01-01T00:00:00Z", "2020-01-01T00:00:00Z"),
    "match.digest": Flip([ONE], [OTHER]),
    "match.name": Flip(["m"], ["n"]),
    "match.tenant": Flip(["acme"], ["globex"]),
    "match.signer": Flip(["key:a"], ["key:b"]),
    "extends": Flip([], ["base"]),
    "mode": Flip("enforce", "audit"),
    "permissions.storage.allow[].uri": Flip("fs:///srv/in/**", "fs:///srv/out/**"),
    "permissions.storage.allow[].mount": Flip("/a", "/b"),
    "permissions.storage.allow[].access": Flip(["read"], ["list"]),
    "permissions.storage.allow[].include": Flip([], ["*.csv"]),
    "permissions.storage.allow[].exclude": Flip([], ["*.csv"]),
    "permissions.storage.allow[].max_bytes": Flip("1k", "2k"),
    "permissions.storage.allow[].max_files": Flip("1", "2"),
    "permissions.storage.deny[].uri": Flip("fs:///srv/in/no/**", "fs:///srv/in/other/**"),
    "permissions.storage.deny[].access": Flip(["read"], ["write"]),
    "permissions.network.tcp[].to": Flip("a.example", "b.example"),
    "permissions.network.tcp[].ports": Flip([443], [444]),
    "permissions.network.tcp[].private": Flip("deny", "allow"),
    "permissions.network.tcp[].i_understand": Flip(
        ABSENT, "any-destination", {"permissions.network.tcp[].to": "*"}
    ),
    "permissions.network.udp[].to": Flip("a.example", "b.example"),
    "permissions.network.udp[].ports": Flip([443], [444]),
    "permissions.network.udp[].private": Flip("deny", "allow"),
    "permissions.network.udp[].i_understand": Flip(
        ABSENT, "any-destination", {"permissions.network.udp[].to": "*"}
    ),
    "permissions.network.deny[].to": Flip("a.example", "b.example"),
    "permissions.network.deny[].ports": Flip([], [443]),
    "permissions.network.deny[].url": Flip(
        "https://a.example", "https://b.example", {"permissions.network.deny": [{"id": "x"}]}
    ),
    "permissions.network.deny[].methods": Flip(
        ["GET"], ["POST"], {"permissions.network.deny": [{"id": "x", "url": "https://a.example"}]}
    ),
    "permissions.network.deny[].paths": Flip(
        ["/a"], ["/b"], {"permissions.network.deny": [{"id": "x", "url": "https://a.example"}]}
    ),
    "permissions.network.dns.names": Flip(["a.example"], ["b.example"]),
    "permissions.network.dns.max_queries": Flip("1", "2"),
    "permissions.network.dns.pin": Flip(True, False),
    "permissions.network.dns.i_understand": Flip(
        ABSENT, "any-destination", {"permissions.network.dns.names": ["*"]}
    ),
    "permissions.network.http[].url": Flip("https://a.example", "https://b.example"),
    "permissions.network.http[].access": Flip(
        "read-only", "full", {"permissions.network.http[].methods": ABSENT}
    ),
    "permissions.network.http[].methods": Flip(["GET"], ["POST"]),
    "permissions.network.http[].paths": Flip(["/a"], ["/b"]),
    "permissions.network.http[].headers.deny": Flip(
        [], ["Cookie"], {"permissions.network.http[].headers": {}}
    ),
    "permissions.network.http[].max_request_bytes": Flip("1", "2"),
    "permissions.network.http[].max_response_bytes": Flip("1", "2"),
    "permissions.network.http[].redirects": Flip("recheck", "refuse"),
    "permissions.network.http[].credential.from": Flip(
        "secret://a", "secret://b", {"permissions.network.http[].credential": SECRET}
    ),
    "permissions.network.http[].credential.as": Flip(
        "header:A", "header:B", {"permissions.network.http[].credential": SECRET}
    ),
    "permissions.network.http[].i_understand": Flip(
        ABSENT, "any-destination", {"permissions.network.http[].url": "https://*"}
    ),
    "permissions.network.listen": Flip(["tcp://127.0.0.1:80"], ["tcp://127.0.0.1:81"]),
    "permissions.network.private": Flip("deny", "allow", {"permissions.network.tcp[].to": "10.0.0.0/7"}),
    "permissions.environment.allow[].key": Flip("A", "B"),
    "permissions.environment.allow[].value": Flip("1", "2"),
    "permissions.environment.allow[].from": Flip(
        "secret://a", "secret://b", {"permissions.environment.allow[].value": ABSENT}
    ),
    "permissions.args": Flip(["a"], ["b"]),
    "permissions.extra_args": Flip(True, False),
    "permissions.stdio.stdin": Flip("none", "caller"),
    "permissions.stdio.stdout": Flip("capture", "none"),
    "permissions.stdio.stderr": Flip("capture", "none"),
    "permissions.clocks.wall": Flip("real", "none"),
    "permissions.clocks.monotonic": Flip("frozen:1s", "frozen:2s"),
    "permissions.clocks.resolution": Flip("1us", "1ms"),
    "permissions.random": Flip("seeded:00", "seeded:01"),
    "permissions.nn.models[].name": Flip("a", "b"),
    "permissions.nn.models[].digest": Flip(ONE, OTHER),
    "permissions.nn.models[].backend": Flip("onnx", "openvino"),
    "permissions.nn.max_calls": Flip("1", "2"),
    "permissions.nn.max_tensor_bytes": Flip("1", "2"),
    "permissions.host_functions[].name": Flip("a/b", "a/c"),
    "permissions.host_functions[].args": Flip([], ["1"]),
    "rules[].when.opened": Flip("fs:///srv/in/keys/**", "fs:///srv/in/other/**"),
    "rules[].when.bytes_in.from": Flip("*", "a.example", when(BYTES_IN)),
    "rules[].when.bytes_in.over": Flip("1k", "2k", when(BYTES_IN)),
    "rules[].when.bytes_in.window": Flip("1s", "run", when(BYTES_IN)),
    "rules[].when.bytes_out.to": Flip("*", "a.example", when(BYTES_OUT)),
    "rules[].when.bytes_out.over": Flip("1k", "2k", when(BYTES_OUT)),
    "rules[].when.bytes_out.window": Flip("1s", "run", when(BYTES_OUT)),
    "rules[].when.calls.to": Flip("*", "a.example", when(CALLS)),
    "rules[].when.calls.over": Flip("1", "2", when(CALLS)),
    "rules[].when.calls.window": Flip("1s", "run", when(CALLS)),
    "rules[].then.deny": Flip(["storage.write"], ["storage.read"]),
    "rules[].then.for": Flip("run", "1h"),
    "rules[].then.raise": Flip("finding/low", "finding/high"),
    "resources.limits.memory": Flip("1Mi", "2Mi"),
    "resources.limits.cpu": Flip("1s", "2s"),
    "resources.limits.timeout": Flip("1s", "2s"),
    "resources.limits.fuel": Flip("1k", "2k"),
    "resources.limits.module": Flip("1Mi", "2Mi"),
    "resources.limits.compile": Flip("1s", "2s"),
    "resources.limits.stack": Flip("64Ki", "128Ki"),
    "resources.limits.tables": Flip("1", "2"),
    "resources.limits.table_elements": Flip("1", "2"),
    "resources.limits.instances": Flip("1", "2"),
    "resources.limits.memories": Flip("1", "2"),
    "resources.limits.stdout": Flip("1", "2"),
    "resources.limits.stderr": Flip("1", "2"),
    "resources.limits.disk": Flip("1", "2"),
    "resources.limits.files": Flip("1", "2"),
    "resources.limits.open_files": Flip("8", "9"),
    "resources.limits.connections": Flip("1", "2"),
    "resources.limits.net_in": Flip("1", "2"),
    "resources.limits.net_out": Flip("1", "2"),
    "resources.limits.host_calls": Flip("1", "2"),
    "runtime.abi": Flip("auto", "wasi-0.2"),
    "runtime.engine": Flip("cranelift", "pulley"),
    "runtime.isolation": Flip("confined", "process"),
    "runtime.require_walls": Flip(["landlock"], ["seccomp"]),
    "runtime.deterministic": Flip(False, True),
    "runtime.cache": Flip(True, False),
    "audit.level": Flip("summary", "counts"),
    "audit.payload": Flip("digest", "full", {"audit.rules": []}),
    "audit.mask": Flip(["json:/a"], ["json:/b"]),
    "audit.sync": Flip("deny", "all"),
    "audit.on_full": Flip("kill", "block:1s"),
    "audit.timestamps": Flip("auto", "exact"),
    "audit.retain": Flip("1d", "2d"),
    "audit.rules[].call": Flip("fd_*", "path_*"),
    "audit.rules[].level": Flip("counts", "summary"),
    "audit.rules[].payload": Flip("full", "digest", {"audit.rules[].level": "calls"}),
}
"""For each field of a policy two values that make a difference."""

CEILINGS = {
    "memory": ("1Gi", "1Mi"), "cpu": ("10s", "1s"), "timeout": ("20s", "1s"), "fuel": ("unlimited", "1k"), "module": ("1Gi", "1Mi"),
    "compile": ("60s", "1s"), "stack": ("1Mi", "64Ki"), "tables": ("9", "1"), "table_elements": ("20k", "1"), "instances": ("9", "1"),
    "memories": ("9", "1"), "stdout": ("1Gi", "1"), "stderr": ("1Gi", "1"), "disk": ("1Gi", "1"), "files": ("999", "1"),
    "open_files": ("999", "1"), "connections": ("9", "1"), "net_in": ("1Gi", "1"), "net_out": ("1Gi", "1"), "host_calls": ("2M", "1"),
}  # fmt: skip
ACME = {"match": {"tenant": ["acme"], "name": ["m"], "digest": [ONE]}, "mode": "audit"}

BOUNDARY_FLIPS: dict[str, Flip] = {
    "version": Flip(1, 2),
    "kind": Flip("Boundary", "PolicyTest"),
    "metadata.name": Flip("c", "not a name"),
    "match.digest": Flip([ONE], [OTHER], ACME),
    "match.name": Flip(["m"], ["n"], ACME),
    "match.signer": Flip(["key:a"], ["key:b"]),
    "match.tenant": Flip(["acme"], ["globex"], ACME),
    "ceiling.storage.roots": Flip(["fs:///**"], ["fs:///other/**"]),
    "ceiling.storage.access": Flip(["read", "list", "write", "create"], ["read"]),
    "ceiling.storage.never": Flip([], ["fs:///srv/in/a"]),
    "ceiling.network.schemes": Flip(["tcp", "udp", "https"], ["tcp"]),
    "ceiling.network.ports": Flip(["*"], ["80"]),
    "ceiling.network.never": Flip([], ["a.example"]),
    "ceiling.network.private": Flip("deny", "allow-listed", {"permissions.network.tcp[].private": "allow"}),
    "ceiling.network.listen": Flip("none", "any", {"permissions.network.listen": ["tcp://127.0.0.1:80"]}),
    **{f"ceiling.limits.{name}": Flip(*values) for name, values in CEILINGS.items()},
    "ceiling.limits.unlimited": Flip("allowed", "forbidden", {"resources.limits.fuel": "unlimited"}),
    "ceiling.require.digest_for": Flip([], ["a=b"], {"metadata.labels": {"a": "b"}}),
    "ceiling.require.audit_level": Flip("counts", "calls", {"audit.level": "summary"}),
    "ceiling.require.isolation": Flip("process", "confined", {"runtime.isolation": "process"}),
    "ceiling.require.walls": Flip([], ["landlock"]),
    "ceiling.require.signed_policy": Flip(False, True),
    "ceiling.modes": Flip(["enforce"], ["audit"]),
    "change_control.approvals": Flip({"default": "1"}, {"default": "2"}),
    "change_control.auto_approve": Flip("never", "no-new-access"),
    "change_control.break_glass.roles": Flip(["a"], ["b"]),
    "change_control.break_glass.max_duration": Flip("1h", "2h"),
    "change_control.break_glass.second_person": Flip(True, False),
    "change_control.break_glass.audit_payload": Flip("full", "digest"),
    "change_control.break_glass.review_within": Flip("1h", "2h"),
    "anchors[].kind": Flip("file", "webhook"),
    "anchors[].path": Flip("/a", "/b"),
    "anchors[].url": Flip("https://a", "https://b"),
    "anchors[].every": Flip("1000", "2000"),
}
"""The same for a boundary; `beside` is about the policy in it."""

EXCEPTIONS: dict[str, str] = {
    "metadata.description": "for people",
    "metadata.owner": "for people",
    "metadata.reason": "for people",
    "metadata.labels": "for people; a boundary's own are asked for by nothing",
    "permissions.storage.allow[].id": "how records name the rule",
    "permissions.storage.deny[].id": "how records name the rule",
    "permissions.network.tcp[].id": "how records name the rule",
    "permissions.network.udp[].id": "how records name the rule",
    "permissions.network.deny[].id": "how records name the rule",
    "permissions.network.http[].id": "how records name the rule",
    "permissions.environment.allow[].id": "how people name the rule",
    "permissions.host_functions[].id": "how records name the rule",
    "rules[].id": "how records name the rule",
    "when_unenforceable": "says whether it may run where a part is not enforced, and decides no call",
    "tests": "questions about the policy, which `wasmgate policy test` asks",
    "learn": "how `wasmgate policy learn` drafts, which decides no call",
}
"""Fields that no verdict hangs on, and why; a name covers what is below it. There are no others."""


def model_in(annotation: object) -> tuple[type[BaseModel] | None, bool]:
    """The model that an annotation holds, and whether it is in a list."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation, False
    for inner in get_args(annotation):
        found, is_listed = model_in(inner)
        if found is not None:
            return found, is_listed or getattr(annotation, "__origin__", None) is tuple
    return None, False


def fields_of(model: type[BaseModel], prefix: str = "") -> list[str]:
    """Every field that holds a value, by its way from the root."""
    found: list[str] = []
    for name, info in model.model_fields.items():
        way = f"{prefix}{info.alias or name}"
        inner, is_listed = model_in(info.annotation)
        found += fields_of(inner, f"{way}{'[]' if is_listed else ''}.") if inner else [way]
    return found


def is_excepted(way: str) -> bool:
    return any(way == name or way.startswith((f"{name}.", f"{name}[]")) for name in EXCEPTIONS)


@pytest.mark.parametrize(("model", "flips"), [(PolicyModel, FLIPS), (BoundaryModel, BOUNDARY_FLIPS)])
def test_each_field_is_flipped_or_is_an_exception(model, flips):
    known = fields_of(model)
    assert len(known) == len(set(known)) > 60
    assert sorted(way for way in known if way not in flips and not is_excepted(way)) == []
    assert sorted(set(flips) - set(known)) == []


def test_no_exception_is_left_over():
    known = fields_of(PolicyModel) + fields_of(BoundaryModel)
    for name in EXCEPTIONS:
        assert any(way == name or way.startswith((f"{name}.", f"{name}[]")) for way in known), name


def test_a_baseline_has_no_field_of_its_own():
    assert set(fields_of(BaselineModel)) <= set(fields_of(PolicyModel))


def changed(document: Document, way: str, value: Any) -> Document:
    """A copy of `document` with `value` at `way`, of a list in its first item."""
    found = copy.deepcopy(document)
    at: Any = found
    *steps, last = way.split(".")
    for step in steps:
        at = at.setdefault(step.removesuffix("[]"), {})
        at = at[0] if step.endswith("[]") else at
    at.pop(last, None)
    if value is not ABSENT:
        at[last] = copy.deepcopy(value)
    return found


def verdict_of(policy: Document, boundary: Document | None = None) -> Plan | str:
    """The plan, or the ids of the errors that keep it from being."""
    others = [each for each in (EXTENDED, boundary) if each is not None]
    try:
        bundle = make_bundle(loaded(each) for each in others)
        document = loaded(policy)
        assert isinstance(document, PolicyDocument)
        return compile_policy(document, base_dir="/", now_ns=NOW, bundle=bundle, is_study=True)
    except PolicyError as err:
        return ", ".join(each.id for each in err.findings if each.severity == "error")


def loaded(document: Document) -> AnyDocument:
    return load_any(json.dumps(document).encode(), file=f"{document['metadata']['name']}.yaml")


def must_show(one: Plan | str, other: Plan | str) -> None:
    """Two verdicts differ: one is a refusal, or a call or a module is decided otherwise."""
    assert not isinstance(one, str) or not isinstance(other, str), (one, other)
    if isinstance(one, str) or isinstance(other, str):
        assert one != ""
        return
    modules = [
        [
            isinstance(decide_module(plan, digest=digest, name=name, tenant=tenant), Allow)
            for digest in (ONE, OTHER)
            for name in ("m", "n")
            for tenant in ("acme", "globex")
        ]
        for plan in (one, other)
    ]
    assert diff(one, other).items or modules[0] != modules[1]
    assert one.plan_digest != other.plan_digest


@pytest.mark.parametrize("way", FLIPS)
def test_another_value_of_a_field_makes_a_difference(way):
    flip = FLIPS[way]
    document = POLICY
    for place, value in flip.beside.items():
        document = changed(document, place, value)
    must_show(*(verdict_of(changed(document, way, value)) for value in (flip.one, flip.other)))


@pytest.mark.parametrize("way", BOUNDARY_FLIPS)
def test_another_value_in_a_boundary_makes_a_difference(way):
    flip = BOUNDARY_FLIPS[way]
    document = POLICY
    for place, value in flip.beside.items():
        document = changed(document, place, value)
    must_show(*(verdict_of(document, changed(BOUNDARY, way, value)) for value in (flip.one, flip.other)))


def test_the_documents_that_are_flipped_are_fine():
    assert isinstance(verdict_of(POLICY), Plan)
    assert isinstance(verdict_of(POLICY, BOUNDARY), Plan)
