"""What callers may ask of the audit log: filters, bodies, and the parameters of each question.

What is answered is in `audit_views.py`; what a filter means is `audit/filters.py`. INVARIANT: as in
`models.py`, whatever is not declared here is refused, and nothing is taken for another type.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict, Field
from pydantic.json_schema import SkipJsonSchema

from api.http.models import (
    Cursor,
    Edge,
    ExecutionIdText,
    FilterText,
    Limit,
    Moment,
    StatsQuery,
    TenantName,
)
from audit.events import EventName
from audit.filters import DEFAULT_LIMIT

MAX_TEXT = 4_096
_INT64 = 1 << 63

Whole = Annotated[int, Field(strict=False, ge=0, lt=_INT64)]
Decision = Literal["none", "allow", "deny", "would_deny", "modified", "limit"]
FormName = Literal["csv", "ndjson", "parquet", "arrow", "ocsf", "cef"]


class EventFilter(StatsQuery):
    """Which events are wanted; all that is given must hold."""

    tenant: TenantName | SkipJsonSchema[None] = Field(default=None, description="Of this tenant.")
    policy: FilterText | SkipJsonSchema[None] = Field(default=None, description="Name or digest of a policy.")
    rule: FilterText | SkipJsonSchema[None] = Field(default=None, description="Decided by this rule.")
    class_: Annotated[int, Field(strict=False, ge=0, le=99_999)] | SkipJsonSchema[None] = Field(
        default=None, alias="class", description="OCSF class, as 1001."
    )
    errno: Annotated[int, Field(strict=False, ge=-2, le=32_767)] | SkipJsonSchema[None] = Field(
        default=None, description="What the guest got, as 76."
    )
    path: FilterText | SkipJsonSchema[None] = Field(default=None, description="A path that was touched.")
    path_glob: FilterText | SkipJsonSchema[None] = Field(
        default=None, description="Glob over paths that were touched."
    )
    addr: Annotated[str, Field(min_length=1, max_length=64)] | SkipJsonSchema[None] = Field(
        default=None, description="Address, or a range of them as `10.0.0.0/8`."
    )
    port: Annotated[int, Field(strict=False, ge=0, le=65_535)] | SkipJsonSchema[None] = None
    min_bytes: Whole | SkipJsonSchema[None] = Field(
        default=None, description="Only calls that moved at least so many bytes."
    )
    min_duration: Whole | SkipJsonSchema[None] = Field(
        default=None, description="Only calls that took at least so many nanoseconds."
    )
    q: FilterText | SkipJsonSchema[None] = Field(
        default=None, description="A condition in the language of queries."
    )


class EventsQuery(EventFilter):
    """Which events are wanted, how many, in which order, and which columns of them."""

    limit: Limit = DEFAULT_LIMIT
    cursor: Cursor | SkipJsonSchema[None] = None
    order: Literal["asc", "desc"] | SkipJsonSchema[None] = Field(
        default=None,
        description="By time; without it, oldest first in one execution, otherwise newest first.",
    )
    fields: Annotated[str, Field(min_length=1, max_length=1_000)] | SkipJsonSchema[None] = Field(
        default=None, description="Columns with commas, as `t_ns,call,target`; all of them without it."
    )


class TailQuery(Edge):
    """What is followed."""

    execution: ExecutionIdText | SkipJsonSchema[None] = None
    tenant: TenantName | SkipJsonSchema[None] = Field(default=None, description="Of this tenant.")
    module: FilterText | SkipJsonSchema[None] = Field(
        default=None, description="Digest, or a name a module was run under."
    )
    call: FilterText | SkipJsonSchema[None] = Field(
        default=None, description="Glob over the call's name, as `path_*`."
    )
    decision: Decision | SkipJsonSchema[None] = None
    from_: Literal["now", "start"] = Field(
        default="now",
        alias="from",
        description="Begin with what is recorded from now on, or with what is not sealed yet;"
        " `Last-Event-ID` comes before it.",
    )


class ConsistencyQuery(Edge):
    """Which two trees."""

    first: Annotated[int, Field(strict=False, ge=0, lt=_INT64, description="Leaves of the smaller tree.")]
    second: Whole | SkipJsonSchema[None] = Field(
        default=None, description="Leaves of the larger tree; as many as are signed without it."
    )


class InclusionQuery(Edge):
    """Which record."""

    exec_: ExecutionIdText = Field(alias="exec", description="Its execution.")
    seq: Annotated[int, Field(strict=False, ge=0, lt=_INT64, description="Its sequence number.")]


class ControlQuery(Edge):
    """Which control-plane events."""

    event: EventName | SkipJsonSchema[None] = Field(default=None, description="Of this kind.")
    from_: Moment | SkipJsonSchema[None] = Field(
        default=None, alias="from", description="First time, RFC 3339 or nanoseconds since 1970."
    )
    to: Moment | SkipJsonSchema[None] = Field(default=None, description="Time that is not included any more.")
    limit: Annotated[int, Field(strict=False, ge=1, le=1_000, description="Events in one answer.")] = 100


class VerifyRequest(Edge):
    """What is told of: findings about one execution, or about all of the log."""

    execution: ExecutionIdText | None = None


class HashRequest(Edge):
    """A value that may be in the log as a hash."""

    tenant: TenantName
    value: Annotated[str, Field(min_length=1, max_length=MAX_TEXT)]


class ExportFilter(Edge):
    """Which events are exported; as the parameters of `GET /v1/audit/events`."""

    model_config = ConfigDict(populate_by_name=False)

    execution: ExecutionIdText | None = None
    module: FilterText | None = None
    tenant: TenantName | None = None
    policy: FilterText | None = None
    rule: FilterText | None = None
    call: FilterText | None = None
    class_: Annotated[int, Field(ge=0, le=99_999)] | None = Field(default=None, alias="class")
    decision: Decision | None = None
    errno: Annotated[int, Field(ge=-2, le=32_767)] | None = None
    path: FilterText | None = None
    path_prefix: FilterText | None = None
    path_glob: FilterText | None = None
    addr: Annotated[str, Field(min_length=1, max_length=64)] | None = None
    port: Annotated[int, Field(ge=0, le=65_535)] | None = None
    from_: Moment | None = Field(default=None, alias="from")
    to: Moment | None = None
    min_bytes: Annotated[int, Field(ge=0, lt=_INT64)] | None = None
    min_duration: Annotated[int, Field(ge=0, lt=_INT64)] | None = None
    q: FilterText | None = None


class ExportRequest(Edge):
    """An export that is asked for."""

    form: FormName
    filter: ExportFilter = ExportFilter()


Word = Annotated[str, Field(min_length=1, max_length=64)]


class AggregateRequest(Edge):
    """What is counted, and how it is grouped."""

    by: Annotated[tuple[Word, ...], Field(max_length=8)] = Field(
        default=(),
        description="`tenant`, `module`, `policy`, `call`, `decision`, `errno`, `rule`, `reason`, `class`,"
        " `execution`, `target:N` (its first N names), `time:S` (pieces of S seconds).",
    )
    metrics: Annotated[tuple[Word, ...], Field(min_length=1, max_length=10)] = Field(
        default=("count",),
        description="`count`, `bytes_in`, `bytes_out`, `max_duration`, `p50_duration`, `p95_duration`"
        " (nanoseconds), `executions`, `targets`, `first`, `last`.",
    )
    limit: Annotated[int, Field(ge=1, le=10_000, description="Groups in the answer.")] = 1_000
    filter: ExportFilter = ExportFilter()
