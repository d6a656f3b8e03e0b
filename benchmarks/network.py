"""What a broker costs: a small send and its answer, a question, and its start, beside a socket of this process.

    PYTHONPATH=. python benchmarks/network.py

All on loopback, in one run; medians. Compare ratios: machines are shared.
"""

from __future__ import annotations

import mmap
import os
import socket
import statistics
import sys
import threading
import time
from collections.abc import Callable

from policy import compile_policy, load_document
from sandbox.network.brokers import BrokerHandle
from sandbox.network.channel import Channel
from sandbox.network.protocol import DATA_AT, EXCHANGE_BYTES, Op, Protocol, halves

LOCAL = 0xFFFF_7F00_0001
SMALL, LARGE = 64, 64 << 10
ROUNDS = 2_000


def echo(server: socket.socket) -> None:
    """Answer whoever comes with what they send."""

    def answer(one: socket.socket) -> None:
        with one:
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            while data := one.recv(1 << 17):
                one.sendall(data)

    while True:
        threading.Thread(target=answer, args=(server.accept()[0],), daemon=True).start()


def median_us(rounds: int, work: Callable[[], object]) -> float:
    """Microseconds of the median of so many."""
    found = []
    for _ in range(rounds):
        start = time.perf_counter()
        work()
        found.append(time.perf_counter() - start)
    return statistics.median(found) * 1e6


def main() -> None:
    """Measure, and print a table."""
    server = socket.create_server(("127.0.0.1", 0))
    port = server.getsockname()[1]
    threading.Thread(target=echo, args=(server,), daemon=True).start()
    text = f"version: 1\nmetadata: {{name: b}}\npermissions: {{network: {{tcp: [{{to: 127.0.0.1, ports: [{port}]}}]}}}}\n"
    text += "resources: {limits: {net_in: 1Gi, net_out: 1Gi}}\n"
    plan = compile_policy(load_document(text.encode(), file="b.yaml"), base_dir="/", now_ns=None)

    def started() -> None:
        with BrokerHandle(plan) as one:
            one.channel.settimeout(30)
            Channel(os.dup(one.channel.fileno())).call(Op.OPEN, 0, (4, Protocol.TCP))

    bare = socket.create_connection(("127.0.0.1", port))
    bare.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    with BrokerHandle(plan) as broker:
        way, pages = Channel(os.dup(broker.channel.fileno())), mmap.mmap(broker.exchange, EXCHANGE_BYTES)
        handle = way.call(Op.OPEN, 0, (4, Protocol.TCP)).results[0]
        place = (*halves(LOCAL), port)
        way.call(Op.ASK_CONNECT, handle, place)
        way.call(Op.CONNECT, handle, (*place, -1))
        pages[DATA_AT : DATA_AT + 3] = b"abc"

        def through(size: int) -> None:
            way.call(Op.SEND, handle, (DATA_AT, size, -1))
            way.call(Op.RECV, handle, (DATA_AT, size, 2, -1))

        def plainly(size: int) -> None:
            bare.sendall(bytes(size))
            bare.recv(size, socket.MSG_WAITALL)

        rows = [
            (
                "64 bytes there and back",
                median_us(ROUNDS, lambda: plainly(SMALL)),
                median_us(ROUNDS, lambda: through(SMALL)),
            ),
            (
                "64 KiB there and back",
                median_us(200, lambda: plainly(LARGE)),
                median_us(200, lambda: through(LARGE)),
            ),
            (
                "a question about an address",
                None,
                median_us(ROUNDS, lambda: way.call(Op.ASK_CONNECT, handle, place)),
            ),
        ]
    rows.append(("start of a broker, to its first answer", None, median_us(10, started)))
    sys.stdout.write("| what | a socket of this process, µs | through a broker, µs |\n|---|---|---|\n")
    for what, plain, brokered in rows:
        sys.stdout.write(f"| {what} | {'-' if plain is None else f'{plain:.0f}'} | {brokered:.0f} |\n")


if __name__ == "__main__":
    main()
