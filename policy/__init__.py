"""From the text of a policy to a plan, and from a plan to a decision.

What is done with a plan lives in `sandbox/`; this package knows nothing of execution. A document
that can't be enforced in full never becomes a plan.

Names are imported when they are first used: a cell needs `policy.plan` only, and neither YAML nor the schema.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from policy.compiler import check_policy, compile_policy
    from policy.document import PolicyDocument, load_any, load_document
    from policy.errors import Finding, PolicyError, Severity
    from policy.lookup import rule_index
    from policy.plan import Plan, Right, RuleId

__all__ = [
    "Finding",
    "Plan",
    "PolicyDocument",
    "PolicyError",
    "Right",
    "RuleId",
    "Severity",
    "check_policy",
    "compile_policy",
    "load_any",
    "load_document",
    "rule_index",
]

_PLACES = {
    "compiler": ("check_policy", "compile_policy"),
    "document": ("PolicyDocument", "load_any", "load_document"),
    "errors": ("Finding", "PolicyError", "Severity"),
    "lookup": ("rule_index",),
    "plan": ("Plan", "Right", "RuleId"),
}


def __getattr__(name: str) -> object:
    """Import a public name from where it lives."""
    for module, names in _PLACES.items():
        if name in names:
            return getattr(import_module(f"policy.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
