"""What the routers work with, and how a route gets at it.

It is made in `app.py`. INVARIANT: nothing here is kept between requests but what `service`, `runs` and
`turns` keep.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import Annotated, cast

from fastapi import Depends, Request

from api.control import ReadLog
from api.http.guard import Keys
from api.http.runs import Runs
from api.http.turns import AllTurns
from api.service import Service
from policy.access import Access


@dataclass(frozen=True, slots=True)
class Gateway:
    """The service, the runs that were started over HTTP, and who may do what."""

    service: Service
    runs: Runs
    access: Access  # what roles may do
    reads: ReadLog
    keys: Keys
    turns: AllTurns = field(default_factory=AllTurns)
    uploading: threading.Lock = field(default_factory=threading.Lock)  # one upload at a time is in memory


def _gateway(request: Request) -> Gateway:
    return cast("Gateway", request.app.state.gateway)


Within = Annotated[Gateway, Depends(_gateway)]
"""Type of a route's parameter that holds the gateway."""
