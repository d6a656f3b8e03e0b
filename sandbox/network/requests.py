"""Answers what is asked about requests: decides on each, makes what is granted, and accounts for it.

What a request is made of is `http_head.py`, how it is made `exchange.py`, how it is decided `decider.py`.
INVARIANT: a request is decided on the bytes that are sent, which are copied once, and each address that it
may go to is decided before it is connected to.
"""

from __future__ import annotations

import threading
from collections import deque
from typing import TYPE_CHECKING, Final

from policy.network.addresses import UNSPECIFIED
from policy.network.names import name_text
from policy.network.urls import UrlError, parse_asked_url
from policy.plan import UNLIMITED
from policy.plan_network import Request
from sandbox.network.account import Made, Refused
from sandbox.network.decider import Decided
from sandbox.network.exchange import STACK_BYTES, Exchange, Exchanges, ForbiddenError, Granted
from sandbox.network.http_head import HEAD, MAX_FIELDS_BYTES, MAX_LINE, HeadError, RequestHead, parse
from sandbox.network.lookup import addresses_of
from sandbox.network.means import BrokerEnd
from sandbox.network.protocol import Protocol, Reply, Status
from sandbox.network.sockets import SocketError

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterator

    from policy.network.urls import Asked
    from sandbox.network.account import Ledger
    from sandbox.network.brief import Brief
    from sandbox.network.decider import Decider
    from sandbox.network.means import Arguments, Means
    from sandbox.network.sockets import Sockets

_MAX_GOING: Final = 64
_MAX_ASKED: Final = 64
_MAX_SHOWN: Final = 4_000


class Requests:
    """The requests of one run."""

    def __init__(self, means: Means, brief: Brief, ledger: Ledger, decider: Decider) -> None:
        """Decide by `decider`, and keep account in `ledger`."""
        self._means = means
        self._brief = brief
        self._ledger = ledger
        self._decider = decider
        self._terms = {terms.rule: terms for terms in brief.network.requests}
        self._secrets = dict(brief.secrets)
        self._asked: deque[str] = deque(maxlen=_MAX_ASKED)  # what was decided, and not yet done
        self.tls: ssl.SSLContext | None = None
        self.exchanges = Exchanges(self._made)
        if self._terms:
            threading.stack_size(STACK_BYTES)

    def ask(self, handle: int, args: Arguments) -> Reply:
        """Say whether a request may be made."""
        del handle
        head, asked = self._head(args)
        decided = self._decider.request(head, asked.address)
        if decided.happens:
            self._asked.append(head.line)
        else:
            self._refuse(head, decided, is_forged=False)
        return Reply(Status.OK, decided.rule, (int(decided.verdict),))

    def make(self, sockets: Sockets, args: Arguments) -> Reply:
        """Make a request; who asks for one that is not granted is not the monitor."""
        head, asked = self._head(args)
        decided = self._decider.request(head, asked.address)
        if not decided.happens:
            self._refuse(head, decided, is_forged=True)
            raise SocketError(Status.NOTCAPABLE)
        if head.line in self._asked:
            self._asked.remove(head.line)
        else:
            self._ledger.counts["unasked"] += 1
        self._means.check_connections(sockets.connections)
        if len(self.exchanges.going) >= _MAX_GOING:
            raise SocketError(Status.MFILE)
        size = args[1] + args[2]
        if len(self._means.outgoing(args[0], size)) < size:
            raise SocketError(Status.MSGSIZE)  # the budget takes only a part of it
        self._means.sent += size
        exchange = Exchange(self._granted(head, asked, decided))
        try:
            made = sockets.add(exchange.socket, 0, Protocol.HTTP)
        except SocketError:
            exchange.close()
            raise
        made.is_connected = True
        self.exchanges.going[made.handle] = exchange
        self._ledger.counts["requests"] += 1
        return Reply(Status.OK, decided.rule, (made.handle,))

    def response(self, handle: int, args: Arguments) -> Reply:
        """Give the head of an answer, once."""
        exchange = self._exchange(handle)
        room = self._means.span(args[0], args[1])
        answer = exchange.answer()
        exchange.socket.recv(1)  # that it is there; what follows is its body
        if len(answer.fields) > len(room):
            raise SocketError(Status.OVERFLOW)
        self._means.room(len(answer.fields))
        self._means.received += len(answer.fields)
        room[: len(answer.fields)] = answer.fields
        return Reply(Status.OK, exchange.rule, (answer.status, len(answer.fields)))

    def finish(self, handle: int, args: Arguments) -> Reply:
        """End the body of a request."""
        self._exchange(handle).finish(is_lost=bool(args[0]))
        return Reply(Status.OK)

    def _exchange(self, handle: int) -> Exchange:
        found = self.exchanges.going.get(handle)
        if found is None:
            raise SocketError(Status.BADF)
        return found

    def _head(self, args: Arguments) -> tuple[RequestHead, Asked]:
        at, line, rest = args[:3]
        if not (0 < line <= MAX_LINE and HEAD.size <= rest <= HEAD.size + MAX_FIELDS_BYTES):
            raise SocketError(Status.INVAL)
        # SECURITY: the cell can change these pages at any time: they are looked at once
        given = bytes(self._means.span(at, line + rest))
        try:
            head = parse(given[:line], given[line:])
            asked = parse_asked_url(head.url)
        except (HeadError, UrlError):
            raise SocketError(Status.INVAL) from None
        # a fragment is never sent, so nothing is decided by it; no address at all means the machine itself
        if "#" in asked.path or asked.address in UNSPECIFIED:
            raise SocketError(Status.INVAL)
        return head, asked

    def _granted(self, head: RequestHead, asked: Asked, decided: Decided) -> Granted:
        terms = self._terms.get(decided.rule) or _no_terms(decided.rule)
        credential = None
        if terms.credential:
            value = self._secrets.get(terms.credential)
            if value is None:
                raise SocketError(Status.ACCES)  # a request without what it was to carry is none
            credential = terms.credential_as.removeprefix("header:"), value
        is_https = asked.scheme.name == "HTTPS"
        if is_https and self.tls is None:
            raise SocketError(Status.PROTONOSUPPORT)
        return Granted(
            head=head,
            asked=asked,
            terms=terms,
            credential=credential,
            addresses=lambda: self._addresses(head, asked),
            tls=self.tls if is_https else None,
        )

    def _addresses(self, head: RequestHead, asked: Asked) -> Iterator[int]:
        """Give the addresses that a request may go to; runs beside the broker."""
        if asked.name is None:
            yield asked.address or 0
            return
        refused: Decided | None = None
        is_any = False
        for address in addresses_of(name_text(asked.name)):
            decided = self._decider.request(head, address)
            if decided.happens:
                is_any = True
                yield address
            else:
                refused = refused or decided
        if refused is not None and not is_any:
            self._refuse(head, refused, is_forged=False)
            raise ForbiddenError(refused.rule)

    def _refuse(self, head: RequestHead, decided: Decided, *, is_forged: bool) -> None:
        rule = str(self._brief.rules[decided.rule].id)
        try:
            self._ledger.refused(Refused("http", "http", head.line[:_MAX_SHOWN], rule, is_forged))
        except OSError as err:
            raise BrokerEnd from err  # record before effect: without an account nothing happens

    def _made(self, exchange: Exchange) -> None:
        totals = exchange.totals
        self._ledger.made(
            Made(
                request=exchange.head.line[:_MAX_SHOWN],
                rule=str(self._brief.rules[exchange.rule].id),
                status=totals.status,
                bytes_out=totals.sent,
                bytes_in=totals.received,
            )
        )


def _no_terms(rule: int) -> Request:
    """Where the policy only audits, a request may go out that no rule has terms for."""
    return Request(rule, (), UNLIMITED, UNLIMITED, follows_redirects=True, credential="", credential_as="")
