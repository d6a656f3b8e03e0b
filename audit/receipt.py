"""The summary of one execution, as people and scripts read it.

Single records live in segments. The counts are the monitor's own where the run ended under
supervision, and are counted from the recovered records where it did not; `outcome` says which.
INVARIANT: `Receipt.from_json(receipt.to_json()) == receipt`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from audit import canonical
from audit.columns import REFUSING_WORDS
from audit.errors import FormatError
from audit.identity import ExecutionId, execution_id
from audit.network_use import NetworkUse, network_from, network_json
from audit.start import tenant_of
from audit.store import TENANT, publish
from audit.times import to_ns, to_rfc3339

if TYPE_CHECKING:
    from pathlib import Path

    from audit.canonical import Document, Json

REFUSALS_KEPT = 100
CONFINED = "confined"  # the isolation of a run whose receipt names none


class OutcomeKind(StrEnum):
    """How an execution ended."""

    EXITED = "exited"
    TRAPPED = "trapped"
    LIMIT = "limit"
    KILLED = "killed"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How an execution ended, with what belongs to that kind of end."""

    kind: OutcomeKind
    exit_code: int | None = None
    limit: str | None = None
    message: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """One call that was refused, or would have been."""

    seq: int
    call: str
    target: str | None
    rule: str | None
    reason: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Resources:
    """What an execution used; null where nobody measured it."""

    wall_ms: int | None = None
    waited_ms: int = 0  # for its turn, before anything of the module was read
    cpu_ms: int | None = None
    peak_memory_bytes: int | None = None
    bytes_read: int = 0
    bytes_written: int = 0
    host_calls: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class CallCount:
    """How often one call was decided in one way; `call` is without its module prefix."""

    call: str
    decision: str
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """The summary of one execution. Times in nanoseconds since 1970 UTC."""

    execution_id: ExecutionId
    module_digest: str
    module_name: str
    policy_name: str
    policy_digest: str
    plan_digest: str
    started_at_ns: int
    ended_at_ns: int
    outcome: Outcome
    tenant: str = TENANT  # for whom it ran
    calls: tuple[CallCount, ...] = ()  # sorted by call, then decision
    records: int = 0
    refusals: tuple[Refusal, ...] = ()  # the first `REFUSALS_KEPT`
    resources: Resources = Resources()
    walls: tuple[str, ...] = ()  # what confined this run
    missing_walls: tuple[str, ...] = ()  # what can, and did not: the policy or the machine had it so
    network: NetworkUse | None = None  # None: it had none
    isolation: str = CONFINED  # what the policy has the guest kept in
    unenforced: tuple[str, ...] = ()  # fields of the policy that it accepted to run without
    determinism_digest: str = ""  # of all that is the same in each such run; empty where none is given
    gaps: tuple[tuple[int, int], ...] = ()  # sequence numbers that are missing: first, last

    @property
    def refused(self) -> int:
        """How many calls were refused, or would have been, by the counters."""
        return sum(item.count for item in self.calls if item.decision in REFUSING_WORDS)

    def to_json(self) -> bytes:
        """Give the canonical JSON, without a final newline."""
        calls: dict[str, dict[str, Json]] = {}
        for item in self.calls:
            calls.setdefault(item.call, {})[item.decision] = item.count
        outcome, used = self.outcome, self.resources
        document: dict[str, Json] = {
            "execution_id": self.execution_id,
            "tenant": self.tenant,
            "module": {"digest": self.module_digest, "name": self.module_name},
            "policy": {"name": self.policy_name, "digest": self.policy_digest},
            "plan_digest": self.plan_digest,
            "started_at": to_rfc3339(self.started_at_ns),
            "ended_at": to_rfc3339(self.ended_at_ns),
            "outcome": {
                "kind": outcome.kind.value,
                "exit_code": outcome.exit_code,
                "limit": outcome.limit,
                "message": outcome.message,
            },
            "calls": calls,
            "records": self.records,
            "refusals": [
                {
                    "seq": one.seq,
                    "call": one.call,
                    "target": one.target,
                    "rule": one.rule,
                    "reason": one.reason,
                }
                for one in self.refusals
            ],
            "resources": {
                "wall_ms": used.wall_ms,
                "waited_ms": used.waited_ms,
                "cpu_ms": used.cpu_ms,
                "peak_memory_bytes": used.peak_memory_bytes,
                "bytes_read": used.bytes_read,
                "bytes_written": used.bytes_written,
                "host_calls": used.host_calls,
            },
            "walls": self.walls,
        }
        if self.missing_walls:
            document["missing_walls"] = self.missing_walls
        if self.network is not None:
            document["network"] = network_json(self.network)
        if self.isolation != CONFINED:
            document["isolation"] = self.isolation
        if self.unenforced:
            document["unenforced"] = self.unenforced
        if self.determinism_digest:
            document["determinism_digest"] = self.determinism_digest
        if self.gaps:
            document["gaps"] = [{"first": first, "last": last} for first, last in self.gaps]
        return canonical.dumps(document)

    @staticmethod
    def from_json(text: bytes | memoryview) -> Receipt:
        """Read it back; FormatError if a field is missing or of another type."""
        read = canonical.loads("receipt", text)
        module, policy = read.child("module"), read.child("policy")
        return Receipt(
            execution_id=execution_id(read.text("execution_id")),
            module_digest=module.text("digest"),
            module_name=module.text("name"),
            policy_name=policy.text("name"),
            policy_digest=policy.text("digest"),
            plan_digest=read.text("plan_digest"),
            started_at_ns=to_ns(read.text("started_at")),
            ended_at_ns=to_ns(read.text("ended_at")),
            outcome=_outcome(read.child("outcome")),
            tenant=tenant_of(read),
            calls=_calls(read.child("calls")),
            records=read.integer("records"),
            refusals=tuple(_refusal(item) for item in read.children("refusals")),
            resources=_resources(read.child("resources")),
            walls=read.texts("walls"),
            missing_walls=read.texts("missing_walls") if "missing_walls" in read.fields else (),
            network=network_from(read.child("network")) if "network" in read.fields else None,
            isolation=read.text("isolation") if "isolation" in read.fields else CONFINED,
            unenforced=read.texts("unenforced") if "unenforced" in read.fields else (),
            determinism_digest=read.text("determinism_digest") if "determinism_digest" in read.fields else "",
            gaps=tuple((item.integer("first"), item.integer("last")) for item in read.children("gaps"))
            if "gaps" in read.fields
            else (),
        )


def _outcome(read: Document) -> Outcome:
    kind = read.text("kind")
    if kind not in set(OutcomeKind):
        raise FormatError(f"{read.where}.kind", f"one of {', '.join(OutcomeKind)}", kind)
    return Outcome(
        kind=OutcomeKind(kind),
        exit_code=read.optional_integer("exit_code"),
        limit=read.optional_text("limit"),
        message=read.optional_text("message"),
    )


def _calls(read: Document) -> tuple[CallCount, ...]:
    found = []
    for call in sorted(read.fields):
        counts = read.child(call)
        found += [
            CallCount(call=call, decision=word, count=counts.integer(word)) for word in sorted(counts.fields)
        ]
    return tuple(found)


def _refusal(read: Document) -> Refusal:
    return Refusal(
        seq=read.integer("seq"),
        call=read.text("call"),
        target=read.optional_text("target"),
        rule=read.optional_text("rule"),
        reason=read.optional_text("reason"),
    )


def _resources(read: Document) -> Resources:
    return Resources(
        wall_ms=read.optional_integer("wall_ms"),
        waited_ms=read.integer("waited_ms") if "waited_ms" in read.fields else 0,
        cpu_ms=read.optional_integer("cpu_ms"),
        peak_memory_bytes=read.optional_integer("peak_memory_bytes"),
        bytes_read=read.integer("bytes_read"),
        bytes_written=read.integer("bytes_written"),
        host_calls=read.integer("host_calls"),
    )


def write_receipt(receipt: Receipt, path: Path) -> None:
    """Write it to `path`, whole or not at all, with a final newline; durable when this returns."""
    publish(path, receipt.to_json() + b"\n")
