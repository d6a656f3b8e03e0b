"""What every request of a broker is answered with: waiting, the exchange, and the budgets of the run.

Which requests there are is `broker.py` and `moving.py`. INVARIANT: nothing is waited for once the cell is
gone, and nothing outside the exchange is read or written for it.
"""

from __future__ import annotations

import select
import time
from typing import TYPE_CHECKING, Final, TypeVar

from policy.plan import UNLIMITED
from sandbox.network.protocol import DATA_AT, EXCHANGE_BYTES, MAX_NAME_BYTES, TEXT_AT, Budget, Status
from sandbox.network.sockets import SocketError

if TYPE_CHECKING:
    import mmap
    import socket
    from collections.abc import Callable, Sequence

    from sandbox.network.brief import Brief
    from sandbox.network.sockets import Sock

Arguments = tuple[int, int, int, int, int, int]
_Made = TypeVar("_Made")
_LONGEST_MS: Final = 1 << 30


class BrokerEnd(Exception):  # noqa: N818  # no mistake: what ends a broker
    """There is nothing left to do: the cell is gone, or must not be answered any more."""


class SpentError(Exception):
    """A budget of the plan is spent."""

    def __init__(self, budget: Budget) -> None:
        super().__init__(budget.name)
        self.budget = budget


class Means:
    """What a broker works with, and what of it is used up."""

    def __init__(self, channel: socket.socket, exchange: mmap.mmap, brief: Brief) -> None:
        """Wait no longer than there is somebody at `channel`."""
        self.channel = channel
        self.exchange = exchange
        self._brief = brief
        self.received = self.sent = self.queries = 0

    def wait(self, watched: Sequence[tuple[socket.socket | int, int]], ns: int) -> dict[int, int]:
        """Wait for one of these, for so long (negative: for ever); raises BrokerEnd when the cell is gone."""
        poll = select.poll()
        poll.register(self.channel, select.POLLRDHUP)
        for what, bits in watched:
            number = what if isinstance(what, int) else what.fileno()
            poll.register(number, bits)
        until = time.monotonic_ns() + ns
        while True:
            left_ms = (
                None if ns < 0 else max(0, min(-(-(until - time.monotonic_ns()) // 1_000_000), _LONGEST_MS))
            )
            ready = dict(poll.poll(left_ms))
            if ready.pop(self.channel.fileno(), 0):
                raise BrokerEnd
            if ready or (left_ms is not None and time.monotonic_ns() >= until):
                return ready

    def attempt(self, sock: Sock, bits: int, ns: int, attempt: Callable[[], _Made]) -> _Made:
        """Do something that may have to wait; raises SocketError and OSError."""
        until = time.monotonic_ns() + ns
        while True:
            try:
                return attempt()
            except BlockingIOError:
                left = ns if ns < 0 else until - time.monotonic_ns()
                if ns >= 0 and left <= 0:
                    raise SocketError(Status.AGAIN) from None
                self.wait([(sock.socket, bits)], left)

    def span(self, at: int, size: int) -> memoryview:
        """A part of the exchange; raises SocketError where it does not lie in it."""
        if at < 0 or size < 0 or at > EXCHANGE_BYTES or size > EXCHANGE_BYTES - at:
            raise SocketError(Status.INVAL)
        return memoryview(self.exchange)[at : at + size]

    def outgoing(self, at: int, size: int) -> bytes:
        """What is to be sent, as far as the budget goes."""
        given = self.span(at, size)
        left = self.left(self._brief.net_out_bytes, self.sent)
        if left == 0 and size:
            raise SpentError(Budget.NET_OUT)
        # SECURITY: the cell can change these pages at any time: they are looked at once
        return bytes(given[: min(size, left)])

    @staticmethod
    def left(limit: int, used: int) -> int:
        """How many bytes of a budget may still be moved, as far as they fit into the exchange."""
        return EXCHANGE_BYTES if limit == UNLIMITED else max(0, limit - used)

    def say(self, text: str) -> int:
        """Put a text where the monitor finds what it is to record; gives how many bytes."""
        said = text.encode()[: DATA_AT - TEXT_AT]
        self.exchange[TEXT_AT : TEXT_AT + len(said)] = said
        return len(said)

    def name(self, args: Arguments) -> str:
        """The name at a place in the exchange, its offset and length the first arguments; SocketError."""
        if not 0 < args[1] <= MAX_NAME_BYTES:
            raise SocketError(Status.INVAL)
        try:
            return bytes(self.span(args[0], args[1])).decode("ascii")
        except UnicodeDecodeError:
            raise SocketError(Status.INVAL) from None

    def room(self, size: int) -> int:
        """How much of so many bytes may still be received; raises SpentError."""
        left = self.left(self._brief.net_in_bytes, self.received)
        if left == 0 and size:
            raise SpentError(Budget.NET_IN)
        return min(size, left)

    def use_query(self) -> None:
        """Count a lookup; raises SpentError."""
        if self.queries >= self._brief.network.lookups.max_queries:
            raise SpentError(Budget.QUERIES)
        self.queries += 1

    def check_connections(self, count: int) -> None:
        """Say that there may be one more connection than so many; raises SpentError."""
        most = self._brief.connections
        if most != UNLIMITED and count >= most:
            raise SpentError(Budget.CONNECTIONS)
