"""Receivers on the loopback interface for tests of followers: honest, slow, hanging, dead and lying ones.

Certificates are made here. A receiver notes what it took; nothing of the product is used but to parse.
"""

from __future__ import annotations

import base64
import contextlib
import datetime as dt
import hashlib
import ipaddress
import queue
import re
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from audit.followers.follower import Work
from audit.followers.state import State
from audit.tlog.checkpoint import SignedCheckpoint
from audit.tlog.log import TransparencyLog
from audit.tlog.rotation import open_published

WAIT_S = 20.0
Answer = tuple[int, str, bytes]


@dataclass
class Received:
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class HttpReceiver:
    """Answers each POST as `answer` says; notes what came."""

    answer: Callable[[Received], Answer] = field(default=lambda _got: (200, "text/plain", b""))
    got: list[Received] = field(default_factory=list)
    came: queue.Queue[Received] = field(default_factory=queue.Queue)
    url: str = ""


@contextlib.contextmanager
def http_receiver(
    answer: Callable[[Received], Answer] | None = None, *, tls: ssl.SSLContext | None = None
) -> Iterator[HttpReceiver]:
    made = HttpReceiver() if answer is None else HttpReceiver(answer)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            one = Received(self.path, {k.lower(): v for k, v in self.headers.items()}, body)
            made.got.append(one)
            made.came.put(one)
            status, kind, content = made.answer(one)
            self.send_response(status)
            if 300 <= status < 400:
                self.send_header("Location", f"{made.url}/elsewhere")
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # its name there
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request: object, client_address: object) -> None:
            pass

    server = Server(("127.0.0.1", 0), Handler)
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    made.url = f"{'https' if tls else 'http'}://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield made
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextlib.contextmanager
def raw_server(
    handle: Callable[[socket.socket], None], *, tls: ssl.SSLContext | None = None
) -> Iterator[int]:
    """A TCP server that hands each connection to `handle`; gives its port."""
    server = socket.create_server(("127.0.0.1", 0))
    threads: list[threading.Thread] = []

    def one(channel: socket.socket) -> None:
        with contextlib.suppress(OSError), channel:
            if tls is None:
                handle(channel)
                return
            with tls.wrap_socket(channel, server_side=True) as wrapped:
                handle(wrapped)

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                channel, _ = server.accept()
                channel.settimeout(WAIT_S)
                threads.append(threading.Thread(target=one, args=(channel,), daemon=True))
                threads[-1].start()

    acceptor = threading.Thread(target=accept, daemon=True)
    acceptor.start()
    try:
        yield server.getsockname()[1]
    finally:
        with contextlib.suppress(OSError):
            server.shutdown(socket.SHUT_RDWR)
        server.close()
        acceptor.join()
        for thread in threads:
            thread.join()


@dataclass
class SyslogReceiver:
    """Reads octet-counted messages to the end of each connection."""

    messages: list[bytes] = field(default_factory=list)
    came: queue.Queue[int] = field(default_factory=queue.Queue)

    def __call__(self, channel: socket.socket) -> None:
        content = b""
        while some := channel.recv(65_536):
            content += some
        found = unframed(content)
        self.messages += found
        self.came.put(len(found))
        if isinstance(channel, ssl.SSLSocket):
            channel.unwrap()


def unframed(content: bytes) -> list[bytes]:
    found = []
    while content:
        match = re.match(rb"([1-9][0-9]*) ", content)
        assert match, content[:80]
        size = int(match[1])
        assert len(content) >= match.end() + size
        found.append(content[match.end() : match.end() + size])
        content = content[match.end() + size :]
    return found


# --- a witness ----------------------------------------------------------------------------------


def _node(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\x01" + left + right).digest()


def is_consistent(first: int, second: int, roots: tuple[bytes, bytes], proof: list[bytes]) -> bool:
    """RFC 9162, 2.1.4.2, step by step; shares no code with the product."""
    if first == second:
        return roots[0] == roots[1] and not proof
    path = [roots[0], *proof] if first & (first - 1) == 0 else list(proof)
    if not path:
        return False
    fn, sn = first - 1, second - 1
    while fn & 1:
        fn, sn = fn >> 1, sn >> 1
    fr = sr = path[0]
    for one in path[1:]:
        if sn == 0:
            return False
        if fn & 1 or fn == sn:
            fr, sr = _node(one, fr), _node(one, sr)
            while not fn & 1 and fn:
                fn, sn = fn >> 1, sn >> 1
        else:
            sr = _node(sr, one)
        fn, sn = fn >> 1, sn >> 1
    return (fr, sr, sn) == (roots[0], roots[1], 0)


@dataclass
class Witness:
    """Remembers the newest tree of one log, and cosigns what extends it."""

    cosign: Callable[[str], str]  # of the text of a checkpoint: a signature line
    seen: tuple[int, bytes] = (0, b"")

    def __call__(self, got: Received) -> Answer:
        assert got.path.endswith("/add-checkpoint")
        head, _, note = got.body.partition(b"\n\n")
        first, *proof = head.decode().split("\n")
        old = int(first.removeprefix("old "))
        text = note.decode().partition("\n\n")[0] + "\n"
        _, size_text, root_text, *_ = text.split("\n")
        size, root = int(size_text), base64.b64decode(root_text)
        if old != self.seen[0]:
            return 409, "text/x.tlog.size", f"{self.seen[0]}\n".encode()
        hashes_ = [base64.b64decode(one) for one in proof]
        if old and not is_consistent(old, size, (self.seen[1], root), hashes_):
            return 422, "text/plain", b"no"
        self.seen = (size, root)
        return 200, "text/plain", self.cosign(text).encode()


# --- certificates -------------------------------------------------------------------------------

DAY = dt.timedelta(days=1)


@dataclass
class Issuer:
    """A root, and what it issues."""

    key: ec.EllipticCurvePrivateKey
    root: x509.Certificate

    @staticmethod
    def make(name: str = "test root") -> Issuer:
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        return Issuer(key, _signed(subject, subject, key, key, (), is_root=True))

    @property
    def pem(self) -> bytes:
        return self.root.public_bytes(Encoding.PEM)

    def issue(
        self, name: str, *extensions: tuple[x509.ExtensionType, bool]
    ) -> tuple[ec.EllipticCurvePrivateKey, x509.Certificate]:
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        return key, _signed(subject, self.root.subject, key, self.key, extensions)

    def server(self, folder: Path, address: str = "127.0.0.1") -> ssl.SSLContext:
        names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(address))])
        key, made = self.issue(
            "server", (names, False), (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), False)
        )
        path = folder / f"server-{made.serial_number}.pem"
        path.write_bytes(
            key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
            + made.public_bytes(Encoding.PEM)
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(path)
        return context


def _signed(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    signer: ec.EllipticCurvePrivateKey,
    extensions: tuple[tuple[x509.ExtensionType, bool], ...],
    *,
    is_root: bool = False,
) -> x509.Certificate:
    now = dt.datetime.now(dt.UTC)
    usage = x509.KeyUsage(
        digital_signature=True, content_commitment=False, key_encipherment=False, data_encipherment=False,
        key_agreement=False, key_cert_sign=is_root, crl_sign=is_root, encipher_only=False, decipher_only=False,
    )  # fmt: skip
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - DAY)
        .not_valid_after(now + DAY)
        .add_extension(x509.BasicConstraints(ca=is_root, path_length=None), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False
        )
    )
    for extension, is_critical in extensions:
        builder = builder.add_extension(extension, critical=is_critical)
    return builder.sign(signer, hashes.SHA256())


# --- what is sent -------------------------------------------------------------------------------


def published(log: TransparencyLog) -> SignedCheckpoint:
    """The signed checkpoint of a log that has one."""
    found = open_published(log.directory)
    assert found
    return found[0]


def stepped(work: Work, state: State | None = None) -> State:
    """The state after a step that sends something."""
    after = work.step(state or State())
    assert after is not None
    return after
