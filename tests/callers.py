"""Callers of an answer who leave, fail or take nothing, without a service around it."""

from __future__ import annotations

import asyncio
from collections.abc import MutableMapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from starlette.types import ASGIApp


def answered(
    answer: ASGIApp, *, leaves_at: int | None = None, fails: bool = False, hangs: bool = False
) -> list[MutableMapping[str, Any]]:
    """Send an answer to a caller who leaves after so many messages, fails or hangs; gives what was sent."""
    sent: list[MutableMapping[str, Any]] = []

    async def ask() -> None:
        left = asyncio.Event()
        if leaves_at == 0:
            left.set()

        async def receive() -> MutableMapping[str, Any]:
            await left.wait()
            return {"type": "http.disconnect"}

        async def send(message: MutableMapping[str, Any]) -> None:
            if fails:
                raise OSError
            if hangs:
                await asyncio.Event().wait()
            sent.append(message)
            if leaves_at is not None and len(sent) >= leaves_at:
                left.set()
            await asyncio.sleep(0)

        about = {"version": "3.0", "spec_version": "2.3"}
        await answer({"type": "http", "method": "GET", "asgi": about}, receive, send)

    asyncio.run(ask())
    return sent
