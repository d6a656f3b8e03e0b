from __future__ import annotations

import asyncio
from typing import Any

import pytest

from api.http.body_limits import BodyLimit, BodyLimits
from api.http.problems import Problem
from api.http.request_log import request_id_of

LIMIT = BodyLimit(10, 0.2)


def ask(*chunks: bytes, headers: dict[str, str] | None = None, stall: bool = False, is_read: bool = True):
    """Send chunks to an application that reads them all; gives what it read, its problem, and what was sent back."""
    given = [{"type": "http.request", "body": chunk, "more_body": True} for chunk in chunks]
    if given and not stall:
        given[-1]["more_body"] = False
    asked: list[int] = []
    sent: list[dict[str, Any]] = []
    read = bytearray()
    problem: list[Problem] = []

    async def receive():
        asked.append(1)
        if not given:
            await asyncio.Event().wait()
        return given.pop(0)

    async def send(message):
        sent.append(message)

    async def app(scope, receive, send):
        try:
            while is_read:
                message = await receive()
                read.extend(message["body"])
                if not message["more_body"]:
                    break
        except Problem as err:
            problem.append(err)
            await err.response(request_id_of(scope))(scope, receive, send)
            return
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    raw = [(name.encode(), value.encode()) for name, value in (headers or {}).items()]
    scope = {"type": "http", "path": "/x", "headers": raw, "wasmgate.request_id": "r"}
    asyncio.run(BodyLimits(app, {"/x": LIMIT})(scope, receive, send))
    return bytes(read), (problem[0].kind if problem else None), dict(sent[0]["headers"]), len(asked)


CHUNKED = {"transfer-encoding": "chunked"}


def test_a_body_within_the_limit_is_read():
    assert ask(b"12345", b"67890", headers=CHUNKED)[:3] == (b"1234567890", None, {})


def test_a_body_beyond_it_is_cut_off_and_its_rest_is_read_and_dropped():
    read, problem, headers, _ = ask(b"12345", b"678901", b"more", headers=CHUNKED)
    assert (read, problem) == (b"12345", "too-large")
    assert b"connection" not in headers


def test_a_promise_of_too_much_is_refused_before_a_byte_is_asked_for():
    _, problem, headers, asked = ask(b"x", headers={"content-length": "11", "expect": "100-continue"})
    assert (problem, headers[b"connection"], asked) == ("too-large", b"close", 0)
    assert ask(b"x" * 10, headers={"content-length": "10"})[1] is None


@pytest.mark.parametrize("length", ["x", "-1", "1" * 5_000, "١"])
def test_a_promise_that_is_no_number_does_no_harm(length):
    ask(b"x", headers={"content-length": length})


def test_a_body_that_does_not_arrive_in_time_is_not_waited_for():
    read, problem, headers, _ = ask(b"12", headers=CHUNKED, stall=True)
    assert (read, problem) == (b"12", "too-slow")
    assert headers[b"connection"] == b"close"


def test_a_body_that_nobody_reads_is_drained_so_that_its_sender_gets_the_answer():
    assert ask(b"12", b"34", headers=CHUNKED, is_read=False)[2:] == ({}, 2)
    assert ask(headers={}, is_read=False)[2:] == ({}, 0)
