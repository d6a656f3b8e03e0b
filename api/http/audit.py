"""The audit log: records by filter, page by page, and totals.

How a question is answered is `audit/query.py`. INVARIANT: following `next` gives each record once and leaves
none out, however the log grows meanwhile.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from fastapi import APIRouter, Query, Request, Response

from api.http import examples
from api.http.answers import JSON, NDJSON, answer, lines, plain_json
from api.http.gateway import Within
from api.http.models import RecordsQuery, StatsQuery
from api.http.openapi import shown
from api.http.problems import problems
from api.http.views import RecordsView, StatsView
from audit.filters import DEFAULT_LIMIT, RecordFilter, time_filter

if TYPE_CHECKING:
    from audit.query import Page

router = APIRouter(prefix="/v1/audit", tags=["audit"])

NEXT_CURSOR = "X-Next-Cursor"
"""Where the cursor is when the answer has a record a line; absent at the end."""

RECORDS = shown("A page of records.", examples.RECORDS, lines=examples.RECORDS["records"], cursor=NEXT_CURSOR)


@router.get(
    "/records",
    operation_id="list_records",
    summary="Query records",
    response_model=RecordsView,
    responses={**problems("bad-filter"), 200: RECORDS},
)
def list_records(request: Request, within: Within, query: Annotated[RecordsQuery, Query()]) -> Response:
    """All filters must hold; with `Accept: application/x-ndjson` the answer has one record a line."""
    is_ascending = None if query.order is None else query.order == "asc"
    wanted = filter_of(query, limit=query.limit, cursor=query.cursor, is_ascending=is_ascending)
    return page(request, within.service.records(wanted))


@router.get(
    "/stats",
    operation_id="get_stats",
    summary="Count records",
    response_model=StatsView,
    responses={**problems("bad-filter"), 200: shown("Totals.", examples.STATS)},
)
def get_stats(within: Within, query: Annotated[StatsQuery, Query()]) -> Response:
    """Totals over the records that the filters name."""
    found = within.service.stats(filter_of(query))
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


def filter_of(
    query: StatsQuery,
    *,
    limit: int = DEFAULT_LIMIT,
    cursor: str | None = None,
    is_ascending: bool | None = None,
) -> RecordFilter:
    """Give the filter that a query means; raises FilterError."""
    return RecordFilter(
        execution=query.execution,
        module=query.module,
        call=query.call,
        decision=query.decision,
        path_prefix=query.path_prefix,
        from_ns=None if query.from_ is None else time_filter("from", query.from_),
        to_ns=None if query.to is None else time_filter("to", query.to),
        limit=limit,
        cursor=cursor,
        ascending=is_ascending,
    )


def page(request: Request, found: Page) -> Response:
    """Give a page of records in the form that the caller accepts."""
    if NDJSON in request.headers.get("accept", "").lower():
        return lines(found.rows, {NEXT_CURSOR: found.next} if found.next else None)
    # rows are plain values by column already: a model for each of 10,000 would cost more than the query
    return Response(plain_json({"records": found.rows, "next": found.next}), media_type=JSON)
