"""Requests asked of a broker by whoever took a cell over: what is forged, and what could be read in two ways."""

from __future__ import annotations

import mmap
import os
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from policy.plan import Plan
from sandbox.network.brokers import BrokerHandle
from sandbox.network.channel import Channel
from sandbox.network.http_head import FIELD, HEAD
from sandbox.network.protocol import DATA_AT, OF_SOCKETS, Op, Protocol, Reply, Status
from tests.http_runs import rule
from tests.http_scripts import serving

# --- whoever took a cell over, and speaks to the broker ---------------------------------------------


def packed(line: bytes, *fields: tuple[bytes, bytes], has_body: bool = False) -> tuple[bytes, bytes]:
    rows = b"".join(FIELD.pack(len(name), len(value)) + name + value for name, value in fields)
    return line, HEAD.pack(has_body, *(0,) * 6) + rows


@contextmanager
def broker_of(plan: Plan) -> Iterator[tuple[BrokerHandle, Channel]]:
    with BrokerHandle(plan) as broker:
        way = Channel(os.dup(broker.channel.fileno()))
        try:
            yield broker, way
        finally:
            way.close()


def asked_of(broker: BrokerHandle, way: Channel, op: Op, given: tuple[bytes, bytes]) -> Reply:
    with mmap.mmap(broker.exchange, 1 << 20) as pages:
        line, head = given
        pages[DATA_AT : DATA_AT + len(line + head)] = line + head
        return way.call(op, 0, (DATA_AT, len(line), len(head)))


def test_a_forged_request_is_refused_and_on_the_account() -> None:
    with serving() as server, broker_of(rule(server.port, "access: read-only")) as (broker, way):
        base = f"http://127.0.0.1:{server.port}".encode()
        for line in (
            b"POST " + base + b"/",
            b"GET http://127.0.0.1:1/",
            b"GET http://169.254.169.254/latest",
        ):
            assert asked_of(broker, way, Op.HTTP, packed(line)).status is Status.NOTCAPABLE
        granted = asked_of(broker, way, Op.HTTP, packed(b"GET " + base + b"/ok"))
        assert granted.status is Status.OK
        handle = granted.results[0]
        # what it got is no socket that leads elsewhere
        for op in OF_SOCKETS:
            assert way.call(op, handle, (0, 0xFFFF_7F00_0001, 1, 0)).status is Status.NOTSUP
        assert way.call(Op.OPEN, 0, (4, Protocol.HTTP)).status is Status.NOTSUP
        wait_for_answer(way, handle)
        assert way.call(Op.CLOSE, handle, ()).results[0] == 200
        way.close()
        account = broker.end()
    assert [one.is_forged for one in account.refused] == [True] * 3
    assert account.counts["unasked"] == 1
    assert [seen.line for seen in server.seen] == ["GET /ok"]


def wait_for_answer(way: Channel, handle: int) -> None:
    for _ in range(1_000):
        reply = way.call(Op.HTTP_RESPONSE, handle, (DATA_AT, 65_536, 0))
        if reply.status is not Status.AGAIN:
            assert reply.status is Status.OK
            return
        threading.Event().wait(0.01)
    raise AssertionError


@pytest.mark.parametrize(
    "given",
    [
        packed(b"GET http://127.0.0.1:80/ HTTP/1.1\r\nX: y"),
        packed(b"GET http://127.0.0.1:80/\r\nX: y"),
        packed(b"GET\thttp://127.0.0.1:80/"),
        packed(b"GET http://127.0.0.1:80/#x"),
        packed(b"GET http://0.0.0.0:80/"),
        packed(b"GET http://[::]:80/"),
        packed(b"G ET http://127.0.0.1:80/"),
        packed(b"GET http://127.0.0.1:80/", (b"x", b"a\r\nHost: evil")),
        packed(b"GET http://127.0.0.1:80/", (b"x: y\r\nz", b"a")),
        packed(b"GET http://127.0.0.1:80/", (b"Host", b"evil")),
        packed(b"GET http://127.0.0.1:80/", (b"Transfer-Encoding", b"chunked")),
        packed(b"GET http://127.0.0.1:80/", (b"", b"a")),
        packed(
            b"POST http://127.0.0.1:80/", (b"content-length", b"1"), (b"content-length", b"2"), has_body=True
        ),
        packed(b"POST http://127.0.0.1:80/", (b"content-length", b"+1"), has_body=True),
        packed(b"GET http://127.0.0.1:80/", (b"content-length", b"1")),
        (b"GET http://127.0.0.1:80/", HEAD.pack(0, *(0,) * 6) + struct.pack("<II", 4, 1 << 31) + b"abcd"),
        (b"GET http://127.0.0.1:80/", b"\0" * (HEAD.size - 1)),
    ],
)
def test_what_could_be_read_as_another_request_is_none(given: tuple[bytes, bytes]) -> None:
    with broker_of(rule(80)) as (broker, way):
        for op in (Op.ASK_HTTP, Op.HTTP):
            assert asked_of(broker, way, op, given).status is Status.INVAL
        assert asked_of(broker, way, Op.ASK_HTTP, packed(b"GET http://127.0.0.1:80/")).status is Status.OK
