"""One execution as a person reads it: what ran, how it ended, what it used, what it called, what was refused.

Everything comes from the receipt and the records. INVARIANT: text that a guest or a caller chose comes out
inert.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from api.report import cut, outcome_line
from api.tables import render_table
from api.timeline import render_timeline
from audit.inert import inert
from audit.network_use import COUNTED
from audit.receipt import CONFINED
from audit.times import to_rfc3339

if TYPE_CHECKING:
    from api.terminal import Paint
    from api.timeline import Timeline
    from audit.query import Execution
    from audit.receipt import Receipt

_DECISIONS = ("allow", "deny", "would_deny", "limit")


def render_execution(found: Execution, picture: Timeline, *, paint: Paint, is_unicode: bool) -> str:
    """The text of `audit show`."""
    lines = render_timeline(picture, paint=paint, is_unicode=is_unicode)
    if found.receipt is None:
        name = inert(found.start.module_name) if found.start else "?"
        return "\n".join([f"{name} is running", "", *lines]) + "\n"
    receipt = found.receipt
    parts = [render_table(_facts(receipt)), "\n".join(lines) + "\n", render_table(*_calls(receipt))]
    if receipt.refusals:
        parts.append(_refusals(receipt))
    return "\n".join(part for part in parts if part)


def _facts(receipt: Receipt) -> list[list[str]]:
    used = receipt.resources
    wall_ms = "?" if used.wall_ms is None else used.wall_ms
    times = f"{to_rfc3339(receipt.started_at_ns)[:23]}Z, for {wall_ms} ms"
    memory = "?" if used.peak_memory_bytes is None else f"{used.peak_memory_bytes / (1 << 20):.1f} MiB"
    facts = [
        ["execution", receipt.execution_id],
        ["module", f"{inert(receipt.module_name)}  {receipt.module_digest}"],
        ["tenant", inert(receipt.tenant)],
        ["policy", f"{inert(receipt.policy_name)}  {receipt.policy_digest}"],
        ["started", times],
        ["outcome", outcome_line(receipt)],
        [
            "used",
            f"{used.cpu_ms if used.cpu_ms is not None else '?'} ms of processor time, {memory} of memory",
        ],
        ["moved", f"{used.bytes_read} bytes read, {used.bytes_written} bytes written"],
        ["records", str(receipt.records)],
        ["walls", ", ".join(receipt.walls) or "none: it did not start"],
    ]
    if receipt.missing_walls:
        facts.append(["without", ", ".join(receipt.missing_walls)])
    if (network := receipt.network) is not None:
        counts = dict(zip(COUNTED, network.counts, strict=True))
        told = ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in counts.items() if count)
        facts.append(["network", told or "not used"])
    if receipt.isolation != CONFINED:
        facts.append(["isolation", inert(receipt.isolation)])
    if receipt.unenforced:
        facts.append(["unenforced", ", ".join(inert(field) for field in receipt.unenforced)])
    if receipt.determinism_digest:
        facts.append(["determinism", receipt.determinism_digest])
    if receipt.gaps:
        gaps = ", ".join(f"{first} to {last}" for first, last in receipt.gaps)
        facts.append(["missing", f"records {gaps}"])
    return facts


def _calls(receipt: Receipt) -> tuple[list[list[str]], list[str]]:
    counts: dict[str, dict[str, int]] = {}
    for item in receipt.calls:
        counts.setdefault(item.call, {})[item.decision] = item.count
    words = [word for word in _DECISIONS if any(word in each for each in counts.values())]
    if not counts:
        return [], []
    rows = [
        [inert(call), *(str(each.get(word, 0)) for word in words)] for call, each in sorted(counts.items())
    ]
    return rows, ["call", *words]


def _refusals(receipt: Receipt) -> str:
    rows = [
        [
            str(one.seq),
            inert(one.call),
            inert(one.rule or "-"),
            inert(one.reason or "-"),
            cut(one.target or "-"),
        ]
        for one in receipt.refusals
    ]
    return "refused, the first ones\n" + render_table(rows, ["seq", "call", "rule", "reason", "target"])
