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
    Refused,
    Totals,
    Verification,
)
from api.report_parts import (
    bucket_of,
    kind_of,
    link_of,
    noted,
    policies_of,
    readers_of,
    verification,
    whole,
)
from api.version import program_version
from audit.call_names import bare
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

_EVENTS = 10_000
_RUNS = 20_000
_EXAMPLES = 50
_FIELDS = ("exec_id", "seq", "t_ns", "tenant_id", "call", "target", "guest_target", "rule_id", "reason")
_REFUSING = ("deny", "would_deny", "limit")


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
            policies=policies_of(runs),
            policy_changes=noted(events, "policy"),
            coverage=self._coverage(events),
            limits=self._limits(runs),
            readers=readers_of(events),
            keys=(*noted(events, "key"), *self._key_leaves()),
            retention=noted(events, "hold", "release", "prune", "disk"),
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
            calls=sum(whole(row["count"]) for row in rows),
            refusals=sum(one.count for one in refused),
            bytes_in=sum(whole(row["bytes_in"]) for row in rows),
            bytes_out=sum(whole(row["bytes_out"]) for row in rows),
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
            sums[whole(row[f"time:{bucket_s}"])][kind_of(str(row["call"]))] += whole(row["count"])
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
                rows.append(Refused(name, str(row["rule"] or "-"), word, whole(row["count"])))
        ordered = sorted(rows, key=lambda one: (-one.count, one.module, one.rule, one.decision))
        return tuple(ordered), is_cut

    def _examples(self) -> tuple[Example, ...]:
        rows = []
        for word in _REFUSING:
            wanted = replace(self._wanted, decision=word, fields=_FIELDS)
            rows += list(self.reader.stream(wanted, limit=_EXAMPLES))
        rows.sort(key=lambda row: (-whole(row["t_ns"]), str(row["exec_id"]), whole(row["seq"])))
        return tuple(
            Example(
                ref=f"{row['exec_id']!s}:{whole(row['seq'])}",
                link=link_of(str(row["exec_id"]), whole(row["seq"])),
                at=to_rfc3339(whole(row["t_ns"])),
                tenant=str(row["tenant_id"]),
                call=bare(str(row["call"])),
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
            pruned_segments=sum(whole(one.details.get("count")) for one in pruned),
            unsealed_bytes=self.desk.status().unsealed_bytes,
            first=to_rfc3339(min(one.t_min_ns for one in segments)) if segments else None,
            last=to_rfc3339(max(one.t_max_ns for one in segments)) if segments else None,
            gaps=tuple(self._gaps()),
            damage=noted(events, "damage"),
            switches=noted(events, "audit-on", "audit-off"),
        )

    def _gaps(self) -> Iterable[Missing]:
        for leaf, entry in self._leaves(LeafKind.GAP):
            exec_id = entry.optional_text("exec_id")
            if self.asked.tenant is not None and exec_id is not None:
                found = self.reader.execution(exec_id)
                if found is not None and found.tenant != self.asked.tenant:
                    continue
            first, last = entry.optional_integer("first"), entry.optional_integer("last")
            span = f"{'?' if first is None else first} to {'?' if last is None else last}"
            yield Missing(entry.text("at"), f"{exec_id or 'no execution'}:{span}", entry.text("reason"), leaf)

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
            return sum(whole(row["count"]) for row in found.rows)

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
            return verification(report, began_ns, 0, result="not made", state="not made")
        try:
            key = standalone.key_of(str(self.settings.audit_keys_dir / "signing.vkey"))
        except standalone.Problem:
            return verification(report, began_ns, 0, result="nothing was signed here yet", state="incomplete")
        report, _ = standalone.verify(str(self.settings.audit_dir), [key])
        took_ms = int((time.monotonic() - began) * 1000)
        state = {0: "notes" if report.severities["note"] else "ok", 1: "failed", 3: "incomplete"}
        return verification(report, began_ns, took_ms, result=report.result, state=state[report.status])
