"""What is answered, field by field; the OpenAPI document is made from these models.

What callers send is in `models.py`. Text in a view may be a guest's or a caller's: `answers.py` makes it
harmless. INVARIANT: a view of stored evidence adds nothing to it and leaves nothing out. It is
longer than most: each answer is a list of fields.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from api.http.models import Decision, DigestText, Edge, ExecutionIdText
from api.http.problems import Fault


class HealthView(Edge):
    """That the service answers."""

    status: Literal["ok"] = "ok"
    version: str = Field(description="Version of the program.")


class ModuleView(Edge):
    """One module that is kept."""

    digest: DigestText
    name: str = Field(description="What it was first handed over as; empty if it had no name.")
    size_bytes: int = Field(ge=0)
    stored_at: str = Field(description="UTC.")


class ModulesView(Edge):
    """The modules that are kept, by digest."""

    modules: tuple[ModuleView, ...]


class ImportView(Edge):
    """One import of a module."""

    module: str
    name: str
    kind: str
    signature: str
    provision: str = Field(description="What stands behind it: `provided`, or why nothing does.")
    standing: Literal["granted", "granted-empty", "refused"] | None = Field(
        description="What the policy makes of it; null without a policy."
    )
    rule: str = Field(description="Rule that refuses it.")
    note: str = Field(description="How to allow it, or a remark.")


class ExportView(Edge):
    """One export of a module."""

    name: str
    kind: str
    signature: str
    is_callable: bool = Field(description="Whether `invoke` can name it.")


class MemoryView(Edge):
    """One memory of a module."""

    minimum_bytes: int
    maximum_bytes: int | None


class RefusalView(Edge):
    """Why a module would not be run."""

    reason: str
    message: str


class InspectionView(Edge):
    """A module laid open."""

    imports: tuple[ImportView, ...]
    not_granted: tuple[str, ...] = Field(
        description="Imports that the policy refuses, whatever the arguments."
    )
    exports: tuple[ExportView, ...]
    exports_total: int
    functions: int
    code_bytes: int
    memories: tuple[MemoryView, ...]
    tables: int
    has_start: bool = Field(description="Whether code runs when it is instantiated.")
    custom_sections: tuple[str, ...]
    notes: tuple[str, ...]


class InspectedModuleView(ModuleView):
    """One module, and what is in it."""

    policy: str | None = Field(description="The policy it was compared with.")
    refusal: RefusalView | None = Field(description="What admission would say; null if it would run.")
    inspection: InspectionView | None = Field(description="Null if it cannot be read.")


class PolicyName(Edge):
    """One policy that is kept."""

    name: str


class PoliciesView(Edge):
    """The policies that are kept, by name, whether they are valid or not."""

    policies: tuple[PolicyName, ...]


class CheckView(Edge):
    """What is to be said about a policy."""

    is_valid: bool = Field(description="Whether it makes a plan.")
    findings: tuple[Fault, ...] = Field(description="Every error and warning, errors first.")
    policy_name: str | None
    policy_digest: str | None = Field(description="Digest of the document; null if it is not valid.")
    plan_digest: str | None = Field(description="Digest of what would be enforced; null if it is not valid.")
    explanation: tuple[str, ...] = Field(description="What it allows and refuses, a sentence each.")


class PolicyView(CheckView):
    """A policy that is kept."""

    name: str
    text: str = Field(description="The document as it stands; a byte that is no UTF-8 is replaced.")


class NamedDigest(Edge):
    """Something with a name and a digest."""

    digest: str
    name: str


class OutcomeView(Edge):
    """How an execution ended."""

    kind: Literal["exited", "trapped", "limit", "killed", "refused"]
    exit_code: int | None
    limit: str | None
    message: str | None


class RefusedCallView(Edge):
    """One call that was refused, or would have been."""

    seq: int
    call: str
    target: str | None
    rule: str | None
    reason: str | None


class ResourcesView(Edge):
    """What an execution used; null where nobody measured it."""

    wall_ms: int | None
    waited_ms: int = Field(0, ge=0, description="For its turn, before the guest started.")
    cpu_ms: int | None
    peak_memory_bytes: int | None
    bytes_read: int
    bytes_written: int
    host_calls: int


class GapView(Edge):
    """Sequence numbers that are missing."""

    first: int
    last: int


class AttemptView(Edge):
    """A request to the network's broker that no monitor makes."""

    op: str
    place: str
    rule: str


class NetworkView(Edge):
    """What a run did with the network, by the account of the broker outside its cell."""

    sockets: int
    connects: int
    accepts: int
    queries: int
    bytes_in: int
    bytes_out: int
    refused: int = Field(description="Questions that the broker answered with no.")
    forged: int = Field(description="Requests for what is refused, which no monitor makes.")
    unasked: int = Field(description="Requests that were granted and that nobody had asked about before.")
    walls: tuple[str, ...] = Field(description="What confined the broker.")
    attempts: tuple[AttemptView, ...] = Field(description="The first 100 of those that were forged.")
    is_complete: bool = Field(description="False: the broker was ended before it could count up.")


class ReceiptView(Edge):
    """The summary of an execution that is over."""

    execution_id: ExecutionIdText
    tenant: str = Field(description="For whom it ran.")
    module: NamedDigest
    policy: NamedDigest
    plan_digest: str
    started_at: str
    ended_at: str
    outcome: OutcomeView
    calls: dict[str, dict[str, int]] = Field(description="Counts by call and decision.")
    records: int
    refusals: tuple[RefusedCallView, ...] = Field(description="The first 100.")
    resources: ResourcesView
    walls: tuple[str, ...] = Field(description="What confined this run.")
    missing_walls: tuple[str, ...] = Field(
        default=(), description="What can, and did not: the policy or the machine had it so."
    )
    network: NetworkView | None = Field(
        default=None,
        description="What it did with the network, by the account of the broker; null without one.",
    )
    isolation: str = Field(
        default="confined",
        description="What the policy has the guest kept in: `confined`, `process` or `in-process`.",
    )
    unenforced: tuple[str, ...] = Field(default=(), description="Fields of the policy that it ran without.")
    determinism_digest: str = Field(
        default="",
        description="The same for each run of one module under one deterministic policy with one input. "
        "Empty where the policy is none, or where time or the machine ended the run.",
    )
    gaps: tuple[GapView, ...] = Field(default=(), description="Missing records, if any.")


class LinksView(Edge):
    """Where the rest of an execution is."""

    self: str
    events: str
    stdout: str
    stderr: str


class ExecutionView(Edge):
    """One execution."""

    execution_id: ExecutionIdText
    status: Literal["waiting", "running", "done"]
    tenant: str = Field(description="For whom it runs.")
    module: NamedDigest
    policy: NamedDigest
    started_at: str
    receipt: ReceiptView | None = Field(description="Null while it waits or runs.")
    links: LinksView


class ExecutionsView(Edge):
    """Executions, newest first."""

    executions: tuple[ExecutionView, ...]
    next: str | None = Field(description="Cursor of the next page; null at the end.")


class RecordView(Edge):
    """One record, by column; `docs/reference/http.md` says where the columns are described."""

    exec_id: str
    seq: int
    t_ns: int
    dur_ns: int | None
    stage: int
    tenant_id: str
    module_id: str
    policy_id: str
    rule_id: str | None
    call: str
    class_uid: int
    activity_id: int
    decision: Decision
    disposition: int
    errno: int
    reason: str | None
    right: str | None
    fd: int
    fd2: int
    target_kind: int
    target: str | None
    guest_target: str | None
    target2: str | None
    flags: int
    bytes_in: int
    bytes_out: int
    n: int
    opener_seq: int
    t_last_ns: int
    dur_max_ns: int | None
    errnos: str | None
    masked: int
    payload: str | None = Field(description="In base64.")
    payload_sha256: str | None = Field(description="In hexadecimal digits.")


class StatsView(Edge):
    """Totals over records."""

    records: int
    executions: int
    calls: dict[str, dict[str, int]] = Field(description="Counts by call and decision.")
    refusals_by_rule: dict[str, int]
    refusals_by_reason: dict[str, int]
    bytes_in: int
    bytes_out: int
    first_t_ns: int | None
    last_t_ns: int | None
