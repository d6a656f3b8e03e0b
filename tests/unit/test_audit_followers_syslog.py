"""Over each transport a message arrives as one frame, whatever a guest wrote; what was not read counts as not taken."""

from __future__ import annotations

import contextlib
import re
import socket
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.export.spelling import unspelt
from audit.export.syslog import Sender
from audit.followers.errors import SinkError
from audit.followers.refusals import Batch, Notice
from audit.followers.syslog import Form, SyslogAnchor, SyslogSink, address
from tests.export_rows import NASTY, T0, row, table
from tests.receivers import WAIT_S, Issuer, SyslogReceiver, published, raw_server
from tests.sealed_logs import small_log

HEAD = r"<(\d{1,3})>1 (\S+) ([!-~]+) wasmgate ([!-~]+) ([!-~]{1,32}) "
STRUCTURED = re.compile(
    HEAD + r'\[wasmgate@32473((?: [a-z0-9_]+="(?:[^"\\\]]|\\["\\\]])*")*)\] (.*)\Z', re.DOTALL
)
HOSTILE = 'a\n\r\x00]"\\\u2028\u202e\x1b[31m<13>1 - - - - - -\n40 x'
SENDER = Sender(hostname="node-1", process="7")


def values_of(message):
    match = STRUCTURED.match(message.decode())
    assert match, message
    found = dict(re.findall(r' ([a-z0-9_]+)="((?:[^"\\\]]|\\["\\\]])*)"', match[6]))
    return match, {name: re.sub(r'\\(["\\\]])', r"\1", value) for name, value in found.items()}


def batch(*targets, notices=()):
    rows = [row(seq=at, decision=2, errno=76, target=target) for at, target in enumerate(targets)]
    return Batch(table(rows), tuple(notices))


def over(scheme, port, tmp_path=None, **given):
    ca_file = tmp_path / "ca.pem" if tmp_path else None
    return SyslogSink(
        address(f"{scheme}://127.0.0.1:{port}", ca_file=ca_file, timeout_s=given.pop("timeout_s", WAIT_S)),
        SENDER,
        **given,
    )


def test_messages_over_tcp_are_counted_octets_and_hostile_text_stays_within():
    receiver = SyslogReceiver()
    with raw_server(receiver) as port:
        over("tcp", port).send(batch(HOSTILE, "/plain"))
    first, second = receiver.messages
    assert unspelt(values_of(first)[1]["target"]) == HOSTILE
    assert values_of(second)[1]["target"] == "/plain"
    assert all(len(message.splitlines()) == 1 for message in receiver.messages)
    assert (values_of(first)[1]["exec_id"], values_of(first)[1]["seq"]) == (row()["exec_id"], "0")


def test_messages_over_tls_reach_a_receiver_with_a_known_certificate(tmp_path):
    issuer, receiver = Issuer.make(), SyslogReceiver()
    (tmp_path / "ca.pem").write_bytes(issuer.pem)
    with raw_server(receiver, tls=issuer.server(tmp_path)) as port:
        over("tls", port, tmp_path).send(batch(HOSTILE))
    assert unspelt(values_of(receiver.messages[0])[1]["target"]) == HOSTILE


@pytest.mark.parametrize("address_of_server", ["127.0.0.1", "127.0.0.2"])
def test_a_receiver_with_another_certificate_gets_nothing(tmp_path, address_of_server):
    issuer, receiver = Issuer.make(), SyslogReceiver()
    root = issuer if address_of_server == "127.0.0.2" else Issuer.make()
    (tmp_path / "ca.pem").write_bytes(root.pem)
    with (
        raw_server(receiver, tls=issuer.server(tmp_path, address_of_server)) as port,
        pytest.raises(SinkError, match=r"(?i)certificate"),
    ):
        over("tls", port, tmp_path).send(batch("/x"))
    assert receiver.messages == []


def test_messages_over_udp_are_one_datagram_each():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        server.settimeout(WAIT_S)
        over("udp", server.getsockname()[1]).send(batch(HOSTILE, "/plain"))
        found = [server.recv(65_536) for _ in range(2)]
    assert [unspelt(values_of(message)[1]["target"]) for message in found] == [HOSTILE, "/plain"]


def test_messages_over_a_local_socket_are_one_datagram_each(tmp_path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        server.bind(str(tmp_path / "log"))
        server.settimeout(WAIT_S)
        SyslogSink(address(f"unix://{tmp_path}/log"), SENDER).send(batch(HOSTILE))
        assert unspelt(values_of(server.recv(65_536))[1]["target"]) == HOSTILE


def test_a_local_socket_that_nobody_reads_is_an_error_in_time(tmp_path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        server.bind(str(tmp_path / "log"))
        sink = SyslogSink(address(f"unix://{tmp_path}/log", timeout_s=0.2), SENDER)
        with pytest.raises(SinkError, match=r"not everything was taken within 0\.2 s"):
            sink.send(batch(*["/x" * 400] * 2_000))


def test_a_local_socket_that_is_not_there_is_an_error(tmp_path):
    with pytest.raises(SinkError, match="No such file"):
        SyslogSink(address(f"unix://{tmp_path}/log"), SENDER).send(batch("/x"))


def half(channel):
    channel.recv(10)


def reset(channel):
    channel.recv(10)
    channel.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def reads_and_stays(channel):
    content = b""
    while some := channel.recv(65_536):
        content += some
    channel.recv(1)  # the end was read, and nothing is said: until the other side gives up
    with contextlib.suppress(OSError):
        while True:
            channel.send(b".")


@pytest.mark.parametrize("server", [half, reset], ids=lambda one: one.__name__)
def test_a_receiver_that_dies_before_it_has_read_everything_has_not_taken_it(server):
    with raw_server(server) as port, pytest.raises(SinkError):
        over("tcp", port, timeout_s=5).send(batch(*["/x" * 400] * 300))


def test_a_receiver_that_never_closes_has_not_taken_it():
    with (
        raw_server(reads_and_stays) as port,
        pytest.raises(SinkError, match=r"not everything was taken within 0\.3 s"),
    ):
        over("tcp", port, timeout_s=0.3).send(batch("/x"))


def test_nobody_there_is_an_error():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(SinkError, match=f"tcp://127.0.0.1:{port}: Connection refused"):
        over("tcp", port).send(batch("/x"))


def test_cef_is_one_message_each_and_hostile_text_stays_within():
    receiver = SyslogReceiver()
    with raw_server(receiver) as port:
        over("tcp", port, form=Form.CEF).send(batch(HOSTILE, "/plain"))
    assert len(receiver.messages) == 2
    for message in receiver.messages:
        assert re.match(HEAD + r"- CEF:0\|wasmgate\|", message.decode())
        assert len(message.splitlines()) == 1


@given(NASTY, NASTY, st.none() | st.integers(0, 10**9))
def test_a_notice_is_one_line_whatever_it_says(key, text, count):
    sink = SyslogSink(address("tcp://127.0.0.1:1"), SENDER)
    message = sink._notice(Notice(key=key, at_ns=T0, word="gap", text=text, count=count))
    match, values = values_of(message)
    assert unspelt(values["key"]) == key
    assert len(message.splitlines()) == 1
    assert match[2] == "2026-11-18T11:06:40.123456Z"
    assert values.get("count") == (None if count is None else str(count))


def test_a_checkpoint_is_a_message_with_size_and_root(tmp_path):
    log, receiver = small_log(tmp_path), SyslogReceiver()
    signed = published(log.log)
    with raw_server(receiver) as port:
        SyslogAnchor(over("tcp", port)).send(signed, before=3)
    match, values = values_of(receiver.messages[0])
    head = signed.checkpoint
    assert values == {"origin": head.origin, "size": str(head.size), "root": head.root.hex(), "before": "3"}
    assert match[7] == f"checkpoint of {head.size} leaves, root {head.root.hex()}"


@pytest.mark.parametrize(
    "text",
    ["", "siem:514", "tls://", "tls://a:99999", "tls://a/x", "tls://u@a", "unix://x/y", "unix:", "http://127.0.0.1", "tcp://192.0.2.1",
     "udp://siem.example", "tls://a b", "tls://a?x"],
)  # fmt: skip
def test_an_address_that_is_refused(text):
    with pytest.raises(ValueError, match="tls://host:port"):
        address(text)


def test_an_address_that_may_be():
    assert address("tls://siem.example").shown == "tls://siem.example:6514"
    assert address("tcp://[::1]:5").shown == "tcp://[::1]:5"
    assert address("udp://192.0.2.1", unsafe_plain=True).port == 514
