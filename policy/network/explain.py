"""The network of a plan in sentences.

What is decided comes from `decide.py`; the rest of a plan is told in `policy/explain.py`. No sentence here is
written from the document: a rule that did not reach the plan is not told.
"""

from __future__ import annotations

from policy.errors import printable
from policy.plan import UNLIMITED, Plan, Rule, RuleKind

_NETWORK = "permissions.network."


def explain_network(plan: Plan) -> list[str]:
    """What the plan grants and refuses of the network and of models, a sentence a line."""
    network = plan.network
    own = plan.rules[min(network.builtins) :] if network.builtins else ()
    grants = [_rule(plan, rule) for rule in own if rule.kind is RuleKind.ALLOW and _is_in(rule, _NETWORK)]
    if not grants:
        lines = ["The network is not granted."]
    else:
        lines = [*grants, *_zones(plan), *_lookups(plan)]
        lines += [_rule(plan, rule) for rule in own if rule.kind is RuleKind.DENY and _is_in(rule, _NETWORK)]
    lines += [
        _boundary(rule) for rule in own if rule.kind is RuleKind.BOUNDARY and _is_in(rule, "ceiling.network.")
    ]
    lines += [_rule(plan, rule) for rule in own if _is_in(rule, "permissions.nn.")]
    lines += _models(plan)
    return [printable(line) for line in lines]


def _is_in(rule: Rule, section: str) -> bool:
    return rule.field.rpartition(": ")[2].startswith(section)


def _boundary(rule: Rule) -> str:
    return f"{rule.summary[:1].upper()}{rule.summary[1:]}."


def _rule(plan: Plan, rule: Rule) -> str:
    return f"Rule {rule.id} {rule.summary}{_terms(plan, rule)}."


def _terms(plan: Plan, rule: Rule) -> str:
    """What an allow rule for requests asks besides."""
    found = next((each for each in plan.network.requests if plan.rules[each.rule].id == rule.id), None)
    if found is None:
        return ""
    parts: list[str] = []
    if found.denied_headers:
        parts.append(f"without the headers {', '.join(found.denied_headers)}")
    if found.max_request_bytes != UNLIMITED:
        parts.append(f"sending at most {found.max_request_bytes} bytes")
    if found.max_response_bytes != UNLIMITED:
        parts.append(f"taking at most {found.max_response_bytes} bytes")
    if not found.follows_redirects:
        parts.append("following no redirect")
    if found.credential:
        parts.append(f"with {found.credential} put into {found.credential_as} by the host")
    return "".join(f", {part}" for part in parts)


def _zones(plan: Plan) -> list[str]:
    hard = "reserved, multicast, link-local, loopback and metadata addresses"
    private = "" if plan.network.is_private_open else "; private ones only where a rule says so"
    return [f"Of {hard} it reaches only those that a rule names literally{private}."]


def _lookups(plan: Plan) -> list[str]:
    lookups = plan.network.lookups
    if not any(row.grant for rows in lookups.rows for row in rows):
        return ["It may look up no name."]
    count = "any number of" if lookups.max_queries == UNLIMITED else f"at most {lookups.max_queries}"
    pinned = (
        "only addresses that such a lookup returned are reached by name"
        if lookups.pin
        else "addresses are not tied to them"
    )
    return [f"It may make {count} lookups; {pinned}."]


def _models(plan: Plan) -> list[str]:
    nn = plan.nn
    if not nn.models:
        return []
    parts: list[str] = []
    if nn.max_calls != UNLIMITED:
        parts.append(f"at most {nn.max_calls} calls")
    if nn.max_tensor_bytes != UNLIMITED:
        parts.append(f"tensors of at most {nn.max_tensor_bytes} bytes")
    return [f"Models: {', '.join(parts)}."] if parts else []
