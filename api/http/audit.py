"""The audit log: events by filter, page by page or as a stream, and totals.

How a question is answered is `audit/query`; events of one execution are in `audit_executions.py`, files to
keep in `exports.py`. INVARIANT: following `next` gives each event once and leaves none out, however the log
grows meanwhile, and no event of a tenant that is out of reach is ever read.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from fastapi import APIRouter, Query, Request, Response
from starlette.concurrency import run_in_threadpool

from api.control import Question
from api.http import audit_examples, examples
from api.http.access import Asker, Asking
from api.http.answers import JSON, NDJSON, answer, lines, plain_answer, plain_json
from api.http.audit_models import AggregateRequest, ControlQuery, EventFilter, EventsQuery, ExportFilter
from api.http.audit_views import EventsView, GroupsView
from api.http.bodies import read_model
from api.http.gateway import Gateway, Within
from api.http.models import StatsQuery
from api.http.openapi import body, shown
from api.http.problems import Fault, Problem, problems
from api.http.streams import STREAMS, stream_of, streamed
from api.http.views import StatsView
from api.periods import check_range
from api.rows import plain_row
from audit.errors import FilterError
from audit.filters import DEFAULT_LIMIT, RecordFilter, time_filter
from audit.query import Aggregation
from audit.tlog.log import TransparencyLog

if TYPE_CHECKING:
    from audit.query import Page

router = APIRouter(prefix="/v1/audit", tags=["audit"])

_MOST = (1 << 53) - 1  # what JSON holds exactly

NEXT_CURSOR = "X-Next-Cursor"
"""Where the cursor is when the answer has an event a line; absent at the end."""

TREE_SIZE = "X-Audit-Tree-Size"
"""How many leaves the transparency log has."""

COMPLETE = "X-Audit-Complete"
"""`false` where the time for a question was up before all that was asked had been looked at."""

EVENTS = shown(
    "A page of events.",
    audit_examples.EVENTS,
    lines=audit_examples.EVENTS["events"],
    headers={
        NEXT_CURSOR: "Cursor of the next page, where the answer has an event a line.",
        TREE_SIZE: "Leaves of the transparency log now.",
        COMPLETE: "`false` if the time was up before the page was full; `next` goes on.",
    },
)
_STREAMS = {kind: {"schema": {"type": "string", "format": "binary"}} for kind in STREAMS}


@router.get(
    "/events",
    operation_id="list_events",
    summary="Query events",
    response_model=EventsView,
    responses={
        **problems("bad-filter", "too-many-pages", "too-many-streams"),
        200: {**EVENTS, "content": {**EVENTS["content"], **_STREAMS}},
    },
)
def list_events(
    request: Request, within: Within, asking: Asking, query: Annotated[EventsQuery, Query()]
) -> Response:
    """All filters must hold; with `Accept: application/x-ndjson` the answer has one event a line.

    With `text/csv` or `application/vnd.apache.arrow.stream` it is a stream of all events that are asked for,
    which needs the permission to export.
    """
    is_ascending = None if query.order is None else query.order == "asc"
    wanted = filter_of(
        query,
        asking,
        limit=query.limit,
        cursor=query.cursor,
        is_ascending=is_ascending,
        fields=None if query.fields is None else tuple(query.fields.split(",")),
    )
    form = stream_of(request)
    if form is not None:
        asking.need("export")
        return streamed(within, asking, wanted, form=form, asked=_given(query))
    with within.turns.pages.take(asking.key.mark):
        found = within.service.records(wanted)
    within.reads.done(
        Question(asking.actor, "list_events", asking.scope_text, _given(query)),
        rows=len(found.rows),
        is_complete=found.is_complete,
    )
    return page(request, within, found)


@router.get(
    "/stats",
    operation_id="get_stats",
    summary="Count events",
    response_model=StatsView,
    responses={**problems("bad-filter", "too-many-questions"), 200: shown("Totals.", examples.STATS)},
)
def get_stats(within: Within, asking: Asking, query: Annotated[EventFilter, Query()]) -> Response:
    """Totals over the events that the filters name."""
    with within.turns.questions.take(asking.key.mark):
        found = within.service.stats(filter_of(query, asking))
    question = Question(asking.actor, "get_stats", asking.scope_text, _given(query))
    within.reads.done(question, rows=min(found.records, _MOST))
    return answer(
        StatsView(
            records=found.records,
            executions=found.executions,
            calls={call: dict(counts) for call, counts in found.calls.items()},
            refusals_by_rule=dict(found.refusals_by_rule),
            refusals_by_reason=dict(found.refusals_by_reason),
            bytes_in=found.bytes_in,
            bytes_out=found.bytes_out,
            first_t_ns=found.first_t_ns,
            last_t_ns=found.last_t_ns,
        )
    )


@router.post(
    "/aggregate",
    operation_id="aggregate_events",
    summary="Count events by groups",
    response_model=GroupsView,
    responses={
        **problems("bad-filter", "unsupported-type", "too-many-questions"),
        200: shown("Groups, those with the largest first metric first.", audit_examples.AGGREGATE),
    },
    openapi_extra=body(
        {"application/json": {"$ref": "#/components/schemas/AggregateRequest"}},
        example=audit_examples.AGGREGATE_REQUEST,
    ),
)
async def aggregate_events(request: Request, within: Within, asking: Asking) -> Response:
    """Exact, whatever it comes from; roll-ups answer where they say as much as the events."""
    wanted = await read_model(request, AggregateRequest)
    return await run_in_threadpool(_aggregate, within, asking, wanted)


def _aggregate(within: Gateway, asking: Asker, wanted: AggregateRequest) -> Response:
    of = Aggregation(
        by=wanted.by,
        metrics=wanted.metrics,
        wanted=filter_of(wanted.filter, asking),
        limit=wanted.limit,
    )
    with within.turns.questions.take(asking.key.mark):
        found = within.service.audit.aggregate(of)
    given = wanted.model_dump(by_alias=True, exclude_none=True)
    within.reads.done(
        Question(asking.actor, "aggregate_events", asking.scope_text, given), rows=len(found.rows)
    )
    return plain_answer({"rows": found.rows, "source": found.source, "is_truncated": found.is_truncated})


def filter_of(
    query: EventFilter | ExportFilter,
    asking: Asker,
    *,
    limit: int = DEFAULT_LIMIT,
    cursor: str | None = None,
    is_ascending: bool | None = None,
    fields: tuple[str, ...] | None = None,
) -> RecordFilter:
    """Give the filter that a query means, within the reach of the asker; raises FilterError and Problem."""
    from_ns, to_ns = period(query)
    return RecordFilter(
        execution=query.execution,
        module=query.module,
        tenant=query.tenant,
        policy=query.policy,
        call=query.call,
        class_uid=query.class_,
        decision=query.decision,
        errno=query.errno,
        rule=query.rule,
        path=query.path,
        path_prefix=query.path_prefix,
        path_glob=query.path_glob,
        addr=query.addr,
        port=query.port,
        from_ns=from_ns,
        to_ns=to_ns,
        min_bytes=query.min_bytes,
        min_duration_ns=query.min_duration,
        q=query.q,
        tenants=asking.tenants,
        fields=fields,
        limit=limit,
        cursor=cursor,
        ascending=is_ascending,
    )


def period(query: EventFilter | ExportFilter | ControlQuery) -> tuple[int | None, int | None]:
    """Give from when to when a query is about, ns; raises FilterError, and Problem if `to` is before."""
    from_ns = None if query.from_ is None else time_filter("from", query.from_)
    to_ns = None if query.to is None else time_filter("to", query.to)
    try:
        check_range(from_ns, to_ns)
    except FilterError as err:
        fault = Fault(message=str(err), field=err.field, expected=err.expected, found=err.found)
        raise Problem("invalid", errors=[fault]) from err
    return from_ns, to_ns


def page(request: Request, within: Gateway, found: Page) -> Response:
    """Give a page of events in the form that the caller accepts."""
    tree_size = TransparencyLog(within.service.settings.audit_dir / "tlog").size
    headers = {COMPLETE: "true" if found.is_complete else "false", TREE_SIZE: str(tree_size)}
    rows = [plain_row(row) for row in found.rows]
    if NDJSON in request.headers.get("accept", "").lower():
        return lines(rows, headers | ({NEXT_CURSOR: found.next} if found.next else {}))
    # rows are plain values by column already: a model for each of 10,000 would cost more than the query
    return Response(plain_json({"events": rows, "next": found.next}), 200, headers, JSON)


def _given(query: StatsQuery) -> dict[str, object]:
    return query.model_dump(by_alias=True, exclude_none=True)
