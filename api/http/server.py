"""Runs the HTTP service until a signal ends it.

What it answers is `app.py`; settings and state come with the `Service`, which stays the caller's to close.
INVARIANT: when this returns, every run that was started here is over and on record, or was ended as `killed`.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import threading
from typing import TYPE_CHECKING

import uvicorn

from api.control import control_event, local_actor
from api.http.access import load_roles
from api.http.app import build_app
from api.http.connection import MAX_HEAD_BYTES, Connection
from api.http.guard import LOOPBACK_HOSTS
from api.http.keys import OPERATOR, KeyFile, LiveKeys
from api.http.runs import Runs
from api.logs import logger

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from api.http.app import Application
    from api.service import Service

GRACE_S = 5.0
"""How long runs may go on after the signal; then their guests are killed."""

_KILL_S = 15.0
_ANSWER_S = 2
_BACKLOG = 128
_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_LOG = logger("http")


class ListenError(Exception):
    """The address cannot be listened on."""

    def __init__(self, host: str, port: int, problem: str) -> None:
        """Keep which address, and what the system says."""
        super().__init__(f"{host} port {port} cannot be listened on: {problem} (choose with WASMGATE_PORT)")
        self.host = host
        self.port = port
        self.problem = problem


def serve(
    service: Service, *, say: Callable[[str], None], is_key_wanted: bool = False, grace_s: float = GRACE_S
) -> None:
    """Serve until SIGINT or SIGTERM; `say` shows a line to whoever started it.

    An operator's key is made at the first start, and in the place of the old one with `is_key_wanted`; it is
    shown by `say` and nowhere else. A second SIGINT ends what runs at once. Raises KeyFileError, AccessError
    and ListenError.
    """
    settings = service.settings
    with contextlib.closing(_listen(settings.host, settings.port)) as listener:
        file = KeyFile(settings.api_keys_file)
        if is_key_wanted or not file.is_there():
            say(f"key: {_operator_key(service, file)}")
            say("Keep it: it is shown this once, and only its hash is stored; `--new-key` makes another.")
        runs = Runs(service)
        hosts = LOOPBACK_HOSTS | {settings.host.lower()}
        app = build_app(service, runs, keys=LiveKeys(file), access=load_roles(settings), hosts=hosts)
        service.warm()
        url = url_of(listener)
        server = GatewayServer(app, runs, on_ready=lambda: say(f"listening on {url}"), grace_s=grace_s)
        server.run([listener])


def _operator_key(service: Service, file: KeyFile) -> str:
    event = control_event(
        "key", actor=local_actor(), action="new", name=OPERATOR, roles=OPERATOR, tenants="*"
    )
    return file.make(now_ns=event.at_ns, before=lambda: service.record_event(event))


def url_of(listener: socket.socket) -> str:
    """Give the address of a socket as people type it."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


class GatewayServer(uvicorn.Server):
    """The server, which ends runs before it ends itself."""

    def __init__(
        self, app: Application, runs: Runs, *, on_ready: Callable[[], None], grace_s: float = GRACE_S
    ) -> None:
        """Serve `app`; `on_ready` is called once requests are answered."""
        super().__init__(_config(app, graceful_s=int(grace_s + _KILL_S) + _ANSWER_S))
        self._runs = runs
        self._on_ready = on_ready
        self._grace_s = grace_s

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, then say so."""
        await super().startup(sockets)
        self._on_ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Take no more requests, let runs end or end them, and answer those who wait for them."""
        _LOG.info("ending", running=self._runs.count, grace_s=self._grace_s)
        ending = asyncio.create_task(self._end_runs())
        await super().shutdown(sockets)
        if not await ending:
            _LOG.error("runs did not end", running=self._runs.count)

    async def _end_runs(self) -> bool:
        return await self._runs.end(grace_s=self._grace_s, kill_s=_KILL_S, is_hurried=lambda: self.force_exit)

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Take the signals that end the service, and give them back quietly.

        The parent raises them again afterwards, which would end the process before its state is closed.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self.handle_exit) for number in _SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def _config(app: Application, *, graceful_s: int) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http=Connection,
        ws="none",
        lifespan="off",
        loop="asyncio",
        log_config=None,
        access_log=False,  # the service's own has no queries and no paths
        proxy_headers=False,  # SECURITY: nobody in front may say who the caller is
        server_header=False,
        h11_max_incomplete_event_size=MAX_HEAD_BYTES,
        timeout_keep_alive=15,
        timeout_graceful_shutdown=graceful_s,
    )


def _listen(host: str, port: int) -> socket.socket:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, _, _, _, address = found[0]
        listener = socket.socket(family, socket.SOCK_STREAM)
    except OSError as err:
        raise ListenError(host, port, err.strerror or str(err)) from err
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(_BACKLOG)
    except OSError as err:
        listener.close()
        raise ListenError(host, port, err.strerror or str(err)) from err
    return listener
