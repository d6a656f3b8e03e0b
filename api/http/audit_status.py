"""How the log is doing, and what was done to it: status and control-plane events.

The figures are gathered in `api/log_status.py`. INVARIANT: who is confined to tenants sees no event but those
of their tenants.
"""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Response

from api.control import Question
from api.http import audit_examples as examples
from api.http.access import Asking
from api.http.answers import answer
from api.http.audit import period
from api.http.audit_models import ControlQuery
from api.http.audit_views import (
    CheckpointView,
    ControlEventsView,
    ControlEventView,
    DiskView,
    FollowerView,
    StatusView,
)
from api.http.gateway import Within
from api.http.openapi import shown
from api.http.problems import problems
from audit.filters import RecordFilter
from audit.times import to_rfc3339

router = APIRouter(prefix="/v1/audit", tags=["audit"])


@router.get(
    "/status",
    operation_id="get_status",
    summary="Say how the log is doing",
    response_model=StatusView,
    responses={**problems(), 200: shown("The figures of this moment.", examples.STATUS)},
)
def get_status(within: Within) -> Response:
    """What waits to be sealed and signed, what guests waited for, and how much room there is."""
    found = within.service.desk.status()
    checkpoint = None
    if found.checkpoint_size is not None and found.checkpoint_age_s is not None:
        checkpoint = CheckpointView(size=found.checkpoint_size, age_s=found.checkpoint_age_s)
    return answer(
        StatusView(
            tree_size=found.tree_size,
            checkpoint=checkpoint,
            unsealed_files=found.unsealed_files,
            unsealed_bytes=found.unsealed_bytes,
            unsealed_age_s=found.unsealed_age_s,
            damaged_files=found.damaged_files,
            dropped=0,
            gaps=found.gaps,
            back_pressure_s=found.back_pressure_s,
            running=len(within.service.running),
            problems=found.problems,
            disk=DiskView(
                used_bytes=found.used_bytes, free_bytes=found.free_bytes, budget_bytes=found.budget_bytes
            ),
            followers=tuple(
                FollowerView(name=each.name, lag=each.lag, problem=each.problem) for each in found.followers
            ),
        )
    )


@router.get(
    "/control",
    operation_id="list_control_events",
    summary="List control-plane events",
    response_model=ControlEventsView,
    responses={
        **problems("bad-filter", "too-many-pages"),
        200: shown("Events, newest first.", examples.CONTROL),
    },
)
def list_control_events(within: Within, asking: Asking, query: Annotated[ControlQuery, Query()]) -> Response:
    """Who read the log, who changed policies and keys, and when recording began and ended; newest first."""
    from_ns, to_ns = period(query)
    times = RecordFilter(from_ns=from_ns, to_ns=to_ns)  # refuses times that no number of the log can hold
    with within.turns.pages.take(asking.key.mark):
        found = within.service.desk.control_events(
            kind=query.event,
            tenants=asking.tenants,
            from_ns=times.from_ns,
            to_ns=times.to_ns,
            limit=query.limit + 1,
        )
    kept = found[: query.limit]
    given = query.model_dump(by_alias=True, exclude_none=True)
    within.reads.done(Question(asking.actor, "list_control_events", asking.scope_text, given), rows=len(kept))
    views = tuple(
        ControlEventView(
            id=each.event_id,
            at=to_rfc3339(each.at_ns),
            event=each.event,
            actor=each.actor,
            tenant=each.tenant,
            details=dict(each.details),
            leaf=each.leaf,
        )
        for each in kept
    )
    return answer(ControlEventsView(events=views, next=views[-1].at if len(found) > query.limit else None))
