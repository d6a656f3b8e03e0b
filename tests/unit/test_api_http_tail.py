"""The answer to a caller who follows the log, without a service around it."""

from __future__ import annotations

import asyncio

import pytest
from sse_starlette import ServerSentEvent

from api.http.tail import Following


async def endless():
    while True:
        yield ServerSentEvent("1")
        await asyncio.sleep(0)


async def none():
    return
    yield


@pytest.mark.parametrize(
    ("events", "leaves_at"),
    [pytest.param(endless, 0, id="before"), pytest.param(endless, 3, id="midway"), pytest.param(none, None, id="never")],
)  # fmt: skip
def test_the_place_of_a_caller_is_free_again_however_early_they_leave(events, leaves_at):
    sent, over = [], []

    async def follow():
        left = asyncio.Event()
        if leaves_at == 0:
            left.set()

        async def receive():
            await left.wait()
            return {"type": "http.disconnect"}

        async def send(message):
            sent.append(message)
            if len(sent) == leaves_at:
                left.set()
            await asyncio.sleep(0)

        await Following(events(), lambda: over.append(1))({"type": "http", "method": "GET"}, receive, send)

    asyncio.run(follow())
    assert over == [1]


def test_the_place_is_free_again_when_nothing_can_be_sent():
    over = []

    async def send(_message):
        raise OSError

    async def receive():
        await asyncio.Event().wait()
        return {"type": "http.disconnect"}

    answer = Following(endless(), lambda: over.append(1))
    with pytest.raises(OSError):  # noqa: PT011  # it has no text
        asyncio.run(answer({"type": "http", "method": "GET"}, receive, send))
    assert over == [1]
