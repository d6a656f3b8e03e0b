"""Answers one cell: decides on each request by the plan, does what is granted, and keeps its own account.

What is asked is `protocol.py`, how it is decided `decider.py`, what is done `sockets.py`, what nobody has to
decide is `moving.py`, and what is about HTTP `requests.py`. It decides again on what the monitor in the cell
has asked about already, since whoever asks may have taken that over. INVARIANT: a refusal is in the account
before it is answered. It is longer than most: each request is a few lines.
"""

from __future__ import annotations

import select
import socket
import struct
from collections import OrderedDict
from typing import TYPE_CHECKING, Final

from policy.network.addresses import MAPPED, UNSPECIFIED, AddressError, looks_like_address, parse_asked
from policy.network.names import name_text, parse_name
from policy.plan import UNLIMITED
from sandbox.network.account import Refused
from sandbox.network.brief import study
from sandbox.network.decider import Decided, Decider
from sandbox.network.exchange import ForbiddenError, RuleSpentError
from sandbox.network.lookup import Lookup
from sandbox.network.means import BrokerEnd, SpentError
from sandbox.network.moving import Moving
from sandbox.network.protocol import (
    ADDRESS_BYTES,
    EXCHANGE_BYTES,
    MAX_HANDLES,
    OF_SOCKETS,
    REQUEST,
    Budget,
    Op,
    Protocol,
    Reply,
    Status,
    halves,
    whole,
)
from sandbox.network.requests import Requests
from sandbox.network.sockets import Sock, SocketError, Sockets, number_of, shown, status_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from sandbox.network.account import Ledger
    from sandbox.network.brief import Brief
    from sandbox.network.means import Arguments, Means

_MAX_MALFORMED: Final = 16
_MAX_ASKED: Final = 64  # of what was decided, and not yet done
_MAX_LOOKUP_NS: Final = 30 * 10**9
_MAX_LOOKUPS: Final = 4  # that go on at once, since some were given up


class Broker:
    """The requests of one run, answered in order."""

    def __init__(self, means: Means, brief: Brief, ledger: Ledger) -> None:
        """Decide by `brief`, and keep account in `ledger`."""
        self._means = means
        self._brief = brief
        self._decider = Decider(study(brief))
        self._ledger = ledger
        self._sockets = Sockets(MAX_HANDLES if brief.open_sockets == UNLIMITED else brief.open_sockets)
        self._asked: OrderedDict[tuple[Op, int, int, int | str], None] = OrderedDict()
        self._lookups: list[Lookup] = []
        self.requests = Requests(means, brief, ledger, self._decider)
        exchanges = self.requests.exchanges
        moving = Moving(means, self._sockets, ledger.counts, exchanges.going)
        self._does: dict[Op, Callable[[int, Arguments], Reply]] = {
            Op.OPEN: self._open,
            Op.CLOSE: self._close,
            Op.ASK_CONNECT: lambda handle, args: self._ask_reach(Op.CONNECT, handle, args),
            Op.CONNECT: self._connect,
            Op.FINISH_CONNECT: self._finish,
            Op.ASK_BIND: self._ask_bind,
            Op.BIND: self._bind,
            Op.ASK_LISTEN: self._ask_listen,
            Op.LISTEN: self._listen,
            Op.ACCEPT: self._accept,
            Op.SEND: moving.send,
            Op.RECV: moving.recv,
            Op.ASK_SEND_TO: lambda handle, args: self._ask_reach(Op.SEND_TO, handle, args),
            Op.SEND_TO: self._send_to,
            Op.RECV_FROM: moving.recv,
            Op.SHUTDOWN: moving.shutdown,
            Op.LOCAL: moving.local,
            Op.REMOTE: moving.remote,
            Op.GET_OPTION: moving.get_option,
            Op.SET_OPTION: moving.set_option,
            Op.ASK_LOOKUP: self._ask_lookup,
            Op.LOOKUP: self._lookup,
            Op.POLL: moving.poll,
            Op.ASK_HTTP: self.requests.ask,
            Op.HTTP: lambda _, args: self.requests.make(self._sockets, args),
            Op.HTTP_RESPONSE: self.requests.response,
            Op.HTTP_FINISH: self.requests.finish,
        }

    def serve(self) -> None:
        """Work until the cell is gone."""
        try:
            while packet := self._means.channel.recv(REQUEST.size + 1):
                self._means.channel.send(self._answer(packet).pack())
        except (BrokerEnd, ConnectionError):
            return
        finally:
            self.requests.exchanges.end_all()
            self._sockets.close_all()
            counts = self._ledger.counts
            counts["sockets"], counts["queries"] = self._sockets.made, self._means.queries
            counts["bytes_in"], counts["bytes_out"] = self._means.received, self._means.sent

    def _answer(self, packet: bytes) -> Reply:
        try:
            op, handle, *args = REQUEST.unpack(packet)
            does = self._does[Op(op)]
        except (ValueError, KeyError, struct.error) as err:
            self._ledger.counts["malformed"] += 1
            if self._ledger.counts["malformed"] >= _MAX_MALFORMED:
                raise BrokerEnd from err
            return Reply(Status.PROTO)
        if op in OF_SOCKETS and handle in self.requests.exchanges.going:
            return Reply(Status.NOTSUP)
        try:
            return does(handle, tuple(args))
        except (SocketError, SpentError, RuleSpentError, ForbiddenError, OSError) as err:
            return self._failed(err)

    def _failed(self, err: Exception) -> Reply:
        match err:
            case SocketError():
                return Reply(err.status)
            case RuleSpentError():
                self._ledger.counts["spent_of_rule"] += 1
                return Reply(Status.DQUOT, err.rule, (int(Budget.OF_RULE),))
            case ForbiddenError():
                return Reply(Status.NOTCAPABLE, err.rule)
            case SpentError():
                self._ledger.counts[f"spent_{err.budget.name.lower()}"] += 1
                return Reply(Status.DQUOT, 0, (int(err.budget),))
            case _:
                return Reply(status_of(err) if isinstance(err, OSError) else Status.IO)

    # --- decisions ----------------------------------------------------------------------------

    def _told(self, op: Op, sock: Sock, key: tuple[int, int | str], decided: Decided) -> Reply:
        """Answer what was asked before it is done; what is refused is on record."""
        if decided.happens:
            self._asked[op, sock.handle, *key] = None
            while len(self._asked) > _MAX_ASKED:
                self._asked.popitem(last=False)
        else:
            self._refuse(op, sock.protocol, key, decided, is_forged=False)
        number, port = key
        said = self._means.say(str(port) if isinstance(port, str) else shown(number, port))
        return Reply(Status.OK, decided.rule, (int(decided.verdict), 0, 0, 0, said))

    def _require(self, op: Op, sock: Sock, key: tuple[int, int | str], decided: Decided) -> None:
        """Go on only with what is granted; who asks for something else is not the monitor."""
        if not decided.happens:
            self._refuse(op, sock.protocol, key, decided, is_forged=True)
            raise SocketError(Status.NOTCAPABLE)
        if self._asked.pop((op, sock.handle, *key), self) is self:
            self._ledger.counts["unasked"] += 1

    def _refuse(
        self, op: Op, protocol: Protocol, key: tuple[int, int | str], decided: Decided, *, is_forged: bool
    ) -> None:
        number, port = key
        place = str(port) if isinstance(port, str) else shown(number, port)
        rule = str(self._brief.rules[decided.rule].id)
        try:
            self._ledger.refused(Refused(op.name.lower(), protocol.name.lower(), place, rule, is_forged))
        except OSError as err:
            raise BrokerEnd from err  # record before effect: without an account nothing happens

    def _ask_reach(self, op: Op, handle: int, args: Arguments) -> Reply:
        sock, address, port = self._sockets.get(handle), whole(*args[:2]), args[2]
        return self._told(op, sock, (address, port), self._decider.reach(sock.protocol, address, port))

    def _ask_bind(self, handle: int, args: Arguments) -> Reply:
        sock, address, port = self._sockets.get(handle), whole(*args[:2]), args[2]
        if address in UNSPECIFIED and port == 0:
            return Reply(Status.OK, 0, (0, 0, 0, 0, self._means.say(shown(address, port))))
        return self._told(Op.BIND, sock, (address, port), self._decider.bind(sock.protocol, address, port))

    def _ask_listen(self, handle: int, args: Arguments) -> Reply:
        del args
        sock = self._sockets.get(handle)
        address, port = _place_of(sock)
        return self._told(Op.LISTEN, sock, (address, port), self._decider.bind(sock.protocol, address, port))

    def _ask_lookup(self, handle: int, args: Arguments) -> Reply:
        del handle
        name = self._means.name(args)
        said = self._means.say(name)
        if looks_like_address(name):
            return Reply(Status.OK, 0, (0, 0, 0, 0, said))
        decided = self._decider.lookup(name)
        if not decided.happens:
            self._refuse(Op.LOOKUP, Protocol.UDP, (0, name), decided, is_forged=False)
        return Reply(Status.OK, decided.rule, (int(decided.verdict), 0, 0, 0, said))

    # --- what is done -------------------------------------------------------------------------

    def _open(self, handle: int, args: Arguments) -> Reply:
        del handle
        try:
            protocol = Protocol(args[1])
        except ValueError:
            return Reply(Status.NOTSUP)
        return Reply(Status.OK, 0, (self._sockets.open(args[0], protocol).handle,))

    def _close(self, handle: int, args: Arguments) -> Reply:
        del args
        self._sockets.close(handle)
        if handle not in self.requests.exchanges.going:
            return Reply(Status.OK)
        totals = self.requests.exchanges.end(handle)
        return Reply(Status.OK, 0, (totals.status, totals.sent, totals.received))

    def _connect(self, handle: int, args: Arguments) -> Reply:
        sock, address, port = self._sockets.get(handle), whole(*args[:2]), args[2]
        if sock.is_connecting or sock.is_listening or (sock.is_connected and sock.protocol is Protocol.TCP):
            raise SocketError(_not_again(sock))
        self._require(Op.CONNECT, sock, (address, port), self._decider.reach(sock.protocol, address, port))
        place = _destination(sock, address, port)
        if sock.protocol is Protocol.UDP:
            sock.socket.connect(place)
            sock.is_connected = True
            sock.remember((address, port))
            return Reply(Status.OK)
        self._means.check_connections(self._sockets.connections)
        self._ledger.counts["connects"] += 1
        number = sock.socket.connect_ex(place)
        if number == 0:
            sock.is_connected = True
            return Reply(Status.OK)
        if status_of(OSError(number, "")) is not Status.INPROGRESS:
            return Reply(status_of(OSError(number, "")))
        sock.is_connecting = True
        return self._finish(handle, (args[3], 0, 0, 0, 0, 0))

    def _finish(self, handle: int, args: Arguments) -> Reply:
        sock = self._sockets.get(handle)
        if not sock.is_connecting:
            return Reply(Status.ISCONN if sock.is_connected else Status.NOTCONN)
        if not self._means.wait([(sock.socket, select.POLLOUT)], args[0]):
            return Reply(Status.INPROGRESS)
        sock.is_connecting = False
        number = sock.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        sock.is_connected = number == 0
        return Reply(status_of(OSError(number, "")) if number else Status.OK)

    def _bind(self, handle: int, args: Arguments) -> Reply:
        sock, address, port = self._sockets.get(handle), whole(*args[:2]), args[2]
        if sock.asked is not None or sock.is_connected or sock.is_connecting:
            return Reply(Status.INVAL)
        place = sock.place(address, port)
        if address in UNSPECIFIED and port == 0:
            # what a client does before it connects: nobody can reach it, so nothing is to be decided yet
            sock.asked, sock.is_deferred = (address, port), True
            return Reply(Status.OK)
        self._require(Op.BIND, sock, (address, port), self._decider.bind(sock.protocol, address, port))
        _bind_now(sock, place)
        sock.asked, sock.is_deferred = (address, port), False
        return Reply(Status.OK)

    def _listen(self, handle: int, args: Arguments) -> Reply:
        sock = self._sockets.get(handle)
        if sock.protocol is not Protocol.TCP:
            return Reply(Status.NOTSUP)
        if sock.is_connected or sock.is_connecting:
            return Reply(Status.ISCONN)
        address, port = _place_of(sock)
        self._require(Op.LISTEN, sock, (address, port), self._decider.bind(sock.protocol, address, port))
        if sock.asked is None or sock.is_deferred:
            _bind_now(sock, sock.place(address, port))
            sock.asked, sock.is_deferred = (address, port), False
        sock.listen(args[0])
        return Reply(Status.OK)

    def _accept(self, handle: int, args: Arguments) -> Reply:
        sock = self._sockets.get(handle)
        if not sock.is_listening:
            return Reply(Status.INVAL)
        self._means.check_connections(self._sockets.connections)
        taken, peer = self._means.attempt(sock, select.POLLIN, args[0], sock.socket.accept)
        try:
            made = self._sockets.add(taken, sock.family, Protocol.TCP)
        except SocketError:
            taken.close()
            raise
        made.is_connected = True
        self._ledger.counts["accepts"] += 1
        address, port = number_of(peer)
        return Reply(
            Status.OK, 0, (made.handle, *halves(address), port, self._means.say(shown(address, port)))
        )

    def _send_to(self, handle: int, args: Arguments) -> Reply:
        sock, address, port = self._sockets.get(handle), whole(*args[:2]), args[2]
        if sock.protocol is not Protocol.UDP:
            return Reply(Status.ISCONN if sock.is_connected else Status.NOTCONN)
        self._require(Op.SEND_TO, sock, (address, port), self._decider.reach(sock.protocol, address, port))
        place = _destination(sock, address, port)
        data = self._means.outgoing(args[3], args[4])
        sock.is_deferred |= sock.asked is None
        sock.remember((address, port))
        sent = self._means.attempt(
            sock, select.POLLOUT, args[5], lambda: sock.socket.sendto(data, socket.MSG_NOSIGNAL, place)
        )
        self._means.sent += sent
        return Reply(Status.OK, 0, (sent,))

    def _lookup(self, handle: int, args: Arguments) -> Reply:
        del handle
        name, at, room, ns = self._means.name(args), args[2], args[3], args[4]
        self._means.span(at, room * ADDRESS_BYTES if 0 <= room <= EXCHANGE_BYTES else -1)
        if looks_like_address(name):
            try:
                found: tuple[int, ...] = (parse_asked(name),)
            except AddressError:
                return Reply(Status.INVAL)
        else:
            decided = self._decider.lookup(name)
            if not decided.happens:
                self._refuse(Op.LOOKUP, Protocol.UDP, (0, name), decided, is_forged=True)
                return Reply(Status.NOTCAPABLE, decided.rule)
            found = self._resolved(name_text(parse_name(name)), ns)
        found = found[:room]
        for index, address in enumerate(found):
            place = at + index * ADDRESS_BYTES
            self._means.exchange[place : place + ADDRESS_BYTES] = address.to_bytes(ADDRESS_BYTES, "big")
        return Reply(Status.OK, 0, (len(found),))

    def _resolved(self, name: str, ns: int) -> tuple[int, ...]:
        self._means.use_query()
        self._lookups = [each for each in self._lookups if not _is_over(each)]
        if len(self._lookups) >= _MAX_LOOKUPS:
            raise SocketError(Status.AGAIN)
        lookup = Lookup(name)
        if not self._means.wait(
            [(lookup.fd, select.POLLIN)], _MAX_LOOKUP_NS if ns < 0 else min(ns, _MAX_LOOKUP_NS)
        ):
            self._lookups.append(lookup)
            raise SocketError(Status.AGAIN)
        lookup.close()
        found = lookup.result()
        self._decider.pin(name, found)
        return found


def _place_of(sock: Sock) -> tuple[int, int]:
    """Where it would listen."""
    return sock.asked or (MAPPED if sock.family == 4 else 0, 0)


def _destination(sock: Sock, address: int, port: int) -> tuple[object, ...]:
    """What is to be connected or sent to, as the system calls it; raises SocketError."""
    if address in UNSPECIFIED:  # the kernel takes it for the machine itself
        raise SocketError(Status.INVAL)
    return sock.place(address, port)


def _not_again(sock: Sock) -> Status:
    """Why a socket can't be connected, which is not new."""
    if sock.is_connecting:
        return Status.ALREADY
    return Status.ISCONN if sock.is_connected else Status.INVAL


def _bind_now(sock: Sock, place: tuple[object, ...]) -> None:
    if sock.protocol is Protocol.TCP:
        sock.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.socket.bind(place)


def _is_over(lookup: Lookup) -> bool:
    poll = select.poll()
    poll.register(lookup.fd, select.POLLIN)
    if poll.poll(0):
        lookup.close()
        return True
    return False
