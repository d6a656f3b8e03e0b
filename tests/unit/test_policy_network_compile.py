from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from policy.decisions import Allow, Deny
from policy.errors import PolicyError, Severity
from policy.network.decide import decide_network
from policy.network.explain import explain_network
from policy.network.samples import representatives
from policy.plan import Rule, RuleId, RuleKind
from policy.plan_network import NetworkPlan
from policy.plan_temporal import Reach, TemporalRule, Trigger
from policy.question import Question
from policy.schema_network import NetworkCeiling
from tests.network_plans import EMPTY, compiled, document_of, findings_of, plan, plan_of

CRM: dict[str, Any] = {
    "dns": {"names": ["api.crm.example", "*.blob.crm.example", "queue.svc.internal"], "max_queries": "16"},
    "http": [
        {"id": "crm-read", "url": "https://api.crm.example", "access": "read-only", "paths": ["/v2/contacts/**", "/v2/accounts/*"], "max_response_bytes": "4Mi", "headers": {"deny": ["X-Internal"]}, "credential": {"from": "secret://crm-token", "as": "header:Authorization"}},
        {"id": "crm-blobs", "url": "https://*.blob.crm.example", "methods": ["GET", "HEAD"], "redirects": "refuse"},
    ],
    "tcp": [{"id": "queue", "to": "queue.svc.internal", "ports": ["6379"], "private": "allow"}, {"id": "local", "to": "127.0.0.1", "ports": ["8080"]}],
    "deny": [{"id": "no-export", "url": "https://api.crm.example", "methods": ["*"], "paths": ["/v2/export/**"]}],
    "listen": ["tcp://127.0.0.1:9000"],
}  # fmt: skip
CEILING = NetworkCeiling.model_validate(
    {"schemes": ("https", "tcp"), "ports": ("443", "6379"), "never": ("169.254.0.0/16", "8.8.8.8", "evil.example"), "private": "allow-listed", "listen": "loopback"}
)  # fmt: skip


@pytest.mark.parametrize(
    ("asked", "rule"),
    [
        ({"call": "http", "method": "GET", "url": "https://api.crm.example/v2/contacts/7"}, "crm-read"),
        (
            {"call": "http", "method": "GET", "url": "https://api.crm.example:443/v2/accounts/7?all"},
            "crm-read",
        ),
        ({"call": "http", "method": "HEAD", "url": "https://a.b.blob.crm.example/x"}, "crm-blobs"),
        ({"call": "connect", "host": "queue.svc.internal", "address": "10.1.2.3", "port": 6379}, "queue"),
        ({"call": "connect", "address": "127.0.0.1", "port": 8080}, "local"),
        ({"call": "connect", "address": "::ffff:127.0.0.1", "port": 8080}, "local"),
        ({"call": "resolve", "host": "a.BLOB.crm.example."}, None),
        ({"call": "listen", "address": "127.0.0.1", "port": 9000}, None),
    ],
)
def test_what_a_rule_grants_is_allowed_and_named(asked, rule):
    found = decide_network(plan(**CRM), Question(**asked))
    assert isinstance(found, Allow)
    assert rule is None or found.rule_id == rule
    assert found.chain[-1].endswith(f"allow rules: granted by {found.rule_id}")


@pytest.mark.parametrize(
    ("asked", "rule", "is_final"),
    [
        ({"call": "http", "method": "DELETE", "url": "https://api.crm.example/v2/contacts/7"}, "default", False),
        ({"call": "http", "method": "GET", "url": "https://api.crm.example/v2/export/all"}, "no-export", False),
        ({"call": "http", "method": "GET", "url": "https://api.crm.example/v2/contacts/%2e%2e/export"}, "builtin.request", True),
        ({"call": "http", "method": "TRACE", "url": "https://api.crm.example/v2/contacts/7"}, "builtin.method", True),
        ({"call": "http", "method": "GET", "url": "http://api.crm.example/v2/contacts/7"}, "default", False),
        ({"call": "http", "method": "GET", "url": "https://api.crm.example/v2/contacts/7", "address": "169.254.169.254"}, "builtin.metadata", True),
        ({"call": "http", "method": "GET", "url": "https://blob.crm.example/x"}, "default", False),
        ({"call": "connect", "host": "queue.svc.internal", "address": "169.254.169.254", "port": 6379}, "builtin.metadata", True),
        ({"call": "connect", "host": "queue.svc.internal", "address": "127.0.0.1", "port": 6379}, "builtin.loopback", True),
        ({"call": "connect", "address": "10.1.2.3", "port": 6379}, "builtin.private", True),
        ({"call": "connect", "address": "127.0.0.1", "port": 8081}, "builtin.loopback", True),
        ({"call": "connect", "address": "127.1", "port": 8080}, "builtin.address", True),
        ({"call": "connect", "host": "queue.svc.\u200binternal", "port": 6379}, "builtin.name", True),
        ({"call": "connect", "host": "queue.svc.internal", "port": 0}, "builtin.port", True),
        ({"call": "resolve", "host": "crm.example"}, "default", False),
        ({"call": "bind", "address": "0.0.0.0", "port": 9000}, "default", False),
        ({"call": "load_model", "digest": "sha256:" + "1" * 64}, "default", False),
    ],
)  # fmt: skip
def test_what_no_rule_grants_is_refused_with_its_reason(asked, rule, is_final):
    found = decide_network(plan(**CRM), Question(**asked))
    assert isinstance(found, Deny)
    assert (found.rule_id, found.is_final) == (rule, is_final)
    assert found.hint
    assert found.reason


def test_an_address_that_a_rule_names_is_not_reached_through_a_url_with_a_name():
    compiled_plan = plan(
        http=[
            {"url": "https://x.example", "access": "full"},
            {"url": "https://127.0.0.1", "access": "full"},
        ]
    )
    by_name = Question(call="http", method="GET", url="https://x.example/", address="127.0.0.1")
    by_address = Question(call="http", method="GET", url="https://127.0.0.1/")
    assert decide_network(compiled_plan, by_name).rule_id == "builtin.loopback"
    assert isinstance(decide_network(compiled_plan, by_address), Allow)


def test_a_plan_without_tables_refuses_everything():
    for question in representatives(plan(**CRM), EMPTY):
        assert isinstance(decide_network(replace(EMPTY, network=NetworkPlan()), question), Deny)


def test_models_are_loaded_by_digest():
    digest = "sha256:" + "a" * 64
    nn = {"models": [{"name": "m", "digest": digest, "backend": "onnx"}], "max_calls": "5"}
    found = plan_of({"version": 1, "metadata": {"name": "x"}, "permissions": {"nn": nn}})
    assert isinstance(decide_network(found, Question(call="load_model", digest=digest)), Allow)
    assert isinstance(decide_network(found, Question(call="load_model", digest="sha256:" + "b" * 64)), Deny)
    assert found.nn.max_calls == 5


def test_a_rule_over_time_refuses_what_was_granted_once_it_has_started():
    base = plan(**CRM)
    index = len(base.rules)
    rule = Rule(
        RuleId("after-key"), RuleKind.TEMPORAL, "rules[0]", "no network after the key", "do not open it"
    )
    temporal = TemporalRule(
        index, Trigger.OPENED, "storage", 0, 0, 0, Reach.TCP, denies_nn=False, severity=""
    )
    found = replace(base, rules=(*base.rules, rule), temporal=(temporal,))
    asked = Question(call="connect", address="127.0.0.1", port=8080)
    assert isinstance(decide_network(found, asked), Allow)
    assert decide_network(found, replace(asked, after=("after-key",))).rule_id == "after-key"
    request = Question(call="http", method="GET", url="https://a.blob.crm.example/", after=("after-key",))
    assert isinstance(decide_network(found, request), Allow)
    other = replace(found, temporal=(replace(temporal, reach=Reach.TCP | Reach.HTTP),))
    assert any(question.after for question in representatives(found, other))


@pytest.mark.parametrize(
    ("network", "problem"),
    [
        ({"udp": [{"to": "9.9.9.9", "ports": ["443"]}]}, "grants no udp"),
        ({"tcp": [{"to": "9.9.9.9", "ports": ["440-445"]}]}, "does not grant port 440"),
        (
            {"tcp": [{"to": "8.0.0.0/8", "ports": ["443"]}]},
            "never grants 8.8.8.8, and this rule would (such as 8.8.8.8)",
        ),
        ({"tcp": [{"to": "169.254.1.1", "ports": ["443"]}]}, "such as 169.254.1.1"),
        (
            {"tcp": [{"to": "*.example", "ports": ["443"]}], "dns": {"names": ["*.example"]}},
            "such as evil.example",
        ),
        ({"http": [{"url": "https://x.example:8443", "access": "full"}]}, "does not grant port 8443"),
        ({"http": [{"url": "http://x.example:443", "access": "full"}]}, "grants no http"),
        ({"private": "allow"}, "only where a rule names them"),
        ({"listen": ["tcp://0.0.0.0:443"]}, "listening on loopback only"),
    ],
)
def test_a_rule_that_leaves_a_ceiling_is_an_error_with_a_witness(network, problem):
    found = findings_of([("ceiling", CEILING)], **network)
    assert any(each.id == "outside-boundary" and problem in each.sentence for each in found)


def test_what_lies_inside_a_ceiling_is_no_error_and_what_it_refuses_is_final():
    inside = {key: value for key, value in CRM.items() if key != "tcp"} | {"tcp": [CRM["tcp"][0]]}
    found = plan(ceilings=[("ceiling", CEILING)], **inside)
    allowed = Question(call="connect", host="queue.svc.internal", address="10.1.2.3", port=6379)
    assert isinstance(decide_network(found, allowed), Allow)
    for asked, rule in (
        (Question(call="connect", address="9.9.9.9", port=444), "ceiling.network.ports"),
        (Question(call="connect", address="8.8.8.8", port=443), "ceiling.network.never"),
        (Question(call="connect", address="64:ff9b::808:808", port=443), "ceiling.network.never"),
        (Question(call="connect", protocol="udp", address="9.9.9.9", port=443), "ceiling.network.schemes"),
        (Question(call="bind", address="9.9.9.9", port=443), "ceiling.network.listen"),
        (Question(call="resolve", host="evil.example"), "ceiling.network.never"),
    ):
        decision = decide_network(found, asked)
        assert isinstance(decision, Deny)
        assert (decision.rule_id, decision.is_final) == (rule, True)


@pytest.mark.parametrize(
    ("network", "finding"),
    [
        ({"tcp": [{"to": "*", "ports": ["443"]}]}, "bad-host"),
        ({"tcp": [{"to": "http://:@host", "ports": ["443"]}]}, "bad-host"),
        ({"tcp": [{"to": "10.0.0.1/8", "ports": ["443"]}]}, "bad-address"),
        ({"tcp": [{"to": "127.1", "ports": ["443"]}]}, "bad-address"),
        ({"tcp": [{"to": "2002:7f00:1::", "ports": ["443"]}]}, "bad-address"),
        ({"tcp": [{"to": "x", "ports": ["12:30"]}]}, "bad-port"),
        ({"tcp": [{"to": "x", "ports": []}]}, "empty-list"),
        ({"http": [{"url": "https://x/v1", "access": "full"}]}, "bad-url"),
        ({"http": [{"url": "https://*", "access": "full"}]}, "bad-host"),
        ({"http": [{"url": "https://x", "methods": ["get"]}]}, "bad-method"),
        ({"http": [{"url": "https://x", "methods": ["CONNECT"]}]}, "bad-method"),
        ({"http": [{"url": "https://x", "access": "full", "methods": ["GET"]}]}, "bad-method"),
        ({"http": [{"url": "https://x", "access": "full", "paths": ["v1"]}]}, "bad-path"),
        (
            {
                "http": [
                    {"url": "https://x", "access": "full", "credential": {"from": "token", "as": "header:A"}}
                ]
            },
            "bad-credential",
        ),
        ({"deny": [{"ports": ["1"]}]}, "bad-deny"),
        ({"deny": [{"to": "x", "url": "https://x"}]}, "bad-deny"),
        ({"dns": {"names": ["*"]}}, "bad-host"),
        ({"listen": ["127.0.0.1:80"]}, "bad-listener"),
    ],
)
def test_an_odd_text_is_an_error_of_its_own_kind(network, finding):
    with pytest.raises(PolicyError) as caught:
        document_of({"version": 1, "metadata": {"name": "x"}, "permissions": {"network": network}})
    assert [each.id for each in caught.value.findings] == [finding]


def test_a_rule_for_requests_without_a_method_is_an_error_and_a_name_without_a_lookup_a_warning():
    found = (*findings_of(http=[{"url": "https://x"}]), *findings_of(tcp=[{"to": "x.y", "ports": ["1"]}]))
    assert [(each.id, each.severity) for each in found] == [
        ("bad-method", Severity.ERROR),
        ("no-lookup", Severity.WARNING),
    ]
    assert not findings_of(
        http=[{"url": "https://x", "access": "full"}],
        tcp=[{"to": "x.y", "ports": ["1"]}],
        dns={"names": ["*.y"]},
    )


def test_the_same_rule_twice_is_an_error():
    rule = {"to": "x", "ports": ["1", "2"]}
    found = findings_of(tcp=[rule, {"to": "x", "ports": ["2", "1"]}], dns={"names": ["x"]})
    assert [each.id for each in found] == ["duplicate-id"]


def test_tables_do_not_depend_on_the_order_of_lists():
    one = {"tcp": [{"id": "a", "to": "x.y", "ports": ["80", "443-445"]}]}
    other = {"tcp": [{"ports": ["443", "444-445", "80"], "to": "X.y.", "id": "a"}]}
    documents = [
        {"version": 1, "metadata": {"name": "n"}, "permissions": {"network": each}} for each in (one, other)
    ]
    assert compiled(documents[0]).plan == compiled(documents[1]).plan


def test_a_rule_is_told_alike_however_its_ports_are_listed():
    listed = (["80", "443-445"], ["443", "444-445", "80"], ["444-445", "80", "443-444"])
    (one, *others) = [plan(tcp=[{"id": "a", "to": "x.y", "ports": ports}]).rules for ports in listed]
    assert one[-1].summary == "allows TCP to x.y on port 80, 443-445"
    assert others == [one, one]


def test_the_network_is_told_in_sentences():
    lines = explain_network(plan(**CRM))
    assert "Rule queue allows TCP to queue.svc.internal on port 6379, private addresses too." in lines
    assert "Rule no-export refuses every method at https://api.crm.example, of it /v2/export/**." in lines
    assert any(line.endswith("allows to listen at tcp://127.0.0.1:9000.") for line in lines)
    assert any(
        line.startswith("Rule crm-read allows GET, HEAD, OPTIONS at https://api.crm.example")
        for line in lines
    )
    assert explain_network(EMPTY) == ["The network is not granted."]


def test_each_model_is_told_whether_or_not_there_is_a_network():
    models = [{"name": name, "digest": f"sha256:{name * 64}", "backend": "onnx"} for name in "ab"]
    document = {
        "version": 1,
        "metadata": {"name": "n"},
        "permissions": {"nn": {"models": models, "max_calls": "3"}},
    }
    told = explain_network(plan_of(document))
    assert told[0] == "The network is not granted."
    assert [line.split(" allows ")[1] for line in told[1:3]] == [
        f"to load the model {name} (sha256:{name * 64}) with onnx." for name in "ab"
    ]
    assert told[3:] == ["Models: at most 3 calls."]


def test_what_a_boundary_leaves_is_told_as_its_word():
    ceiling = NetworkCeiling(schemes=("https",), ports=("443",), never=("evil.example",), private="deny")
    told = explain_network(plan(ceilings=[("outer", ceiling)]))
    assert told == [
        "The network is not granted.",
        "The boundary outer grants no tcp, udp, http.",
        "The boundary outer leaves these ports: 443.",
        "The boundary outer never grants evil.example.",
        "The boundary outer grants no private address.",
        "The boundary outer grants no place to listen at.",
    ]


HIDING = ("64:ff9b::808:808", "2002:808:808::1")


@pytest.mark.parametrize("address", HIDING)
def test_a_denial_brings_no_grant_to_the_addresses_that_hide_its_own(address):
    http = [{"id": "h", "url": "http://8.8.8.8", "methods": ["GET", "POST"]}]
    deny = [{"id": "d", "url": "http://8.8.8.8", "methods": ["POST"]}]
    plans = [plan(http=http), plan(http=http, deny=deny)]
    asked = [
        Question(call="http", method="GET", url=f"http://[{address}]/"),
        Question(call="http", method="GET", url="http://8.8.8.8/"),
    ]
    for each in plans:
        hidden, named = (decide_network(each, question) for question in asked)
        assert isinstance(hidden, Deny)
        assert isinstance(named, Allow)


def test_a_denial_reaches_the_addresses_that_hide_its_own():
    address = HIDING[0]
    http = [{"id": "h", "url": f"http://[{address}]", "methods": ["GET", "POST"]}]
    found = plan(http=http, deny=[{"id": "d", "url": "http://8.8.8.8", "methods": ["POST"]}])
    asked = {
        method: Question(call="http", method=method, url=f"http://[{address}]/") for method in ("GET", "POST")
    }
    assert isinstance(decide_network(found, asked["GET"]), Allow)
    assert decide_network(found, asked["POST"]).rule_id == "d"
