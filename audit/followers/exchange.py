"""One HTTP exchange with somebody whom nobody here trusts: a POST, and its bounded answer.

What is sent, and what an answer means, is the sinks' matter. Redirects are not followed, certificates are
checked, and no proxy is asked. INVARIANT: once the name is resolved, an exchange ends within its time,
whatever the other side does, and an error names scheme, host and port, never the path or a secret.
"""

from __future__ import annotations

import http.client
import io
import socket
import ssl
import time
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, cast
from urllib.parse import SplitResult, urlsplit

from audit.followers.errors import SinkError

if TYPE_CHECKING:
    from collections.abc import Mapping

_HEAD_BYTES = 65_536  # of an answer's head
_URL_BYTES = 2_048


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back."""

    status: int
    kind: str  # media type, lower case, without parameters
    body: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """Where to, and how it is known that it is them."""

    scheme: str
    host: str
    port: int
    path: str = field(repr=False)  # webhooks have secrets in their paths
    token: str | None = field(default=None, repr=False)
    ca_file: Path | None = None
    timeout_s: float = 10.0

    @property
    def shown(self) -> str:
        """As it is told of."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"

    def beside(self, name: str) -> Endpoint:
        """The endpoint `name` below this one's path."""
        return Endpoint(
            scheme=self.scheme, host=self.host, port=self.port, path=f"{self.path.rstrip('/')}/{name}",
            token=self.token, ca_file=self.ca_file, timeout_s=self.timeout_s,
        )  # fmt: skip


def endpoint(
    url: str, *, token: str | None = None, ca_file: Path | None = None, timeout_s: float = 10.0
) -> Endpoint:
    """Read a URL; ValueError says what was expected, and repeats nothing of it."""
    if len(url) > _URL_BYTES or not all("!" <= one <= "~" for one in url):
        raise ValueError("a URL of printable ASCII without spaces")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise ValueError("a URL with a port of 1 to 65535") from None
    if "@" in parts.netloc:
        raise ValueError("a URL without a user or password: name a token_file, or a url_file")
    if parts.fragment or not parts.hostname:
        raise ValueError("a URL with a host and without a fragment")
    if parts.scheme != "https" and not (parts.scheme == "http" and is_loopback(parts.hostname)):
        raise ValueError("an https URL; http only to a loopback address")
    return Endpoint(
        scheme=parts.scheme, host=parts.hostname, port=port or (443 if parts.scheme == "https" else 80),
        path=_path(parts), token=token, ca_file=ca_file, timeout_s=timeout_s,
    )  # fmt: skip


def is_loopback(host: str) -> bool:
    """Say whether a host is this machine."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def post(to: Endpoint, body: bytes, *, kind: str, most: int, headers: Mapping[str, str] = {}) -> Answer:
    """Send a body of media type `kind`, and give the answer, of `most` bytes at most; SinkError."""
    ends_at = time.monotonic() + to.timeout_s
    try:
        with connect(to.host, to.port, ends_at=ends_at, tls=_context(to)) as channel:
            send_all(channel, _head(to, len(body), kind, headers) + body, ends_at=ends_at)
            return _answer(channel, most, ends_at)
    except TimeoutError:
        raise SinkError(to.shown, f"no whole answer within {to.timeout_s:g} s") from None
    except (OSError, http.client.HTTPException, ValueError) as err:
        raise SinkError(to.shown, _said(err)) from err


def tls_context(ca_file: Path | None) -> ssl.SSLContext:
    """What checks the other side's certificate and name; raises OSError if `ca_file` can't be read."""
    return ssl.create_default_context(cafile=None if ca_file is None else str(ca_file))


def connect(host: str, port: int, *, ends_at: float, tls: ssl.SSLContext | None) -> socket.socket:
    """Connect, address after address, within the time; raises OSError."""
    failure: OSError = OSError("the name has no address")
    for family, kind, number, _, address in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
        channel = socket.socket(family, kind, number)
        try:
            channel.settimeout(left(ends_at))
            channel.connect(address)
            if tls is None:
                return channel
            channel.settimeout(left(ends_at))
            return tls.wrap_socket(channel, server_hostname=host)
        except OSError as err:
            channel.close()
            failure = err
        except BaseException:
            channel.close()
            raise
    raise failure


def send_all(channel: socket.socket, content: bytes, *, ends_at: float) -> None:
    """Send everything within the time; raises OSError."""
    rest = memoryview(content)
    while rest:
        channel.settimeout(left(ends_at))
        rest = rest[channel.send(rest) :]


def left(ends_at: float) -> float:
    """Give the seconds that are left; raises TimeoutError if there are none."""
    seconds = ends_at - time.monotonic()
    if seconds <= 0:
        raise TimeoutError
    return seconds


class _Paced(io.RawIOBase):
    """The other side's bytes, within a time and up to a number."""

    def __init__(self, channel: socket.socket, most: int, ends_at: float) -> None:
        self._channel, self._most, self._ends_at = channel, most, ends_at

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: object) -> int:
        # SECURITY: a server that sends a byte now and then would keep a time limit for each read from ending
        self._channel.settimeout(left(self._ends_at))
        count = self._channel.recv_into(cast("bytearray", buffer))
        self._most -= count
        if self._most < 0:
            raise ValueError("the answer is too long")
        return count


@dataclass(frozen=True, slots=True)
class _Source:
    """What `http.client` takes for a socket."""

    raw: _Paced

    def makefile(self, _mode: str) -> io.BufferedReader:
        return io.BufferedReader(self.raw)


def _answer(channel: socket.socket, most: int, ends_at: float) -> Answer:
    source = _Source(_Paced(channel, _HEAD_BYTES + most, ends_at))
    response = http.client.HTTPResponse(cast("socket.socket", source), method="POST")
    try:
        response.begin()
        body = response.read(most + 1)
        if len(body) > most:
            raise ValueError("the answer is too long")
        if response.length:
            raise http.client.IncompleteRead(body)
        kind = response.getheader("content-type", "") or ""
        return Answer(response.status, kind.partition(";")[0].strip().lower(), body)
    finally:
        response.close()


def _head(to: Endpoint, size: int, kind: str, headers: Mapping[str, str]) -> bytes:
    host = f"[{to.host}]" if ":" in to.host else to.host
    lines = {
        "Host": f"{host}:{to.port}",
        "User-Agent": "wasmgate",
        "Content-Type": kind,
        "Content-Length": str(size),
        "Connection": "close",
        **headers,
    }
    if to.token is not None:
        lines["Authorization"] = f"Bearer {to.token}"
    text = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return f"POST {to.path} HTTP/1.1\r\n{text}\r\n".encode("ascii")


def _context(to: Endpoint) -> ssl.SSLContext | None:
    return tls_context(to.ca_file) if to.scheme == "https" else None


def _path(parts: SplitResult) -> str:
    return (parts.path or "/") + (f"?{parts.query}" if parts.query else "")


def _said(err: Exception) -> str:
    if isinstance(err, http.client.IncompleteRead):
        return "the answer ended early"
    return (err.strerror if isinstance(err, OSError) else None) or str(err) or type(err).__name__
