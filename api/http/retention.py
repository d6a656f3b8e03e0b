"""What is kept, held and deleted: holds, and the deletion of what nothing keeps.

What may go is `audit/retention.py`; how it is deleted `api/retaining.py`. INVARIANT: who is confined to
tenants changes nothing here, and nothing is deleted unless the request says so in so many words.
"""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query, Request, Response
from starlette.concurrency import run_in_threadpool

from api.control import Question
from api.http.access import Asker, Asking
from api.http.answers import answer
from api.http.bodies import read_model
from api.http.gateway import Gateway, Within
from api.http.models import ExecutionIdText
from api.http.openapi import body, shown
from api.http.problems import Problem, problems
from api.http.retention_models import (
    HoldRequest,
    HoldsView,
    HoldView,
    PrunedView,
    PruneRequest,
    ReleaseQuery,
)
from api.retaining import Pruned, pruned_json
from audit.errors import FilterError
from audit.filters import time_filter
from audit.holds import Hold, Scope

router = APIRouter(prefix="/v1/audit", tags=["audit"])

_ID = "01a1ee56-5e00-7000-8000-000000000001"
_HOLD = {
    "id": _ID, "at": "2026-11-22T18:14:40.000000000Z", "actor": "key:operator", "reason": "case 7",
    "tenant": "acme", "execution": None, "module": None, "from": None, "to": None,
}  # fmt: skip
_PRUNED = {"dry_run": True, "segments": [], "unfinished": [], "events": [], "deleted": None}
_MOST = 10_000


@router.get(
    "/holds",
    operation_id="list_holds",
    summary="List the legal holds",
    response_model=HoldsView,
    responses={**problems(), 200: shown("The holds that are in force.", {"holds": [_HOLD]})},
)
def list_holds(within: Within, asking: Asking) -> Response:
    """The holds that are in force, the oldest first."""
    _for_all(asking)
    found = within.service.retaining.holds()
    within.reads.done(Question(asking.actor, "list_holds", asking.scope_text), rows=len(found))
    return answer(HoldsView(holds=tuple(map(_view, found))))


@router.post(
    "/holds",
    operation_id="post_hold",
    summary="Set a legal hold",
    status_code=201,
    response_model=HoldView,
    responses={**problems("bad-filter", "unsupported-type"), 201: shown("The hold, in force.", _HOLD)},
    openapi_extra=body(
        {"application/json": {"$ref": "#/components/schemas/HoldRequest"}},
        example={"tenant": "acme", "reason": "case 7"},
    ),
)
async def post_hold(request: Request, within: Within, asking: Asking) -> Response:
    """On what is there and on what will be; it is on record, and in force, when it is answered."""
    _for_all(asking)
    wanted = await read_model(request, HoldRequest)
    return await run_in_threadpool(_hold, within, asking, wanted)


@router.delete(
    "/holds/{hold_id}",
    operation_id="delete_hold",
    summary="End a legal hold",
    response_model=HoldView,
    responses={
        **problems("not-found", "bad-filter"),
        200: shown("The hold that was ended.", _HOLD),
    },
)
def delete_hold(
    hold_id: Annotated[ExecutionIdText, Path(description="A UUID in lower case.")],
    within: Within,
    asking: Asking,
    query: Annotated[ReleaseQuery, Query()],
) -> Response:
    """What it kept may then be deleted."""
    _for_all(asking)
    found = within.service.retaining.release(hold_id, reason=query.reason, actor=asking.actor)
    if found is None:
        raise Problem("not-found", f"no hold {hold_id} is in force")
    return answer(_view(found))


@router.post(
    "/prune",
    operation_id="post_prune",
    summary="Delete what nothing keeps any more",
    response_model=PrunedView,
    responses={
        **problems("bad-filter", "unsupported-type"),
        200: shown("What goes, what stays, and why.", _PRUNED),
    },
    openapi_extra=body(
        {"application/json": {"$ref": "#/components/schemas/PruneRequest"}}, example={"dry_run": True}
    ),
)
async def post_prune(request: Request, within: Within, asking: Asking) -> Response:
    """Whole segments whose executions are all older than their policies keep them, and not on hold."""
    _for_all(asking)
    wanted = await read_model(request, PruneRequest)
    return await run_in_threadpool(_prune, within, asking, wanted)


def _for_all(asking: Asker) -> None:
    if asking.tenants is not None:
        raise Problem("forbidden", "this key is for tenants only: segments, holds and events are not")


def _hold(within: Gateway, asking: Asker, wanted: HoldRequest) -> Response:
    scope = Scope(
        tenant=wanted.tenant,
        execution=wanted.execution,
        module=wanted.module,
        from_ns=_time("from", wanted.from_),
        to_ns=_time("to", wanted.to),
    )
    made = within.service.retaining.hold(scope, reason=wanted.reason, actor=asking.actor)
    return answer(_view(made), status=201)


def _prune(within: Gateway, asking: Asker, wanted: PruneRequest) -> Response:
    until_ns = _time("until", wanted.until)
    if wanted.dry_run:
        done = within.service.retaining.plan(tenant=wanted.tenant, until_ns=until_ns)
        given = wanted.model_dump(exclude_none=True)
        rows = len(done.plan.verdicts)
        within.reads.done(Question(asking.actor, "post_prune", asking.scope_text, given), rows=rows)
    else:
        done = within.service.retaining.prune(actor=asking.actor, tenant=wanted.tenant, until_ns=until_ns)
    return answer(_pruned(done))


def _pruned(done: Pruned) -> PrunedView:
    said = pruned_json(done)
    rows = said.pop("segments")
    if not isinstance(rows, list):
        raise FilterError("segments", "a list", rows)
    return PrunedView.model_validate(
        said
        | {"segments": rows[:_MOST], "events": tuple(done.events), "unfinished": done.unfinished[:_MOST]},
        strict=False,
    )


def _view(hold: Hold) -> HoldView:
    return HoldView.model_validate(hold.as_json())


def _time(name: str, value: str | int | None) -> int | None:
    return None if value is None else time_filter(name, str(value))
