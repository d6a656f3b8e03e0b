"""Checks of the log that are made here, and what a value would be stored as.

A check that is made by who is checked proves little: `docs/how-to` says how others make it. What is checked
is `audit/verify`. INVARIANT: who is confined to tenants can have executions of theirs checked, and nothing
else.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from fastapi import APIRouter, Request, Response
from starlette.concurrency import run_in_threadpool
from starlette.responses import StreamingResponse

from api.control import Question
from api.http import audit_examples as examples
from api.http.access import Asker, Asking
from api.http.answers import NDJSON, answer, plain_json
from api.http.audit_models import HashRequest, VerifyRequest
from api.http.audit_views import HashView
from api.http.bodies import read_model
from api.http.execution_pages import known_execution
from api.http.gateway import Gateway, Within
from api.http.openapi import body, shown
from api.http.problems import Problem, problems
from audit.inert import inert
from audit.tlog.errors import UnprovableError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from api.checking_log import Checking

router = APIRouter(prefix="/v1/audit", tags=["integrity"])

_LOOK_S = 0.05
_LOOKS = 20  # between two lines of progress


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


@router.post(
    "/verify",
    operation_id="post_verify",
    summary="Verify the log here",
    response_class=Response,
    responses={
        **problems("not-found", "unsupported-type", "unprovable", "too-many-checks"),
        200: {
            "description": "Lines: `progress` every second, then one `result`.",
            "content": {NDJSON: {"schema": {"type": "string"}, "example": examples.VERIFY_LINES}},
        },
    },
    openapi_extra=body(
        {"application/json": {"$ref": "#/components/schemas/VerifyRequest"}}, example=examples.VERIFY_REQUEST
    ),
)
async def post_verify(request: Request, within: Within, asking: Asking) -> Response:
    """All of it is checked: signatures, tree, files, order, completeness, counters.

    With `execution`, only findings about that one are told; a key with tenants may ask no more, and is given
    no counts. `result` and `status` are those of the whole log. Asked again within 10 seconds, while nothing
    more was signed, the same check is told of: `checked_at` is when it began.
    """
    wanted = await read_model(request, VerifyRequest)
    return await run_in_threadpool(_verify, within, asking, wanted)


def _verify(within: Gateway, asking: Asker, wanted: VerifyRequest) -> Response:
    if wanted.execution is not None:
        known_execution(within, asking, wanted.execution)
    elif asking.tenants is not None:
        raise Problem("forbidden", "this key is for tenants only: name an `execution` of theirs")
    asked = wanted.model_dump(exclude_none=True)
    question = Question(asking.actor, "post_verify", asking.scope_text, asked)
    checking = _checking(within, asking, question)
    return StreamingResponse(_lines(checking, asking, wanted.execution), 200, media_type=NDJSON)


def _checking(within: Gateway, asking: Asker, question: Question) -> Checking:
    checks = within.service.desk.checks
    recent = checks.recent()
    if recent is not None:
        within.reads.done(question, rows=0)
        return recent
    turn = within.turns.checks.take(asking.key.mark)
    try:
        within.reads.done(question, rows=0)
        return checks.begin(turn.end)  # it goes on to its end, though nobody waits for it
    except BaseException as err:
        turn.end()
        if isinstance(err, UnprovableError):
            raise Problem("unprovable", inert(str(err))) from err
        raise


async def _lines(checking: Checking, asking: Asker, execution: str | None) -> AsyncIterator[bytes]:
    # SECURITY: counts are of all tenants, findings that are not listed as well
    is_confined = asking.tenants is not None
    looks = 0
    while not checking.is_over(within_s=0):
        looks += 1
        if looks % _LOOKS == 0:
            counts = {} if is_confined else checking.counts()
            yield plain_json({"kind": "progress", "checked": counts}) + b"\n"
        await asyncio.sleep(_LOOK_S)
    found = checking.result()
    if execution is not None:
        found["findings"] = [each for each in found["findings"] if each["execution"] == execution]
    if is_confined:
        found |= {"checked": {}, "not_listed": None}
    yield plain_json({"kind": "result", **found}) + b"\n"


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
