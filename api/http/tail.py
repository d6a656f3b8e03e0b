"""The log as it grows: server-sent events, one for each record, from when it is durable.

How records are found is `audit.query`; framing is the library's. Each caller is read for at their own pace,
so that one who is slow holds up nobody: neither a guest nor another caller. INVARIANT: a record is sent when
it is durable, in the order of its execution, once; where records cannot be sent any more, a `gap` event says
so before anything that follows.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, cast

from fastapi import APIRouter, Query, Request, Response
from sse_starlette import EventSourceResponse, ServerSentEvent
from starlette.concurrency import run_in_threadpool

from api.control import Question
from api.http import audit_examples as examples
from api.http.access import Asking
from api.http.answers import plain_json
from api.http.audit_models import TailQuery
from api.http.gateway import Gateway, Within
from api.http.guard import KEY
from api.http.keys import Key
from api.http.problems import problems
from api.rows import plain_row
from audit.errors import AuditError
from audit.filters import RecordFilter

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from starlette.types import Receive, Scope, Send

    from api.control import Reading
    from api.http.turns import Turn
    from audit.query import Polled

router = APIRouter(prefix="/v1/audit", tags=["audit"])

POLL_S = 0.03
BATCH = 1_000
"""Events that wait for a caller at most; more are read when these are sent."""

HEARTBEAT_S = 15
SEND_S = 30.0
"""How long a caller may take nothing before the connection is closed; `Last-Event-ID` goes on."""

_EVENTS = "text/event-stream"


@router.get(
    "/tail",
    operation_id="tail_events",
    summary="Follow the log",
    response_class=Response,
    responses={
        **problems("bad-filter", "too-many-tails"),
        200: {
            "description": "An event `record` for each record; an event `position` behind some of"
            " them, whose `id` is what `Last-Event-ID` takes; an event `gap` where records were left out.",
            "content": {_EVENTS: {"schema": {"type": "string"}, "example": examples.TAIL}},
        },
    },
)
async def tail_events(
    request: Request, within: Within, asking: Asking, query: Annotated[TailQuery, Query()]
) -> Response:
    """Until the caller goes away, the key is revoked or the service ends; a comment keeps it alive."""
    wanted = RecordFilter(
        execution=query.execution,
        tenant=query.tenant,
        module=query.module,
        call=query.call,
        decision=query.decision,
        tenants=asking.tenants,
        limit=BATCH,
    )
    turn = within.turns.tails.take(asking.key.mark)
    try:
        follower, asked = within.service.follower, request.headers.get("last-event-id")
        begin = follower.start if query.from_ == "start" else follower.now
        position = str(asked or await run_in_threadpool(begin))
        # refuses a wrong position
        first = await run_in_threadpool(follower.poll, position, wanted, limit=BATCH)
        question = Question(asking.actor, "tail_events", asking.scope_text, query.model_dump(by_alias=True))
        going = within.reads.going(question)
        reading = await run_in_threadpool(going.__enter__)
    except BaseException:
        turn.end()
        raise
    following = _Following(request, within, wanted, position, first, going, reading, turn)
    return Following(following.events(), following.end)


class Following(EventSourceResponse):
    """The answer to a caller who follows; `over` is called once, when it has ended."""

    def __init__(self, events: AsyncIterator[ServerSentEvent], over: Callable[[], None]) -> None:
        """Send what `events` gives."""
        super().__init__(events, ping=HEARTBEAT_S, send_timeout=SEND_S, sep="\n")
        self._over = over

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it; however that ends."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            # SECURITY: not where events are made: nobody asks for the first one when the caller has left by
            # then, and a few such callers would take the places of all
            self._over()


@dataclass(slots=True)
class _Following:
    """One caller who follows."""

    request: Request
    within: Gateway
    wanted: RecordFilter
    position: str
    polled: Polled
    going: AbstractContextManager[Reading]
    reading: Reading
    turn: Turn

    def end(self) -> None:
        """Make place for another, and put on record what was read."""
        self.turn.end()
        with contextlib.suppress(AuditError):  # the service may have ended; the beginning is on record
            self.going.__exit__(None, None, None)

    async def events(self) -> AsyncIterator[ServerSentEvent]:
        """Give events until the key is good for nothing any more, or the service ends."""
        follower = self.within.service.follower
        while self._may_go_on():
            if self.polled.is_gap:
                # the place that was asked for is not known any more: what came since is in `GET events`
                yield _event("gap", {"after": self.position}, self.polled.position)
            for row in self.polled.rows:
                self.reading.rows += 1
                yield _event("record", plain_row(row), None)
            if self.polled.position != self.position:
                # a place is good only behind all the records that it counts
                yield _event("position", {}, self.polled.position)
            self.position = self.polled.position
            if not self.polled.is_behind:
                await asyncio.sleep(POLL_S)
            self.polled = await run_in_threadpool(follower.poll, self.position, self.wanted, limit=BATCH)
        self.reading.is_complete = True

    def _may_go_on(self) -> bool:
        if self.within.runs.is_ending:
            return False
        presented = self.request.headers.get("authorization", "").partition(" ")[2].strip(" ")
        match self.within.keys.judge(presented):
            case Key() as key:
                return key == cast("Key", self.request.scope[KEY])
            case _:
                return False


def _event(name: str, value: object, position: str | None) -> ServerSentEvent:
    return ServerSentEvent(plain_json(value).decode(), event=name, id=position, sep="\n")
