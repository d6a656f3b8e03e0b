from __future__ import annotations

import contextlib
import socket
import threading
import time

import pytest
import uvicorn

from api.http.connection import Connection


class Quick(Connection):
    head_s = 0.5
    max_connections = 3


async def app(scope, receive, send):
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 204, "headers": []})
    await send({"type": "http.response.body", "body": b""})


@pytest.fixture(scope="module")
def port():
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(
        app, http=Quick, lifespan="off", log_config=None, ws="none", h11_max_incomplete_event_size=8_192
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, args=([listener],))
    thread.start()
    yield listener.getsockname()[1]
    server.should_exit = True
    thread.join(timeout=10)


def connect(port):
    return contextlib.closing(socket.create_connection(("127.0.0.1", port), timeout=10))


GOOD = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


def test_a_connection_that_says_nothing_is_closed(port):
    with connect(port) as wire:
        began = time.monotonic()
        assert wire.recv(100) == b""
        assert 0.2 < time.monotonic() - began < 5


def test_a_head_that_comes_byte_by_byte_is_cut_off_however_steadily_it_comes(port):
    with connect(port) as wire:
        began = time.monotonic()
        wire.settimeout(0.05)
        answer = None
        for byte in GOOD.replace(b"\r\n\r\n", b"\r\nX: ") + b"a" * 500:
            try:
                wire.sendall(bytes([byte]))
                answer = wire.recv(100)
                break
            except TimeoutError:
                continue
            except OSError:
                answer = b""
                break
        assert answer == b""
        assert time.monotonic() - began < 5


def test_a_head_that_comes_in_time_is_answered_and_so_is_the_next_one(port):
    with connect(port) as wire:
        for _ in range(2):
            wire.sendall(GOOD[:10])
            wire.sendall(GOOD[10:])
            assert wire.recv(1_000).startswith(b"HTTP/1.1 204 ")


def test_a_body_may_take_longer_than_a_head(port):
    with connect(port) as wire:
        wire.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\na")
        time.sleep(0.8)  # longer than a head may take
        wire.sendall(b"b")
        assert wire.recv(1_000).startswith(b"HTTP/1.1 204 ")


def test_a_head_that_is_too_large_is_refused(port):
    with connect(port) as wire:
        wire.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 9_000)
        assert wire.recv(1_000).startswith(b"HTTP/1.1 400 ")


def test_one_connection_too_many_is_refused_and_as_many_as_allowed_are_not(port):
    with connect(port) as one, connect(port) as two, connect(port) as three, connect(port) as four:
        assert four.recv(10_000).startswith(b"HTTP/1.1 503 ")
        for wire in (one, two, three):
            wire.sendall(GOOD)
            assert wire.recv(1_000).startswith(b"HTTP/1.1 204 ")
