"""One connection to the service: limits on the head of a request, and on how many connections there are.

What follows the head is limited in `body_limits.py`. This is the only file that reaches into the server's
protocol. INVARIANT: a connection that sends no whole head in time is closed, however slowly it goes on
sending.
"""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, ClassVar, cast

from uvicorn.protocols.http.h11_impl import H11Protocol

from api.http.answers import SECURITY_HEADERS
from api.http.problems import PROBLEM_JSON, Problem
from audit.identity import new_uuid

if TYPE_CHECKING:
    from uvicorn.config import Config
    from uvicorn.protocols.http.h11_impl import RequestResponseCycle
    from uvicorn.server import ServerState

MAX_CONNECTIONS = 256
MAX_HEAD_BYTES = 32_768
HEAD_S = 10.0


class Connection(H11Protocol):
    """The server's own protocol, with the limits that it lacks."""

    head_s: ClassVar[float] = HEAD_S
    max_connections: ClassVar[int] = MAX_CONNECTIONS

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        """As the server makes them."""
        super().__init__(config, server_state, app_state, _loop)
        self._head: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in the parent
        """Start to wait for the first head."""
        super().connection_made(transport)
        if len(self.connections) > self.max_connections:
            self._refuse(
                Problem("busy", f"{self.max_connections} connections are open", headers={"Retry-After": "1"})
            )
            return
        self._wait_for_head()

    def data_received(self, data: bytes) -> None:
        """Take what came; the time for a head runs from its first byte."""
        if self.transport.is_closing():
            return
        before = self.cycle
        super().data_received(data)
        if self.cycle is not before or self._is_answering():
            self._stop_waiting()
        elif self._head is None:
            self._wait_for_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait for nothing any more."""
        self._stop_waiting()
        super().connection_lost(exc)

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP with a problem."""
        if self._is_answering() and self.cycle.response_started:
            self.transport.close()  # an answer in the middle of another would be read as part of it
            return
        self._refuse(Problem("bad-request", msg))

    def _is_answering(self) -> bool:
        cycle = cast("RequestResponseCycle | None", self.cycle)  # None until the first request
        return cycle is not None and not cycle.response_complete

    def _wait_for_head(self) -> None:
        self._head = self.loop.call_later(self.head_s, self._give_up)

    def _stop_waiting(self) -> None:
        if self._head is not None:
            self._head.cancel()
            self._head = None

    def _give_up(self) -> None:
        self._head = None
        if not self.transport.is_closing():
            self.transport.close()

    def _refuse(self, problem: Problem) -> None:
        content = problem.response(str(new_uuid())).body
        headers = [
            ("Content-Type", PROBLEM_JSON),
            ("Content-Length", str(len(content))),
            ("Connection", "close"),
            *problem.headers.items(),
            *SECURITY_HEADERS,
        ]
        head = f"HTTP/1.1 {problem.status} {HTTPStatus(problem.status).phrase}\r\n"
        head += "".join(f"{name}: {value}\r\n" for name, value in headers)
        self.transport.write(head.encode() + b"\r\n" + content)
        self.transport.close()
