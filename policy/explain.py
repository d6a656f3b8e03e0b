"""A plan in sentences, and the verdict on one call with the way that led to it.

What is decided comes from `decide.py`, the same code that tests and replays use. No sentence here
is written from the document: a rule that did not reach the plan is not told.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from policy.decisions import Allow, Decision, Deny, WouldDeny
from policy.errors import printable
from policy.explain_audit import explain_audit
from policy.network.explain import explain_network
from policy.plan import UNLIMITED, Isolation, Mode, Plan, Rule, RuleKind, SourceKind
from policy.plan_network import has_network

if TYPE_CHECKING:
    from policy.plan import Mount

EVALUATION = (
    "built-in deny -> Boundary (must allow) -> deny lists (document, parents) -> temporal rules -> "
    "allow lists -> default deny"
)
"""The order in which a call is judged, as every explanation says it."""

_MODES = {
    Mode.ENFORCE: "What it refuses is refused.",
    Mode.AUDIT: (
        "The policy only audits: what it would refuse is recorded as would_deny, and happens; what a "
        "built-in deny or a boundary refuses is refused all the same."
    ),
    Mode.LEARN: (
        "The policy is for learning: what it refuses is refused, and directories without a grant are shown "
        "to the guest, so that the records tell what it asks for."
    ),
}


def explain_plan(plan: Plan) -> list[str]:
    """What the plan allows and refuses, a sentence a line."""
    kinds = {kind: [rule for rule in plan.rules if rule.kind is kind] for kind in RuleKind}
    lines = [f"Each call is judged in this order: {EVALUATION}.", _MODES[plan.mode]]
    if plan.unenforced:
        lines.append(f"This version does not enforce: {', '.join(plan.unenforced)}.")
    if not plan.may_run:
        lines.append("So nothing may run with it: it can be studied only.")
    lines += _modules(plan)
    lines += [_sentence(rule) for rule in kinds[RuleKind.BOUNDARY] if _is_storage(rule)]
    lines += [_mount(mount) for mount in plan.mounts] or ["No file is granted."]
    lines += [_rule(rule) for rule in kinds[RuleKind.ALLOW] if _is_storage(rule)]
    lines += [_rule(rule) for rule in kinds[RuleKind.DENY] if _is_storage(rule)]
    lines += [_rule(rule) for rule in kinds[RuleKind.TEMPORAL]]
    lines += _program(plan)
    lines += explain_network(plan)
    lines += _limits(plan)
    lines += _runtime(plan)
    lines += explain_audit(plan.audit)
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
    asked = (
        ("for modules with the digest", plan.match_digests),
        ("for modules named", plan.match_names),
        ("for the tenants", plan.match_tenants),
        ("for modules signed by", plan.match_signers),
    )
    return [f"It is {what} {' or '.join(values)}." for what, values in asked if values]


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
        bounds += f", at most {_size(rule.max_bytes)} written"
    if rule.max_files != UNLIMITED:
        bounds += f", at most {rule.max_files} files made"
    origin, colon, _ = rule.field.partition(": ")
    return f"Rule {rule.id}{f' (from {origin})' if colon else ''} {rule.summary}{bounds}."


def _sentence(rule: Rule) -> str:
    return f"{rule.summary[:1].upper()}{rule.summary[1:]}."


def _program(plan: Plan) -> list[str]:
    names = ", ".join(name for name, _ in plan.environment)
    more = "the caller may add more" if plan.is_extra_args_allowed else "the caller may add none"
    clocks = plan.clocks
    wall = _clock(clocks.wall, _moment(clocks.wall_ns))
    monotonic = _clock(clocks.monotonic, f"{clocks.monotonic_ns} ns")
    random = {
        SourceKind.NONE: "none",
        SourceKind.REAL: "real",
        SourceKind.FIXED: "from a seed in the policy",
        SourceKind.VIRTUAL: "from a seed made of the policy and the module",
    }
    return [
        f"Environment: {names or 'no variable'}.",
        f"Arguments: {' '.join(plan.args) or 'none'}; {more}.",
        f"Streams: stdin {plan.stdio.stdin}, stdout {plan.stdio.stdout}, stderr {plan.stdio.stderr}.",
        f"Wall clock: {wall}; monotonic clock: {monotonic}.",
        f"The clocks tick every {clocks.resolution_ns} ns.",
        f"Random bytes: {random[plan.random.kind]}.",
    ]


def _clock(kind: SourceKind, moment: str) -> str:
    match kind:
        case SourceKind.FIXED:
            return f"frozen at {moment}"
        case SourceKind.VIRTUAL:
            return f"virtual, from {moment} on"
        case SourceKind.NONE | SourceKind.REAL:
            return kind.name.lower()


def _moment(nanoseconds: int) -> str:
    seconds, rest = divmod(nanoseconds, 10**9)
    text = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{text}.{rest:09d}Z" if rest else f"{text}Z"


def _is_storage(rule: Rule) -> bool:
    return rule.field.rpartition(": ")[2].startswith(("permissions.storage", "ceiling.storage"))


_ISOLATIONS = {
    Isolation.CONFINED: "a process of its own, behind the walls of the operating system",
    Isolation.PROCESS: "a process of its own, without walls of the operating system",
    Isolation.IN_PROCESS: "the process of whoever runs it, without walls of the operating system",
}


def _runtime(plan: Plan) -> list[str]:
    runtime = plan.runtime
    lines = [f"It runs in {_ISOLATIONS[runtime.isolation]}."]
    if runtime.require_walls:
        lines.append(f"Nothing runs unless these walls stand: {', '.join(runtime.require_walls)}.")
    if runtime.deterministic:
        lines.append("Runs are deterministic: the same module and the same input give the same digest.")
    return lines


def _limits(plan: Plan) -> list[str]:
    limits = plan.limits
    shown = {
        "memory": _size(limits.memory_bytes),
        "processor time": _time(limits.cpu_ms),
        "wall time": _time(limits.wall_ms),
        "fuel": _count(limits.fuel),
        "host calls": _count(limits.host_calls),
        "standard output": _size(limits.stdout_bytes),
        "standard error": _size(limits.stderr_bytes),
        "written to files": _size(limits.disk_bytes),
        "files made": _count(limits.files),
        "open files": _count(limits.open_files),
    }
    if has_network(plan.network):
        shown |= {
            "connections": _count(limits.connections),
            "from the network": _size(limits.net_in_bytes),
            "to the network": _size(limits.net_out_bytes),
        }
    return [f"Limits: {', '.join(f'{name} {text}' for name, text in shown.items())}."]


def _count(value: int) -> str:
    return "unlimited" if value == UNLIMITED else str(value)


def _size(value: int) -> str:
    """Bytes as a document writes them, with the largest unit that holds exactly."""
    if value == UNLIMITED:
        return "unlimited"
    for power, unit in ((3, "Gi"), (2, "Mi"), (1, "Ki")):
        if value and value % 1024**power == 0:
            return f"{value // 1024**power}{unit}"
    return f"{value} bytes"


def _time(milliseconds: int) -> str:
    if milliseconds == UNLIMITED:
        return "unlimited"
    return f"{milliseconds // 1000}s" if milliseconds % 1000 == 0 else f"{milliseconds}ms"
