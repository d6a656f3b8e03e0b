"""Plans that hold the network of a document and nothing else, for tests of the network alone."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from policy import fixed
from policy.document import PolicyDocument, load_document
from policy.errors import Finding, Severity
from policy.network.compile import NetworkCompiled, compile_network
from policy.plan import Clocks, Limits, Mode, PathAutomaton, PathClass, Plan, Random, Runtime, Stdio
from policy.plan_audit import Audit
from policy.plan_network import NetworkPlan, NnPlan

EMPTY = Plan(
    name="network",
    policy_digest="",
    plan_digest="",
    mode=Mode.ENFORCE,
    match_digests=(),
    match_names=(),
    match_tenants=(),
    match_signers=(),
    rules=(fixed.DEFAULT_RULE,),
    denied_calls=(),
    mounts=(),
    automaton=PathAutomaton(((0, 0, 0, 0, 2),), (), (PathClass(0, (0,) * 7),)),
    temporal=(),
    network=NetworkPlan(),
    nn=NnPlan(),
    environment=(),
    args=(),
    is_extra_args_allowed=True,
    stdio=Stdio(),
    clocks=Clocks(),
    random=Random(),
    limits=Limits(*range(17)),
    runtime=Runtime(),
    audit=Audit(),
)


def document_of(value: dict[str, Any]) -> PolicyDocument:
    return load_document(json.dumps(value).encode(), file="p.yaml")


def compiled(value: dict[str, Any], ceilings: Any = ()) -> NetworkCompiled:
    return compile_network(document_of(value), ceilings=ceilings, first_rule=1)


def findings_of(ceilings: Any = (), **network: Any) -> tuple[Finding, ...]:
    return compiled(_document(network), ceilings).findings


def plan_of(value: dict[str, Any], ceilings: Any = ()) -> Plan:
    found = compiled(value, ceilings)
    errors = [each for each in found.findings if each.severity is Severity.ERROR]
    if errors:
        raise ValueError(errors)
    return replace(EMPTY, rules=(*EMPTY.rules, *found.rules), network=found.plan, nn=found.nn)


def plan(*, ceilings: Any = (), **network: Any) -> Plan:
    return plan_of(_document(network), ceilings)


def _document(network: dict[str, Any]) -> dict[str, Any]:
    return {"version": 1, "metadata": {"name": "network"}, "permissions": {"network": network}}
