"""The answer to a caller who follows the log, without a service around it."""

from __future__ import annotations

import asyncio

import pytest
from sse_starlette import ServerSentEvent

from api.http.tail import Following
from tests.callers import answered


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
    over: list[int] = []
    answered(Following(events(), lambda: over.append(1)), leaves_at=leaves_at)
    assert over == [1]


def test_the_place_is_free_again_when_nothing_can_be_sent():
    over = []
    with pytest.raises(OSError):  # noqa: PT011  # it has no text
        answered(Following(endless(), lambda: over.append(1)), fails=True)
    assert over == [1]
