"""The broker as the engine sees it in a cell: two host functions, and pages that are shared.

What is asked is `protocol.py`, and it is the monitor that asks (`sandbox/monitor/calls/sockets.py`). Nothing
here decides.
"""

from __future__ import annotations

import mmap
from typing import TYPE_CHECKING, Any

from sandbox.network.channel import Channel
from sandbox.network.protocol import EXCHANGE_BYTES, RESULTS

if TYPE_CHECKING:
    from collections.abc import Mapping


class Network:
    """The way to the broker, and the pages that are shared with it."""

    def __init__(self, channel: int, exchange: int) -> None:
        """Use two descriptors, of which the first becomes ours."""
        self._channel = Channel(channel)
        self._fd = exchange
        self._pages = mmap.mmap(exchange, EXCHANGE_BYTES)

    @staticmethod
    def of(fds: Mapping[str, int]) -> Network | None:
        """What a job brought; None where it has no network."""
        return Network(fds["channel"], fds["exchange"]) if "channel" in fds else None

    def wires(self) -> dict[str, Any]:
        """What the engine is given of it."""
        return {"network": self.ask, "exchange_fd": self._fd}

    def ask(self, op: int, handle: int, *args: int) -> int:
        """Ask the broker for the monitor; results go to where that finds them, the status is returned."""
        reply = self._channel.call(op, handle, args)
        RESULTS.pack_into(self._pages, 0, reply.rule, *(reply.results or (0,) * 5))
        return int(reply.status)
