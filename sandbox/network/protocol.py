"""What a cell asks of its broker, and what it is told: one definition for both.

Each request and each reply is one packet of fixed size on a SOCK_SEQPACKET pair; bytes cross through the
exchange, pages that both have mapped. Who asks is `channel.py`, who answers `broker.py`. SECURITY: whoever
took a cell over can send anything: nothing here is trusted because of its shape.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

REQUEST: Final = struct.Struct("<II6q")  # op, handle, six arguments
REPLY: Final = struct.Struct("<II5q")  # status, rule, five results

EXCHANGE_BYTES: Final = 1 << 20
RESULTS: Final = struct.Struct(
    "<6q"
)  # at the start of the exchange, by the cell itself: the rule, five results
TEXT_AT: Final = 64  # what is reached, in words, after each question and each connection that was taken
DATA_AT: Final = 4_096
DATA_ROOM: Final = EXCHANGE_BYTES - DATA_AT
MAX_HANDLES: Final = 1_024  # of a run; they are never given twice
MAX_POLLED: Final = 256
POLLED: Final = struct.Struct(
    "<IIII"
)  # handle, what for; what it is ready for, status: the last two answered
ADDRESS_BYTES: Final = 16  # in the exchange: the number of an address, most significant byte first
MAX_NAME_BYTES: Final = 256
MAX_FOUND: Final = 64  # addresses of one name
FOREVER: Final = -1  # a time to wait, in nanoseconds


class Op(IntEnum):
    """What is asked; arguments and results in order. An address is two numbers: its high and low 64 bits."""

    OPEN = 1  # family (4, 6), `Protocol` -> handle
    CLOSE = 2  # of a request -> status, bytes sent, bytes received
    ASK_CONNECT = 3  # address, port -> `Verdict`; the fifth result of each question: bytes at `TEXT_AT`
    CONNECT = 4  # address, port, nanoseconds to wait
    FINISH_CONNECT = 5  # nanoseconds to wait
    ASK_BIND = 6  # address, port -> `Verdict`
    BIND = 7  # address, port
    ASK_LISTEN = 8  # -> `Verdict`
    LISTEN = 9  # backlog
    ACCEPT = 10  # nanoseconds to wait -> handle, address, port, bytes at `TEXT_AT`
    SEND = 11  # offset, length, nanoseconds to wait -> bytes
    RECV = 12  # offset, room, `Receive`, nanoseconds to wait -> bytes
    ASK_SEND_TO = 13  # address, port -> `Verdict`
    SEND_TO = 14  # address, port, offset, length, nanoseconds to wait -> bytes
    RECV_FROM = 15  # as RECV -> bytes, address, port, bytes at `TEXT_AT`
    SHUTDOWN = 16  # 1 reading, 2 writing, 3 both
    LOCAL = 17  # -> address, port, family
    REMOTE = 18  # -> address, port, family
    GET_OPTION = 19  # `Option` -> value
    SET_OPTION = 20  # `Option`, value
    ASK_LOOKUP = 21  # offset and length of a name -> `Verdict`
    LOOKUP = 22  # offset and length of a name, offset for addresses, room for so many, ns to wait -> how many
    POLL = 23  # offset of `POLLED`s, how many, nanoseconds to wait -> how many are ready
    ASK_HTTP = 24  # offset of a head (`http_head.py`), bytes of its line, of the rest -> `Verdict`
    HTTP = 25  # as ASK_HTTP -> handle
    HTTP_RESPONSE = 26  # offset, room, nanoseconds to wait -> status, bytes of the header fields
    HTTP_FINISH = 27  # 0: all of the body was sent; 1: it is given up


ASKS: Final = frozenset(
    {Op.ASK_CONNECT, Op.ASK_BIND, Op.ASK_LISTEN, Op.ASK_SEND_TO, Op.ASK_LOOKUP, Op.ASK_HTTP}
)
"""Questions: nothing is done for them."""


OF_SOCKETS: Final = frozenset(Op) - {
    Op.OPEN,
    Op.CLOSE,
    Op.SEND,
    Op.RECV,
    Op.ASK_LOOKUP,
    Op.LOOKUP,
    Op.POLL,
    Op.ASK_HTTP,
    Op.HTTP,
    Op.HTTP_RESPONSE,
    Op.HTTP_FINISH,
}
"""What is asked of a socket and of nothing else: never of a request."""


class Protocol(IntEnum):
    """What a socket speaks."""

    TCP = 1
    UDP = 2
    HTTP = 3  # never opened: a request makes its own


class Verdict(IntEnum):
    """What was decided; a reply names the rule beside it."""

    ALLOW = 0
    DENY = 1
    WOULD_DENY = 2  # the policy only audits: it happens
    FINAL = 3  # denied, also where the policy only audits


class Receive(IntEnum):
    """Flags of a call that receives."""

    PEEK = 1
    WAIT_ALL = 2


class Interest(IntEnum):
    """What a socket is waited for."""

    READ = 1
    WRITE = 2


class Option(IntEnum):
    """What can be asked, or said, of a socket."""

    TYPE = 1  # asked: a `Protocol`
    ERROR = 2  # asked: a `Status`, which is forgotten then
    LISTENS = 3  # asked
    KEEPALIVE = 4
    SEND_BYTES = 5
    RECEIVE_BYTES = 6
    HOP_LIMIT = 7
    NO_DELAY = 8
    KEEP_IDLE_S = 9
    KEEP_INTERVAL_S = 10
    KEEP_COUNT = 11


class Status(IntEnum):
    """How it went: 0, or an errno with the number that WASI 0.1 has for it."""

    OK = 0
    ACCES = 2
    ADDRINUSE = 3
    ADDRNOTAVAIL = 4
    AFNOSUPPORT = 5
    AGAIN = 6
    ALREADY = 7
    BADF = 8
    CANCELED = 11  # of a request: the answer did not come in time
    CONNABORTED = 13
    CONNREFUSED = 14
    CONNRESET = 15
    DESTADDRREQ = 17
    DQUOT = 19  # a budget is spent: the first result is a `Budget`
    FBIG = 22  # of a request: its body has another length than was said
    HOSTUNREACH = 23
    INPROGRESS = 26
    INVAL = 28
    IO = 29
    ISCONN = 30
    MFILE = 33
    MSGSIZE = 35
    NETUNREACH = 40
    NOENT = 44  # no such name
    NOTCONN = 53
    NOTSUP = 58
    OVERFLOW = 61  # of a request: the header of its answer is too long
    PERM = 63  # of a request: the server's certificate is not good
    PIPE = 64
    PROTO = 65  # the request makes no sense, or the answer to it
    PROTONOSUPPORT = 66  # of a request: no TLS with that server
    TIMEDOUT = 73
    NOTCAPABLE = 76  # refused; the reply names the rule


class Budget(IntEnum):
    """What of the plan's limits is spent."""

    CONNECTIONS = 1
    NET_IN = 2
    NET_OUT = 3
    QUERIES = 4
    OF_RULE = 5  # what the rule allows that the reply names


@dataclass(frozen=True, slots=True)
class Reply:
    """What a broker says."""

    status: Status
    rule: int = 0  # index in `Plan.rules`; 0 where none decided
    results: tuple[int, ...] = ()

    def pack(self) -> bytes:
        """The packet; missing results are 0."""
        return REPLY.pack(self.status, self.rule, *self.results, *(0,) * (5 - len(self.results)))

    @staticmethod
    def unpack(packet: bytes) -> Reply:
        """Read a packet; raises ValueError or struct.error for what is none."""
        status, rule, *results = REPLY.unpack(packet)
        return Reply(Status(status), rule, tuple(results))


def halves(address: int) -> tuple[int, int]:
    """An address of 128 bits as the two signed numbers that packets have for it."""
    high, low = address >> 64, address & 0xFFFF_FFFF_FFFF_FFFF
    return _signed(high), _signed(low)


def whole(high: int, low: int) -> int:
    """The address that two signed numbers are."""
    mask = 0xFFFF_FFFF_FFFF_FFFF
    return (high & mask) << 64 | (low & mask)


def _signed(word: int) -> int:
    return word - (1 << 64) if word >> 63 else word
