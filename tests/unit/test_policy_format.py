"""A sandboxed transformer, a connector and an organisation's boundary: the whole format, read and compiled."""

from __future__ import annotations

import pytest

from policy.bundle import make_bundle
from policy.checking import check_document
from policy.document import BoundaryDocument, PolicyDocument, load_any
from policy.plan import Mode, RuleKind
from policy.subject import Subject
from tests.documents import baseline, compiled, findings

TRANSFORMER = """\
# A vendor's CSV cleaner: pure compute, no network, deterministic.
version: 1
kind: ModulePolicy
metadata:
  name: csv-cleaner
  owner: data-platform
  description: Third-party CSV normaliser, runs on customer uploads
  labels: {trust: untrusted, data: pii}
match:
  digest: ["sha256:3f1c0d9e7a5b4c2d8e6f00112233445566778899aabbccddeeff001122334455"]
  tenant: ["acme", "globex"]
extends: [baseline/untrusted]
permissions:
  storage:
    allow:
      - {id: in,  uri: "fs:///srv/uploads/${tenant}/${run.id}/in/**", mount: /in, access: [read, list], include: ["**/*.csv"]}
      - {id: out, uri: "tmp://out", mount: /out, access: [read, list, create, write], max_bytes: 64Mi, max_files: 50}
    deny:
      - {id: no-dotfiles, uri: "fs:///srv/uploads/**/.*", access: [read, list]}
  args: ["--delimiter", ","]
  stdio: {stdin: none, stdout: capture, stderr: capture}
  clocks: {wall: "frozen:2026-01-01T00:00:00Z", monotonic: real, resolution: 1ms}
  random: "seeded:00ff00ff"
resources:
  limits: {memory: 256Mi, fuel: 20G, timeout: 30s, stdout: 64Ki, disk: 64Mi, files: 50, host_calls: 200000}
audit: {level: calls, payload: digest, on_full: block, retain: 400d}
"""

CONNECTOR = """\
# A connector that reads a CRM over HTTPS and pushes to one internal queue; may never talk after touching a key file.
version: 1
kind: ModulePolicy
metadata: {name: crm-connector, owner: integrations, reason: "CHG-20931", expires: 2027-06-30T00:00:00Z}
match: {name: crm-connector, signer: "key:integrations-2026"}
extends: [baseline/connector]
mode: enforce
permissions:
  environment:
    allow:
      - {id: env-region, key: REGION, value: eu-west-1}
  network:
    private: deny
    dns:
      names: ["api.crm.example", "*.blob.crm.example", "queue.svc.internal"]
      max_queries: 16
      pin: true
    http:
      - {id: crm-read, url: "https://api.crm.example", access: read-only, paths: ["/v2/contacts/**", "/v2/accounts/*"], max_response_bytes: 4Mi,
         credential: {from: "secret://crm-token", as: "header:Authorization"}}
      - {id: crm-blobs, url: "https://*.blob.crm.example", methods: [GET, HEAD], redirects: recheck}
    tcp:
      - {id: queue, to: queue.svc.internal, ports: [6379], private: allow}
    deny:
      - {id: no-export, url: "https://api.crm.example", methods: ["*"], paths: ["/v2/export/**"]}
  storage:
    allow:
      - {id: state, uri: "fs:///var/lib/crm-connector/state.json", access: [read, write]}
      - {id: keyfile, uri: "fs:///var/lib/crm-connector/keys/client.pem", access: [read]}
rules:
  - id: no-egress-after-key
    when: {opened: "fs:///var/lib/crm-connector/keys/**"}
    then: {deny: [network.tcp], for: run}
  - id: upload-budget
    when: {bytes_out: {to: "*", over: 8Mi, window: 1h}}
    then: {deny: [network], raise: finding/high}
resources:
  limits: {memory: 128Mi, fuel: 50G, timeout: 120s, connections: 4, net_out: 8Mi, net_in: 64Mi}
audit: {level: calls, payload: "head:256", mask: [default, "json:/email", "json:/phone"], on_full: block, retain: 400d}
"""

CEILING = """\
# The security team's ceiling for everything a tenant runs. Policies outside it do not compile; learn and break-glass stay inside it.
version: 1
kind: Boundary
metadata: {name: tenant-ceiling, owner: security, description: "Maximum any tenant policy may grant"}
match: {tenant: ["*"]}
ceiling:
  storage:
    roots: ["fs:///srv/uploads/${tenant}/**", "fs:///var/lib/${module.name}/**", "tmp://**"]
    access: [read, list, create, write, append, delete]
    never: ["fs:///etc/**", "fs:///proc/**", "fs:///home/**", "**/.ssh/**", "**/.git/config"]
  network:
    schemes: [https, tcp]
    ports: [443, 5432, 6379]
    never: ["169.254.0.0/16", "127.0.0.0/8", "::1/128", "fd00:ec2::254/128"]
    private: allow-listed
    listen: none
  limits: {memory: 512Mi, fuel: 200G, timeout: 300s, net_out: 64Mi, unlimited: forbidden}
  require: {digest_for: ["trust=untrusted"], audit_level: calls, isolation: process, signed_policy: true}
change_control:
  approvals: {default: 1, "data=pii": 2, "mode:enforce->audit": 2, "widening": 2, "tightening": 0}
  auto_approve: no-new-access
  break_glass: {roles: [incident-commander], max_duration: 1h, second_person: true, audit_payload: full, review_within: 24h}
learn: {from: denials, min_runs: 5, generalise: {min_siblings: 6, forbid_if_unobserved_matches: ["*secret*", "*.pem", "*.key"]}, output: draft}
anchors:
  - {kind: file, path: "/mnt/worm/anchors.ndjson", every: 1000}
  - {kind: webhook, url: "https://siem.internal/anchors", every: 5m}
tests:
  - {name: etc is never readable, given: {module: any, call: path_open, uri: "fs:///etc/passwd"}, expect: deny, rule: "ceiling.storage.never"}
  - {name: metadata is unreachable through a name, given: {module: crm-connector, call: connect, host: api.crm.example, resolves: "169.254.169.254", port: 443}, expect: deny}
  - {name: connector may read contacts, given: {module: crm-connector, call: http, method: GET, url: "https://api.crm.example/v2/contacts/7"}, expect: allow, rule: crm-read}
"""

BASELINES = (
    baseline(
        "baseline/untrusted", "permissions: {storage: {deny: [{id: no-git, uri: 'fs:///srv/**/.git/**'}]}}"
    ),
    baseline("baseline/connector", "resources: {limits: {cpu: 3s}}"),
)
UNBUILT = {
    "tenant-ceiling: anchors", "tenant-ceiling: ceiling.require.signed_policy", "tenant-ceiling: change_control",
}  # fmt: skip


def loaded(text: str) -> PolicyDocument:
    document = load_any(text.encode(), file="example.yaml")
    assert isinstance(document, PolicyDocument)
    return document


def ceiling() -> BoundaryDocument:
    document = load_any(CEILING.encode(), file="ceiling.yaml")
    assert isinstance(document, BoundaryDocument)
    return document


def test_the_transformer_lies_inside_the_ceiling():
    found = findings(loaded(TRANSFORMER), ceiling(), *BASELINES, is_study=True)
    assert {each.id for each in found} == {"not-enforceable-yet"}
    assert {each.severity for each in found} == {"warning"}
    plan = compiled(
        loaded(TRANSFORMER), ceiling(), *BASELINES, is_study=True, subject=Subject(tenant="acme", run_id="r1")
    )
    assert [mount.base for mount in plan.mounts] == ["/srv/uploads/acme/r1/in", "tmp://out"]
    assert set(plan.unenforced) == UNBUILT
    assert {"no-git", "no-dotfiles"} == {rule.id for rule in plan.rules if rule.kind is RuleKind.DENY} - {""}
    assert plan.match_tenants == ("acme", "globex")


def test_the_connector_lies_inside_the_ceiling():
    found = findings(loaded(CONNECTOR), ceiling(), *BASELINES, is_study=True)
    assert "error" not in {each.severity for each in found}
    plan = compiled(loaded(CONNECTOR), ceiling(), *BASELINES, is_study=True)
    assert set(plan.unenforced) > UNBUILT
    assert {"match.signer", "rules[1]"} < set(plan.unenforced)
    assert "rules[0]" not in plan.unenforced  # it watches paths
    assert (plan.mode, plan.limits.cpu_ms, plan.limits.net_in_bytes) == (Mode.ENFORCE, 3_000, 64 * 2**20)
    assert [rule.id for rule in plan.rules if rule.kind is RuleKind.TEMPORAL] == [
        "no-egress-after-key", "upload-budget",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "before", "after", "field"),
    [
        (TRANSFORMER, "memory: 256Mi", "memory: 1Gi", "resources.limits.memory"),
        (TRANSFORMER, "fuel: 20G, ", "", "resources.limits.fuel"),
        (TRANSFORMER, "/srv/uploads/${tenant}/${run.id}", "/srv/uploads", "permissions.storage.allow[0].uri"),
        (TRANSFORMER, 'digest: ["sha256:', 'name: ["sha256:', "match"),
        (CONNECTOR, "var/lib/crm-connector/state", "var/lib/other/state", "permissions.storage.allow[0].uri"),
        (CONNECTOR, "ports: [6379]", "ports: [25]", "permissions.network.tcp[0].ports"),
        (CONNECTOR, "to: queue.svc.internal", "to: 169.254.1.1", "permissions.network.tcp[0].to"),
    ],
)
def test_one_step_outside_is_refused(text, before, after, field):
    assert before in text
    found = findings(loaded(text.replace(before, after)), ceiling(), *BASELINES, is_study=True)
    assert field in {each.field for each in found if each.id == "outside-boundary"}


def test_the_ceiling_itself_is_refused_for_what_nobody_enforces_yet():
    found = check_document(ceiling(), base_dir="/", now_ns=None, bundle=make_bundle(BASELINES))
    assert {(each.id, each.severity.value) for each in found} == {("not-enforceable-yet", "error")}
    assert [case.expect for case in ceiling().model.tests] == ["deny", "deny", "allow"]


def test_a_test_of_a_call_that_there_is_not_is_found():
    text = "version: 1\nmetadata: {name: p}\ntests:\n  - {name: a, given: {call: CALL, target: /x}, expect: deny}\n"
    for call, ids in (("path_opne", ["unknown-call"]), ("path_open", []), ("connect", [])):
        document = load_any(text.replace("CALL", call).encode(), file="p.yaml")
        found = check_document(document, base_dir="/", now_ns=None)
        assert [each.id for each in found] == ids
        assert all("path_open" in each.sentence and each.line == 4 for each in found)
