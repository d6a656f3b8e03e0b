"""Servers that components make requests of: who they say they are, and what they get wrong; over loopback."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from audit.receipt import OutcomeKind
from sandbox.cache import ArtifactCache
from sandbox.network.brief import Supplies
from tests.http_runs import SECRET, failed, here, of, rule, run, supplied
from tests.http_scripts import serving
from tests.runs import Log

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
        supplies = Supplies(ca_certificates=pem if is_trusted else "")
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
