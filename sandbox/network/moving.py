"""What is done with sockets that were let out already: bytes, options, readiness. Nothing here is decided.

What is decided first is `broker.py`. SECURITY: all numbers come from the cell: handles are looked up, places
in the exchange are checked, sizes are cut to what the budgets leave.
"""

from __future__ import annotations

import select
import socket
from typing import TYPE_CHECKING, Final

from sandbox.network.protocol import (
    MAX_POLLED,
    POLLED,
    Interest,
    Option,
    Protocol,
    Receive,
    Reply,
    Status,
    halves,
)
from sandbox.network.sockets import Sock, SocketError, Sockets, number_of, shown

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Mapping

    from sandbox.network.exchange import Exchange
    from sandbox.network.means import Arguments, Means

_HANGUP: Final = select.POLLHUP | select.POLLERR | select.POLLNVAL


class Moving:
    """Answers the requests that move bytes, or ask about sockets."""

    def __init__(
        self, means: Means, sockets: Sockets, counts: Counter[str], going: Mapping[int, Exchange]
    ) -> None:
        """Work on `sockets`, some of them of requests that are `going`; what is dropped is counted."""
        self._means = means
        self._sockets = sockets
        self._counts = counts
        self._going = going

    def send(self, handle: int, args: Arguments) -> Reply:
        """Send on a connected socket."""
        sock = self._sockets.get(handle)
        data = self._means.outgoing(args[0], args[1])
        if (exchange := self._going.get(handle)) is not None:
            exchange.check_body(len(data))
        sent = self._means.attempt(
            sock, select.POLLOUT, args[2], lambda: sock.socket.send(data, socket.MSG_NOSIGNAL)
        )
        self._means.sent += sent
        if exchange is not None:
            exchange.totals.sent += sent
        return Reply(Status.OK, 0, (sent,))

    def recv(self, handle: int, args: Arguments) -> Reply:
        """Receive, and say from whom."""
        sock = self._sockets.get(handle)
        at, room, flags, ns = args[:4]
        most = self._means.room(len(self._means.span(at, room)))
        how = (socket.MSG_PEEK if flags & Receive.PEEK else 0) | (
            socket.MSG_WAITALL if flags & Receive.WAIT_ALL else 0
        )
        data, peer = self._means.attempt(sock, select.POLLIN, ns, lambda: self._take(sock, most, how))
        if most and not data and (exchange := self._going.get(handle)) is not None:
            exchange.check_end()
        self._means.exchange[at : at + len(data)] = data
        if not flags & Receive.PEEK:
            self._means.received += len(data)
        said = self._means.say(shown(*peer)) if peer[1] else 0
        return Reply(Status.OK, 0, (len(data), *halves(peer[0]), peer[1], said))

    def _take(self, sock: Sock, most: int, how: int) -> tuple[bytes, tuple[int, int]]:
        """Receive once; raises BlockingIOError. A datagram that nobody asked for is dropped."""
        while True:
            data, place = sock.socket.recvfrom(most, how)
            peer = number_of(place) if place else (0, 0)
            if sock.protocol is Protocol.TCP or sock.is_connected or sock.knows(peer):
                return data, peer
            self._counts["dropped"] += 1
            if how & socket.MSG_PEEK:
                sock.socket.recvfrom(0)

    def shutdown(self, handle: int, args: Arguments) -> Reply:
        """Close one direction, or both."""
        hows = {1: socket.SHUT_RD, 2: socket.SHUT_WR, 3: socket.SHUT_RDWR}
        sock = self._sockets.get(handle)
        if args[0] not in hows:
            return Reply(Status.INVAL)
        sock.socket.shutdown(hows[args[0]])
        return Reply(Status.OK)

    def local(self, handle: int, args: Arguments) -> Reply:
        """Give the place that a socket has here."""
        del args
        sock = self._sockets.get(handle)
        address, port = number_of(sock.socket.getsockname())
        return Reply(Status.OK, 0, (*halves(address), port, sock.family))

    def remote(self, handle: int, args: Arguments) -> Reply:
        """Give the place at its other end."""
        del args
        sock = self._sockets.get(handle)
        address, port = number_of(sock.socket.getpeername())
        return Reply(Status.OK, 0, (*halves(address), port, sock.family))

    def get_option(self, handle: int, args: Arguments) -> Reply:
        """Say what an option is."""
        return Reply(Status.OK, 0, (self._sockets.get(handle).get(_option(args[0])),))

    def set_option(self, handle: int, args: Arguments) -> Reply:
        """Set an option."""
        self._sockets.get(handle).set(_option(args[0]), args[1])
        return Reply(Status.OK)

    def poll(self, handle: int, args: Arguments) -> Reply:
        """Wait until one of several sockets is ready."""
        del handle
        at, count, ns = args[:3]
        if not 0 <= count <= MAX_POLLED:
            return Reply(Status.INVAL)
        given = bytes(self._means.span(at, count * POLLED.size))
        rows = [POLLED.unpack_from(given, index * POLLED.size) for index in range(count)]
        watched: list[tuple[socket.socket, int]] = []
        for number, interest, _, _ in rows:
            try:
                sock = self._sockets.get(number)
            except SocketError:
                ns = 0  # that there is none can be said at once
                continue
            bits = (select.POLLIN if interest & Interest.READ else 0) | (
                select.POLLOUT if interest & Interest.WRITE else 0
            )
            watched.append((sock.socket, bits))
        ready = self._means.wait(watched, ns)
        found = 0
        for index, (number, interest, _, _) in enumerate(rows):
            is_for, status = self._readiness(number, interest, ready)
            found += bool(is_for or status)
            POLLED.pack_into(
                self._means.exchange, at + index * POLLED.size, number, interest, is_for, int(status)
            )
        return Reply(Status.OK, 0, (found,))

    def _readiness(self, number: int, interest: int, ready: Mapping[int, int]) -> tuple[int, Status]:
        try:
            events = ready.get(self._sockets.get(number).socket.fileno(), 0)
        except SocketError as err:
            return 0, err.status
        is_for = 0
        if events & (select.POLLIN | _HANGUP):
            is_for |= Interest.READ
        if events & (select.POLLOUT | _HANGUP):
            is_for |= Interest.WRITE
        return is_for & interest, Status.OK


def _option(number: int) -> Option:
    try:
        return Option(number)
    except ValueError:
        raise SocketError(Status.NOTSUP) from None
