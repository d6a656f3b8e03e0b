"""Whether the service answers.

The only route without a key: it says nothing about modules, policies, runs or the machine. INVARIANT:
answering touches neither the disk nor the log.
"""

from __future__ import annotations

from fastapi import APIRouter, Response

from api.http import examples
from api.http.answers import answer
from api.http.openapi import shown
from api.http.problems import problems
from api.http.views import HealthView
from api.version import program_version

router = APIRouter(prefix="/v1", tags=["health"])


_VERSION = program_version()


@router.get(
    "/health",
    operation_id="get_health",
    summary="Say that the service answers",
    response_model=HealthView,
    responses={**problems(), 200: shown("The service answers.", examples.HEALTH)},
)
async def get_health() -> Response:
    """Needs no key."""
    return answer(HealthView(version=_VERSION))
