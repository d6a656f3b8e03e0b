"""What callers may ask about retention, and what they are answered: holds, and deletions.

What is decided on is `audit/retention.py`. INVARIANT: as in `models.py`, whatever is not declared here is
refused; a deletion is a dry run unless the request says otherwise.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from api.http.models import Edge, ExecutionIdText, FilterText, Moment, TenantName

Reason = Annotated[
    str, Field(min_length=1, max_length=1_000, pattern=r"\S", description="Why; put on record.")
]


class HoldRequest(Edge):
    """What is to be held: one of `tenant`, `execution` and `module`, of all times or some."""

    tenant: TenantName | None = None
    execution: ExecutionIdText | None = None
    module: FilterText | None = Field(default=None, description="Digest, as `sha256:…`.")
    from_: Moment | None = Field(default=None, alias="from")
    to: Moment | None = None
    reason: Reason


class ReleaseQuery(Edge):
    """Why a hold is ended."""

    reason: Reason


class HoldView(Edge):
    """A hold that is in force."""

    id: str
    at: str
    actor: str
    reason: str
    tenant: str | None
    execution: str | None
    module: str | None
    from_: str | None = Field(alias="from", serialization_alias="from")
    to: str | None


class HoldsView(Edge):
    """The holds that are in force, the oldest first."""

    holds: tuple[HoldView, ...]


class PruneRequest(Edge):
    """What is to be deleted, of what may be."""

    dry_run: bool = Field(default=True, description="Say what would go, and delete nothing.")
    tenant: TenantName | None = Field(default=None, description="Only of this tenant.")
    until: Moment | None = Field(default=None, description="Only what ended before.")


class PrunedSegmentView(Edge):
    """One segment, and what becomes of it."""

    action: str
    segment: str
    tenant: str
    from_: str = Field(alias="from", serialization_alias="from")
    to: str
    rows: int
    calls: int
    bytes: int
    executions: int
    why: str


class DeletedView(Edge):
    """What is gone."""

    segments: int
    files: int
    bytes: int
    held: int = Field(description="Segments that were on record as deleted, and stay because of a hold.")


class PrunedView(Edge):
    """What was planned, and what became of it."""

    dry_run: bool
    segments: tuple[PrunedSegmentView, ...] = Field(description="The first 10,000.")
    unfinished: tuple[str, ...] = Field(description="Segments that an earlier deletion left in part.")
    events: tuple[str, ...] = Field(description="Control events that tell of it.")
    deleted: DeletedView | None
