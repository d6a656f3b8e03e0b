"""Looks names up, as the operating system does.

Whether a name may be looked up is `decider.py`. INVARIANT: one lookup goes on at a time, in a thread of its
own, and what it gives is addresses: no text that a server chose goes further.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from typing import Final

from policy.network.addresses import MAPPED
from sandbox.network.protocol import MAX_FOUND, Status
from sandbox.network.sockets import SocketError

_TEMPORARY: Final = {socket.EAI_AGAIN}


class Lookup:
    """One lookup that goes on; `fd` can be read from when it is over."""

    def __init__(self, name: str) -> None:
        """Begin it."""
        self.fd, self._end = os.pipe()
        self._found: tuple[int, ...] = ()
        self._status = Status.OK
        threading.Thread(target=self._ask, args=(name,), daemon=True).start()

    def result(self) -> tuple[int, ...]:
        """The addresses, in the resolver's order; raises SocketError."""
        if self._status is not Status.OK or not self._found:
            raise SocketError(self._status or Status.NOENT)
        return self._found

    def close(self) -> None:
        """Give the descriptor back."""
        os.close(self.fd)

    def _ask(self, name: str) -> None:
        try:
            self._found = addresses_of(name)
        except SocketError as err:
            self._status = err.status
        finally:
            with contextlib.suppress(OSError):
                os.close(self._end)


def addresses_of(name: str) -> tuple[int, ...]:
    """The addresses of a name, in the resolver's order; waits for them. Raises SocketError."""
    try:
        rows = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
        found = dict.fromkeys(_number(row[0], str(row[4][0])) for row in rows)
    except socket.gaierror as err:
        raise SocketError(Status.AGAIN if err.errno in _TEMPORARY else Status.NOENT) from None
    except (OSError, ValueError):
        raise SocketError(Status.NOENT) from None
    return tuple(found)[:MAX_FOUND]


def _number(family: int, text: str) -> int:
    if family == socket.AF_INET:
        return MAPPED | int.from_bytes(socket.inet_pton(socket.AF_INET, text), "big")
    return int.from_bytes(socket.inet_pton(socket.AF_INET6, text.partition("%")[0]), "big")
