"""The parts of a compliance report that are made of receipts, events and findings, without asking the log.

Who asks is `report_gathering.py`, what the values are `report_facts.py`. INVARIANT: the same receipts, events
and findings give the same parts.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING

from api.report_facts import Noted, PolicyUse, Reader, Verification
from audit.call_names import bare
from audit.times import to_rfc3339
from policy.component_calls import base_name

if TYPE_CHECKING:
    from api.audit_desk import KnownEvent
    from audit.receipt import Receipt
    from audit.verify import standalone

_NS = 1_000_000_000
_BUCKETS_S = (60, 300, 900, 3_600, 21_600, 86_400, 604_800, 2_592_000, 31_536_000)
_BARS = 60
_KINDS = (
    ("path_", "files"),
    ("fd_", "files"),
    ("sock_", "network"),
    ("clock_", "time and chance"),
    ("random_", "time and chance"),
    ("poll_", "time and chance"),
    ("args_", "process"),
    ("environ_", "process"),
    ("proc_", "process"),
    ("sched_", "process"),
)


def bucket_of(length_ns: int) -> int:
    """Give the shortest piece of time, in seconds, of which a chart has room for so many."""
    return next((size for size in _BUCKETS_S if length_ns <= size * _BARS * _NS), _BUCKETS_S[-1])


def kind_of(call: str) -> str:
    """Give the kind of a call, as charts have it."""
    name = base_name(bare(call))
    return next((kind for prefix, kind in _KINDS if name.startswith(prefix)), "other")


def link_of(exec_id: str, seq: int) -> str:
    """Give where the service shows one record."""
    return f"/v1/audit/executions/{exec_id}/events?after_seq={seq - 1}&limit=1"


def verification(
    report: standalone.Report, began_ns: int, took_ms: int, *, result: str, state: str
) -> Verification:
    """Give what the verifier found, the worst first."""
    counts = report.severities
    order = {"error": 0, "unchecked": 1, "note": 2}
    listed = sorted(report.findings, key=lambda one: order.get(one.severity, 3))
    return Verification(
        result=result,
        state=state,
        began=to_rfc3339(began_ns),
        took_ms=took_ms,
        checked=dict(sorted(report.checked.items())),
        errors=counts["error"],
        unchecked=counts["unchecked"],
        notes=counts["note"],
        findings=tuple(one.line() for one in listed[:100]),
    )


def policies_of(runs: Sequence[Receipt]) -> tuple[PolicyUse, ...]:
    """Give the policies that runs were under, by name."""
    groups: dict[tuple[str, str], list[Receipt]] = defaultdict(list)
    for run in runs:
        groups[run.policy_name, run.policy_digest].append(run)
    return tuple(
        PolicyUse(
            name=name,
            digest=digest,
            runs=len(some),
            first=to_rfc3339(min(run.started_at_ns for run in some)),
            last=to_rfc3339(max(run.ended_at_ns for run in some)),
            unenforced=tuple(sorted({field for run in some for field in run.unenforced})),
        )
        for (name, digest), some in sorted(groups.items())
    )


def noted(events: Sequence[KnownEvent], *words: str) -> tuple[Noted, ...]:
    """Give the events of some kinds, the oldest first."""
    return tuple(
        Noted(
            at=to_rfc3339(one.at_ns),
            event=one.event,
            actor=one.actor,
            tenant=one.tenant,
            leaf=one.leaf,
            what=", ".join(f"{name}={value}" for name, value in one.details.items() if value is not None),
        )
        for one in sorted(events, key=lambda each: (each.at_ns, each.event_id))
        if one.event in words
    )


def readers_of(events: Sequence[KnownEvent]) -> tuple[Reader, ...]:
    """Give who read or exported the log, and how often."""
    times: Counter[tuple[str, str]] = Counter()
    rows: Counter[tuple[str, str]] = Counter()
    last: dict[tuple[str, str], int] = {}
    for one in events:
        if one.event not in {"read", "export"}:
            continue
        name = (one.actor, one.event)
        # a read that is answered bit by bit has a second event, at its end, with the rows
        times[name] += one.details.get("of") is None
        rows[name] += whole(one.details.get("rows"))
        last[name] = max(last.get(name, 0), one.at_ns)
    return tuple(
        Reader(actor, event, times[actor, event], rows[actor, event], to_rfc3339(last[actor, event]))
        for actor, event in sorted(last)
    )


def whole(value: object) -> int:
    """Give a whole number, 0 where there is none."""
    try:
        return int(str(value or 0))
    except ValueError:
        return 0
