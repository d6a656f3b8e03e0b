"""A plan in sentences, and the verdict on one call with the way that led to it.

What is decided comes from `decide.py`, the same code that tests and replays use. No sentence here
is written from the document: a rule that did not reach the plan is not told.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from policy.decide import Allow, Decision, Deny, WouldDeny
from policy.errors import printable
from policy.plan import UNLIMITED, Mode, Plan, Rule, RuleKind, SourceKind

if TYPE_CHECKING:
    from policy.plan import Mount

EVALUATION = "built-in deny, then deny rules, then allow rules, then the default, which refuses"
"""The order in which a path is judged, as every explanation says it."""


def explain_plan(plan: Plan) -> list[str]:
    """What the plan allows and refuses, a sentence a line."""
    lines = [f"Each call is judged in this order: {EVALUATION}."]
    if plan.mode is Mode.AUDIT:
        lines.append("The policy only audits: what it would refuse is recorded as would_deny, and happens.")
    lines += _modules(plan)
    lines += [_mount(mount) for mount in plan.mounts] or ["No file is granted."]
    lines += [_rule(rule) for rule in plan.rules if rule.kind is RuleKind.ALLOW]
    lines += [_rule(rule) for rule in plan.rules if rule.kind is RuleKind.DENY]
    lines += _program(plan)
    lines.append("The network is not granted.")
    lines += _limits(plan)
    return [printable(line) for line in lines]


def explain_decision(decision: Decision) -> list[str]:
    """The verdict first, then each step of the evaluation, then how to allow what was refused."""
    lines = [f"{_verdict(decision)}: {decision.reason}"]
    lines += [f"  {step}" for step in decision.chain]
    if decision.rule_id:
        lines.append(f"  rule: {decision.rule_id}")
    if isinstance(decision, Deny | WouldDeny) and decision.hint:
        lines.append(f"  to allow it: {decision.hint}")
    return [printable(line) for line in lines]


def _verdict(decision: Decision) -> str:
    match decision:
        case Allow():
            return "allow"
        case Deny():
            return "deny"
        case WouldDeny():
            return "would_deny"


def _modules(plan: Plan) -> list[str]:
    lines: list[str] = []
    if plan.match_digests:
        lines.append(f"It is for modules with the digest {' or '.join(plan.match_digests)}.")
    if plan.match_names:
        lines.append(f"It is for modules named {' or '.join(plan.match_names)}.")
    return lines


def _mount(mount: Mount) -> str:
    parts = [f"The guest finds {mount.base} at {mount.guest}"]
    if mount.is_split:
        parts.append("rules tell its paths apart, so links in it are not followed")
    if not mount.is_mutable:
        parts.append("nothing in it can be changed")
    return "; ".join(parts) + "."


def _rule(rule: Rule) -> str:
    bounds = ""
    if rule.max_bytes != UNLIMITED:
        bounds += f", at most {rule.max_bytes} bytes written"
    if rule.max_files != UNLIMITED:
        bounds += f", at most {rule.max_files} files made"
    return f"Rule {rule.id} {rule.summary}{bounds}."


def _program(plan: Plan) -> list[str]:
    names = ", ".join(name for name, _ in plan.environment)
    more = "the caller may add more" if plan.is_extra_args_allowed else "the caller may add none"
    sources = {SourceKind.NONE: "none", SourceKind.REAL: "real", SourceKind.FIXED: "fixed by the policy"}
    return [
        f"Environment: {names or 'no variable'}.",
        f"Arguments: {' '.join(plan.args) or 'none'}; {more}.",
        f"Streams: stdin {plan.stdio.stdin}, stdout {plan.stdio.stdout}, stderr {plan.stdio.stderr}.",
        f"Wall clock: {sources[plan.clocks.wall]}; monotonic clock: {sources[plan.clocks.monotonic]}.",
        f"The clocks tick every {plan.clocks.resolution_ns} ns.",
        f"Random bytes: {sources[plan.random.kind]}.",
    ]


def _limits(plan: Plan) -> list[str]:
    limits = plan.limits
    shown = {
        "memory": (limits.memory_bytes, "bytes"),
        "processor time": (limits.cpu_ms, "ms"),
        "wall time": (limits.wall_ms, "ms"),
        "host calls": (limits.host_calls, ""),
        "standard output": (limits.stdout_bytes, "bytes"),
        "standard error": (limits.stderr_bytes, "bytes"),
        "written to files": (limits.disk_bytes, "bytes"),
        "files made": (limits.files, ""),
        "open files": (limits.open_files, ""),
    }
    texts = [
        f"{name} {'unlimited' if value == UNLIMITED else f'{value} {unit}'.strip()}"
        for name, (value, unit) in shown.items()
    ]
    return [f"Limits: {', '.join(texts)}."]
