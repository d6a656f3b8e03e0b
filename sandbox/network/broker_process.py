"""The broker's own process: it is started for one run, takes its cell's requests, and ends with either.

It is started by `brokers.py` as `python -m sandbox.network.broker_process`, with nothing of the supervisor's
but a few descriptors. INVARIANT: no request is read before the walls stand.
"""

from __future__ import annotations

import json
import mmap
import os
import socket
import ssl
import sys
from typing import TypedDict

from policy.plan import UNLIMITED
from sandbox.confinement import process
from sandbox.network.account import Ledger
from sandbox.network.brief import Brief
from sandbox.network.broker import Broker
from sandbox.network.means import Means
from sandbox.network.protocol import EXCHANGE_BYTES, MAX_HANDLES
from sandbox.network.walls import confine_broker
from sandbox.shared_memory import read_all

_LAST_LOW_PORT = 1_023


class BrokerOrder(TypedDict):
    """What the supervisor hands over: descriptors that this process inherits."""

    channel: int
    exchange: int
    brief: int
    account: int
    leash: int


def main(order_json: str) -> int:
    """Serve one cell; returns the exit status."""
    order: BrokerOrder = json.loads(order_json)
    os.dup2(1, 2)  # what the supervisor writes its own messages to is nothing that this process needs
    process.end_with(order["leash"])
    process.close_others({0, 1, 2, *(fd for fd in order.values() if isinstance(fd, int))})
    brief = Brief.from_json(read_all(order["brief"]))
    ledger = Ledger(order["account"])
    sockets = MAX_HANDLES if brief.open_sockets == UNLIMITED else min(brief.open_sockets, MAX_HANDLES)
    low = any(0 < each.port <= _LAST_LOW_PORT for each in brief.network.listeners)
    channel = socket.socket(fileno=order["channel"])
    exchange = mmap.mmap(order["exchange"], EXCHANGE_BYTES)
    broker = Broker(Means(channel, exchange, brief), brief, ledger)
    if brief.needs_tls:
        broker.requests.tls = ssl.create_default_context(cadata=brief.ca_certificates or None)
    # a request has an end of a pair of its own, and a connection beside it
    walls = confine_broker(
        order["leash"], sockets=sockets * (3 if brief.network.requests else 1), has_low_ports=low
    )
    ledger.walls(walls)
    broker.serve()
    ledger.close()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
