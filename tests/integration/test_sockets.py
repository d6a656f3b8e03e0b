"""Sockets of guests of WASI 0.1, in whole runs: what a policy grants happens, and nothing else does."""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest

from audit.columns import Stage
from audit.network_use import COUNTED
from audit.receipt import OutcomeKind
from policy.errors import PolicyError
from policy.plan import Plan
from sandbox.shared_memory import make_readable
from tests.escape.guests import STDIO, Played, interpreter, play
from tests.guests import OUTSIDE, Script, Slot
from tests.runs import Log, policy

INET, INET6, DGRAM, STREAM = 1, 2, 1, 2
NOTCAPABLE, NOTSOCK, BADF, AGAIN, DQUOT, INVAL, AFNOSUPPORT, NOPROTOOPT = 76, 57, 8, 6, 19, 28, 5, 50
MFILE = 33
LOCAL4, LOCAL6 = socket.inet_pton(socket.AF_INET, "127.0.0.1"), socket.inet_pton(socket.AF_INET6, "::1")


@dataclass(slots=True)
class Server:
    """Answers in capitals, and counts who comes."""

    port: int
    taken: list[tuple[str, int]] = field(default_factory=list)


@contextmanager
def tcp(host: str = "127.0.0.1") -> Iterator[Server]:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, 0), family=family) as listening:
        server = Server(listening.getsockname()[1])

        def answer(one: socket.socket) -> None:
            with one, contextlib.suppress(ConnectionError):  # a guest that ends with bytes unread
                while data := one.recv(1 << 16):
                    one.sendall(data.upper())

        def serve() -> None:
            while True:
                try:
                    one, peer = listening.accept()
                except OSError:
                    return
                server.taken.append(peer[:2])
                threading.Thread(target=answer, args=(one,), daemon=True).start()

        threading.Thread(target=serve, daemon=True).start()
        yield server
        listening.shutdown(socket.SHUT_RDWR)


@contextmanager
def udp() -> Iterator[Server]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as bound:
        bound.bind(("127.0.0.1", 0))
        server = Server(bound.getsockname()[1])

        def serve() -> None:
            while True:
                try:
                    data, peer = bound.recvfrom(1 << 16)
                except OSError:
                    return
                if not data:
                    return
                server.taken.append(peer)
                bound.sendto(data.upper(), peer)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield server
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as last:
            last.sendto(b"", ("127.0.0.1", server.port))
        thread.join()


def network(rules: str, *, limits: str = "", more: str = "", stdio: str = STDIO) -> Plan:
    return policy(
        f"permissions:\n{stdio}  network: {{{rules}}}\nresources: {{limits: {{timeout: 20s{limits}}}}}\n{more}"
    )


def opened(script: Script, kind: int = STREAM, family: int = INET) -> Slot:
    slot = Slot(script.out(4))
    script.call("sock_open", family, kind, slot.at)
    return slot


def address(script: Script, raw: bytes) -> int:
    at = script.put(raw)
    return script.put(struct.pack("<II", at, len(raw)), 4)


def connect(
    script: Script, port: int, raw: bytes = LOCAL4, fd: Slot | None = None, family: int = INET
) -> Slot:
    fd = fd or opened(script, family=family)
    script.call("sock_connect", fd, address(script, raw), port)
    return fd


def send(script: Script, fd: Slot | int, data: bytes) -> None:
    sent = script.out(4)
    script.call("sock_send", fd, *script.vectors(script.text(data)), 0, sent, window=(sent, 4))


def receive(script: Script, fd: Slot | int, room: int, flags: int = 0) -> None:
    """Receive into two buffers; the window has the bytes and, behind them, how many."""
    at = script.out(room + 4, 4)
    first = room // 2
    vectors = script.vectors((at, first), (at + first, room - first))
    script.call("sock_recv", fd, *vectors, flags, at + room, script.out(4), window=(at, room + 4))


def received(window: bytes) -> bytes:
    return window[: struct.unpack_from("<I", window, len(window) - 4)[0]]


def counts(played: Played) -> dict[str, int]:
    used = played.execution.receipt.network
    assert used is not None
    assert used.is_complete
    return dict(zip(COUNTED, used.counts, strict=True))


def asked(played: Played, *names: str) -> list[tuple[object, ...]]:
    return [tuple(row[name] for name in names) for row in played.rows]


def test_a_guest_talks_to_who_is_granted_and_the_record_names_the_rule_and_the_place(log: Log):
    with tcp() as server:
        script = Script()
        fd = connect(script, server.port)
        send(script, fd, b"hello")
        receive(script, fd, 20)
        script.call("sock_shutdown", fd, 3)
        script.call("fd_close", fd)
        played = play(log, network(f"tcp: [{{id: echo, to: 127.0.0.1, ports: [{server.port}]}}]"), script)
    place = f"127.0.0.1:{server.port}"
    assert played.errnos == [0] * 6
    assert received(played.seen[3].window) == b"HELLO"
    assert asked(played, "decision", "rule_id", "target", "bytes_in", "bytes_out") == [
        ("allow", None, None, 0, 0),
        ("allow", "echo", place, 0, 0),
        ("allow", None, place, 0, 5),
        ("allow", None, place, 5, 0),
        ("allow", None, place, 0, 0),
        ("allow", None, place, 0, 0),
    ]
    used = counts(played)
    assert (used["sockets"], used["connects"], used["bytes_in"], used["bytes_out"]) == (1, 1, 5, 5)
    assert (used["refused"], used["forged"], used["unasked"]) == (0, 0, 0)
    assert "seccomp" not in (played.execution.receipt.missing_walls or ())


@pytest.mark.parametrize(
    ("rules", "rule"),
    [
        ("tcp: [{id: other, to: 127.0.0.1, ports: [1]}]", "builtin.loopback"),
        ("tcp: [{to: 203.0.113.7, ports: ['1-65535']}]", "builtin.loopback"),
        ("udp: [{to: 127.0.0.1, ports: ['1-65535']}]", "builtin.loopback"),
        ("tcp: [{to: 127.0.0.0/8, ports: ['1-65535']}], deny: [{id: no, to: 127.0.0.1}]", "no"),
    ],
)
def test_a_connection_that_no_rule_grants_never_leaves(log: Log, rules, rule):
    with tcp() as server:
        script = Script()
        connect(script, server.port)
        played = play(log, network(rules), script)
        assert server.taken == []
    assert played.errnos == [0, NOTCAPABLE]
    assert asked(played, "decision", "rule_id", "target")[1] == ("deny", rule, f"127.0.0.1:{server.port}")
    assert counts(played)["refused"] == 1
    refusal = played.execution.receipt.refusals[0]
    assert (refusal.call, refusal.rule) == ("sock_connect", rule)


def test_every_form_of_an_address_is_judged_as_what_it_is(log: Log):
    mapped = bytes(10) + b"\xff\xff" + LOCAL4
    with tcp() as server:
        script = Script()
        connect(script, server.port, mapped, opened(script, family=INET6))
        connect(script, server.port, mapped)  # an IPv4 socket, and the same address
        connect(script, server.port, struct.pack("<H", INET) + LOCAL4 + bytes(122))  # as newer guests have it
        connect(script, server.port, b"\x00" * 4)
        script.call("sock_connect", opened(script), address(script, b"\x7f\x00\x01"), server.port)
        rules = f"tcp: [{{id: echo, to: 127.0.0.1, ports: [{server.port}]}}]"
        played = play(log, network(rules), script)
        refused = play(log, network("tcp: [{to: 192.0.2.1, ports: [1]}]"), script)
    connects = [seen.errno for seen in played.seen if seen.name == "sock_connect"]
    assert connects == [AFNOSUPPORT, 0, 0, NOTCAPABLE, INVAL]
    assert len(server.taken) == 2
    assert [seen.errno for seen in refused.seen if seen.name == "sock_connect"] == [NOTCAPABLE] * 4 + [INVAL]
    targets = {row["target"] for row in played.rows if row["call"] == "wasi_snapshot_preview1.sock_connect"}
    assert targets == {f"127.0.0.1:{server.port}", f"0.0.0.0:{server.port}", None}


def test_without_a_network_in_the_policy_each_call_is_refused_by_name_and_no_broker_starts(log: Log):
    script = Script()
    script.call("sock_open", INET, STREAM, script.out(4))
    script.call("sock_getaddrinfo", *script.text("localhost"), 0, 0, 0, 0, 0, script.out(4))
    script.call("sock_send", 1, 0, 0, 0, script.out(4))
    played = play(log, policy(f"permissions:\n{STDIO}"), script)
    assert asked(played, "decision", "rule_id", "errno") == [("deny", "network.none", NOTCAPABLE)] * 3
    assert played.execution.receipt.network is None


def test_in_audit_mode_nothing_is_reached_that_a_policy_without_a_network_does_not_name(log: Log):
    with tcp() as server:
        script = Script()
        connect(script, server.port)
        played = play(log, policy(f"mode: audit\npermissions:\n{STDIO}"), script)
        assert server.taken == []
    assert played.decisions == ["would_deny"] * 2


def test_datagrams_are_decided_one_by_one(log: Log):
    with udp() as server, udp() as other:
        script = Script()
        fd = opened(script, DGRAM)
        for port in (server.port, other.port):
            out = script.out(4)
            place = address(script, LOCAL4)
            script.call("sock_send_to", fd, *script.vectors(script.text("ping")), place, port, 0, out)
        at, whom = script.out(8), script.put(struct.pack("<II", script.out(128), 128), 4)
        script.call(
            "sock_recv_from", fd, *script.vectors((at, 8)), whom, 0, script.out(4), script.out(4), script.out(4),
            window=(at, 4),
        )  # fmt: skip
        played = play(log, network(f"udp: [{{id: one, to: 127.0.0.1, ports: [{server.port}]}}]"), script)
        assert (len(server.taken), other.taken) == (1, [])
    assert played.errnos == [0, 0, NOTCAPABLE, 0]
    assert played.seen[3].window == b"PING"
    assert asked(played, "rule_id", "target")[1:] == [
        ("one", f"127.0.0.1:{server.port}"),
        ("builtin.loopback", f"127.0.0.1:{other.port}"),
        (None, f"127.0.0.1:{server.port}"),
    ]


def test_a_guest_listens_where_it_may_and_nowhere_else(log: Log):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    script = Script()
    fd, taken = opened(script), Slot(script.out(4))
    script.call("sock_bind", fd, address(script, LOCAL4), port + 1 if port < 65_535 else port - 1)
    script.call("sock_bind", fd, address(script, LOCAL4), port)
    script.call("sock_listen", fd, 5)
    script.call("sock_accept", fd, 0, taken.at)
    receive(script, taken, 8)
    send(script, taken, b"answer")
    answers: list[bytes] = []

    def come() -> None:
        for _ in range(2_000):
            try:
                with socket.create_connection(("127.0.0.1", port), 0.01) as one:
                    one.settimeout(20)
                    one.sendall(b"question")
                    answers.append(one.recv(100))
                    return
            except (ConnectionRefusedError, TimeoutError):
                threading.Event().wait(0.01)

    thread = threading.Thread(target=come)
    thread.start()
    played = play(log, network(f'listen: ["tcp://127.0.0.1:{port}"]'), script)
    thread.join()
    assert played.errnos == [0, NOTCAPABLE, 0, 0, 0, 0, 0]
    assert answers == [b"answer"]
    assert received(played.seen[5].window) == b"question"
    assert str(played.rows[4]["target"]).startswith("127.0.0.1:")
    assert (played.rows[5]["target"], played.rows[5]["opener_seq"]) == (
        played.rows[4]["target"],
        played.rows[4]["seq"],
    )


def test_a_name_opens_what_it_leads_to_in_this_run_and_not_before(log: Log):
    with tcp() as server:
        rules = f"tcp: [{{id: named, to: localhost, ports: [{server.port}]}}], dns: {{names: [localhost], max_queries: 1}}"
        script = Script()
        connect(script, server.port)
        hints = script.put(struct.pack("<HBBIIIIII", 0, INET, STREAM, 0, 0, 0, 0, 0, 0))
        data = script.out(26)
        place = script.put(struct.pack("<BxxxII", 0, 0, data), 4)
        item = script.put(struct.pack("<HBBIIIIII", 0, 0, 0, 0, 0, place, 0, 0, 0), 4)
        pointer, found = script.put(struct.pack("<I", item), 4), script.out(4)
        for name in ("localhost\0", "localhost", "elsewhere.example"):
            script.call(
                "sock_getaddrinfo", *script.text(name), *script.text("8080"), hints, pointer, 1, found,
                window=(data, 6),
            )  # fmt: skip
        connect(script, server.port)
        played = play(log, network(rules), script)
    errnos = [seen.errno for seen in played.seen]
    # an address of the machine itself stays closed to a name that leads there
    assert errnos == [0, NOTCAPABLE, 0, DQUOT, NOTCAPABLE, 0, NOTCAPABLE]
    assert played.seen[2].window == struct.pack(">H", 8080) + LOCAL4
    assert asked(played, "decision", "rule_id", "target")[2:5] == [
        ("allow", played.rows[2]["rule_id"], "localhost"),
        ("limit", "limit.queries", "localhost"),
        ("deny", "default", "elsewhere.example"),
    ]
    assert server.taken == []


@pytest.mark.parametrize(
    ("limit", "rule", "errnos"),
    [
        ("", None, [0, 0, 0, 0, 0, 0]),
        (", connections: 1", "limit.connections", [0, 0, 0, 0, 0, DQUOT]),
        (", net_out: 4", None, [0, 0, 0, 0, 0, 0]),
        (", net_out: 0", "limit.net_out", [0, 0, DQUOT, AGAIN, 0, 0]),
        (", net_in: 0", "limit.net_in", [0, 0, 0, DQUOT, 0, 0]),
    ],
)
def test_a_budget_that_is_spent_is_named(log: Log, limit, rule, errnos):
    with tcp() as server:
        script = Script()
        fd = connect(script, server.port)
        send(script, fd, b"hello")
        if AGAIN in errnos:
            script.call("fd_fdstat_set_flags", fd, 4)
        receive(script, fd, 20)
        connect(script, server.port)
        plan = network(f"tcp: [{{id: echo, to: 127.0.0.1, ports: [{server.port}]}}]", limits=limit)
        played = play(log, plan, script)
    assert [seen.errno for seen in played.seen if seen.name != "fd_fdstat_set_flags"] == errnos
    limited = [row for row in played.rows if row["decision"] == "limit"]
    assert {row["rule_id"] for row in limited} == ({rule} if rule else set())
    if limit == ", net_out: 4":
        assert received(played.seen[3].window) == b"HELL"


@pytest.mark.parametrize("way", ["one big", "many small"])
def test_a_budget_of_bytes_holds_for_one_call_and_for_thousands(log: Log, way):
    with tcp() as server:
        script = Script()
        fd = connect(script, server.port)
        if way == "one big":
            send(script, fd, b"x" * 30_000)
            send(script, fd, b"x")
        else:
            send(script, fd, b"x")
            script.loop(5_000, 1)
        plan = network(f"tcp: [{{to: 127.0.0.1, ports: [{server.port}]}}]", limits=", net_out: 2000")
        stdin = make_readable("script", script.image())
        os.lseek(stdin, 0, os.SEEK_SET)
        try:
            execution = log.run(interpreter(), plan, stdin_fd=stdin)
        finally:
            os.close(stdin)
    rows = log.check(execution)
    assert (
        sum(int(row["bytes_out"] or 0) for row in rows if row["call"] == "wasi_snapshot_preview1.sock_send")
        == 2_000
    )
    used = execution.receipt.network
    assert used is not None
    assert dict(zip(COUNTED, used.counts, strict=True))["bytes_out"] == 2_000
    limited = [row for row in rows if row["decision"] == "limit"]
    assert {row["rule_id"] for row in limited} == {"limit.net_out"}
    assert len(limited) == (1 if way == "one big" else 3_001)


def test_sockets_are_open_descriptors_like_others(log: Log):
    script = Script()
    first = opened(script)
    opened(script)
    opened(script)
    script.call("sock_accept", first, 0, script.out(4))
    script.call("fd_close", first)
    opened(script)
    played = play(log, network("tcp: [{to: 127.0.0.1, ports: [1]}]", limits=", open_files: 2"), script)
    assert played.errnos == [0, 0, MFILE, MFILE, 0, 0]
    assert [row["rule_id"] for row in played.rows if row["decision"] == "limit"] == ["limit.open_files"] * 2


def test_what_is_no_socket_is_none_and_what_is_none_at_all_neither(log: Log):
    script = Script()
    for fd in (1, 7, 4_160, 4_161, 5_183, 5_184, 0x7FFF_FFFF):
        script.call("sock_shutdown", fd, 3)
        script.call("fd_read", fd, *script.vectors((script.out(4), 4)), script.out(4))
    made = opened(script)
    script.call("fd_close", made)
    script.call("sock_shutdown", made, 3)
    script.call("fd_seek", made, 0, 0, script.out(8))
    script.call("fd_renumber", made, 1)
    played = play(log, network("tcp: [{to: 127.0.0.1, ports: [1]}]"), script)
    assert played.errnos[:2] == [NOTSOCK, played.errnos[1]]
    assert played.errnos[2:14] == [BADF] * 12
    assert played.errnos[14:] == [0, 0, BADF, BADF, BADF]


def test_options_and_places_are_told(log: Log):
    with tcp() as server:
        script = Script()
        fd = connect(script, server.port)
        told = script.out(12, 4)
        where = script.put(struct.pack("<II", told, 4), 4)
        script.call("sock_getpeeraddr", fd, where, told + 4, told + 8, window=(told, 12))
        script.call("sock_getlocaladdr", fd, where, told + 4, told + 8, window=(told, 8))
        flag, size = script.out(4), script.out(4)
        script.call("sock_getsockopt", fd, 0, 1, flag, size, window=(flag, 4))
        script.call("sock_setsockopt", fd, 0, 7, script.put(struct.pack("<I", 1), 4), 4)
        script.call("sock_getsockopt", fd, 0, 7, flag, size, window=(flag, 4))
        script.call("sock_setsockopt", fd, 0, 4, flag, 4)  # broadcast
        stat = script.out(24)
        script.call("fd_fdstat_get", fd, stat, window=(stat, 4))
        played = play(log, network(f"tcp: [{{to: 127.0.0.1, ports: [{server.port}]}}]"), script)
    seen = played.seen[2:]
    assert [each.errno for each in seen] == [0, 0, 0, 0, 0, NOPROTOOPT, 0]
    assert seen[0].window == LOCAL4 + struct.pack("<II", 4, server.port)
    assert seen[1].window == LOCAL4 + struct.pack("<I", 4)
    assert (seen[2].window, seen[4].window) == (struct.pack("<I", STREAM), struct.pack("<I", 1))
    assert seen[6].window == bytes([6, 0, 0, 0])


def test_sockets_and_clocks_are_waited_for_together(log: Log):
    def subscription(userdata: int, tag: int, what: bytes) -> bytes:
        return struct.pack("<QB7x", userdata, tag) + what.ljust(32, b"\0")

    with tcp() as server:
        script = Script()
        fd = connect(script, server.port)
        script.call("fd_fdstat_set_flags", fd, 4)
        receive(script, fd, 8)  # nothing there yet
        clock = subscription(1, 0, struct.pack("<IxxxxQQH", 1, 30_000_000, 0, 0))
        reading = script.put(clock + subscription(2, 1, bytes(4)), 8)
        events, n = script.out(64), script.out(4)
        # the number of the socket is known when the script runs
        script.copy(reading + 48 + 16, fd.at, 4)
        script.call("poll_oneoff", reading, events, 2, n, window=(events, 64))
        send(script, fd, b"x")
        late = script.put(
            subscription(1, 0, struct.pack("<IxxxxQQH", 1, 10_000_000_000, 0, 0))
            + subscription(2, 1, bytes(4)),
            8,
        )
        script.copy(late + 48 + 16, fd.at, 4)
        script.call("poll_oneoff", late, events, 2, n, window=(events, 64))
        receive(script, fd, 8)
        played = play(log, network(f"tcp: [{{to: 127.0.0.1, ports: [{server.port}]}}]"), script)
    assert [each.errno for each in played.seen if each.name != "copy"] == [0, 0, 0, AGAIN, 0, 0, 0, 0]
    first, second = (each.window for each in played.seen if each.name == "poll_oneoff")
    assert struct.unpack_from("<QHB", first) == (1, 0, 0)
    assert struct.unpack_from("<QHB", second) == (2, 0, 1)
    assert received(played.seen[-1].window) == b"X"


def test_what_a_rule_over_time_takes_away_is_gone_also_for_connections_that_stand(log: Log, tmp_path):
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys" / "k").write_bytes(b"key")
    with tcp() as server:
        stdio = STDIO + (
            f'  storage: {{allow: [{{uri: "fs://{tmp_path}/keys/**", mount: /keys, access: [read, list]}}]}}\n'
        )
        rules = f"tcp: [{{id: echo, to: 127.0.0.1, ports: [{server.port}]}}]"
        later = f'rules: [{{id: sealed, when: {{opened: "fs://{tmp_path}/keys/**"}}, then: {{deny: [network.tcp], for: run}}}}]\n'
        script = Script()
        fd = connect(script, server.port)
        send(script, fd, b"one")
        script.open("k")
        send(script, fd, b"two")
        connect(script, server.port)
        script.call("fd_close", fd)
        played = play(log, network(rules, more=later, stdio=stdio), script)
        before = play(log, network(rules, stdio=stdio), script)
    assert played.errnos == [0, 0, 0, 0, NOTCAPABLE, 0, NOTCAPABLE, 0]
    assert [row["rule_id"] for row in played.rows if row["decision"] == "deny"] == ["sealed", "sealed"]
    assert before.errnos == [0] * 8


@pytest.mark.parametrize(
    "call", ["sock_connect", "sock_bind", "sock_getaddrinfo", "sock_send", "sock_recv", "sock_open"]
)
def test_a_place_outside_the_memory_ends_the_guest_and_is_on_record(log: Log, call):
    script = Script()
    fd = opened(script)
    inside = address(script, LOCAL4)
    beside = script.put(struct.pack("<II", OUTSIDE, 4), 4)
    match call:
        case "sock_connect":
            script.call(call, fd, OUTSIDE, 80)
        case "sock_bind":
            script.call(call, fd, beside, 80)
        case "sock_getaddrinfo":
            script.call(call, OUTSIDE, 4, inside, 0, inside, inside, 1, inside)
        case "sock_send":
            script.call(call, fd, OUTSIDE, 1, 0, inside)
        case "sock_recv":
            script.call(call, fd, OUTSIDE, 1, 0, inside, inside)
        case _:
            script.call(call, INET, STREAM, OUTSIDE)
    stdin = make_readable("script", script.image())
    os.lseek(stdin, 0, os.SEEK_SET)
    try:
        plan = network("tcp: [{to: 127.0.0.1, ports: [80]}], dns: {names: [localhost]}")
        execution = log.run(interpreter(), plan, stdin_fd=stdin)
    finally:
        os.close(stdin)
    assert execution.receipt.outcome.kind is OutcomeKind.TRAPPED
    last = log.check(execution)[-1]
    assert (last["call"], last["stage"]) == (f"wasi_snapshot_preview1.{call}", int(Stage.TRAP))


def test_a_deterministic_run_has_no_network(log: Log):
    script = Script()
    opened(script)
    plan = network("tcp: [{to: 127.0.0.1, ports: [1]}]", more="runtime: {deterministic: true}\n")
    outcome = log.run(b"\0asm\1\0\0\0", plan).receipt.outcome
    assert outcome.kind is OutcomeKind.REFUSED
    assert "network" in (outcome.message or "")


def test_requests_are_not_enforced_yet():
    with pytest.raises(PolicyError, match=r"network\.http"):
        network('http: [{url: "https://example.com"}]')
