"""The cell's end of the way to the broker: a request, and what it answers.

What is asked is `protocol.py`. SECURITY: nothing here decides anything: the broker does, for whoever holds
the descriptor.
"""

from __future__ import annotations

import socket
import struct

from sandbox.network.protocol import REPLY, REQUEST, Op, Reply, Status

_GONE = Reply(Status.IO)


class Channel:
    """Requests to one broker, by one thread."""

    def __init__(self, fd: int) -> None:
        """Use the descriptor, which becomes ours."""
        self._socket = socket.socket(fileno=fd)

    def call(self, op: Op | int, handle: int, args: tuple[int, ...]) -> Reply:
        """Ask, and wait for the answer; `IO` when the broker is gone, or makes no sense."""
        try:
            self._socket.send(REQUEST.pack(op, handle, *args, *(0,) * (6 - len(args))))
            return Reply.unpack(self._socket.recv(REPLY.size + 1))
        except (OSError, ValueError, struct.error):
            return _GONE

    def close(self) -> None:
        """Give it up: the broker ends."""
        self._socket.close()
