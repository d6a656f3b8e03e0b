"""How many runs go on and wait.

Whose turn is next is the matter of `api/run_queue.py`. INVARIANT: a key with tenants is told of these only,
and of all together nothing but the bounds.
"""

from __future__ import annotations

from fastapi import APIRouter, Response
from pydantic import Field

from api.http import examples
from api.http.access import Asking
from api.http.answers import answer
from api.http.gateway import Within
from api.http.models import Edge
from api.http.openapi import shown
from api.http.problems import problems

router = APIRouter(prefix="/v1/queue", tags=["executions"])


class LoadView(Edge):
    """How many runs go on and wait for their turn."""

    running: int = Field(ge=0)
    waiting: int = Field(ge=0)


class TenantLoadView(LoadView):
    """The same, of one tenant."""

    tenant: str


class QueueBoundsView(Edge):
    """How many may."""

    running: int
    running_of_tenant: int
    waiting: int
    waiting_of_tenant: int
    wait_s: int = Field(description="How long a run may wait; then it is given up.")


class QueueView(Edge):
    """What goes on and waits in this process."""

    total: LoadView | None = Field(description="Null for a key that is not for all tenants.")
    tenants: tuple[TenantLoadView, ...] = Field(description="Those in reach that have runs here, by name.")
    bounds: QueueBoundsView
    is_ending: bool = Field(description="Whether the service ends, so that nothing more is begun.")


@router.get(
    "",
    operation_id="get_queue",
    summary="See how many runs go on and wait",
    response_model=QueueView,
    responses={**problems(), 200: shown("What goes on in this process.", examples.QUEUE)},
)
async def get_queue(within: Within, asking: Asking) -> Response:
    """Of each tenant in reach that has runs here; the sums are null for a key that is not for all tenants."""
    queue = within.service.queue
    loads = queue.loads()
    seen = sorted(name for name in loads if asking.may_see(name))
    total = None
    if asking.tenants is None:
        load = queue.load
        total = LoadView(running=load.running, waiting=load.waiting)
    bounds = queue.bounds
    return answer(
        QueueView(
            total=total,
            tenants=tuple(
                TenantLoadView(tenant=name, running=loads[name].running, waiting=loads[name].waiting)
                for name in seen
            ),
            bounds=QueueBoundsView(
                running=bounds.running,
                running_of_tenant=bounds.running_of_tenant,
                waiting=bounds.waiting,
                waiting_of_tenant=bounds.waiting_of_tenant,
                wait_s=within.service.settings.max_wait_s,
            ),
            is_ending=within.runs.is_ending,
        )
    )
