"""Executions as the log has them: receipts, totals, events in order, and what was touched.

Starting and cancelling them is `executions.py`. INVARIANT: an execution of a tenant that is out of reach is
answered like one that does not exist.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from fastapi import APIRouter, Path, Query, Request, Response

from api.control import Question
from api.http import audit_examples as examples
from api.http.access import Asker, Asking
from api.http.answers import answer, plain_answer
from api.http.audit import EVENTS, page
from api.http.audit_views import (
    AuditExecutionsView,
    AuditExecutionTotalsView,
    AuditExecutionView,
    AuditLinksView,
    EventsView,
    LeafView,
    TargetsView,
    TotalsView,
)
from api.http.execution_pages import ExecutionPages, known_execution
from api.http.gateway import Gateway, Within
from api.http.models import DenseQuery, ExecutionIdText, ExecutionsQuery
from api.http.openapi import shown
from api.http.problems import Problem, problems
from api.http.views import GapView, NamedDigest, ReceiptView
from audit.errors import FilterError
from audit.filters import RecordFilter
from audit.times import to_rfc3339

if TYPE_CHECKING:
    from audit.query import Execution

router = APIRouter(prefix="/v1/audit/executions", tags=["audit"])

ExecutionId = Annotated[ExecutionIdText, Path(description="A UUID in lower case.")]


@router.get(
    "",
    operation_id="list_audit_executions",
    summary="List executions with their receipts",
    response_model=AuditExecutionsView,
    responses={**problems("bad-filter"), 200: shown("Executions, newest first.", examples.EXECUTIONS)},
)
def list_audit_executions(
    within: Within, asking: Asking, query: Annotated[ExecutionsQuery, Query()]
) -> Response:
    """Newest first."""
    found, following = ExecutionPages(within, asking.tenants).found(query)
    view = AuditExecutionsView(executions=tuple(_view(within, each) for each in found), next=following)
    given = query.model_dump(exclude_none=True)
    within.reads.done(
        Question(asking.actor, "list_audit_executions", asking.scope_text, given), rows=len(found)
    )
    return answer(view)


@router.get(
    "/{execution_id}",
    operation_id="get_audit_execution",
    summary="Read the receipt and the totals of an execution",
    response_model=AuditExecutionTotalsView,
    responses={
        **problems("not-found", "too-many-questions"),
        200: shown("The execution.", examples.EXECUTION),
    },
)
def get_audit_execution(execution_id: ExecutionId, within: Within, asking: Asking) -> Response:
    """The receipt once it is over, totals as they are counted in the log, and the receipt's leaf."""
    found = known_execution(within, asking, execution_id)
    with within.turns.questions.take(asking.key.mark):
        totals = within.service.stats(RecordFilter(execution=execution_id, tenants=asking.tenants))
    view = AuditExecutionTotalsView(
        **dict(_view(within, found)),
        totals=TotalsView(
            events=totals.records,
            bytes_in=totals.bytes_in,
            bytes_out=totals.bytes_out,
            calls={call: dict(counts) for call, counts in totals.calls.items()},
        ),
    )
    _record(within, asking, "get_audit_execution", execution_id, rows=1)
    return answer(view)


@router.get(
    "/{execution_id}/events",
    operation_id="list_execution_events",
    summary="Read the events of an execution",
    response_model=EventsView,
    responses={**problems("not-found", "bad-filter", "too-many-pages"), 200: EVENTS},
)
def list_execution_events(
    request: Request,
    execution_id: ExecutionId,
    within: Within,
    asking: Asking,
    query: Annotated[DenseQuery, Query()],
) -> Response:
    """In the order of their sequence numbers; go on with `next`, or come back with `after_seq`."""
    if query.after_seq is not None and query.cursor is not None:
        raise FilterError("after_seq", "not together with `cursor`", query.after_seq)
    known_execution(within, asking, execution_id)
    wanted = RecordFilter(
        execution=execution_id,
        after_seq=query.after_seq,
        limit=query.limit,
        cursor=query.cursor,
        ascending=True,
        tenants=asking.tenants,
    )
    with within.turns.pages.take(asking.key.mark):
        found = within.service.records(wanted)
    given = {"execution": execution_id, **query.model_dump(exclude_none=True)}
    question = Question(asking.actor, "list_execution_events", asking.scope_text, given)
    within.reads.done(question, rows=len(found.rows), is_complete=found.is_complete)
    return page(request, within, found)


@router.get(
    "/{execution_id}/files",
    operation_id="list_execution_files",
    summary="List the files that an execution touched",
    response_model=TargetsView,
    responses={
        **problems("not-found", "too-many-questions"),
        200: shown("Files with counts.", examples.FILES),
    },
)
def list_execution_files(execution_id: ExecutionId, within: Within, asking: Asking) -> Response:
    """Distinct paths with counts by decision, bytes, and the first and last time."""
    known_execution(within, asking, execution_id)
    with within.turns.questions.take(asking.key.mark):
        rows = within.service.audit.files(execution_id)
    _record(within, asking, "list_execution_files", execution_id, rows=len(rows))
    return plain_answer({"rows": rows})


@router.get(
    "/{execution_id}/connections",
    operation_id="list_execution_connections",
    summary="List whom an execution talked to",
    response_model=TargetsView,
    responses={
        **problems("not-found", "too-many-questions"),
        200: shown("Addresses and names with counts.", examples.CONNECTIONS),
    },
)
def list_execution_connections(execution_id: ExecutionId, within: Within, asking: Asking) -> Response:
    """Distinct addresses and names with counts by decision, bytes, and the first and last time."""
    known_execution(within, asking, execution_id)
    with within.turns.questions.take(asking.key.mark):
        rows = within.service.audit.connections(execution_id)
    _record(within, asking, "list_execution_connections", execution_id, rows=len(rows))
    return plain_answer({"rows": rows})


def _record(within: Gateway, asking: Asker, what: str, execution_id: str, *, rows: int) -> None:
    question = Question(asking.actor, what, asking.scope_text, {"execution": execution_id})
    within.reads.done(question, rows=rows)


def _view(within: Gateway, found: Execution) -> AuditExecutionView:
    receipt, about = found.receipt, found.receipt or found.start
    if about is None:
        raise Problem("not-found", f"the log knows nothing of execution {found.exec_id}")
    path = f"/v1/audit/executions/{found.exec_id}"
    leaf = None if receipt is None else within.service.desk.leaf("receipt", found.exec_id)
    return AuditExecutionView(
        execution_id=found.exec_id,
        status="running" if receipt is None else "done",
        tenant=about.tenant,
        module=NamedDigest(digest=about.module_digest, name=about.module_name),
        policy=NamedDigest(digest=about.policy_digest, name=about.policy_name),
        started_at=to_rfc3339(about.started_at_ns),
        receipt=None if receipt is None else ReceiptView.model_validate_json(receipt.to_json()),
        leaf=None if leaf is None else LeafView(index=leaf, kind="receipt"),
        gaps=tuple(
            GapView(first=first, last=last) for first, last in (() if receipt is None else receipt.gaps)
        ),
        links=AuditLinksView(
            self=path, events=f"{path}/events", files=f"{path}/files", connections=f"{path}/connections"
        ),
    )
