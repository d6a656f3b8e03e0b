"""How much may be sent, and how long that may take.

What a body means is read in `bodies.py`; the head of a request is limited in `connection.py`. INVARIANT: no
body is read beyond its limit, and none is waited for beyond its time, whatever its headers promise.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from starlette.requests import ClientDisconnect

from api.http.problems import Problem

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

# What is still read of a body that nobody wants, so that its sender gets to the answer.
_REST_BYTES, _REST_S = 1 << 20, 1.0


class BodyLimit(NamedTuple):
    """The limit of one route."""

    max_bytes: int
    max_s: float


DEFAULT = BodyLimit(8 << 20, 30.0)
"""A policy of 1 MiB and a standard input of 4 MiB in base64, with room."""

UPLOAD_S = 300.0


@dataclass(slots=True)
class _Body:
    """The body of one request."""

    wire: Receive
    limit: BodyLimit
    deadline: float
    promised: int  # what the head of the request says; 0 if it says nothing
    is_over: bool
    size: int = 0

    async def receive(self) -> Message:
        if self.is_over:
            return await self.wire()  # who waits for the caller to go away may wait long
        if self.promised > self.limit.max_bytes:
            raise self._too_large()
        try:
            async with asyncio.timeout_at(self.deadline):
                message = await self.wire()
        except TimeoutError:
            raise Problem("too-slow", f"a body may take {self.limit.max_s:g} s") from None
        if message["type"] == "http.request":
            self.size += len(message.get("body", b""))
            self.is_over = not message.get("more_body", False)
            if self.size > self.limit.max_bytes:
                raise self._too_large()
        return message

    async def read_rest(self) -> None:
        self.deadline = min(self.deadline, asyncio.get_running_loop().time() + _REST_S)
        self.limit = BodyLimit(self.size + _REST_BYTES, self.limit.max_s)
        self.promised = 0
        with contextlib.suppress(Problem, ClientDisconnect):
            while not self.is_over and (await self.receive())["type"] == "http.request":
                pass

    def _too_large(self) -> Problem:
        return Problem("too-large", f"at most {self.limit.max_bytes} bytes are taken here")


@dataclass(slots=True)
class BodyLimits:
    """The layer that limits bodies; `by_path` names the routes that take more or less than others."""

    app: ASGIApp
    by_path: Mapping[str, BodyLimit]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on with a limited body."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        limit = self.by_path.get(scope["path"], DEFAULT)
        headers: dict[bytes, bytes] = dict(scope["headers"])
        deadline = asyncio.get_running_loop().time() + limit.max_s
        promised = headers.get(b"content-length", b"0")
        size = int(promised[:20]) if promised.isdigit() else 0
        body = _Body(receive, limit, deadline, size, is_over=not size and b"transfer-encoding" not in headers)

        async def send_after_body(message: Message) -> None:
            if message["type"] == "http.response.start" and not body.is_over:
                if b"expect" not in headers:  # who asked first has sent nothing yet
                    await body.read_rest()
                if not body.is_over:  # the rest would be read as the next request
                    message = {**message, "headers": [*message["headers"], (b"connection", b"close")]}
            await send(message)

        await self.app(scope, body.receive, send_after_body)
