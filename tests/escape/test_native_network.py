"""Native code in a cell that has a broker: no socket to be had, and from the broker no more than the plan grants."""

from __future__ import annotations

import gc
import os
import random
import socket
import struct
import threading
from collections.abc import Iterator

import pytest

from audit.network_use import COUNTED
from policy.plan import Plan
from sandbox.network.channel import Channel
from sandbox.network.protocol import EXCHANGE_BYTES, REPLY, REQUEST, Op, Protocol, halves
from tests.escape.native import Attempt, Lab, tried
from tests.runs import guest, policy

LOCAL = 0xFFFF_7F00_0001
GUEST = guest("nop", uses="sock_open")


def granting(port: int) -> Plan:
    return policy(
        f"permissions: {{extra_args: true, network: {{tcp: [{{id: mine, to: 127.0.0.1, ports: [{port}]}}]}}}}\n"
        "resources: {limits: {timeout: 20s, cpu: 10s}}\n"
    )


@pytest.fixture
def listening() -> Iterator[tuple[socket.socket, socket.socket]]:
    with socket.create_server(("127.0.0.1", 0)) as granted, socket.create_server(("127.0.0.1", 0)) as trap:
        for each in (granted, trap):
            each.settimeout(0.2)
        yield granted, trap


def count(server: socket.socket) -> int:
    """How many came."""
    found = 0
    while True:
        try:
            server.accept()[0].close()
        except TimeoutError:
            return found
        found += 1


def used(attempt: Attempt) -> dict[str, int]:
    network = attempt.execution.receipt.network
    assert network is not None
    return dict(zip(COUNTED, network.counts, strict=True))


def channel() -> Channel:
    """What this cell has to its broker."""
    (found,) = (each for each in gc.get_objects() if isinstance(each, Channel))
    return found


def asks_without_the_monitor(*ports: str) -> str:
    way, said = channel(), []
    for port in ports:
        made = way.call(Op.OPEN, 0, (4, Protocol.TCP))
        done = way.call(Op.CONNECT, made.results[0], (*halves(LOCAL), int(port), 5 * 10**9))
        said.append(done.status.name)
    return " ".join(said)


def test_a_forged_request_gets_no_further_than_the_plan_and_is_on_record(lab: Lab, listening):
    granted, trap = (each.getsockname()[1] for each in listening)
    attempt = lab.attempt(asks_without_the_monitor, trap, granted, 22, plan=granting(granted), module=GUEST)
    assert attempt.said == "NOTCAPABLE OK NOTCAPABLE"
    assert [count(each) for each in listening] == [1, 0]
    receipt = attempt.execution.receipt
    assert receipt.network is not None
    assert [(one.op, one.place, one.rule) for one in receipt.network.attempts] == [
        ("connect", f"127.0.0.1:{trap}", "builtin.loopback"),
        ("connect", "127.0.0.1:22", "builtin.loopback"),
    ]
    found = used(attempt)
    assert (found["forged"], found["unasked"], found["connects"]) == (2, 1, 1)
    assert receipt.network.is_complete


def makes_a_socket() -> str:
    return tried(lambda: socket.socket(socket.AF_INET, socket.SOCK_STREAM).fileno())


def test_a_cell_with_a_network_has_no_socket_all_the_same(lab: Lab):
    assert lab.attempt(makes_a_socket, plan=granting(1), module=GUEST).is_killed


def holds() -> str:
    """Kinds of the descriptors that are sockets."""
    kinds = []
    for fd in range(64):
        try:
            kinds.append(socket.socket(fileno=os.dup(fd)).family.name)
        except OSError:
            continue
    return " ".join(sorted(kinds))


def test_no_descriptor_of_a_cell_is_a_socket_of_the_network(lab: Lab):
    attempt = lab.attempt(holds, plan=granting(1), module=GUEST)
    assert set(attempt.said.split()) <= {"AF_UNIX"}


def sends_anything(seed: str, rounds: str) -> str:
    """Packets of all sizes, and requests with all sorts of numbers; the answers are read as they come."""
    chance = random.Random(int(seed))
    way = channel()._socket
    way.settimeout(5)
    answers = 0
    malformed = 0
    for _ in range(int(rounds)):
        if chance.random() < 0.03 and malformed < 12:
            packet = chance.randbytes(chance.choice([0, 1, REQUEST.size - 1, REQUEST.size + 1, 4_000]))
            malformed += 1
        else:
            wild = [
                0,
                1,
                -1,
                7,
                4_096,
                EXCHANGE_BYTES,
                EXCHANGE_BYTES + 1,
                1 << 31,
                (1 << 63) - 1,
                -(1 << 63),
            ]
            op = chance.choice([each for each in Op if each not in {Op.ACCEPT, Op.POLL}])
            args = [chance.choice([*wild, chance.getrandbits(20)]) for _ in range(6)]
            packet = REQUEST.pack(op, chance.choice([0, 1, 2, 1_023, 1 << 31]), *args)
        if not packet:
            continue
        way.send(packet)
        answers += len(way.recv(4_096)) == REPLY.size
    return str(answers)


@pytest.mark.parametrize("seed", range(3))
def test_whatever_is_sent_the_broker_answers_and_reaches_nobody(lab: Lab, listening, seed):
    granted, _ = (each.getsockname()[1] for each in listening)
    attempt = lab.attempt(sends_anything, seed, 1_500, plan=granting(granted), module=GUEST)
    assert int(attempt.said) > 1_400
    assert [count(each) for each in listening] == [0, 0]
    network = attempt.execution.receipt.network
    assert network is not None
    assert network.is_complete
    assert used(attempt)["connects"] == 0


def goes_on_for_ever() -> str:
    way = channel()
    made = way.call(Op.OPEN, 0, (4, Protocol.UDP))
    way.call(Op.RECV_FROM, made.results[0], (4_096, 10, 0, -1))
    return "back"


def test_a_broker_that_waits_ends_with_its_cell(lab: Lab):
    plan = policy(
        "permissions: {extra_args: true, network: {udp: [{to: 127.0.0.1, ports: [1]}]}}\n"
        "resources: {limits: {timeout: 300ms}}\n"
    )
    attempt = lab.attempt(goes_on_for_ever, plan=plan, module=GUEST)
    assert attempt.execution.receipt.outcome.limit == "timeout"
    network = attempt.execution.receipt.network
    assert network is not None
    assert network.is_complete


def scribbles(port: str) -> str:
    """Change what is shared while it is worked on."""
    (pages,) = (each for each in gc.get_objects() if type(each).__name__ == "Network")
    way, stop = channel(), threading.Event()
    raw = pages._pages

    def scribble() -> None:
        while not stop.is_set():
            for name in (b"localhost", b"elsewhere", bytes(9)):
                raw[4_096:4_105] = name

    thread = threading.Thread(target=scribble)
    thread.start()
    verdicts = set()
    for _ in range(300):
        verdicts.add(way.call(Op.LOOKUP, 0, (4_096, 9, 8_192, 4, 10**9)).status.name)
    stop.set()
    thread.join()
    made = way.call(Op.OPEN, 0, (4, Protocol.TCP))
    verdicts.add(way.call(Op.CONNECT, made.results[0], (*halves(LOCAL), int(port), 10**9)).status.name)
    return " ".join(sorted(verdicts))


def test_pages_that_change_while_they_are_read_open_nothing(lab: Lab, listening):
    _, trap = (each.getsockname()[1] for each in listening)
    attempt = lab.attempt(scribbles, trap, plan=granting(1), module=GUEST)
    assert set(attempt.said.split()) <= {"NOTCAPABLE", "INVAL", "NOENT"}
    assert count(listening[1]) == 0


def test_a_reply_has_the_size_that_is_said():
    assert REPLY.size == struct.calcsize("<II5q")
