"""Checks of the log that are made here, and what a value would be stored as.

A check that is made by who is checked proves little: `docs/how-to` says how others make it. What is checked
is `audit/verify`. INVARIANT: who is confined to tenants can have executions of theirs checked, and nothing
else.
"""

from __future__ import annotations

from fastapi import APIRouter, Request, Response
from starlette.concurrency import run_in_threadpool

from api.control import Question
from api.http import audit_examples as examples
from api.http.access import Asker, Asking
from api.http.answers import answer
from api.http.audit_models import HashRequest
from api.http.audit_views import HashView
from api.http.bodies import read_model
from api.http.gateway import Gateway, Within
from api.http.openapi import body, shown
from api.http.problems import Problem, problems

router = APIRouter(prefix="/v1/audit", tags=["integrity"])


@router.post(
    "/hash",
    operation_id="post_hash",
    summary="Say what a value would be stored as",
    response_model=HashView,
    responses={
        **problems("not-found", "unsupported-type"),
        200: shown("The hash that a mask puts in its place.", examples.HASH),
    },
    openapi_extra=body(
        {"application/json": {"$ref": "#/components/schemas/HashRequest"}}, example=examples.HASH_REQUEST
    ),
)
async def post_hash(request: Request, within: Within, asking: Asking) -> Response:
    """With the key of the tenant, so that masked values can be searched for by who knows them."""
    wanted = await read_model(request, HashRequest)
    return await run_in_threadpool(_hash, within, asking, wanted)


def _hash(within: Gateway, asking: Asker, wanted: HashRequest) -> Response:
    found = (
        within.service.desk.candidate(wanted.tenant, wanted.value) if asking.may_see(wanted.tenant) else None
    )
    # SECURITY: the value is not recorded: it is what the mask keeps out of the log
    question = Question(asking.actor, "post_hash", asking.scope_text, {"tenant": wanted.tenant})
    within.reads.done(question, rows=0 if found is None else 1)
    if found is None:
        raise Problem("not-found", f"there is no key that masks values of tenant {wanted.tenant}")
    return answer(HashView(tenant=wanted.tenant, hash=found))
