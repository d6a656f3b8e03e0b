"""Errors of a document as a person reads them, and fields that must never be passed over."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic import BaseModel

from policy import Plan, PolicyDocument, PolicyError, check_policy, compile_policy, load_document
from policy.document import _model_in, load_any
from policy.schema import PolicyModel

MANY_FAULTS = b"""\
version: 2
metadata: {name: "bad name", ownr: me, expires: 2027-06-30}
permissions:
  storage:
    allow:
      - {id: in, uri: "file:///srv/in/**", access: [raed, list]}
      - {id: out, uri: "fs:///srv/*/x", mount: out, access: read}
      - {uri: "fs:///srv/../etc", include: ["/a", "a/**b", "{a,b}", "a/", "[z-a]"], access: []}
    deny:
      - {uri: "fs:///srv/x/"}
  clocks: {wall: frozen:yesterday, resolution: 2h}
  random: seeded:xyz
  extra_args: no
  stdio: {stdin: capture}
  netwrk: {}
resources:
  limits: {memory: 64MB, timeout: 10, open_files: 5000, stack: unlimited, memory_size: 1}
runtime: {engine: winch}
audit: {on_full: "block:10", retain: 36h, sync: yes, mask: {a: b}}
"""

MANY_REFUSALS = b"""\
version: 1
metadata: {name: everything, expires: 2020-01-01T00:00:00Z}
match: {name: m, signer: "key:a", tenant: acme}
mode: enforce
permissions:
  storage:
    allow:
      - {uri: "fs:///srv/a/**", mount: /in, access: [read, read]}
      - {uri: "fs:///srv/c/**", access: []}
      - {uri: "fs:///srv/b/**", mount: /in, access: [list]}
      - {uri: "tmp://out", access: [read]}
      - {uri: "fs:///srv/file", mount: /other, access: [read]}
      - {uri: "fs:///srv/file", access: [read, list], include: ["*"]}
      - {uri: "fs:///**", mount: /all, access: [read]}
  network:
    private: allow
    tcp: [{to: db, ports: [5432]}]
    udp: [{to: db, ports: ["8000-8010"]}]
    deny: [{to: 10.0.0.0/8}]
    dns: {names: [db]}
    http: [{url: "https://x"}]
    listen: ["tcp://127.0.0.1:80"]
  environment: {allow: [{key: A, from: "secret://a"}, {key: B}, {key: "C=D", value: x}, {key: "E", from: "secret://${tenant}"}, {key: A, value: y}]}
  args: ["a\\0b", "${run.id}", "${HOME}"]
  nn: {models: []}
  host_functions: [{name: env/f}]
rules: [{when: {opened: "fs:///x"}, then: {raise: finding/low}}]
resources: {limits: {connections: 4, net_in: 8Mi, net_out: 8Mi, memory: unlimited}}
runtime: {abi: wasi-0.2, isolation: process}
audit: {level: counts, payload: full, mask: [default, "json:/a"], rules: [{call: "fd_*", level: counts}]}
"""


def findings_of(text: bytes, **options: Any) -> str:
    """Every finding with its line, as the command line shows them."""
    arguments: dict[str, Any] = {
        "base_dir": "/base",
        "now_ns": 1_800_000_000 * 10**9,
        "is_stored": True,
    } | options
    try:
        found = check_policy(load_document(text, file="policies/p.yaml"), **arguments)
    except PolicyError as err:
        found = err.findings
    return "".join(finding.render_with_source() + "\n" for finding in found)


def test_faults_of_shape_are_all_reported(golden):
    golden("policy/faults-of-shape.txt", findings_of(MANY_FAULTS))


def test_faults_of_meaning_are_all_reported(golden):
    golden("policy/faults-of-meaning.txt", findings_of(MANY_REFUSALS))


CASE = "{name: n, given: {call: path_open}, expect: deny}"
OTHERS = {
    "Boundary": "version: 1\nkind: Boundary\nmetadata: {name: x}\n",
    "PolicyTest": f"version: 1\nkind: PolicyTest\nmetadata: {{name: x}}\npolicy: p\ntests: [{CASE}]\n",
}


@pytest.mark.parametrize("kind", OTHERS)
def test_a_document_of_another_kind_is_no_policy(kind):
    assert load_any(OTHERS[kind].encode(), file="p.yaml").name == "x"
    found = findings_of(OTHERS[kind].encode())
    assert f"p.yaml:2:7: kind: expected a ModulePolicy or a Baseline, found a {kind}" in found


def test_a_kind_that_does_not_exist_is_told_from_all_four():
    found = findings_of(b"version: 1\nkind: Bondary\nmetadata: {name: x}\n")
    assert 'expected one of ModulePolicy, Baseline, Boundary, PolicyTest, found "Bondary"' in found
    assert 'did you mean "Boundary"?' in found


@pytest.mark.parametrize(
    ("kind", "body", "expected"),
    [
        ("Baseline", "mode: audit", 'unknown key "mode"'),
        ("Baseline", "match: {name: x}", 'unknown key "match"'),
        ("Baseline", "when_unenforceable: warn", 'unknown key "when_unenforceable"'),
        ("Baseline", "permisions: {}", 'did you mean "permissions"?'),
        ("Boundary", "ceiling: {storage: {root: []}}", 'unknown key "root" (did you mean "roots"?)'),
        ("Boundary", "ceiling: {limits: {memroy: 1Mi}}", 'did you mean "memory"?'),
        ("Boundary", "permissions: {}", 'unknown key "permissions"'),
        ("Boundary", "ceiling: {storage: {roots: ['fs:./x/**']}}", "an absolute URI"),
        ("Boundary", "ceiling: {storage: {never: ['**/a**b']}}", "`**` as a whole segment"),
        ("Boundary", "ceiling: {require: {digest_for: [trust]}}", "a label with its value"),
        ("Boundary", "ceiling: {modes: []}", "a list with something in it"),
        ("PolicyTest", f"policy: p\ntests: [{CASE}]\nceiling: {{}}", 'unknown key "ceiling"'),
        ("PolicyTest", "policy: p\ntests: []", "a list with something in it"),
        ("PolicyTest", f"tests: [{CASE}]", 'the key "policy" is missing'),
        ("PolicyTest", "policy: p\ntests: [{name: n, given: {cal: x}, expect: no}]", 'did you mean "call"?'),
        (
            "PolicyTest",
            "policy: p\ntests: [{name: n, given: {call: connect, port: 65536}, expect: deny}]",
            "expected a port 1-65535",
        ),
    ],
)
def test_each_kind_knows_its_own_keys(kind, body, expected):
    text = f"version: 1\nkind: {kind}\nmetadata: {{name: x}}\n{body}\n"
    with pytest.raises(PolicyError) as caught:
        load_any(text.encode(), file="p.yaml")
    assert expected in str(caught.value)


@pytest.mark.parametrize("kind", ["Boundary", "PolicyTest"])
def test_only_what_grants_something_expires(kind):
    text = OTHERS[kind].replace("name: x}", "name: x, expires: 2027-01-01T00:00:00Z}", 1)
    with pytest.raises(PolicyError, match='unknown key "expires"'):
        load_any(text.encode(), file="p.yaml")


@pytest.mark.parametrize("text", [b"[]", b"a", b"version: 1", b"{}"])
def test_what_is_no_policy_is_refused(text):
    assert "p.yaml:1:1" in findings_of(text)


def test_a_look_alike_key_is_shown_for_what_it_is():
    found = findings_of("version: 1\nmetadata: {name: x}\nm\u043ede: audit\n".encode())
    assert 'unknown key "m\\u043ede" (did you mean "mode"?)' in found


def test_hostile_text_is_escaped_and_cut():
    found = findings_of(f'version: 1\nmetadata: {{name: x}}\nmode: "\\e[31m\\u202e{"y" * 200}"\n'.encode())
    first = found.splitlines()[0]
    assert "\x1b" not in found
    assert "\u202e" not in found
    assert r'found "\x1b[31m\u202e' in first
    assert "y" * 81 not in first


def test_merge_keys_are_no_way_in():
    text = b"version: 1\nmetadata: &m {name: x}\npermissions:\n  <<: *m\n"
    assert "merge keys are not read" in findings_of(text)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("audit: {on_full: drop}", 'expected block, block:<duration>, or kill, found "drop"'),
        (
            "audit: {on_full: 'block:1us'}",
            "expected block:<duration> of whole milliseconds, at least 1ms; or kill",
        ),
        (
            "resources: {limits: {cpu: 1500us}}",
            "expected a duration of whole milliseconds, at least 1ms, or unlimited",
        ),
        (
            "resources: {limits: {memory: [1]}}",
            "expected a size such as 64Mi, 1G or 4096, or unlimited, found a list",
        ),
        ("resources: []", "expected a mapping of keys, found an empty list"),
        ("permissions: {random: seed}", "expected one of real, none, seeded:<…>"),
        (
            "permissions: {environment: {allow: [{key: 'A*', value: x}]}}",
            "expected one name: wildcards are not granted",
        ),
        (
            'permissions: {environment: {allow: [{key: A, value: "a\\0b"}]}}',
            "a NUL byte: the guest would see",
        ),
        ("permissions: {network: {tcp: [{to: x, ports: [0]}]}}", "expected a port 1-65535"),
        ("permissions: {network: {tcp: [{to: x, ports: [9-8]}]}}", "expected a range in rising order"),
        (
            "permissions: {network: {tcp: [{to: x, ports: [12:30]}]}}",
            "expected a port 1-65535, a range such as 8000-8010, or * for",
        ),
        ("metadata: {name: x}", "stands here for the second time"),
        ("audit: {level: 7}", "expected one of counts, summary, calls"),
        ("matched: 1", 'unknown key "matched" (did you mean "match"?)'),
        ("zzz: 1", "known here: audit, extends,"),
    ],
)
def test_a_fault_says_what_was_expected(body, expected):
    found = findings_of(f"version: 1\nmetadata: {{name: x}}\n{body}\n".encode(), is_stored=False)
    assert expected in found


# --- every field changes the plan, or is refused ------------------------------------------------

DESCRIPTIVE = {
    "version", "kind", "metadata.description", "metadata.owner", "metadata.labels", "metadata.reason", "tests",
}  # fmt: skip
"""Fields that say something to people only, or whose one value is checked elsewhere."""

CHANGES: dict[str, Any] = {
    "metadata.name": "other",
    "metadata.expires": "2020-01-01T00:00:00Z",
    "match.digest": ["sha256:" + "0" * 64],
    "match.name": ["x"],
    "match.signer": ["x"],
    "match.tenant": ["x"],
    "extends": ["x"],
    "mode": "audit",
    "when_unenforceable": "warn",
    "rules": [{"when": {"opened": "fs:///x/**"}, "then": {"deny": ["network"]}}],
    "permissions.storage.allow.id": "other",
    "permissions.storage.allow.uri": "fs:///srv/other/**",
    "permissions.storage.allow.mount": "/other",
    "permissions.storage.allow.access": ["list"],
    "permissions.storage.allow.include": ["x"],
    "permissions.storage.allow.exclude": ["x"],
    "permissions.storage.allow.max_bytes": "1k",
    "permissions.storage.allow.max_files": "1",
    "permissions.storage.deny.id": "other",
    "permissions.storage.deny.uri": "fs:///srv/in/other",
    "permissions.storage.deny.access": ["list"],
    "permissions.network.tcp": [{"to": "x", "ports": ["1"]}],
    "permissions.network.udp": [{"to": "x", "ports": ["1"]}],
    "permissions.network.deny": [{"to": "x"}],
    "permissions.network.dns": {"names": ["x"]},
    "permissions.network.http": [{"url": "https://x", "methods": ["GET"]}],
    "permissions.network.listen": ["tcp://127.0.0.1:1"],
    "permissions.network.private": "allow",
    "permissions.environment.allow.id": None,
    "permissions.environment.allow.key": "OTHER",
    "permissions.environment.allow.value": "other",
    "permissions.environment.allow.from": "secret://x",
    "permissions.args": ["x"],
    "permissions.extra_args": False,
    "permissions.stdio.stdin": "caller",
    "permissions.stdio.stdout": "none",
    "permissions.stdio.stderr": "none",
    "permissions.clocks.wall": "none",
    "permissions.clocks.monotonic": "frozen:1s",
    "permissions.clocks.resolution": "1ms",
    "permissions.random": "seeded:00",
    "permissions.nn.models": [],
    "permissions.nn.max_calls": "1",
    "permissions.nn.max_tensor_bytes": "1",
    "permissions.host_functions": [{"name": "a/b"}],
    "resources.limits.memory": "1Mi",
    "resources.limits.cpu": "1s",
    "resources.limits.timeout": "1s",
    "resources.limits.compile": "1s",
    "resources.limits.stack": "64Ki",
    "runtime.abi": "wasi-0.2",
    "runtime.engine": "pulley",
    "runtime.isolation": "process",
    "runtime.require_walls": ["landlock"],
    "runtime.deterministic": True,
    "runtime.cache": False,
    "audit.level": "summary",
    "audit.payload": "digest",
    "audit.mask": ["json:/a"],
    "audit.sync": "all",
    "audit.on_full": "kill",
    "audit.timestamps": "exact",
    "audit.retain": "1d",
    "audit.rules": [{"call": "*", "level": "summary"}],
} | {
    f"resources.limits.{name}": "1"
    for name in (
        "fuel", "module", "tables", "table_elements", "instances", "memories", "stdout", "stderr", "disk", "files",
        "open_files", "connections", "net_in", "net_out", "host_calls",
    )
}  # fmt: skip

REFUSALS = {"not-enforceable-yet", "expired", "unknown-baseline"}
"""What keeps a document with a changed field from being compiled."""

LABELS_ONLY = {"permissions.environment.allow.id", "when_unenforceable"}
"""The id of a variable: variables are not decided on, so no record carries it. What is to be done with a part that
is not enforced changes nothing where there is none."""


def leaves(model: type[BaseModel], prefix: str = "") -> set[str]:
    found: set[str] = set()
    for name, field in model.model_fields.items():
        path = prefix + (field.alias or name)
        inner = _model_in(field.annotation)
        is_whole = path in CHANGES or path in DESCRIPTIVE
        found |= {path} if inner is None or is_whole else leaves(inner, path + ".")
    return found


def base_document() -> dict[str, Any]:
    return {
        "version": 1,
        "metadata": {"name": "base"},
        "match": {"name": ["m"]},
        "permissions": {
            "storage": {
                "allow": [
                    {"id": "in", "uri": "fs:///srv/in/**", "access": ["read", "write"], "mount": "/in"}
                ],
                "deny": [{"id": "no", "uri": "fs:///srv/in/x"}],
            },
            "environment": {"allow": [{"key": "A", "value": "b"}]},
        },
    }


def changed(path: str, value: object) -> dict[str, Any]:
    document = base_document()
    here: Any = document
    *way, last = path.split(".")
    for step in way:
        here = here[0] if isinstance(here, list) else here
        here = here.setdefault(step, {})
    here = here[0] if isinstance(here, list) else here
    here[last] = value
    return document


def loaded(document: dict[str, Any]) -> PolicyDocument:
    return load_document(json.dumps(document).encode(), file="p.json")


def content(plan: Plan) -> tuple[object, ...]:
    """All of a plan but the digests, which change with every letter."""
    return tuple(getattr(plan, name) for name in Plan.__slots__ if not name.endswith("_digest"))


def test_the_list_of_changes_names_every_field():
    assert leaves(PolicyModel) == set(CHANGES) | DESCRIPTIVE


@pytest.mark.parametrize("path", sorted(set(CHANGES) - LABELS_ONLY))
def test_a_field_changes_the_plan_or_is_refused(path):
    now = 1_800_000_000 * 10**9
    base = compile_policy(loaded(base_document()), base_dir="/base", now_ns=now)
    try:
        plan = compile_policy(loaded(changed(path, CHANGES[path])), base_dir="/base", now_ns=now)
    except PolicyError as err:
        assert {finding.id for finding in err.findings} & REFUSALS  # noqa: PT017
    else:
        assert content(plan) != content(base)
