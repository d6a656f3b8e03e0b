"""Names each request, notes how it went in the service's own log, and answers for what nobody caught.

Who may enter is `guard.py`, how large a body may be `body_limits.py`. SECURITY: neither a query nor a path as
it was sent is logged, only the route's template: they hold text of callers. INVARIANT: every answer has the
security headers and the request's id.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from starlette.requests import ClientDisconnect

from api.http.answers import SECURITY_HEADERS
from api.http.problems import Problem
from api.logs import logger
from audit.identity import new_uuid

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

_LOG = logger("http")
_GONE = 499  # for the log only: the caller went away before the answer
_HEADERS = [(name.lower().encode(), value.encode()) for name, value in SECURITY_HEADERS]


def request_id_of(scope: Scope) -> str:
    """Give the id of a request that came through `RequestLog`."""
    return str(scope["wasmgate.request_id"])


@dataclass(slots=True)
class _Sent:
    """What became of one answer."""

    send: Send
    request_id: str
    status: int = 0

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = int(message["status"])
            ours = [*_HEADERS, (b"x-request-id", self.request_id.encode())]
            names = {name for name, _ in ours}
            theirs = [each for each in message.get("headers", ()) if each[0].lower() not in names]
            message = {**message, "headers": [*theirs, *ours]}
        await self.send(message)


class RequestLog:
    """The outermost layer of the service."""

    def __init__(self, app: ASGIApp) -> None:
        """Wrap `app`."""
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = str(new_uuid())
        scope["wasmgate.request_id"] = request_id
        sent = _Sent(send, request_id)
        began = time.monotonic()
        try:
            await self._app(scope, receive, sent)
        except ClientDisconnect:
            sent.status = sent.status or _GONE
        except Exception as err:  # noqa: BLE001  # whatever it is, the caller hears of it without seeing it
            _LOG.error("request failed", request_id=request_id, route=_route(scope), exc_info=err)
            if not sent.status:
                await Problem("internal", "the log has more under the request's id").response(request_id)(
                    scope, receive, sent
                )
        finally:
            _LOG.info(
                "request",
                method=str(scope["method"])[:16],
                route=_route(scope),
                status=sent.status,
                ms=round((time.monotonic() - began) * 1_000, 1),
                request_id=request_id,
            )


def _route(scope: Scope) -> str:
    return str(getattr(scope.get("route"), "path", "none"))
