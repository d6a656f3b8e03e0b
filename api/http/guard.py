"""Who may enter: whoever asks for this service by its own name, and has a key.

What a key is lives in `keys.py`, and what it is good for in `access.py`. There is no CORS: no page of another
site may read an answer. INVARIANT: every path but the open ones asks for a key, known or not, so nobody
without one learns which paths there are.
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, assert_never

from api.http.keys import Key, Presented
from api.http.problems import Problem
from api.http.request_log import request_id_of
from api.logs import logger

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.types import ASGIApp, Receive, Scope, Send

OPEN_PATHS = frozenset({"/v1/health"})
LOOPBACK_HOSTS = frozenset({"localhost", "127.0.0.1", "::1"})
_HOST = re.compile(r"(?:\[(?P<six>[0-9a-f:.]{2,45})\]|(?P<name>[a-z0-9._-]{1,253}))(?::\d{1,5})?")
_LOG = logger("http")
_LOGGED, _WINDOW_S = 5, 60.0


KEY = "wasmgate.key"
"""Where in the scope of a request the key stands that it came in with."""


class Keys(Protocol):
    """Knows the keys that are good at the moment."""

    def judge(self, presented: str | None) -> Key | Presented:
        """Say which key it is that was presented."""
        ...


def host_of(value: str) -> str | None:
    """Give the name in a Host header without its port; None for what is no such header."""
    match = _HOST.fullmatch(value.lower())
    return (match["six"] or match["name"]) if match else None


@dataclass(slots=True)
class RefusedEntries:
    """Logs entries that were refused, a few a minute, and counts the rest."""

    clock: Callable[[], float] = time.monotonic
    began: float = 0.0
    logged: int = 0
    silent: int = 0

    def note(self, *, why: str, request_id: str) -> None:
        """Take note of one."""
        now = self.clock()
        if now - self.began >= _WINDOW_S:
            if self.silent:
                _LOG.warning("entries refused", suppressed=self.silent)
            self.began, self.logged, self.silent = now, 0, 0
        if self.logged >= _LOGGED:
            self.silent += 1
            return
        self.logged += 1
        # SECURITY: nothing that was presented is logged: it may be the key with one slip in it
        _LOG.warning("entry refused", why=why, request_id=request_id)


@dataclass(slots=True)
class Guard:
    """The layer that lets requests in."""

    app: ASGIApp
    keys: Keys
    hosts: frozenset[str]
    refused: RefusedEntries = field(default_factory=RefusedEntries)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer why not."""
        problem = self._problem(scope) if scope["type"] == "http" else None
        if problem is None:
            await self.app(scope, receive, send)
            return
        self.refused.note(why=problem.kind, request_id=request_id_of(scope))
        await problem.response(request_id_of(scope))(scope, receive, send)

    def _problem(self, scope: Scope) -> Problem | None:
        # SECURITY: DNS rebinding: a page of another site may have made its own name lead to this address
        hosts = _values(scope, b"host")
        if len(hosts) != 1 or host_of(hosts[0]) not in self.hosts:
            return Problem("wrong-host", "the Host header does not name this service")
        if scope["path"] in OPEN_PATHS:
            return None
        return self._without_key(scope, _values(scope, b"authorization"))

    def _without_key(self, scope: Scope, headers: list[str]) -> Problem | None:
        scheme, _, key = headers[0].partition(" ") if len(headers) == 1 else ("", "", "")
        presented = self.keys.judge(key.strip(" ") if scheme.lower() == "bearer" else None)
        match presented:
            case Key():
                scope[KEY] = presented
                return None
            case Presented.MISSING:
                challenge = 'Bearer realm="wasmgate"'
                detail = "send the key as `Authorization: Bearer wg_…`"
            case Presented.WRONG:
                challenge = 'Bearer realm="wasmgate", error="invalid_token"'
                detail = "this is no key that is good here"
            case _:
                assert_never(presented)
        return Problem("no-key", detail, headers={"WWW-Authenticate": challenge})


def _values(scope: Scope, name: bytes) -> list[str]:
    return [value.decode("latin-1") for key, value in scope["headers"] if key == name]
