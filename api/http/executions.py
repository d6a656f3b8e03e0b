"""Executions: start one, list them, look at one, read its output, cancel it.

Starting and watching is done in `runs.py`, what a run is by `sandbox/`. Receipts come out of the log
as they are there; events are read in `audit_executions.py`. INVARIANT: an answer that names an execution is
given when the log knows it.
"""

from __future__ import annotations

import asyncio
from typing import Annotated, Literal

from fastapi import APIRouter, Path, Query, Request, Response
from starlette.concurrency import run_in_threadpool

from api.control import Question
from api.http import examples
from api.http.access import Asker, Asking
from api.http.answers import BYTES, answer, attachment
from api.http.bodies import read_model
from api.http.execution_pages import ExecutionPages, execution_view, known_execution
from api.http.gateway import Gateway, Within
from api.http.models import ExecutionIdText, ExecutionsQuery, RunRequest
from api.http.openapi import body, shown
from api.http.orders import order_of
from api.http.problems import Problem, problems
from api.http.views import ExecutionsView, ExecutionView
from audit.query import Execution as KnownExecution

router = APIRouter(prefix="/v1/executions", tags=["executions"])

MAX_WAIT_S = 300.0
"""A caller who waits is answered `202` after this; the run goes on."""

ExecutionId = Annotated[ExecutionIdText, Path(description="A UUID in lower case.")]


@router.post(
    "",
    operation_id="post_execution",
    summary="Run a module",
    response_model=ExecutionView,
    status_code=201,
    responses={
        **problems("not-found", "unsupported-type", "policy-invalid", "ungoverned", "too-many-runs"),
        201: shown("The run is over; `receipt.outcome` says how it ended.", examples.EXECUTION),
        202: shown(
            "The run goes on; `Location` is where to ask for it.", examples.RUNNING, model=ExecutionView
        ),
    },
    openapi_extra=body(
        {"application/json": {"$ref": "#/components/schemas/RunRequest"}}, example=examples.RUN_REQUEST
    ),
)
async def post_execution(request: Request, within: Within, asking: Asking) -> Response:
    """Answers when the run is over, or at once with `"wait": false` or the header `Prefer: respond-async`.

    A module that admission refuses is an execution as well: it is on record, and its outcome is `refused`.
    """
    wanted = await read_model(request, RunRequest)
    if not asking.may_see(wanted.tenant):
        raise Problem("forbidden", f"this key is not for tenant {wanted.tenant}")
    order, stdin = await run_in_threadpool(order_of, within.service, wanted)
    run = within.runs.start(order, stdin=stdin)
    await asyncio.shield(asyncio.wrap_future(run.begun))
    if wanted.wait and not _is_async_preferred(request):
        done, _ = await asyncio.wait([asyncio.wrap_future(run.ended)], timeout=MAX_WAIT_S)
        for ended in done:
            view = execution_view(KnownExecution(None, ended.result().receipt), None)
            return answer(view, 201, {"Location": view.links.self})
    view = await run_in_threadpool(_view, within, asking, order.exec_id)
    return answer(view, 202, {"Location": view.links.self})


@router.get(
    "",
    operation_id="list_executions",
    summary="List executions",
    response_model=ExecutionsView,
    responses={**problems("bad-filter"), 200: shown("Executions, newest first.", examples.EXECUTIONS)},
)
def list_executions(within: Within, asking: Asking, query: Annotated[ExecutionsQuery, Query()]) -> Response:
    """Newest first."""
    found = ExecutionPages(within, asking.tenants).page(query)
    question = Question(asking.actor, "list_executions", asking.scope_text, query.model_dump())
    within.reads.done(question, rows=len(found.executions))
    return answer(found)


@router.get(
    "/{execution_id}",
    operation_id="get_execution",
    summary="Look at an execution",
    response_model=ExecutionView,
    responses={**problems("not-found"), 200: shown("The execution.", examples.EXECUTION)},
)
def get_execution(execution_id: ExecutionId, within: Within, asking: Asking) -> Response:
    """Its receipt, once it is over."""
    view = _view(within, asking, execution_id)
    question = Question(asking.actor, "get_execution", asking.scope_text, {"execution": execution_id})
    within.reads.done(question, rows=1)
    return answer(view)


@router.delete(
    "/{execution_id}",
    operation_id="cancel_execution",
    summary="Cancel an execution",
    response_model=ExecutionView,
    status_code=202,
    responses={
        **problems("not-found", "not-running"),
        202: shown("It is being ended, and will be on record as `killed`.", examples.RUNNING),
    },
)
def cancel_execution(execution_id: ExecutionId, within: Within, asking: Asking) -> Response:
    """Ends the guest. Nothing of what is on record goes away."""
    view = _view(within, asking, execution_id)
    if not within.runs.cancel(execution_id):
        raise Problem("not-running", f"execution {execution_id} is {view.status}, and does not run here")
    return answer(view, 202, {"Location": view.links.self})


@router.get(
    "/{execution_id}/stdout",
    operation_id="get_stdout",
    summary="Read what the guest wrote to its standard output",
    response_class=Response,
    responses={
        **problems("not-found", "still-running"),
        200: {"description": "The bytes, as the guest wrote them.", "content": {BYTES: {}}},
    },
)
def get_stdout(execution_id: ExecutionId, within: Within, asking: Asking) -> Response:
    """Empty if nothing was written, or the policy does not capture it."""
    return _output(within, asking, execution_id, stream="stdout")


@router.get(
    "/{execution_id}/stderr",
    operation_id="get_stderr",
    summary="Read what the guest wrote to its standard error",
    response_class=Response,
    responses={
        **problems("not-found", "still-running"),
        200: {"description": "The bytes, as the guest wrote them.", "content": {BYTES: {}}},
    },
)
def get_stderr(execution_id: ExecutionId, within: Within, asking: Asking) -> Response:
    """Empty if nothing was written, or the policy does not capture it."""
    return _output(within, asking, execution_id, stream="stderr")


def _is_async_preferred(request: Request) -> bool:
    # SPEC: RFC 7240; preferences are separated by commas, their parameters by semicolons
    wanted = request.headers.get("prefer", "").lower().split(",")
    return any(each.partition(";")[0].strip() == "respond-async" for each in wanted)


def _view(within: Gateway, asking: Asker, execution_id: str) -> ExecutionView:
    # before the log is asked: it may end in between
    state = within.runs.state(execution_id)
    return execution_view(known_execution(within, asking, execution_id), state)


def _output(
    within: Gateway, asking: Asker, execution_id: str, *, stream: Literal["stdout", "stderr"]
) -> Response:
    if _view(within, asking, execution_id).status != "done":
        raise Problem("still-running", "output can be read when the run is over")
    content = within.service.outputs.get(execution_id, stream)
    return attachment(content, name=f"{execution_id}.{stream}")
