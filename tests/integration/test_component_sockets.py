"""Sockets of components, over loopback: each way to reach the network, refused and allowed.

The servers are the tests' own. What a broker does, and what is a place, is tried in `test_sockets.py`: it is the
same here, and so are the rules.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from audit.query import Row
from audit.receipt import OutcomeKind
from sandbox.runner import Execution
from tests.component_scripts import RESULT, ComponentScript
from tests.runs import Log, policy

HERE = (127, 0, 0, 1)
SOCKET, STREAM, OUT, NET, POLLABLE = (
    f"(global.get ${name})" for name in ("file", "stream", "other", "dir", "extra")
)
DENIED = b"\x01\x01"


def place(port: int, octets: tuple[int, ...] = HERE) -> tuple[int, ...]:
    return (0, port, *octets, *[0] * 6)


def place6(port: int, segments: tuple[int, ...]) -> tuple[int, ...]:
    return (1, port, 0, *segments, 0)


@contextmanager
def echo() -> Iterator[int]:
    """A server that answers one connection in capitals."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            client, _ = server.accept()
            with client:
                client.sendall(client.recv(64).upper())

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield server.getsockname()[1]
        if thread.is_alive():
            socket.create_connection(server.getsockname()).close()
        thread.join()


def begun() -> ComponentScript:
    script = ComponentScript()
    script.call("instance-network.instance-network", into="dir")
    return script


def ready(script: ComponentScript, name: str, of: str) -> None:
    script.call(f"{name}.subscribe", of, into="extra")
    script.call("pollable.block", POLLABLE)
    script.call("pollable.drop", POLLABLE)


def connecting(to: tuple[int, ...], *, family: int = 0) -> ComponentScript:
    script = begun()
    call = script.call
    call("tcp-create-socket.create-tcp-socket", family, into="file")
    call("tcp-socket.finish-connect", SOCKET)
    call("tcp-socket.start-connect", SOCKET, NET, *to)
    return script


def talking(port: int) -> ComponentScript:
    script = connecting(place(port))
    call = script.call
    ready(script, "tcp-socket", SOCKET)
    call("tcp-socket.finish-connect", SOCKET, into="stream")
    script.do(f"(global.set $other (i32.load (i32.const {RESULT + 8})))")
    call("tcp-socket.address-family", SOCKET, keep="1:1")
    call("tcp-socket.is-listening", SOCKET, keep="1:1")
    call("tcp-socket.remote-address", SOCKET, keep="4:1 8:6")
    call("tcp-socket.local-address", SOCKET, keep="10:4")
    call("tcp-socket.set-keep-alive-enabled", SOCKET, 1)
    call("tcp-socket.keep-alive-enabled", SOCKET, keep="1:1")
    call("tcp-socket.set-hop-limit", SOCKET, 3)
    call("tcp-socket.set-receive-buffer-size", SOCKET, "(i64.const 0)")
    call("tcp-socket.receive-buffer-size", SOCKET)
    call("input-stream.read", STREAM, "(i64.const 9)", keep="list@4")
    call("output-stream.check-write", OUT)
    call("output-stream.blocking-write-and-flush", OUT, b"hello there")
    call("input-stream.blocking-read", STREAM, "(i64.const 64)", keep="list@4")
    call("input-stream.blocking-read", STREAM, "(i64.const 64)", keep="list@4")
    call("tcp-socket.shutdown", SOCKET, 1)
    call("input-stream.drop", STREAM)
    call("output-stream.drop", OUT)
    call("tcp-socket.drop", SOCKET)
    return script


def network(text: str) -> str:
    return f"permissions:\n  network:\n    {text}\n"


def run(log: Log, script: ComponentScript, text: str) -> tuple[dict[str, list[bytes]], list[Row], Execution]:
    execution = log.run(script.component(), policy(text))
    assert execution.receipt.outcome.kind is OutcomeKind.EXITED, execution.receipt.outcome
    told: dict[str, list[bytes]] = {}
    for name, what in script.told(execution.stdout):
        told.setdefault(name, []).append(what)
    return told, log.check(execution), execution


def names(rows: list[Row]) -> list[str]:
    return [str(row["call"]).partition(".")[2] for row in rows]


def test_a_component_talks_to_a_place_that_a_rule_names(shared: Log) -> None:
    with echo() as port:
        rule = network(f"tcp: [{{id: there, to: 127.0.0.1, ports: [{port}]}}]")
        told, rows, execution = run(shared, talking(port), rule)
    assert told["tcp-socket.finish-connect"] == [b"\x01\x07", b"\x00"]  # not in progress; then connected
    assert told["tcp-socket.is-listening"] == [b"\x00"]
    assert told["tcp-socket.remote-address"] == [b"\x00\x00" + port.to_bytes(2, "little") + bytes(HERE)]
    assert told["tcp-socket.local-address"] == [b"\x00" + bytes(HERE)]
    assert told["tcp-socket.keep-alive-enabled"] == [b"\x00\x01"]
    assert told["tcp-socket.set-hop-limit"] == [b"\x01\x02"]
    assert told["tcp-socket.set-receive-buffer-size"] == [b"\x01\x03"]
    assert told["input-stream.read"] == [b"\x00"]  # nothing yet, and no end
    assert told["input-stream.blocking-read"] == [b"\x00HELLO THERE", b"\x01\x01"]
    assert {row["decision"] for row in rows} == {"allow"}
    moved = [row for row in rows if row["bytes_in"] or names([row])[0] == "tcp-socket.start-connect"]
    assert {str(row["target"]) for row in moved} == {f"127.0.0.1:{port}"}
    assert len(moved) == 2
    assert sum(int(row["bytes_in"] or 0) for row in moved) == 11
    account = execution.receipt.network
    assert account is not None
    assert account.attempts == ()


@pytest.mark.parametrize(
    ("to", "family", "rule_id"),
    [
        (place(1), 0, "builtin.loopback"),
        (place(0, (127, 0, 0, 2)), 0, "builtin.loopback"),
        (place(0, (0, 0, 0, 0)), 0, "builtin.reserved"),
        (place(0, (10, 0, 0, 1)), 0, "builtin.private"),
        (place(0, (383, 0, 0, 2)), 0, "builtin.loopback"),  # 383 is 127 in eight bits
        (place6(0, (0, 0, 0, 0, 0, 0, 0, 1)), 1, "builtin.loopback"),
        (place6(0, (0, 0, 0, 0, 0, 0xFFFF, 0x7F00, 2)), 1, "builtin.loopback"),
    ],
)
def test_no_other_place_is_reached(shared: Log, to: tuple[int, ...], family: int, rule_id: str) -> None:
    with echo() as port:
        to = (to[0], to[1] or port, *to[2:])
        rule = network(f"tcp: [{{id: there, to: 127.0.0.1, ports: [{port}]}}]")
        told, rows, _ = run(shared, connecting(to, family=family), rule)
    assert told["tcp-socket.start-connect"] == [DENIED]
    refused = [row for row in rows if row["decision"] == "deny"]
    assert names(refused) == ["tcp-socket.start-connect"]
    assert str(refused[0]["rule_id"]) == rule_id
    assert refused[0]["target"]


def test_without_a_rule_there_is_no_socket(shared: Log) -> None:
    script = begun()
    script.call("tcp-create-socket.create-tcp-socket", 0)
    script.call("udp-create-socket.create-udp-socket", 1)
    script.call("ip-name-lookup.resolve-addresses", NET, b"localhost")
    told, rows, execution = run(shared, script, "")
    assert told["tcp-create-socket.create-tcp-socket"] == [DENIED]
    assert told["udp-create-socket.create-udp-socket"] == [DENIED]
    assert told["ip-name-lookup.resolve-addresses"] == [DENIED]
    assert {str(row["rule_id"]) for row in rows if row["decision"] == "deny"} == {"network.none"}
    assert execution.receipt.network is None


def test_a_connection_that_nobody_takes_is_refused_by_who_is_not_there(shared: Log) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    script = connecting(place(port))
    told, _, _ = run(shared, script, network(f"tcp: [{{to: 127.0.0.1, ports: [{port}]}}]"))
    assert told["tcp-socket.start-connect"] == [b"\x01\x0e"]  # connection-refused


def datagram(script: ComponentScript, at: int, port: int, text: bytes) -> None:
    """Lay out an outgoing datagram."""
    where = script.text(text).partition(")")[0].removeprefix("(i32.const ")
    script.do(
        f"(i32.store (i32.const {at}) (i32.const {where}))"
        f"(i32.store (i32.const {at + 4}) (i32.const {len(text)}))"
        f"(i32.store8 (i32.const {at + 8}) (i32.const 1))"
        f"(i32.store16 (i32.const {at + 16}) (i32.const {port}))"
        f"(i32.store (i32.const {at + 18}) (i32.const {int.from_bytes(bytes(HERE), 'little')}))"
    )


def sending(port: int) -> ComponentScript:
    script = begun()
    call = script.call
    call("udp-create-socket.create-udp-socket", 0, into="file")
    call("udp-socket.start-bind", SOCKET, NET, *place(0))
    call("udp-socket.finish-bind", SOCKET)
    call("udp-socket.stream", SOCKET, *[0] * 13, into="stream")
    script.do(f"(global.set $other (i32.load (i32.const {RESULT + 8})))")
    datagram(script, 2048, port, b"datagram")
    datagram(script, 2048 + 44, 9, b"datagram")
    call("outgoing-datagram-stream.check-send", OUT)
    call("outgoing-datagram-stream.send", OUT, 2048, 2, keep="8:8")
    call("outgoing-datagram-stream.send", OUT, 2048 + 44, 1)
    ready(script, "incoming-datagram-stream", STREAM)
    call("incoming-datagram-stream.receive", STREAM, "(i64.const 5)", keep="8:4")
    first = f"(i32.load (i32.const {RESULT + 4}))"
    script.do(
        f"(call $keep (i32.load {first}) (i32.load offset=4 {first}))"
        f"(call $keep (i32.add {first} (i32.const 8)) (i32.const 1))"
        f"(call $keep (i32.add {first} (i32.const 12)) (i32.const 6))"
    )
    call("incoming-datagram-stream.receive", STREAM, "(i64.const 5)", keep="8:4")
    return script


def test_datagrams_are_decided_one_by_one(shared: Log) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        server.settimeout(10)
        port = server.getsockname()[1]

        def answer() -> None:
            data, who = server.recvfrom(64)
            server.sendto(data.upper(), who)

        with ThreadPoolExecutor(1) as pool:
            pool.submit(answer)
            rule = network(
                f'udp: [{{id: there, to: 127.0.0.1, ports: [{port}]}}]\n    listen: ["udp://127.0.0.1:0"]'
            )
            told, rows, _ = run(shared, sending(port), rule)
    assert told["outgoing-datagram-stream.send"] == [b"\x00" + (1).to_bytes(8, "little"), DENIED]
    whence = b"\x00" + port.to_bytes(2, "little") + bytes(HERE)
    assert told["incoming-datagram-stream.receive"] == [
        b"\x00\x01\x00\x00\x00DATAGRAM" + whence,
        b"\x00" + bytes(4),
    ]
    sent = [row for row in rows if names([row])[0] == "outgoing-datagram-stream.send"]
    assert [(str(row["target"]), str(row["decision"])) for row in sent] == [
        (f"127.0.0.1:{port}", "allow"),
        ("127.0.0.1:9", "deny"),
        ("127.0.0.1:9", "deny"),
    ]


def test_a_name_is_looked_up_where_a_rule_says_so_and_no_name_opens_this_machine(shared: Log) -> None:
    with echo() as port:
        script = begun()
        call = script.call
        call("ip-name-lookup.resolve-addresses", NET, b"elsewhere.example")
        call("tcp-create-socket.create-tcp-socket", 0, into="file")
        call("tcp-socket.start-connect", SOCKET, NET, *place(port))
        call("ip-name-lookup.resolve-addresses", NET, b"localhost", into="stream")
        ready(script, "resolve-address-stream", STREAM)
        for _ in range(3):
            call("resolve-address-stream.resolve-next-address", STREAM, keep="2:20")
        call("resolve-address-stream.drop", STREAM)
        call("tcp-socket.start-connect", SOCKET, NET, *place(port))
        rule = network(
            "dns: {names: [localhost], max_queries: 3}\n"
            f"    tcp: [{{id: named, to: localhost, ports: [{port}]}}]"
        )
        told, rows, _ = run(shared, script, rule)
    found = told["resolve-address-stream.resolve-next-address"]
    assert any(what[1] == 1 and what[3] == 0 and what[5:9] == bytes(HERE) for what in found)
    assert found[-1] == bytes(21)
    assert told["ip-name-lookup.resolve-addresses"] == [DENIED, b"\x00"]
    # an address of the machine itself stays closed to a name that leads there
    assert told["tcp-socket.start-connect"] == [DENIED, DENIED]
    looked = [row for row in rows if names([row])[0] == "ip-name-lookup.resolve-addresses"]
    assert [str(row["target"]) for row in looked] == ["elsewhere.example", "localhost"]


def listening(port: int) -> ComponentScript:
    script = begun()
    call = script.call
    call("tcp-create-socket.create-tcp-socket", 0, into="file")
    call("tcp-socket.start-bind", SOCKET, NET, *place(port, (0, 0, 0, 0)))
    call("tcp-socket.start-bind", SOCKET, NET, *place(port))
    call("tcp-socket.finish-bind", SOCKET)
    call("tcp-socket.finish-bind", SOCKET)
    call("tcp-socket.start-listen", SOCKET)
    call("tcp-socket.finish-listen", SOCKET)
    call("tcp-socket.is-listening", SOCKET, keep="1:1")
    call("tcp-socket.accept", SOCKET)
    ready(script, "tcp-socket", SOCKET)
    call("tcp-socket.accept", SOCKET, into="extra")
    script.do(
        f"(global.set $stream (i32.load (i32.const {RESULT + 8})))"
        f"(global.set $other (i32.load (i32.const {RESULT + 12})))"
    )
    call("input-stream.blocking-read", STREAM, "(i64.const 64)", keep="list@4")
    call("output-stream.blocking-write-and-flush", OUT, b"and you")
    return script


def visit(port: int) -> bytes:
    """Say hello to who listens there, as soon as somebody does."""
    for _ in range(400):
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
                client.sendall(b"hello")
                return client.recv(64)
        except ConnectionRefusedError:
            time.sleep(0.05)
    return b""


def test_a_component_listens_where_it_may_and_nowhere_else(shared: Log) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with ThreadPoolExecutor(1) as pool:
        visitor = pool.submit(visit, port)
        rule = network(f'listen: ["tcp://127.0.0.1:{port}"]')
        told, rows, _ = run(shared, listening(port), rule)
        assert visitor.result() == b"and you"
    assert told["tcp-socket.start-bind"] == [DENIED, b"\x00"]
    assert told["tcp-socket.finish-bind"] == [b"\x00", b"\x01\x07"]
    assert told["tcp-socket.is-listening"] == [b"\x01"]
    assert told["tcp-socket.accept"] == [b"\x01\x08", b"\x00"]  # would block; then there is one
    assert told["input-stream.blocking-read"] == [b"\x00hello"]
    bound = [row for row in rows if names([row])[0] == "tcp-socket.start-bind"]
    assert [str(row["decision"]) for row in bound] == ["deny", "allow"]
    assert bound[1]["rule_id"]
