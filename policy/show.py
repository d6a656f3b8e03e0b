"""A plan for people and scripts: as plain JSON values, and as readable lines.

Sentences about what the rules mean are written in `explain.py`. What is shown is taken from the
plan alone, so it is what will be enforced.
"""

from __future__ import annotations

import hashlib
from dataclasses import fields, is_dataclass
from typing import TYPE_CHECKING

from policy.digest import Json, as_json, canonical
from policy.explain import explain_plan
from policy.network.explain import explain_network
from policy.plan import Right
from policy.plan_temporal import Reach

if TYPE_CHECKING:
    from policy.plan import Plan
    from policy.plan_temporal import TemporalRule


def plan_as_json(plan: Plan) -> dict[str, Json]:
    """The plan by field; long tables as their sizes and digests, a seed as its presence only."""
    value = {each.name: as_json(getattr(plan, each.name)) for each in fields(plan)}
    automaton = plan.automaton
    sizes: dict[str, Json] = {
        "states": len(automaton.states),
        "edges": len(automaton.edges),
        "classes": len(automaton.classes),
    }
    digests = value["automaton"]
    value["automaton"] = {**sizes, "digests": digests}
    value["temporal"] = [_temporal(plan, rule) for rule in plan.temporal]
    value["network"] = _network(plan)
    value["random"] = {"kind": plan.random.kind.name.lower(), "is_seeded": bool(plan.random.seed)}
    value["rules"] = [
        {
            "id": rule.id,
            "kind": rule.kind.name.lower(),
            "field": rule.field,
            "summary": rule.summary,
            "hint": rule.hint,
            "max_bytes": as_json(rule.max_bytes),
            "max_files": as_json(rule.max_files),
        }
        for rule in plan.rules
    ]
    return value


def _temporal(plan: Plan, rule: TemporalRule) -> dict[str, Json]:
    return {
        "rule": plan.rules[rule.rule].id,
        "trigger": rule.trigger.name.lower(),
        "watches": rule.watches,
        "over": as_json(rule.over),
        "window_ms": as_json(rule.window_ms),
        "rights": [str(right.name).lower() for right in Right if right & rule.rights],
        "reach": [str(reach.name).lower() for reach in Reach if reach & rule.reach],
        "denies_nn": rule.denies_nn,
        "severity": rule.severity,
    }


def _network(plan: Plan) -> dict[str, Json]:
    """How large the tables are, one digest of all of them, and what they mean."""
    tables = as_json(plan.network)
    sizes: dict[str, Json] = {}
    for each in fields(plan.network):
        size = _size(getattr(plan.network, each.name))
        if size is not None:
            sizes[each.name] = size
    return {
        "sizes": sizes,
        "digest": "sha256:" + hashlib.sha256(canonical(tables)).hexdigest(),
        "rules": list[Json](explain_network(plan)),
    }


def _size(table: object) -> int | None:
    """The rows of a table and of the tables in it; None for what is none."""
    if isinstance(table, tuple):
        return len(table)
    if is_dataclass(table):
        return sum(_size(getattr(table, each.name)) or 0 for each in fields(table))
    return None


def render_plan(plan: Plan) -> str:
    """The plan as text: its names, then what it allows and refuses."""
    head = [
        f"policy {plan.name}",
        f"  document {plan.policy_digest}",
        f"  plan     {plan.plan_digest}",
        f"  mode     {plan.mode}",
        "",
    ]
    return "\n".join([*head, *explain_plan(plan)]) + "\n"
