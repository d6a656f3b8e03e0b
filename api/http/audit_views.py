"""What is answered about the audit log, field by field; the OpenAPI document is made from these models.

What callers send is in `audit_models.py`, what is answered about runs in `views.py`. INVARIANT: as there, a
view of stored evidence adds nothing to it and leaves nothing out.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field, JsonValue

from api.http.audit_models import FormName
from api.http.models import Edge, ExecutionIdText
from api.http.views import GapView, NamedDigest, ReceiptView, RecordView


class EventsView(Edge):
    """One page of events."""

    events: tuple[RecordView, ...] = Field(description="With `fields`, only these columns.")
    next: str | None = Field(description="Cursor of the next page; null at the end.")


class LeafView(Edge):
    """Where in the transparency log something is."""

    index: int = Field(ge=0, description="Number of the leaf, from 0.")
    kind: str


class TotalsView(Edge):
    """What an execution's events add up to, counted in the log and not taken from the receipt."""

    events: int
    bytes_in: int
    bytes_out: int
    calls: dict[str, dict[str, int]] = Field(description="Counts by call and decision.")


class AuditLinksView(Edge):
    """Where the rest is."""

    self: str
    events: str
    files: str
    connections: str


class AuditExecutionView(Edge):
    """One execution, as the log has it."""

    execution_id: ExecutionIdText
    status: Literal["running", "done"]
    tenant: str
    module: NamedDigest
    policy: NamedDigest
    started_at: str
    receipt: ReceiptView | None = Field(description="Null while it runs.")
    leaf: LeafView | None = Field(description="The receipt's leaf; null until it is sealed.")
    gaps: tuple[GapView, ...] = Field(default=(), description="Missing events, if any.")
    links: AuditLinksView


class AuditExecutionTotalsView(AuditExecutionView):
    """One execution, with its totals."""

    totals: TotalsView


class AuditExecutionsView(Edge):
    """Executions, newest first."""

    executions: tuple[AuditExecutionView, ...]
    next: str | None = Field(description="Cursor of the next page; null at the end.")


class GroupsView(Edge):
    """Rows of a summary, by column; which columns there are depends on what was asked."""

    rows: tuple[dict[str, JsonValue], ...]
    source: Literal["rollup", "scan", "mixed"] = Field(
        description="Whether it came from roll-ups, from a scan of the events, or from both; it is exact."
    )
    is_truncated: bool = Field(description="Whether there are more groups than were asked for.")


class TargetsView(Edge):
    """Distinct targets of an execution with counts, most calls first."""

    rows: tuple[dict[str, JsonValue], ...]


class ExportView(Edge):
    """One export."""

    export_id: ExecutionIdText
    form: FormName
    state: Literal["running", "done", "failed"]
    asked_at: str
    rows: int | None = Field(description="Null until it is done.")
    size_bytes: int | None = Field(description="Null until it is done.")
    problem: str | None = Field(description="What kind of error ended it; null if none did.")
    manifest: dict[str, JsonValue] | None = Field(description="Null until it is done.")
    file: str = Field(description="Where the content is, once it is done.")


class ExportsView(Edge):
    """Exports that this key asked for, newest first."""

    exports: tuple[ExportView, ...]


class TreeView(Edge):
    """A tree of the log."""

    size: int
    root: str = Field(description="In base64.")


class ConsistencyView(Edge):
    """Proof that a tree is the beginning of another one."""

    schema_: Literal["wasmgate.consistency.v1"] = Field(alias="schema")
    first: TreeView
    second: TreeView
    path: tuple[str, ...] = Field(description="Hashes in base64, as RFC 6962 orders them.")


class RecordProofView(Edge):
    """Proof that an event is in the log: event, chunk, execution, signed tree."""

    schema_: Literal["wasmgate.record-proof.v1"] = Field(alias="schema")
    exec_id: ExecutionIdText
    seq: str
    tenant_id: str
    module_id: str
    policy_id: str
    first_seq: str = Field(description="Of the chunk.")
    records: str = Field(description="The chunk's canonical records, 160 bytes each, in base64.")
    position: int = Field(description="Which of them it is, from 0.")
    chunk: int = Field(description="Number of the chunk in its execution.")
    chunks: int
    path: tuple[str, ...] = Field(description="From the chunk to the root over the execution, in base64.")
    row: dict[str, JsonValue] = Field(description="The event by column; large numbers are text.")
    receipt_proof: str = Field(description="A C2SP tlog-proof of the receipt's leaf, with the checkpoint.")


class CheckpointView(Edge):
    """The last signed head."""

    size: int
    age_s: float


class DiskView(Edge):
    """What the log takes on disk."""

    used_bytes: int
    free_bytes: int
    budget_bytes: int = Field(description="0: none.")


class FollowerView(Edge):
    """Somebody whom the log is sent on to."""

    name: str
    lag: int = Field(description="Leaves that it has not had yet.")
    problem: str | None


class StatusView(Edge):
    """How the log is doing."""

    tree_size: int = Field(description="Leaves of the transparency log.")
    checkpoint: CheckpointView | None = Field(description="Null until a head is signed.")
    unsealed_files: int
    unsealed_bytes: int = Field(description="Bytes of the write-ahead log.")
    unsealed_age_s: float = Field(description="Age of the oldest file that is not sealed.")
    damaged_files: int
    dropped: int = Field(description="Events that were dropped: 0, always.")
    gaps: int = Field(description="Gaps on record.")
    back_pressure_s: float = Field(
        description="Seconds that runs waited for a log that took nothing; counted when a run ends."
    )
    running: int
    problems: tuple[str, ...] = Field(description="Why it is not sealed or not signed; empty if it is.")
    disk: DiskView
    followers: tuple[FollowerView, ...]


class ControlEventView(Edge):
    """One control-plane event."""

    id: str
    at: str
    event: str
    actor: str
    tenant: str | None
    details: dict[str, str | int | None]
    leaf: int | None = Field(description="Number of its leaf; null until it is sealed.")


class ControlEventsView(Edge):
    """Control-plane events, newest first."""

    events: tuple[ControlEventView, ...]
    next: str | None = Field(description="`to` of the page before these; null at the end.")


class HashView(Edge):
    """What a value would be stored as."""

    tenant: str
    hash: str = Field(description="Search for it with `path`, or as a prefix.")
