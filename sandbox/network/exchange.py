"""One request and its answer: a thread that speaks HTTP, and a pair of sockets between it and the broker.

The broker treats its end like any socket of the run: the body goes in, one byte says that the answer's head
is there, and the answer's body comes out. What may be asked is decided before (`requests.py`); here each
address is decided once more before anything is sent to it. HTTP and TLS are the standard library's; nothing
is followed, kept open or tried again. INVARIANT: what is sent is what was decided: one request, on a
connection of its own, to the address that was looked at.
It is longer than most: it is one thing, seen from two sides.
"""

from __future__ import annotations

import contextlib
import http.client
import socket
import ssl
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from policy.plan import UNLIMITED
from sandbox.network.http_head import FORBIDDEN, pack_fields
from sandbox.network.protocol import Status
from sandbox.network.sockets import SocketError, shown, status_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from policy.network.urls import Asked
    from policy.plan_network import Request
    from sandbox.network.http_head import RequestHead

USUAL_S: Final = 600.0
STACK_BYTES: Final = 512 << 10
_PIECE: Final = 64 << 10
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})


class RuleSpentError(Exception):
    """A bound of the rule that grants a request is reached."""

    def __init__(self, rule: int) -> None:
        """Keep the rule, by its index."""
        super().__init__(rule)
        self.rule = rule


class ForbiddenError(Exception):
    """What was granted led to something that is refused."""

    def __init__(self, rule: int) -> None:
        """Keep the rule that refuses, by its index."""
        super().__init__(rule)
        self.rule = rule


@dataclass(frozen=True, slots=True)
class Granted:
    """A request that may be made, and all that making it needs."""

    head: RequestHead
    asked: Asked
    terms: Request
    credential: tuple[str, str] | None  # header and value, which the guest never sees
    addresses: Callable[[], Iterator[int]]  # those that it may go to, each decided; raises ForbiddenError
    tls: ssl.SSLContext | None


@dataclass(frozen=True, slots=True)
class Answer:
    """The head of an answer."""

    status: int
    fields: bytes


@dataclass(slots=True)
class Totals:
    """What became of a request."""

    status: int = 0
    sent: int = 0  # bytes of its body
    received: int = 0  # bytes of the answer's body


class Exchange:
    """A request on its way."""

    def __init__(self, granted: Granted) -> None:
        """Begin it; raises OSError, and SocketError where there is no room for one more."""
        self._granted = granted
        self.totals = Totals()
        self._answer: Answer | Exception | None = None
        self._late: Exception | None = None
        self._is_finished = not granted.head.has_body
        self._is_lost = False
        self.socket, self._theirs = socket.socketpair()
        self._connection: socket.socket | None = None
        try:
            threading.Thread(target=self._run, daemon=True).start()
        except RuntimeError:  # no thread is to be had
            self.socket.close()
            self._theirs.close()
            raise SocketError(Status.MFILE) from None

    @property
    def rule(self) -> int:
        """The rule that granted it, by its index."""
        return self._granted.terms.rule

    @property
    def head(self) -> RequestHead:
        """What was asked."""
        return self._granted.head

    # --- the broker's side ------------------------------------------------------------------------

    def check_body(self, size: int) -> None:
        """Take note of so many more bytes of the body; raises RuleSpentError and SocketError."""
        total, most = self.totals.sent + size, self._granted.terms.max_request_bytes
        if most != UNLIMITED and total > most:
            self.finish(is_lost=True)
            raise RuleSpentError(self.rule)
        if self.head.length is not None and total > self.head.length:
            self.finish(is_lost=True)
            raise SocketError(Status.FBIG)

    def finish(self, *, is_lost: bool) -> None:
        """No more of the body comes: that was all of it, or it is given up; raises SocketError."""
        is_short = self.head.length is not None and self.totals.sent != self.head.length
        self._is_lost = self._is_lost or is_lost or is_short
        self._is_finished = True
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_WR)
        if self._is_lost and not is_lost:
            raise SocketError(Status.FBIG)

    def answer(self) -> Answer:
        """The head of the answer; raises SocketError (AGAIN: not there yet) and what it failed with."""
        if self._answer is None:
            raise SocketError(Status.AGAIN)
        if isinstance(self._answer, Exception):
            raise self._answer
        return self._answer

    def check_end(self) -> None:
        """Say that the answer's body came to its end; raises what it failed with."""
        if self._late is not None:
            raise self._late

    def close(self) -> None:
        """Give it up; what is on its way ends."""
        self._is_lost = self._is_lost or not self._is_finished
        with contextlib.suppress(OSError):
            self.socket.close()
        if (connection := self._connection) is not None:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    # --- the thread's side ------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            with self._theirs:
                try:
                    self._talk()
                except Exception as err:  # noqa: BLE001  # whatever it is, the guest is told that it failed
                    self._failed(_told(err))
        finally:
            if self._connection is not None:
                self._connection.close()

    def _failed(self, err: Exception) -> None:
        if self._answer is not None:
            self._late = err
            return
        self._answer = err
        with contextlib.suppress(OSError):
            self._theirs.send(b"!", socket.MSG_NOSIGNAL)

    def _talk(self) -> None:
        head = self._granted.head
        connection = http.client.HTTPConnection("")
        connection.auto_open = 0  # it has the socket that it is given, or none
        connection.sock = self._connected()
        self._send(connection)
        connection.sock.settimeout(_seconds(head.first_byte_s))
        with http.client.HTTPResponse(connection.sock, method=head.method) as response:
            response.begin()
            self._check(response)
            self.totals.status = response.status
            given = [(name, value) for name, value in response.getheaders() if name.lower() not in FORBIDDEN]
            self._answer = Answer(response.status, pack_fields(given))
            connection.sock.settimeout(_seconds(head.between_bytes_s))
            self._theirs.sendall(b"!", socket.MSG_NOSIGNAL)
            self._pass_on(response)

    def _connected(self) -> socket.socket:
        """A connection to the first address that takes it, with TLS where the URL says so."""
        granted = self._granted
        failure: Exception = SocketError(Status.NOENT)
        until = time.monotonic() + _seconds(granted.head.connect_s)
        for address in granted.addresses():
            family = socket.AF_INET if address >> 32 == 0xFFFF else socket.AF_INET6
            made = self._connection = socket.socket(family, socket.SOCK_STREAM)
            made.settimeout(max(0.001, until - time.monotonic()))
            try:
                made.connect((_host_text(address), granted.asked.port))
            except OSError as err:
                made.close()
                failure = SocketError(Status.TIMEDOUT) if isinstance(err, TimeoutError) else err
                continue
            if granted.tls is None:
                return made
            name = _server_name(granted.head.url)
            made = self._connection = granted.tls.wrap_socket(made, server_hostname=name)
            return made
        raise failure

    def _send(self, connection: http.client.HTTPConnection) -> None:
        granted = self._granted
        head = granted.head
        path = granted.asked.path
        target = path if path.startswith("/") else f"/{path}"
        connection.putrequest(head.method, target, skip_host=True, skip_accept_encoding=True)
        connection.putheader("Host", _authority(head.url))
        connection.putheader("Connection", "close")
        hidden = granted.credential
        for name, value in head.fields:
            if hidden is None or name != hidden[0].lower():
                connection.putheader(name, value.encode("latin-1"))
        if hidden is not None:
            connection.putheader(hidden[0], hidden[1].encode("latin-1"))
        is_chunked = head.has_body and head.length is None
        if is_chunked:
            connection.putheader("Transfer-Encoding", "chunked")
        connection.endheaders()
        if not head.has_body:
            return
        while piece := self._theirs.recv(_PIECE):
            connection.send(b"%x\r\n%b\r\n" % (len(piece), piece) if is_chunked else piece)
        if self._is_lost or not self._is_finished:
            raise SocketError(Status.CONNABORTED)  # the connection ends before the request does
        if is_chunked:
            connection.send(b"0\r\n\r\n")

    def _check(self, response: http.client.HTTPResponse) -> None:
        """Look at the head of an answer before the guest sees it."""
        terms = self._granted.terms
        if not terms.follows_redirects and response.status in _REDIRECTS and response.headers["Location"]:
            raise ForbiddenError(terms.rule)
        most = terms.max_response_bytes
        if most != UNLIMITED and response.length is not None and response.length > most:
            raise RuleSpentError(terms.rule)

    def _pass_on(self, response: http.client.HTTPResponse) -> None:
        most = self._granted.terms.max_response_bytes
        while piece := response.read1(_PIECE):
            self.totals.received += len(piece)
            if most != UNLIMITED and self.totals.received > most:
                raise RuleSpentError(self.rule)
            self._theirs.sendall(piece, socket.MSG_NOSIGNAL)
        if response.length:  # there should have been more
            raise SocketError(Status.CONNABORTED)


@dataclass(slots=True)
class Exchanges:
    """The requests of a run, and what became of each."""

    tell: Callable[[Exchange], None]
    going: dict[int, Exchange] = field(default_factory=dict)

    def end(self, handle: int) -> Totals:
        """Give a request up, or let it go; gives what became of it."""
        exchange = self.going.pop(handle)
        exchange.close()
        self.tell(exchange)
        return exchange.totals

    def end_all(self) -> None:
        """End what is left."""
        for handle in list(self.going):
            self.end(handle)


def _seconds(said: float | None) -> float:
    return USUAL_S if said is None else min(max(said, 0.001), USUAL_S)


def _authority(url: str) -> str:
    rest = url.partition("://")[2]
    return rest[: min(at if (at := rest.find(sign)) >= 0 else len(rest) for sign in "/?#")]


def _server_name(url: str) -> str:
    authority = _authority(url)
    if authority.startswith("["):
        return authority[1:].partition("]")[0]
    return authority.partition(":")[0]


def _host_text(address: int) -> str:
    place = shown(address, 0)
    return place.rpartition(":")[0].strip("[]")


def _told(err: Exception) -> Exception:
    """What a failure is for whoever asked: a status, or one of the errors that name a rule."""
    if isinstance(err, SocketError | RuleSpentError | ForbiddenError):
        return err
    return SocketError(_status(err))


_STATUSES: Final[tuple[tuple[type[Exception], Status], ...]] = (
    (ssl.SSLCertVerificationError, Status.PERM),
    (ssl.SSLError, Status.PROTONOSUPPORT),
    (TimeoutError, Status.CANCELED),
    (http.client.IncompleteRead, Status.CONNABORTED),
    (http.client.RemoteDisconnected, Status.CONNABORTED),
    (http.client.LineTooLong, Status.OVERFLOW),
    (http.client.HTTPException, Status.PROTO),
    (ValueError, Status.PROTO),
)
"""What a failure is told as, the first that fits; others of the operating system have an errno."""


def _status(err: Exception) -> Status:
    found = next((status for kind, status in _STATUSES if isinstance(err, kind)), None)
    if found is None:
        return status_of(err) if isinstance(err, OSError) else Status.IO
    return found
