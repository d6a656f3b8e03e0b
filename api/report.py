"""The report that follows a run: how it ended, what was refused, by which rule, and how to allow it.

What is reported comes from the receipt and the plan; who prints it decides where. INVARIANT: every text that
a guest could have chosen is inert, so nothing it names can pretend to be a line of the report.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from api.invocation import command
from audit.inert import inert
from audit.receipt import OutcomeKind
from policy.component_calls import base_name
from policy.fixed import DEFAULT
from policy.plan import RuleId

if TYPE_CHECKING:
    from collections.abc import Sequence

    from api.terminal import Paint
    from audit.receipt import Receipt
    from policy.plan import Plan, Rule
    from sandbox.refused_calls import RefusedCall

_SHOWN_CALLS = 5  # of one rule; the audit log has them all
_SHOWN_TEXT = 160  # characters of a target
_SECTIONS = {
    "http_request": "permissions.network.http",
    "sock_bind": "permissions.network.listen",
    "sock_connect": "permissions.network.tcp",
    "sock_getaddrinfo": "permissions.network.dns.names",
    "sock_listen": "permissions.network.listen",
    "sock_send_to": "permissions.network.udp",
}
"""Where a policy grants what calls on the network reach."""
_PLAIN = re.compile(r"/[A-Za-z0-9._/@+-]*\Z")  # a path that needs no quotes in YAML and is no glob


@dataclass(frozen=True, slots=True)
class RefusalGroup:
    """The refusals that one rule decided."""

    rule: str
    count: int
    summary: str  # what the rule says; empty for a rule that the plan does not know
    allow: str  # how to allow it
    calls: tuple[tuple[str, int], ...]  # a line of text for each call and target, and how often


def refusal_groups(plan: Plan, refused: Sequence[RefusedCall]) -> tuple[RefusalGroup, ...]:
    """Sort refusals by rule, in the order in which the rules first decided."""
    rules = {rule.id: rule for rule in plan.rules}
    by_rule: dict[str, list[RefusedCall]] = {}
    for call in refused:
        by_rule.setdefault(call.rule or "", []).append(call)
    return tuple(_group(name, calls, rules) for name, calls in by_rule.items())


def refused_count(receipt: Receipt) -> int:
    """How many calls were refused, or would have been."""
    return sum(item.count for item in receipt.calls if item.decision != "allow")


def outcome_line(receipt: Receipt) -> str:
    """One sentence: how the run ended."""
    outcome = receipt.outcome
    message = f": {inert(outcome.message)}" if outcome.message else ""
    match outcome.kind:
        case OutcomeKind.EXITED:
            return f"exited with status {outcome.exit_code or 0}"
        case OutcomeKind.TRAPPED:
            return f"the guest trapped{message}"
        case OutcomeKind.LIMIT:
            return f"stopped by the limit `{inert(outcome.limit or '?')}`"
        case OutcomeKind.KILLED:
            return f"killed{message}"
        case OutcomeKind.REFUSED:
            return f"refused{message}"


def render_report(
    receipt: Receipt, plan: Plan, refused: Sequence[RefusedCall], *, paint: Paint, audit_dir: str
) -> str:
    """The report as text; empty when there is nothing to say."""
    total = refused_count(receipt)
    is_plain_exit = receipt.outcome.kind is OutcomeKind.EXITED
    if is_plain_exit and not total:
        return ""
    lines = [paint.bold(f"wasmgate: {outcome_line(receipt)}{_count_text(receipt, total)}")]
    for group in refusal_groups(plan, refused):
        lines += render_group(group, paint)
    if total > len(refused):
        lines.append(f"  and {total - len(refused)} more, which the audit log has")
    if total:
        closer = command("audit", "show", "--audit-dir", audit_dir, receipt.execution_id)
        lines.append(paint.faint(f"  look closer: {closer}"))
    return "\n".join(lines) + "\n"


def render_group(group: RefusalGroup, paint: Paint) -> list[str]:
    """The lines about one rule."""
    summary = f": {group.summary}" if group.summary else ""
    lines = [f"  {paint(inert(group.rule or '?'), 'red')} {group.count}x{summary}"]
    for text, count in group.calls[:_SHOWN_CALLS]:
        lines.append(f"    {text}" + (f" ({count}x)" if count > 1 else ""))
    if len(group.calls) > _SHOWN_CALLS:
        lines.append(f"    and {len(group.calls) - _SHOWN_CALLS} more")
    if group.allow:
        lines.append(f"    {paint('to allow it:', 'green')} {group.allow}")
    return lines


def _count_text(receipt: Receipt, total: int) -> str:
    if not total:
        return ""
    would = sum(item.count for item in receipt.calls if item.decision == "would_deny")
    of = f"of {receipt.resources.host_calls} host calls"
    if not would:
        return f"; {total} {of} refused"
    # audit mode lets through what a policy could grant, never what the boundary and the limits refuse
    if would == total:
        return f"; {total} {of} would be refused"
    return f"; {total - would} {of} refused, {would} more would be"


def _group(name: str, calls: list[RefusedCall], rules: dict[RuleId, Rule]) -> RefusalGroup:
    rule = rules.get(RuleId(name))
    lines: dict[str, int] = {}
    for call in calls:
        text = _call_text(call)
        lines[text] = lines.get(text, 0) + 1
    return RefusalGroup(
        rule=name,
        count=len(calls),
        summary=inert(rule.summary) if rule else "",
        allow=_advice(rule, calls),
        calls=tuple(lines.items()),
    )


def _call_text(call: RefusedCall) -> str:
    target = call.target if call.target is not None else call.guest_target
    shown = f" {cut(target)}" if target else ""
    if call.guest_target and call.guest_target != target and call.reason == "escape":
        shown += f", asked for as {cut(call.guest_target)}"
    why = f": `{inert(call.right)}` is not granted" if call.right else ""
    if call.reason == "budget":
        why = ": over what the rule gives"
    return f"{inert(call.call)}{shown}{why}"


def cut(text: str, limit: int = _SHOWN_TEXT) -> str:
    """Guest text, inert and not longer than `limit`."""
    shown = inert(text[: limit + 1])
    return shown if len(shown) <= limit else f"{shown[: limit - 1]}…"


def _advice(rule: Rule | None, calls: list[RefusedCall]) -> str:
    if rule is None:
        return ""
    if rule.id != DEFAULT:
        return inert(rule.hint) or _more(rule)
    ways = [way for way in (_storage_advice(calls), _network_advice(calls)) if way]
    return "; ".join(ways) or inert(rule.hint)


def _network_advice(calls: list[RefusedCall]) -> str:
    """Where to grant what calls on the network would have reached."""
    sections = dict.fromkeys(_SECTIONS.get(base_name(call.call), "") for call in calls)
    named = " or ".join(filter(None, sections))
    return f"add what is named here to {named}" if named else ""


def _storage_advice(calls: list[RefusedCall]) -> str:
    """The rule that would grant the first path, where one can be written."""
    rights: dict[tuple[str, str], list[str]] = {}
    for call in calls:
        place = (call.target or "", call.guest_target or "")
        if call.right and all(map(_is_plain, place)):
            wanted = rights.setdefault(place, [])
            if call.right not in wanted:
                wanted.append(call.right)
    if not rights:
        return ""
    (target, mount), access = next(iter(rights.items()))
    below = "/**" if "list" in access else ""
    line = f'{{uri: "fs://{target}{below}", mount: {mount}, access: [{", ".join(access)}]}}'
    more = f", and so on for {len(rights) - 1} more" if len(rights) > 1 else ""
    return f"add to permissions.storage.allow a rule as {line}{more}"


def _more(rule: Rule) -> str:
    """How to have more of what a grant gives up to an amount."""
    amounts = {"max_bytes": rule.max_bytes, "max_files": rule.max_files}
    names = [name for name, amount in amounts.items() if amount >= 0]
    return f"raise {' or '.join(names)} of {inert(rule.field)}" if names else ""


def _is_plain(path: str) -> bool:
    """Whether a path can stand in a rule as it is."""
    return bool(_PLAIN.match(path)) and not {".", "..", ""} & set(path.split("/")[1:])
