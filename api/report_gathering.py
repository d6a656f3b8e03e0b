"""Gathers what a compliance report says: from queries, from the control plane, and from the verifier.

What the values are is `report_facts.py`. INVARIANT: nothing is counted here that the log does not hold, and a
list that was cut says so.
"""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from api.report_controls import controls_of
from api.report_facts import (
    Bucket,
    Coverage,
    Example,
    Facts,
    Limits,
    Made,
    Missing,
    Noted,
    Period,
    PolicyUse,
    Reader,
    Refused,
    Totals,
    Verification,
)
from api.version import program_version
from audit.canonical import Document
from audit.catalogue import Catalogue, Segment
from audit.filters import RecordFilter
from audit.holds import holds_in_force
from audit.leaves import LeafKind, read_entry
from audit.query import Aggregation
from audit.store import Store
from audit.times import to_ns, to_rfc3339
from audit.tlog.log import TransparencyLog
from audit.tlog.rotation import open_published
from audit.verify import standalone

if TYPE_CHECKING:
    from api.audit_desk import AuditDesk, KnownEvent
    from api.settings import Settings
    from audit.query import AuditReader
    from audit.receipt import Receipt

_NS = 1_000_000_000
_BUCKETS_S = (60, 300, 900, 3_600, 21_600, 86_400, 604_800, 2_592_000, 31_536_000)
_BARS = 60
_EVENTS = 10_000
_RUNS = 20_000
_EXAMPLES = 50
_REFUSING = ("deny", "would_deny", "limit")
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


@dataclass(frozen=True, slots=True)
class Asked:
    """What a report is asked to be about."""

    from_ns: int
    to_ns: int
    tenant: str | None
    is_verified: bool = True


@dataclass(frozen=True, slots=True)
class Gathering:
    """Gathers for one report."""

    settings: Settings
    reader: AuditReader
    desk: AuditDesk
    asked: Asked
    actor: str
    now_ns: int

    @property
    def _wanted(self) -> RecordFilter:
        asked = self.asked
        return RecordFilter(tenant=asked.tenant, from_ns=asked.from_ns, to_ns=asked.to_ns)

    def facts(self) -> Facts:
        """Give everything; raises AuditError."""
        bucket_s = bucket_of(self.asked.to_ns - self.asked.from_ns)
        runs, is_cut = self._runs()
        refused, is_refused_cut = self._refused()
        events = self._events()
        totals = self._totals(runs, refused)
        found = Facts(
            period=Period(
                begin=to_rfc3339(self.asked.from_ns),
                end=to_rfc3339(self.asked.to_ns),
                tenant=self.asked.tenant,
                bucket_s=bucket_s,
            ),
            made=self._made(),
            totals=replace(totals, is_truncated=is_cut or is_refused_cut or len(events) >= _EVENTS),
            timeline=self._timeline(bucket_s),
            refused=refused,
            examples=self._examples(),
            outcomes=dict(sorted(Counter(run.outcome.kind.value for run in runs).items())),
            policies=_policies(runs),
            policy_changes=_noted(events, "policy"),
            coverage=self._coverage(events),
            limits=self._limits(runs),
            readers=_readers(events),
            keys=(*_noted(events, "key"), *self._key_leaves()),
            retention=_noted(events, "hold", "release", "prune", "disk"),
            holds=tuple(self._holds()),
            verification=self._verified(),
        )
        return replace(found, controls=controls_of(found))

    # --- the parts -----------------------------------------------------------------------------

    def _made(self) -> Made:
        root = self.settings.audit_dir / "tlog"
        found = open_published(root)
        signed = None if found is None else found[0]
        return Made(
            at=to_rfc3339(self.now_ns),
            by=self.actor,
            version=program_version(),
            origin=None if signed is None else signed.checkpoint.origin,
            checkpoint_size=None if signed is None else signed.checkpoint.size,
            checkpoint_root=None if signed is None else signed.checkpoint.root.hex(),
            key=None if signed is None else next((key.text for key in signed.signers), None),
            leaves=TransparencyLog(root).size,
        )

    def _runs(self) -> tuple[list[Receipt], bool]:
        asked = self.asked
        tenants = None if asked.tenant is None else (asked.tenant,)
        found = self.reader.executions(
            limit=_RUNS + 1, tenants=tenants, from_ns=asked.from_ns, to_ns=asked.to_ns
        )
        return [one.receipt for one in found[:_RUNS] if one.receipt is not None], len(found) > _RUNS

    def _totals(self, runs: Sequence[Receipt], refused: Iterable[Refused]) -> Totals:
        metrics = ("count", "bytes_in", "bytes_out")
        by_tenant = self.reader.aggregate(
            Aggregation(by=("tenant",), metrics=metrics, wanted=self._wanted, limit=10_000)
        )
        rows = by_tenant.rows
        return Totals(
            calls=sum(_int(row["count"]) for row in rows),
            refusals=sum(one.count for one in refused),
            bytes_in=sum(_int(row["bytes_in"]) for row in rows),
            bytes_out=sum(_int(row["bytes_out"]) for row in rows),
            executions=len(runs),
            modules=len({run.module_digest for run in runs}),
            policies=len({run.policy_digest for run in runs}),
            tenants=len(rows),
            records=sum(one.rows for one in self._segments()),
            source=by_tenant.source,
            is_truncated=by_tenant.is_truncated,
        )

    def _segments(self) -> tuple[Segment, ...]:
        asked = self.asked
        return Catalogue(Store(self.settings.audit_dir)).segments(
            tenant=asked.tenant, from_ns=asked.from_ns, to_ns=asked.to_ns
        )

    def _timeline(self, bucket_s: int) -> tuple[Bucket, ...]:
        found = self.reader.aggregate(
            Aggregation(by=(f"time:{bucket_s}", "call"), wanted=self._wanted, limit=10_000)
        )
        sums: dict[int, Counter[str]] = defaultdict(Counter)
        for row in found.rows:
            sums[_int(row[f"time:{bucket_s}"])][kind_of(str(row["call"]))] += _int(row["count"])
        return tuple(Bucket(to_rfc3339(at), dict(sorted(sums[at].items()))) for at in sorted(sums))

    def _refused(self) -> tuple[tuple[Refused, ...], bool]:
        rows: list[Refused] = []
        is_cut = False
        names = {run.module_digest: run.module_name for run in self._runs()[0]}
        for word in _REFUSING:
            wanted = replace(self._wanted, decision=word)
            found = self.reader.aggregate(Aggregation(by=("module", "rule"), wanted=wanted, limit=10_000))
            is_cut |= found.is_truncated
            for row in found.rows:
                digest = str(row["module"])
                name = f"{names[digest]} ({digest[:19]}…)" if digest in names else digest
                rows.append(Refused(name, str(row["rule"] or "-"), word, _int(row["count"])))
        ordered = sorted(rows, key=lambda one: (-one.count, one.module, one.rule, one.decision))
        return tuple(ordered), is_cut

    def _examples(self) -> tuple[Example, ...]:
        fields = (
            "exec_id",
            "seq",
            "t_ns",
            "tenant_id",
            "call",
            "target",
            "guest_target",
            "rule_id",
            "reason",
        )
        rows = []
        for word in _REFUSING:
            wanted = replace(self._wanted, decision=word, fields=fields)
            rows += list(self.reader.stream(wanted, limit=_EXAMPLES))
        rows.sort(key=lambda row: (-_int(row["t_ns"]), str(row["exec_id"]), _int(row["seq"])))
        return tuple(
            Example(
                ref=f"{row['exec_id']}:{row['seq']}",
                link=link_of(str(row["exec_id"]), _int(row["seq"])),
                at=to_rfc3339(_int(row["t_ns"])),
                tenant=str(row["tenant_id"]),
                call=str(row["call"]).rpartition(".")[2],
                target=str(row["target"] or row["guest_target"] or "-"),
                rule=str(row["rule_id"] or "-"),
                reason=str(row["reason"] or "-"),
            )
            for row in rows[:_EXAMPLES]
        )

    def _events(self) -> tuple[KnownEvent, ...]:
        asked = self.asked
        found = self.desk.control_events(
            kind=None, tenants=None, from_ns=asked.from_ns, to_ns=asked.to_ns, limit=_EVENTS
        )
        # what is about no tenant is about each
        return tuple(one for one in found if asked.tenant is None or one.tenant in {asked.tenant, None})

    def _coverage(self, events: Sequence[KnownEvent]) -> Coverage:
        segments = self._segments()
        pruned = (one for one in events if one.event == "prune")
        return Coverage(
            segments=len(segments),
            pruned_segments=sum(_int(one.details.get("count")) for one in pruned),
            unsealed_bytes=self.desk.status().unsealed_bytes,
            first=to_rfc3339(min(one.t_min_ns for one in segments)) if segments else None,
            last=to_rfc3339(max(one.t_max_ns for one in segments)) if segments else None,
            gaps=tuple(self._gaps()),
            damage=_noted(events, "damage"),
            switches=_noted(events, "audit-on", "audit-off"),
        )

    def _gaps(self) -> Iterable[Missing]:
        for leaf, entry in self._leaves(LeafKind.GAP):
            exec_id = entry.optional_text("exec_id")
            if self.asked.tenant is not None and exec_id is not None:
                found = self.reader.execution(exec_id)
                if found is not None and found.tenant != self.asked.tenant:
                    continue
            first, last = entry.fields.get("first"), entry.fields.get("last")
            ref = f"{exec_id or 'no execution'}:{'?' if first is None else first} to {'?' if last is None else last}"
            yield Missing(entry.text("at"), ref, entry.text("reason"), leaf)

    def _key_leaves(self) -> tuple[Noted, ...]:
        return tuple(
            Noted(
                entry.text("at"), "rotation", "signer", None, leaf,
                f"{entry.text('old')} is followed by {entry.text('new')}: {entry.text('reason')}",
            )
            for leaf, entry in self._leaves(LeafKind.KEY)
        )  # fmt: skip

    def _leaves(self, kind: LeafKind) -> Iterable[tuple[int, Document]]:
        store = Store(self.settings.audit_dir)
        log = TransparencyLog(store.tlog)
        for leaf in sorted(Catalogue(store).leaf_keys(kind).values()):
            entry = read_entry(next(log.entries(leaf, 1)))
            if self.asked.from_ns <= to_ns(entry.text("at")) < self.asked.to_ns:
                yield leaf, entry

    def _limits(self, runs: Sequence[Receipt]) -> Limits:
        def count(condition: str) -> int:
            found = self.reader.aggregate(Aggregation(wanted=replace(self._wanted, q=condition)))
            return sum(_int(row["count"]) for row in found.rows)

        return Limits(
            summary_calls=count("stage = 3"),
            masked_calls=count("masked != 0"),
            unenforced_runs=sum(bool(run.unenforced) for run in runs),
        )

    def _holds(self) -> Iterable[dict[str, str | None]]:
        store = Store(self.settings.audit_dir)
        for one in holds_in_force(store, Catalogue(store)):
            if self.asked.tenant is None or one.scope.tenant in {None, self.asked.tenant}:
                yield one.as_json()

    def _verified(self) -> Verification:
        began_ns, began = time.time_ns(), time.monotonic()
        report = standalone.Report()
        if not self.asked.is_verified:
            return _verification(report, began_ns, 0, result="not made", state="not made")
        try:
            key = standalone.key_of(str(self.settings.audit_keys_dir / "signing.vkey"))
        except standalone.Problem:
            return _verification(
                report, began_ns, 0, result="nothing was signed here yet", state="incomplete"
            )
        report, _ = standalone.verify(str(self.settings.audit_dir), [key])
        took_ms = int((time.monotonic() - began) * 1000)
        state = {0: "notes" if report.severities["note"] else "ok", 1: "failed", 3: "incomplete"}
        return _verification(report, began_ns, took_ms, result=report.result, state=state[report.status])


def bucket_of(length_ns: int) -> int:
    """Give the shortest piece of time, in seconds, of which a chart has room for so many."""
    return next((size for size in _BUCKETS_S if length_ns <= size * _BARS * _NS), _BUCKETS_S[-1])


def kind_of(call: str) -> str:
    """Give the kind of a call, as charts have it."""
    bare = call.rpartition(".")[2]
    return next((kind for prefix, kind in _KINDS if bare.startswith(prefix)), "other")


def link_of(exec_id: str, seq: int) -> str:
    """Give where the service shows one record."""
    return f"/v1/audit/executions/{exec_id}/events?after_seq={seq - 1}&limit=1"


def _verification(
    report: standalone.Report, began_ns: int, took_ms: int, *, result: str, state: str
) -> Verification:
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


def _policies(runs: Sequence[Receipt]) -> tuple[PolicyUse, ...]:
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


def _noted(events: Sequence[KnownEvent], *words: str) -> tuple[Noted, ...]:
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


def _readers(events: Sequence[KnownEvent]) -> tuple[Reader, ...]:
    times: Counter[tuple[str, str]] = Counter()
    rows: Counter[tuple[str, str]] = Counter()
    last: dict[tuple[str, str], int] = {}
    for one in events:
        if one.event not in {"read", "export"}:
            continue
        name = (one.actor, one.event)
        # a read that is answered bit by bit has a second event, at its end, with the rows
        times[name] += one.details.get("of") is None
        rows[name] += _int(one.details.get("rows"))
        last[name] = max(last.get(name, 0), one.at_ns)
    return tuple(
        Reader(actor, event, times[actor, event], rows[actor, event], to_rfc3339(last[actor, event]))
        for actor, event in sorted(last)
    )


def _int(value: object) -> int:
    try:
        return int(str(value or 0))
    except ValueError:
        return 0
