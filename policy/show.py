"""A plan for people and scripts: as plain JSON values, and as readable lines.

Sentences about what the rules mean are written in `explain.py`. What is shown is taken from the
plan alone, so it is what will be enforced.
"""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING

from policy.digest import Json, as_json
from policy.explain import explain_plan

if TYPE_CHECKING:
    from policy.plan import Plan


def plan_as_json(plan: Plan) -> dict[str, Json]:
    """The plan by field; the automaton as its size and digests, a seed as its presence only."""
    value = {each.name: as_json(getattr(plan, each.name)) for each in fields(plan)}
    automaton = plan.automaton
    sizes: dict[str, Json] = {
        "states": len(automaton.states),
        "edges": len(automaton.edges),
        "classes": len(automaton.classes),
    }
    digests = value["automaton"]
    value["automaton"] = {**sizes, "digests": digests}
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
