"""One request on its way, without a broker: how long it waits, where it goes, and how it ends."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from policy.network.addresses import MAPPED
from policy.network.urls import parse_asked_url
from policy.plan import UNLIMITED
from policy.plan_network import Request
from sandbox.network.exchange import Answer, Exchange, Granted
from sandbox.network.http_head import HEAD, parse
from sandbox.network.protocol import Status
from sandbox.network.sockets import SocketError
from tests.http_scripts import serving

LOOPBACK = MAPPED | 0x7F000001
TERMS = Request(1, (), UNLIMITED, UNLIMITED, follows_redirects=True, credential="", credential_as="")


@contextmanager
def asked(port: int, *, connect_ns: int = 0, addresses: tuple[int, ...] = (LOOPBACK,)) -> Iterator[Exchange]:
    url = f"http://127.0.0.1:{port}/x"
    head = parse(f"GET {url}".encode(), HEAD.pack(0, bool(connect_ns), connect_ns, 0, 0, 0, 0))
    granted = Granted(head, parse_asked_url(url), TERMS, None, lambda: iter(addresses), None)
    exchange = Exchange(granted)
    try:
        yield exchange
    finally:
        exchange.close()


def outcome(exchange: Exchange) -> Answer | Status:
    until = time.monotonic() + 20
    while time.monotonic() < until:
        try:
            return exchange.answer()
        except SocketError as err:
            if err.status is not Status.AGAIN:
                return err.status
            time.sleep(0.005)
    raise TimeoutError


@contextmanager
def full() -> Iterator[int]:
    """A port that takes no further connection, and refuses none."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(0)
        waiting = []
        for _ in range(8):
            made = socket.socket()
            made.setblocking(False)  # the name says what is set
            made.connect_ex(server.getsockname())
            waiting.append(made)
        yield server.getsockname()[1]
        for made in waiting:
            made.close()


def test_a_connection_has_a_time_of_its_own():
    with full() as port, asked(port, connect_ns=50_000_000) as exchange:
        assert outcome(exchange) is Status.TIMEDOUT


def test_the_next_address_is_tried_and_the_last_failure_told():
    with serving() as server, asked(server.port, addresses=(LOOPBACK + 1, LOOPBACK)) as exchange:
        found = outcome(exchange)
        assert isinstance(found, Answer)
        assert found.status == 200
    with asked(server.port, addresses=(LOOPBACK,)) as exchange:
        assert outcome(exchange) is Status.CONNREFUSED
    with asked(server.port, addresses=()) as exchange:
        assert outcome(exchange) is Status.NOENT


def test_without_a_thread_there_is_no_request(monkeypatch):
    def fail(_self: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr("threading.Thread.start", fail)
    with pytest.raises(SocketError) as caught, asked(1):
        pass
    assert caught.value.status is Status.MFILE
