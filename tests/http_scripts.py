"""Components that make requests, and servers on loopback that answer them, for the tests of requests.

A script is a list of calls of `wasi:http` (`tests/component_scripts.py`); what a server was asked is kept, so that
a test can say what was really sent.
"""

from __future__ import annotations

import http.server
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from tests.component_scripts import RESULT, ComponentScript

FIELDS, REQUEST, FUTURE, RESPONSE, EXTRA = (
    f"(global.get ${name})" for name in ("file", "stream", "other", "dir", "extra")
)
METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH")
GOT = 24  # bytes into the result of `future-incoming-response.get`: the answer, or the code of the failure


@dataclass(slots=True)
class Seen:
    """What a server was asked."""

    line: str
    headers: dict[str, str]
    body: bytes


@dataclass(slots=True)
class Served:
    """A server's place, and what it was asked."""

    port: int
    seen: list[Seen] = field(default_factory=list[Seen])


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    served: Served

    def _answer(self) -> None:
        body = self._body()
        self.served.seen.append(Seen(self.requestline.rpartition(" ")[0], dict(self.headers.items()), body))
        status = 200
        kind, _, rest = self.path.strip("/").partition("/")
        sent = b"you sent " + body if body else b"hello " + self.path.encode()
        if kind == "moved":
            status = 302
        elif kind == "big":
            sent = b"x" * int(rest)
        self.send_response(status)
        if kind == "moved":
            self.send_header("Location", "/elsewhere")
        self.send_header("X-Path", self.path)
        self.send_header("X-Twice", "1")
        self.send_header("X-Twice", "2")
        if kind == "pieces":
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            for _ in range(int(rest)):
                self.wfile.write(b"4\r\nmany\r\n")
            self.wfile.write(b"0\r\n\r\n")
            return
        self.send_header("Content-Length", str(len(sent)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(sent)

    def _body(self) -> bytes:
        if "chunked" not in self.headers.get("Transfer-Encoding", ""):
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = do_HEAD = do_OPTIONS = do_PURGE = _answer  # noqa: N815

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the base's own name
        """Say nothing."""
        del format, args


@contextmanager
def serving(tls: ssl.SSLContext | None = None) -> Iterator[Served]:
    """A server on loopback that tells what it was asked."""

    class Handler(_Handler):
        """One of this server's own."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        if tls is not None:
            server.socket = tls.wrap_socket(server.socket, server_side=True)
        Handler.served = served = Served(server.server_address[1])
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield served
        finally:
            server.shutdown()
            thread.join()


@dataclass(frozen=True, slots=True, kw_only=True)
class Asking:
    """A request, and what is done with it."""

    authority: str
    method: str = "GET"
    path: str = "/a"
    scheme: int = 0  # 0 http, 1 https
    headers: tuple[tuple[bytes, bytes], ...] = ()
    early: bytes = b""  # of the body, written before the request is handled
    late: bytes = b""  # and after it
    is_dropped: bool = False  # the body is given up
    first_byte_ns: int = 0
    reads: int = 3


def asking(asked: Asking) -> ComponentScript:
    """A component that makes one request, and tells what came of it."""
    script = ComponentScript()
    call = script.call
    call("fields.new", into="file")
    for name, value in asked.headers:
        call("fields.append", FIELDS, name, value)
    call("outgoing-request.new", FIELDS, into="stream")
    if asked.method in METHODS:
        call("outgoing-request.set-method", REQUEST, METHODS.index(asked.method), 0, 0)
    else:
        call("outgoing-request.set-method", REQUEST, 9, asked.method.encode())
    call("outgoing-request.set-authority", REQUEST, 1, asked.authority.encode())
    call("outgoing-request.set-scheme", REQUEST, 1, asked.scheme, 0, 0)
    call("outgoing-request.set-path-with-query", REQUEST, 1, asked.path.encode())
    has_body = bool(asked.early or asked.late)
    if has_body:
        call("outgoing-request.body", REQUEST, into="extra")
        call("outgoing-body.write", EXTRA, into="file")
    if asked.early:
        call("output-stream.blocking-write-and-flush", FIELDS, asked.early)
    if asked.first_byte_ns:
        call("request-options.new", into="dir")
        call("request-options.set-first-byte-timeout", RESPONSE, 1, f"(i64.const {asked.first_byte_ns})")
        call("outgoing-handler.handle", REQUEST, 1, RESPONSE)
    else:
        call("outgoing-handler.handle", REQUEST, 0, 0)
    code = RESULT + 8
    leaving = "(call $tell (i32.const 0))"
    script.do(f"(global.set $other (i32.load (i32.const {code})))")
    script.do(f"(if (i32.eqz (i32.load8_u (i32.const {RESULT}))) (then {leaving}")
    if has_body:
        _send(script, asked)
    _receive(script, asked)
    script.do("))")
    return script


def _send(script: ComponentScript, asked: Asking) -> None:
    call = script.call
    if asked.late:
        call("output-stream.blocking-write-and-flush", FIELDS, asked.late)
    call("output-stream.drop", FIELDS)
    if asked.is_dropped:
        call("outgoing-body.drop", EXTRA)
    else:
        call("outgoing-body.finish", EXTRA, 0, 0)


def _receive(script: ComponentScript, asked: Asking) -> None:
    call = script.call
    call("future-incoming-response.subscribe", FUTURE, into="extra")
    call("pollable.block", EXTRA)
    call("pollable.drop", EXTRA)
    # whether there is one, whether it was not asked for before, whether it is an answer, and if not, why
    call("future-incoming-response.get", FUTURE)
    script.do(f"(call $keep (i32.const {RESULT + 8}) (i32.const 1))")
    script.do(f"(call $keep (i32.const {RESULT + 16}) (i32.const 1))")
    script.do(f"(call $keep (i32.const {RESULT + GOT}) (i32.const 1))")
    script.do(f"(global.set $dir (i32.load (i32.const {RESULT + GOT})))")
    script.do(f"(if (i32.eqz (i32.load8_u (i32.const {RESULT + 16}))) (then")
    call("future-incoming-response.get", FUTURE)
    call("future-incoming-response.drop", FUTURE)
    script.step("status")
    script.uses["incoming-response.status"] = None
    script.do(
        f"(i32.store (i32.const {RESULT}) (call $incoming-response.status {RESPONSE}))"
        f"(call $keep (i32.const {RESULT}) (i32.const 2))"
    )
    call("incoming-response.headers", RESPONSE, into="file")
    call("fields.get", FIELDS, b"X-Path")
    script.do(
        f"(if (i32.load (i32.const {RESULT + 4})) (then (call $keep (i32.load (i32.load (i32.const {RESULT})))"
        f"(i32.load offset=4 (i32.load (i32.const {RESULT}))))))"
    )
    call("fields.has", FIELDS, b"Transfer-Encoding", keep="0:1")
    call("fields.append", FIELDS, b"a", b"b")
    call("fields.drop", FIELDS)
    call("incoming-response.consume", RESPONSE, into="stream")
    call("incoming-response.consume", RESPONSE)
    call("incoming-response.drop", RESPONSE)
    call("incoming-body.stream", REQUEST, into="other")
    for _ in range(asked.reads):
        call("input-stream.blocking-read", FUTURE, "(i64.const 65536)", keep="list@4")
    call("input-stream.drop", FUTURE)
    call("incoming-body.finish", REQUEST, into="extra")
    call("future-trailers.get", EXTRA)
    call("future-trailers.drop", EXTRA)
    script.do("))")
