"""The sockets of one run, by handle: what can be done with them, one system call at a time, without waiting.

Whether it may be done is `decider.py`, waiting is `broker.py`. INVARIANT: a handle is given once; every
socket is closed with the table.
"""

from __future__ import annotations

import contextlib
import errno
import socket
from dataclasses import dataclass, field
from typing import Final

from policy.network.addresses import MAPPED, format_address, is_v4
from sandbox.network.protocol import MAX_HANDLES, Option, Protocol, Status

_LOW: Final = 0xFFFF_FFFF
_MAX_BUFFER: Final = 1 << 20
_MAX_BACKLOG: Final = 128
_MAX_PEERS: Final = 1_024
_NUMBER: Final = {Protocol.TCP: socket.SOCK_STREAM, Protocol.UDP: socket.SOCK_DGRAM}
_ERRNOS: Final = {
    errno.EACCES: Status.ACCES,
    errno.EPERM: Status.ACCES,
    errno.EADDRINUSE: Status.ADDRINUSE,
    errno.EADDRNOTAVAIL: Status.ADDRNOTAVAIL,
    errno.EAFNOSUPPORT: Status.AFNOSUPPORT,
    errno.EAGAIN: Status.AGAIN,
    errno.EALREADY: Status.ALREADY,
    errno.ECONNABORTED: Status.CONNABORTED,
    errno.ECONNREFUSED: Status.CONNREFUSED,
    errno.ECONNRESET: Status.CONNRESET,
    errno.EDESTADDRREQ: Status.DESTADDRREQ,
    errno.EHOSTUNREACH: Status.HOSTUNREACH,
    errno.EINPROGRESS: Status.INPROGRESS,
    errno.EINVAL: Status.INVAL,
    errno.EISCONN: Status.ISCONN,
    errno.EMFILE: Status.MFILE,
    errno.ENFILE: Status.MFILE,
    errno.EMSGSIZE: Status.MSGSIZE,
    errno.ENETUNREACH: Status.NETUNREACH,
    errno.ENOTCONN: Status.NOTCONN,
    errno.EOPNOTSUPP: Status.NOTSUP,
    errno.EPIPE: Status.PIPE,
    errno.ETIMEDOUT: Status.TIMEDOUT,
}
# level, name, least and most that is taken
_OPTIONS: Final[dict[Option, tuple[int, int, int, int]]] = {
    Option.KEEPALIVE: (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 0, 1),
    Option.SEND_BYTES: (socket.SOL_SOCKET, socket.SO_SNDBUF, 1, _MAX_BUFFER),
    Option.RECEIVE_BYTES: (socket.SOL_SOCKET, socket.SO_RCVBUF, 1, _MAX_BUFFER),
    Option.NO_DELAY: (socket.IPPROTO_TCP, socket.TCP_NODELAY, 0, 1),
    Option.KEEP_IDLE_S: (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 1, 32_767),
    Option.KEEP_INTERVAL_S: (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 1, 32_767),
    Option.KEEP_COUNT: (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 1, 127),
}


class SocketError(Exception):
    """What was asked can't be done; carries the status."""

    def __init__(self, status: Status) -> None:
        """Keep the status."""
        super().__init__(status.name)
        self.status = status


def status_of(err: OSError) -> Status:
    """The status of an error of the operating system."""
    return _ERRNOS.get(err.errno or 0, Status.IO)


@dataclass(slots=True)
class Sock:
    """One socket, and how far it has come."""

    handle: int
    family: int  # 4 or 6
    protocol: Protocol
    socket: socket.socket
    asked: tuple[int, int] | None = None  # the place that it was bound to, as it was asked for
    is_deferred: bool = False  # bound to any place: that is done when it is used
    is_listening: bool = False
    is_connecting: bool = False
    is_connected: bool = False
    peers: set[tuple[int, int]] = field(default_factory=set)  # that it sent datagrams to

    def place(self, address: int, port: int) -> tuple[object, ...]:
        """An address in the form of the family of this socket; raises SocketError where it is of another."""
        if self.family == 4:
            # an IPv6 socket can't be told to reach IPv4, and an IPv4 address has one number only
            if not is_v4(address):
                raise SocketError(Status.AFNOSUPPORT)
            return socket.inet_ntop(socket.AF_INET, (address & _LOW).to_bytes(4, "big")), port
        if is_v4(address):
            raise SocketError(Status.AFNOSUPPORT)
        return socket.inet_ntop(socket.AF_INET6, address.to_bytes(16, "big")), port, 0, 0

    def knows(self, peer: tuple[int, int]) -> bool:
        """Whether a datagram from there is an answer, or this socket was bound to be written to."""
        return not self.is_deferred or peer in self.peers

    def remember(self, peer: tuple[int, int]) -> None:
        """Take note of whom a datagram goes to."""
        if len(self.peers) < _MAX_PEERS:
            self.peers.add(peer)

    def listen(self, backlog: int) -> None:
        """Take connections from now on; raises OSError."""
        self.socket.listen(min(max(backlog, 1), _MAX_BACKLOG))
        self.is_listening = True

    def get(self, option: Option) -> int:
        """What an option is; raises SocketError and OSError."""
        if option is Option.TYPE:
            return int(self.protocol)
        if option is Option.LISTENS:
            return int(self.is_listening)
        if option is Option.ERROR:
            number = self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            return int(status_of(OSError(number, ""))) if number else 0
        level, name, _, _ = self._option(option)
        value = self.socket.getsockopt(level, name)
        # SPEC: socket(7): the kernel doubles what it is told, and gives the double
        return value // 2 if option in {Option.SEND_BYTES, Option.RECEIVE_BYTES} else value

    def set(self, option: Option, value: int) -> None:
        """Say what an option is to be; raises SocketError and OSError."""
        level, name, least, most = self._option(option)
        if value < least:
            raise SocketError(Status.INVAL)
        self.socket.setsockopt(level, name, min(value, most))

    def _option(self, option: Option) -> tuple[int, int, int, int]:
        if option is Option.HOP_LIMIT:
            if self.family == 4:
                return socket.IPPROTO_IP, socket.IP_TTL, 1, 255
            return socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS, 1, 255
        found = _OPTIONS.get(option)
        if found is None or (found[0] == socket.IPPROTO_TCP and self.protocol is not Protocol.TCP):
            raise SocketError(Status.NOTSUP)
        return found


def number_of(place: tuple[object, ...]) -> tuple[int, int]:
    """Address and port of what the operating system calls a place."""
    text, port = str(place[0]), place[1]
    if ":" in text:
        return int.from_bytes(socket.inet_pton(socket.AF_INET6, text.partition("%")[0]), "big"), int(
            str(port)
        )
    return MAPPED | int.from_bytes(socket.inet_pton(socket.AF_INET, text), "big"), int(str(port))


def shown(address: int, port: int) -> str:
    """A place as people read it: `192.0.2.1:443`, `[2001:db8::1]:443`."""
    text = format_address(address)
    return f"[{text}]:{port}" if ":" in text else f"{text}:{port}"


class Sockets:
    """All sockets of a run."""

    def __init__(self, most: int) -> None:
        """Have at most so many open at once."""
        self._most = most
        self._open: dict[int, Sock] = {}
        self.made = 0

    def open(self, family: int, protocol: Protocol) -> Sock:
        """Make a socket; raises SocketError and OSError."""
        if family not in {4, 6}:
            raise SocketError(Status.AFNOSUPPORT)
        if protocol not in _NUMBER:
            raise SocketError(Status.NOTSUP)
        made = socket.socket(socket.AF_INET if family == 4 else socket.AF_INET6, _NUMBER[protocol])
        try:
            if family == 6:
                made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            return self.add(made, family, protocol)
        except BaseException:
            made.close()
            raise

    def add(self, made: socket.socket, family: int, protocol: Protocol) -> Sock:
        """Give a socket a handle; raises SocketError."""
        if len(self._open) >= self._most or self.made >= MAX_HANDLES:
            raise SocketError(Status.MFILE)
        made.setblocking(False)  # noqa: FBT003  # the name says what is set
        sock = Sock(self.made, family, protocol, made)
        self._open[sock.handle] = sock
        self.made += 1
        return sock

    def get(self, handle: int) -> Sock:
        """The socket with this handle; raises SocketError."""
        sock = self._open.get(handle)
        if sock is None:
            raise SocketError(Status.BADF)
        return sock

    def close(self, handle: int) -> None:
        """Close one; raises SocketError."""
        self.get(handle).socket.close()
        del self._open[handle]

    @property
    def connections(self) -> int:
        """How many are connected, or about to be."""
        return sum(each.is_connected or each.is_connecting for each in self._open.values())

    def close_all(self) -> None:
        """Close what is left."""
        for sock in self._open.values():
            with contextlib.suppress(OSError):
                sock.socket.close()
        self._open.clear()
