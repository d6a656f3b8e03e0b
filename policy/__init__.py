"""From the text of a policy to a plan, and from a plan to a decision.

What is done with a plan lives in `sandbox/`; this package knows nothing of execution. A document
that can't be enforced in full never becomes a plan.
"""

from __future__ import annotations

from policy.compiler import check_policy, compile_policy, rule_index
from policy.document import PolicyDocument, load_document
from policy.errors import Finding, PolicyError, Severity
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
    "load_document",
    "rule_index",
]
