"""Starts a broker for a run, and reads its account when the run is over.

What a broker does is `broker.py`. INVARIANT: a broker ends with its run: with the cell's end of the channel,
or with this process, whichever is closed first; it is never waited for without end.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from sandbox.network.account import Account, read_account
from sandbox.network.brief import Brief
from sandbox.network.protocol import EXCHANGE_BYTES
from sandbox.shared_memory import make_readable, make_shared

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from policy.plan import Plan
    from sandbox.network.brief import Supplies

_END_S: Final = 2.0


class BrokerHandle:
    """A broker, as its supervisor holds it; owns the descriptors until closed."""

    def __init__(self, plan: Plan, supplies: Supplies | None = None) -> None:
        """Start it; returns before it is ready. Raises OSError."""
        with contextlib.ExitStack() as stack:
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            stack.enter_context(theirs)
            leash_end, self._leash = os.pipe()
            stack.callback(os.close, leash_end)
            self.exchange = make_shared("wasmgate-exchange", EXCHANGE_BYTES)
            self._account = os.memfd_create("wasmgate-account", os.MFD_CLOEXEC)
            brief = make_readable("wasmgate-brief", Brief.of(plan, supplies).to_json())
            stack.callback(os.close, brief)
            order = {
                "channel": theirs.fileno(),
                "exchange": self.exchange,
                "brief": brief,
                "account": self._account,
                "leash": leash_end,
            }
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "sandbox.network.broker_process", json.dumps(order)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                cwd="/",
                env={"PYTHONPATH": str(Path(__file__).resolve().parents[2]), "LC_ALL": "C.UTF-8"},
                pass_fds=tuple(order.values()),
                start_new_session=True,
            )
        self.channel = ours
        self._is_closed = False

    @property
    def pid(self) -> int:
        """Its process, for people and tests."""
        return self._process.pid

    def end(self) -> Account:
        """Have it end, and give its account; a second call gives the same."""
        if not self._is_closed:
            self.channel.close()
            try:
                self._process.wait(_END_S)
            except subprocess.TimeoutExpired:
                self._process.send_signal(signal.SIGKILL)
                self._process.wait()
        return read_account(self._account)

    def close(self) -> None:
        """End it, and give everything back; a second call does nothing."""
        if not self._is_closed:
            self.end()
            self._is_closed = True
            for fd in (self._leash, self.exchange, self._account):
                os.close(fd)

    def __enter__(self) -> Self:
        """Give the handle itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it."""
        self.close()
