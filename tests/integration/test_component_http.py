"""Requests of components, over loopback: each rule about them, kept and broken, and what a server then saw.

What a request is decided by is tried alone in `tests/unit/test_policy_network_*.py`.
"""

from __future__ import annotations

import mmap
import os
import socket
import ssl
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
import wasmtime
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from wasmtime import component as wasmtime_component

from api.report import refusal_groups
from audit.query import Row
from audit.receipt import OutcomeKind
from policy.plan import Plan
from sandbox.cache import ArtifactCache
from sandbox.network.brief import Supplies
from sandbox.network.brokers import BrokerHandle
from sandbox.network.channel import Channel
from sandbox.network.http_head import FIELD, HEAD
from sandbox.network.protocol import DATA_AT, OF_SOCKETS, Op, Protocol, Reply, Status
from sandbox.runner import Execution
from tests.component_scripts import RESULT, ComponentScript
from tests.http_scripts import EXTRA, FIELDS, FUTURE, REQUEST, RESPONSE, Asking, asking, serving
from tests.runs import Log, open_log, policy
from tests.wasi2 import HTTP_CODES

Told = dict[str, list[bytes]]
ANSWERED = b"\x01\x00\x00"
SECRET = "Bearer 7d1f-not-for-guests"


def network(text: str) -> Plan:
    return policy(f"permissions:\n  network:\n    {text}\n")


def rule(port: int, more: str = "access: full", *, host: str = "127.0.0.1", scheme: str = "http") -> Plan:
    return network(f'http: [{{id: there, url: "{scheme}://{host}:{port}", {more}}}]')


def here(port: int, **asked: object) -> ComponentScript:
    return asking(Asking(authority=f"127.0.0.1:{port}", **asked))  # type: ignore[arg-type]  # each test knows its own


def run(log: Log, script: ComponentScript, plan: Plan) -> tuple[Told, list[Row], Execution]:
    execution = log.run(script.component(), plan)
    assert execution.receipt.outcome.kind is OutcomeKind.EXITED, execution.receipt.outcome
    told: Told = {}
    for name, what in script.told(execution.stdout):
        told.setdefault(name, []).append(what)
    return told, log.check(execution), execution


def of(rows: list[Row], name: str) -> list[Row]:
    return [row for row in rows if str(row["call"]).endswith(f".{name}")]


def failed(code: str) -> bytes:
    """What `future-incoming-response.get` tells of a failure."""
    return bytes([1, 0, 0, 1, HTTP_CODES.index(code)])


def test_a_request_that_a_rule_grants_is_made_and_is_on_record(shared: Log) -> None:
    with serving() as server:
        script = here(server.port, path="/a/b?c=d", headers=((b"X-One", b"1"), (b"x-one", b" 2 ")))
        told, rows, execution = run(shared, script, rule(server.port, 'access: read-only, paths: ["/a/**"]'))
    url = f"GET http://127.0.0.1:{server.port}/a/b?c=d"
    assert told["future-incoming-response.get"][0][:3] == ANSWERED
    assert told["status"] == [b"\xc8\x00"]
    assert told["fields.get"] == [b"/a/b?c=d"]
    assert told["fields.append"] == [b"\x00", b"\x00", b"\x01\x02"]  # those of an answer are fixed
    assert [one[:1] for one in told["incoming-response.consume"]] == [b"\x00", b"\x01"]
    assert told["input-stream.blocking-read"] == [b"\x00hello /a/b?c=d", b"\x01\x01", b"\x01\x01"]
    (seen,) = server.seen
    assert seen.line == "GET /a/b?c=d"
    assert seen.headers == {"Host": f"127.0.0.1:{server.port}", "Connection": "close", "x-one": "2"}
    assert {row["decision"] for row in rows} == {"allow"}
    (handled,) = of(rows, "handle")
    assert (handled["target"], handled["rule_id"]) == (url, "there")
    assert {row["target"] for row in rows if row["opener_seq"] == handled["seq"]} == {url}
    assert [row["flags"] for row in of(rows, "get")[:1]] == [200]
    (last,) = of(rows, "finish")
    assert (last["target"], last["flags"]) == (url, 200 | 14 << 16)
    account = execution.receipt.network
    assert account is not None
    (made,) = account.requests
    assert (made.request, made.rule) == (f"GET http://127.0.0.1:{server.port}", "there")
    assert (made.status, made.bytes_out, made.bytes_in) == (200, 0, 14)
    moved = [
        sum(int(row[name] or 0) for row in rows if row["target"] == url) for name in ("bytes_in", "bytes_out")
    ]
    assert tuple(moved) == account.counts[4:6]


@pytest.mark.parametrize(
    ("asked", "grant"),
    [
        ({"method": "POST", "late": b"x"}, "access: read-only"),
        ({"method": "PURGE"}, "methods: [GET]"),
        ({"path": "/b"}, 'access: full, paths: ["/a/**"]'),
        ({"path": "/a/../b"}, 'access: full, paths: ["/a/**"]'),
        ({"path": "/a/%2e%2e/b"}, 'access: full, paths: ["/a/**"]'),
        ({"headers": ((b"COOKIE", b"x"),)}, "access: full, headers: {deny: [Cookie]}"),
    ],
)
def test_what_no_rule_grants_is_refused_and_never_sent(
    shared: Log, asked: dict[str, object], grant: str
) -> None:
    with serving() as server:
        told, rows, _ = run(shared, here(server.port, **asked), rule(server.port, grant))
        granted, allowed, _ = run(shared, here(server.port), rule(server.port, grant))
    assert len(server.seen) == 1  # the twin's
    assert told["outgoing-handler.handle"] == [bytes([1, HTTP_CODES.index("HTTP-request-denied")])]
    assert "status" not in told
    (handled,) = of(rows, "handle")
    assert (handled["decision"], handled["errno"]) == ("deny", 76)
    is_header = "headers" in asked
    assert handled["rule_id"] in (("there",) if is_header else ("default", "builtin.request"))
    assert str(handled["target"]).endswith(str(asked.get("path", "/a")))
    assert granted["status"] == [b"\xc8\x00"]
    assert of(allowed, "handle")[0]["rule_id"] == "there"


@pytest.mark.parametrize(
    ("url", "named"),
    [("http://127.0.0.1:{other}", "127.0.0.1:{port}"), ("https://127.0.0.1:{port}", "127.0.0.1:{port}")],
)
def test_another_port_or_scheme_is_another_place(shared: Log, url: str, named: str) -> None:
    with serving() as server:
        at = {"port": server.port, "other": server.port ^ 1}
        plan = network(f'http: [{{id: there, url: "{url.format(**at)}", access: full}}]')
        told, rows, _ = run(shared, asking(Asking(authority=named.format(**at))), plan)
    assert not server.seen
    assert told["outgoing-handler.handle"] == [bytes([1, HTTP_CODES.index("HTTP-request-denied")])]
    assert [row["decision"] for row in of(rows, "handle")] == ["deny"]


def test_a_report_says_where_a_request_is_granted(shared: Log) -> None:
    with serving() as server:
        plan = rule(server.port, 'access: full, paths: ["/b"]')
        _, _, execution = run(shared, here(server.port), plan)
    (group,) = refusal_groups(plan, execution.refused)
    assert group.rule == "default"
    assert group.allow == "add what is named here to permissions.network.http"
    assert group.calls == ((f"outgoing-handler.handle GET http://127.0.0.1:{server.port}/a", 1),)


def test_without_a_rule_there_is_no_broker_and_the_request_is_named_all_the_same(shared: Log) -> None:
    with serving() as server:
        told, rows, execution = run(shared, here(server.port), policy())
    assert not server.seen
    assert told["outgoing-handler.handle"] == [bytes([1, HTTP_CODES.index("HTTP-request-denied")])]
    (handled,) = of(rows, "handle")
    assert (handled["decision"], handled["rule_id"]) == ("deny", "network.none")
    assert handled["target"] == f"GET http://127.0.0.1:{server.port}/a"
    assert execution.receipt.network is None


def test_a_name_that_leads_to_this_machine_is_refused_when_it_is_found_out(shared: Log) -> None:
    with serving() as server:
        script = asking(Asking(authority=f"localhost:{server.port}"))
        told, rows, execution = run(shared, script, rule(server.port, host="localhost"))
    assert not server.seen
    assert told["future-incoming-response.get"] == [failed("destination-IP-prohibited")]
    (handled,), (got,) = of(rows, "handle"), of(rows, "get")
    assert handled["decision"] == "allow"
    assert (got["decision"], got["rule_id"], got["errno"]) == ("deny", "builtin.loopback", 76)
    assert execution.receipt.network is not None


@pytest.mark.parametrize(
    "authority",
    ["127.0.0.1:{port}@example.com", "0x7f.1:{port}", "127.1:{port}"],
)
def test_other_spellings_lead_nowhere(shared: Log, authority: str) -> None:
    with serving() as server:
        script = asking(Asking(authority=authority.format(port=server.port)))
        told, rows, _ = run(shared, script, rule(server.port))
    assert told["outgoing-handler.handle"][0][0] == 1
    (handled,) = of(rows, "handle")
    assert handled["errno"] != 0
    assert not server.seen


@pytest.mark.parametrize(("early", "late"), [(b"before", b""), (b"", b"after"), (b"before ", b"after")])
def test_a_body_is_sent_whenever_it_is_written(shared: Log, early: bytes, late: bytes) -> None:
    with serving() as server:
        script = here(server.port, method="POST", early=early, late=late)
        told, rows, execution = run(shared, script, rule(server.port))
    (seen,) = server.seen
    assert (seen.line, seen.body) == ("POST /a", early + late)
    assert seen.headers["Transfer-Encoding"] == "chunked"
    assert told["input-stream.blocking-read"][0] == b"\x00you sent " + early + late
    network_use = execution.receipt.network
    assert network_use is not None
    assert network_use.requests[0].bytes_out == len(early + late)
    assert {row["decision"] for row in rows} == {"allow"}


@pytest.mark.parametrize(
    ("said", "is_sent"), [(b"5", True), (b"4", False), (b"6", False), (b"05", False), (b"-1", False)]
)
def test_a_body_has_the_length_that_was_said(shared: Log, said: bytes, is_sent: bool) -> None:
    with serving() as server:
        headers = ((b"content-length", said),)
        script = here(server.port, method="POST", late=b"12345", headers=headers)
        told, _, _ = run(shared, script, rule(server.port))
    # what is shorter than was said is no whole request: the connection ends before
    assert all(is_sent or len(seen.body) < int(said) for seen in server.seen)
    assert ("status" in told) == is_sent
    if is_sent:
        assert [seen.body for seen in server.seen] == [b"12345"]
        assert server.seen[0].headers["content-length"] == "5"
        assert "Transfer-Encoding" not in server.seen[0].headers


def test_a_body_that_is_given_up_is_no_request(shared: Log) -> None:
    with serving() as server:
        script = here(server.port, method="POST", late=b"half", is_dropped=True)
        told, _, _ = run(shared, script, rule(server.port))
    assert told["future-incoming-response.get"][0] == failed("HTTP-response-incomplete")
    assert not server.seen


@pytest.mark.parametrize(
    ("bound", "asked", "is_within"),
    [
        ("max_request_bytes: 5", {"method": "POST", "late": b"12345"}, True),
        ("max_request_bytes: 4", {"method": "POST", "late": b"12345"}, False),
        ("max_response_bytes: 100", {"path": "/big/100"}, True),
        ("max_response_bytes: 99", {"path": "/big/100"}, False),
        ("max_response_bytes: 40", {"path": "/pieces/10"}, True),
        ("max_response_bytes: 39", {"path": "/pieces/10"}, False),
    ],
)
def test_a_rule_bounds_bodies(shared: Log, bound: str, asked: dict[str, object], is_within: bool) -> None:
    with serving() as server:
        _, rows, _ = run(
            shared, here(server.port, reads=20, **asked), rule(server.port, f"access: full, {bound}")
        )
    limited = [row for row in rows if row["decision"] == "limit"]
    assert bool(limited) != is_within
    for row in limited:
        assert (row["rule_id"], row["reason"], row["errno"]) == ("there", "budget", 19)
    read = sum(int(row["bytes_in"] or 0) for row in of(rows, "blocking-read"))
    if "path" in asked:
        assert (read == (100 if "big" in bound + str(asked) else 40)) == is_within


def test_how_an_answer_travelled_is_not_told(shared: Log) -> None:
    with serving() as server:
        told, _, _ = run(shared, here(server.port, path="/pieces/3"), rule(server.port))
    assert told["fields.has"] == [b"\x00"]
    assert told["input-stream.blocking-read"][0][1:].startswith(b"many")


@pytest.mark.parametrize("word", ["recheck", "refuse"])
def test_a_redirect_is_given_or_withheld_and_never_followed(shared: Log, word: str) -> None:
    with serving() as server:
        told, rows, _ = run(
            shared, here(server.port, path="/moved"), rule(server.port, f"access: full, redirects: {word}")
        )
    assert [seen.line for seen in server.seen] == ["GET /moved"]
    if word == "recheck":
        assert told["status"] == [(302).to_bytes(2, "little")]
    else:
        assert "status" not in told
        got = of(rows, "get")[0]
        assert (got["decision"], got["rule_id"]) == ("deny", "there")


@contextmanager
def supplied(tmp_path: Path, cache: ArtifactCache, supplies: Supplies) -> Iterator[Log]:
    """A log whose runner has what an operator supplies."""
    made = open_log(tmp_path / "own", cache, supplier=lambda _: supplies)
    try:
        yield made
    finally:
        made.close()


CREDENTIAL = "access: full, credential: {from: secret://token, as: header:Authorization}"


def test_a_credential_goes_to_the_server_and_nowhere_else(tmp_path: Path, cache: ArtifactCache) -> None:
    supplies = Supplies({"secret://token": SECRET, "secret://other": "x"})
    assert SECRET not in repr(supplies)
    with supplied(tmp_path, cache, supplies) as log, serving() as server:
        script = here(server.port, headers=((b"authorization", b"mine"),))
        told, _, execution = run(log, script, rule(server.port, CREDENTIAL))
        _, _, _ = run(log, here(server.port), rule(server.port))
    assert [seen.headers.get("Authorization") for seen in server.seen] == [SECRET, None]
    assert "authorization" not in server.seen[0].headers
    assert told["status"] == [b"\xc8\x00"]
    assert SECRET not in repr(execution.receipt)
    for file in (tmp_path / "own").rglob("*"):
        assert not file.is_file() or SECRET.encode() not in file.read_bytes()


def test_a_run_whose_secret_is_not_there_does_not_begin(shared: Log) -> None:
    with serving() as server:
        execution = shared.run(here(server.port).component(), rule(server.port, CREDENTIAL))
    outcome = execution.receipt.outcome
    assert outcome.kind is OutcomeKind.REFUSED
    assert "secret://token" in str(outcome.message)
    assert not server.seen


@contextmanager
def secured(tmp_path: Path, name: str) -> Iterator[tuple[ssl.SSLContext, str]]:
    """A server's context with a certificate of its own for `name`, and the certificate."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    alternative: x509.GeneralName = x509.DNSName(name)
    if name[0].isdigit():
        alternative = x509.IPAddress(ip_address(name))
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([alternative]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = certificate.public_bytes(serialization.Encoding.PEM)
    both = tmp_path / "both.pem"
    both.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        + pem
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(both)
    yield context, pem.decode()


@pytest.mark.parametrize(
    ("name", "is_trusted", "failure"),
    [
        ("127.0.0.1", True, ""),
        ("127.0.0.1", False, "TLS-certificate-error"),
        ("other.example", True, "TLS-certificate-error"),
    ],
)
def test_a_server_is_who_its_certificate_says(
    tmp_path: Path, cache: ArtifactCache, name: str, is_trusted: bool, failure: str
) -> None:
    with secured(tmp_path, name) as (context, pem):
        supplies = Supplies(authorities=pem if is_trusted else "")
        with supplied(tmp_path, cache, supplies) as log, serving(context) as server:
            script = here(server.port, scheme=1, method="POST", late=b"quiet")
            told, rows, _ = run(log, script, rule(server.port, scheme="https"))
    if failure:
        assert told["future-incoming-response.get"][0] == failed(failure)
        assert not server.seen
        assert of(rows, "get")[0]["errno"] == 63
    else:
        assert told["status"] == [b"\xc8\x00"]
        assert [seen.body for seen in server.seen] == [b"quiet"]


def test_plain_http_is_no_tls(shared: Log) -> None:
    with serving() as server:
        told, rows, _ = run(shared, here(server.port, scheme=1), rule(server.port, scheme="https"))
    assert told["future-incoming-response.get"] == [failed("TLS-protocol-error")]
    assert of(rows, "get")[0]["errno"] == 66


def test_a_server_that_is_not_there_or_makes_no_sense_is_told(shared: Log) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        for sent, code in (
            (b"", "HTTP-response-incomplete"),
            (b"what?\r\n\r\n", "HTTP-protocol-error"),
            (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 70_000 + b"\r\n\r\n", "HTTP-response-header-section-size"),
        ):
            thread = threading.Thread(target=answer_once, args=(server, sent))
            thread.start()
            told, _, _ = run(shared, here(port), rule(port))
            thread.join()
            assert told["future-incoming-response.get"] == [failed(code)]
    told, rows, _ = run(shared, here(port), rule(port))
    assert told["future-incoming-response.get"] == [failed("connection-refused")]
    assert of(rows, "get")[0]["errno"] == 14


def answer_once(server: socket.socket, sent: bytes) -> None:
    client, _ = server.accept()
    with client:
        client.recv(65_536)
        client.sendall(sent)


@pytest.mark.parametrize(
    ("head", "told_body"),
    [
        (b"Content-Length: 9\r\n\r\nshort", [b"\x00short", b"\x01\x00", b"\x01\x00"]),
        (b"Content-Length: 5\r\n\r\nwhole", [b"\x00whole", b"\x01\x01", b"\x01\x01"]),
        (b"Transfer-Encoding: chunked\r\n\r\n5\r\nshort\r\n", [b"\x00short", b"\x01\x00", b"\x01\x00"]),
    ],
)
def test_a_body_that_is_cut_off_is_not_taken_for_whole(
    shared: Log, head: bytes, told_body: list[bytes]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        thread = threading.Thread(target=answer_once, args=(server, b"HTTP/1.1 200 OK\r\n" + head))
        thread.start()
        told, _, _ = run(shared, here(port), rule(port))
        thread.join()
    assert told["input-stream.blocking-read"] == told_body


def test_a_guest_says_how_long_it_waits(shared: Log) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:  # takes connections, and says nothing
        port = server.getsockname()[1]
        told, rows, _ = run(shared, here(port, first_byte_ns=50_000_000), rule(port))
    assert told["future-incoming-response.get"] == [failed("HTTP-response-timeout")]
    assert of(rows, "get")[0]["errno"] == 11


def test_what_answers_requests_may_be_imported_and_ends_who_calls_it(shared: Log) -> None:
    component = serving_component()
    execution = shared.run(component, policy())
    assert execution.receipt.outcome.kind is OutcomeKind.TRAPPED


def serving_component() -> bytes:
    return bytes(
        wasmtime.wat2wasm("""(component
(import "wasi:http/types@0.2.6" (instance $http
  (export "response-outparam" (type $out (sub resource)))))
(alias export $http "response-outparam" (type $out))
(core func $drop (canon resource.drop $out))
(core module $M (import "h" "drop" (func $drop (param i32)))
  (func (export "run") (result i32) (call $drop (i32.const 1)) (i32.const 0)))
(core instance $m (instantiate $M (with "h" (instance (export "drop" (func $drop))))))
(alias core export $m "run" (core func $run))
(func $lifted (result (result)) (canon lift (core func $run)))
(instance $exported (export "run" (func $lifted)))
(export "wasi:cli/run@0.2.6" (instance $exported)))""")
    )


# --- whoever took a cell over, and speaks to the broker ---------------------------------------------


def packed(line: bytes, *fields: tuple[bytes, bytes], has_body: bool = False) -> tuple[bytes, bytes]:
    rows = b"".join(FIELD.pack(len(name), len(value)) + name + value for name, value in fields)
    return line, HEAD.pack(has_body, *(0,) * 6) + rows


@contextmanager
def broker_of(plan: Plan) -> Iterator[tuple[BrokerHandle, Channel]]:
    with BrokerHandle(plan) as broker:
        way = Channel(os.dup(broker.channel.fileno()))
        try:
            yield broker, way
        finally:
            way.close()


def asked_of(broker: BrokerHandle, way: Channel, op: Op, given: tuple[bytes, bytes]) -> Reply:
    with mmap.mmap(broker.exchange, 1 << 20) as pages:
        line, head = given
        pages[DATA_AT : DATA_AT + len(line + head)] = line + head
        return way.call(op, 0, (DATA_AT, len(line), len(head)))


def test_a_forged_request_is_refused_and_on_the_account() -> None:
    with serving() as server, broker_of(rule(server.port, "access: read-only")) as (broker, way):
        base = f"http://127.0.0.1:{server.port}".encode()
        for line in (
            b"POST " + base + b"/",
            b"GET http://127.0.0.1:1/",
            b"GET http://169.254.169.254/latest",
        ):
            assert asked_of(broker, way, Op.HTTP, packed(line)).status is Status.NOTCAPABLE
        granted = asked_of(broker, way, Op.HTTP, packed(b"GET " + base + b"/ok"))
        assert granted.status is Status.OK
        handle = granted.results[0]
        # what it got is no socket that leads elsewhere
        for op in OF_SOCKETS:
            assert way.call(op, handle, (0, 0xFFFF_7F00_0001, 1, 0)).status is Status.NOTSUP
        assert way.call(Op.OPEN, 0, (4, Protocol.HTTP)).status is Status.NOTSUP
        wait_for_answer(way, handle)
        assert way.call(Op.CLOSE, handle, ()).results[0] == 200
        way.close()
        account = broker.end()
    assert [one.is_forged for one in account.refused] == [True] * 3
    assert account.counts["unasked"] == 1
    assert [seen.line for seen in server.seen] == ["GET /ok"]


def wait_for_answer(way: Channel, handle: int) -> None:
    for _ in range(1_000):
        reply = way.call(Op.HTTP_RESPONSE, handle, (DATA_AT, 65_536, 0))
        if reply.status is not Status.AGAIN:
            assert reply.status is Status.OK
            return
        threading.Event().wait(0.01)
    raise AssertionError


@pytest.mark.parametrize(
    "given",
    [
        packed(b"GET http://127.0.0.1:80/ HTTP/1.1\r\nX: y"),
        packed(b"GET http://127.0.0.1:80/\r\nX: y"),
        packed(b"GET\thttp://127.0.0.1:80/"),
        packed(b"GET http://127.0.0.1:80/#x"),
        packed(b"GET http://0.0.0.0:80/"),
        packed(b"GET http://[::]:80/"),
        packed(b"G ET http://127.0.0.1:80/"),
        packed(b"GET http://127.0.0.1:80/", (b"x", b"a\r\nHost: evil")),
        packed(b"GET http://127.0.0.1:80/", (b"x: y\r\nz", b"a")),
        packed(b"GET http://127.0.0.1:80/", (b"Host", b"evil")),
        packed(b"GET http://127.0.0.1:80/", (b"Transfer-Encoding", b"chunked")),
        packed(b"GET http://127.0.0.1:80/", (b"", b"a")),
        packed(
            b"POST http://127.0.0.1:80/", (b"content-length", b"1"), (b"content-length", b"2"), has_body=True
        ),
        packed(b"POST http://127.0.0.1:80/", (b"content-length", b"+1"), has_body=True),
        packed(b"GET http://127.0.0.1:80/", (b"content-length", b"1")),
        (b"GET http://127.0.0.1:80/", HEAD.pack(0, *(0,) * 6) + struct.pack("<II", 4, 1 << 31) + b"abcd"),
        (b"GET http://127.0.0.1:80/", b"\0" * (HEAD.size - 1)),
    ],
)
def test_what_could_be_read_as_another_request_is_none(given: tuple[bytes, bytes]) -> None:
    with broker_of(rule(80)) as (broker, way):
        for op in (Op.ASK_HTTP, Op.HTTP):
            assert asked_of(broker, way, op, given).status is Status.INVAL
        assert asked_of(broker, way, Op.ASK_HTTP, packed(b"GET http://127.0.0.1:80/")).status is Status.OK


def put_together() -> ComponentScript:  # noqa: PLR0915  # a list
    """Calls on headers, requests and options, of which nothing is ever sent."""
    script = ComponentScript()
    call = script.call
    call("fields.new", into="file")
    for name, value in ((b"Accept", b"a"), (b"accept", b"b"), (b"X-Y", b""), (b"a b", b"x"), (b"host", b"x")):
        call("fields.append", FIELDS, name, value)
    for name in (b"ACCEPT", b"x-y", b"none", b"a b"):
        call("fields.has", FIELDS, name, keep="0:1")
        call("fields.get", FIELDS, name, keep="4:4")
    call("fields.get", FIELDS, b"accept")
    script.do(f"(call $keep (i32.load offset=8 (i32.load (i32.const {RESULT}))) (i32.const 1))")
    script.do("(i32.store (i32.const 2048) (i32.const 3000)) (i32.store (i32.const 2052) (i32.const 2))")
    script.do("(i32.store (i32.const 2056) (i32.const 3002)) (i32.store (i32.const 2060) (i32.const 1))")
    script.do("(i32.store (i32.const 3000) (i32.const 0x7a7978))")
    for name in (b"accept", b"new", b"connection", b"(x)"):
        call("fields.set", FIELDS, name, 2_048, 2)
        call("fields.get", FIELDS, name, keep="4:4")
    call("fields.delete", FIELDS, b"X-y")
    call("fields.delete", FIELDS, b"upgrade")
    call("fields.entries", FIELDS, keep="4:4")
    call("fields.clone", FIELDS, into="other")
    call("fields.delete", FUTURE, b"accept")
    call("fields.entries", FUTURE, keep="4:4")
    call("fields.entries", FIELDS, keep="4:4")
    call("outgoing-request.new", FIELDS, into="stream")
    call("outgoing-request.method", REQUEST, keep="0:1")
    call("outgoing-request.scheme", REQUEST, keep="0:1")
    call("outgoing-request.authority", REQUEST, keep="0:1")
    call("outgoing-request.path-with-query", REQUEST, keep="0:1")
    call("outgoing-request.set-method", REQUEST, 4, 0, 0, keep="0:1")
    call("outgoing-request.method", REQUEST, keep="0:1")
    for method in (b"LIST", b"A B", b""):
        call("outgoing-request.set-method", REQUEST, 9, method, keep="0:1")
    call("outgoing-request.method", REQUEST, keep="0:1 list@4")
    call("outgoing-request.set-scheme", REQUEST, 1, 1, 0, 0, keep="0:1")
    call("outgoing-request.scheme", REQUEST, keep="0:1 4:1")
    call("outgoing-request.set-scheme", REQUEST, 0, 0, 0, 0, keep="0:1")
    call("outgoing-request.scheme", REQUEST, keep="0:1")
    call("outgoing-request.set-authority", REQUEST, 1, b"example.com:8080", keep="0:1")
    call("outgoing-request.authority", REQUEST, keep="0:1 list@4")
    call("outgoing-request.set-path-with-query", REQUEST, 1, b"/a?b=c", keep="0:1")
    call("outgoing-request.path-with-query", REQUEST, keep="0:1 list@4")
    call("outgoing-request.headers", REQUEST, into="file")
    call("fields.append", FIELDS, b"a", b"b")
    call("fields.drop", FIELDS)
    call("outgoing-request.body", REQUEST, into="extra")
    call("outgoing-request.body", REQUEST)
    call("outgoing-body.write", EXTRA, into="file")
    call("outgoing-body.write", EXTRA)
    call("output-stream.drop", FIELDS)
    call("outgoing-body.drop", EXTRA)
    call("outgoing-request.drop", REQUEST)
    call("request-options.new", into="dir")
    for what in ("connect", "first-byte", "between-bytes"):
        call(f"request-options.{what}-timeout", RESPONSE, keep="0:1")
        call(f"request-options.set-{what}-timeout", RESPONSE, 1, "(i64.const 77)", keep="0:1")
        call(f"request-options.{what}-timeout", RESPONSE, keep="0:1 8:8")
    call("request-options.drop", RESPONSE)
    return script


def alone(data: bytes, folder: Path) -> bytes:
    """What a component says under the engine alone: it sends nothing."""
    engine = wasmtime.Engine()
    store, linker = wasmtime.Store(engine), wasmtime_component.Linker(engine)
    config = wasmtime.WasiConfig()
    config.stdout_file = str(folder / "out")
    store.set_wasi(config)
    store.set_wasi_http()
    linker.add_wasip2()
    linker.add_wasi_http()
    instance = linker.instantiate(store, wasmtime_component.Component(engine, data))
    index = instance.get_export_index(store, "wasi:cli/run@0.2.6")
    assert index is not None
    index = instance.get_export_index(store, "run", index)
    assert index is not None
    run_it = instance.get_func(store, index)
    assert run_it is not None
    assert run_it(store).tag == "ok"
    return (folder / "out").read_bytes()


def test_requests_are_put_together_as_the_engine_does(shared: Log, tmp_path: Path) -> None:
    script = put_together()
    data = script.component()
    execution = shared.run(data, policy())
    assert execution.receipt.outcome.kind is OutcomeKind.EXITED, execution.receipt.outcome
    ours, theirs = script.told(execution.stdout), script.told(alone(data, tmp_path))
    assert len(ours) == len(theirs) == len(script.names)
    assert [pair for pair in zip(ours, theirs, strict=True) if pair[0] != pair[1]] == []


def test_fields_are_checked_where_they_are_set(shared: Log) -> None:
    script = ComponentScript()
    call = script.call
    call("fields.new", into="file")
    for name, value in (
        (b"a b", b"x"),
        (b"", b"x"),
        (b"a", b"x\ny"),
        (b"Host", b"x"),
        (b"Upgrade", b"x"),
        (b"a", b""),
    ):
        call("fields.append", FIELDS, name, value)
    call("outgoing-request.new", FIELDS, into="stream")
    for method in (b"A B", b"", b"LIST"):
        call("outgoing-request.set-method", REQUEST, 9, method)
        script.do(f"(call $tell (i32.load8_u (i32.const {RESULT})))")
    told, _, _ = run(shared, script, policy())
    syntax, forbidden, fine = b"\x01\x00", b"\x01\x01", b"\x00"
    assert told["fields.append"] == [syntax, syntax, syntax, forbidden, forbidden, fine]
