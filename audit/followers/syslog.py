"""Syslog: refusals and checkpoints as messages of RFC 5424, over UDP, TCP, TLS or a local socket.

What a message about a refusal says is `audit/export/syslog.py`. SPEC: RFC 6587 and 5425 (octet counting).
Syslog has no answer, so on a stream a batch counts as taken when the other side has read to its end and
closes too; what was sent over UDP may be lost, and nobody learns of it. INVARIANT: a message is one line, and
one frame, whatever a guest wrote.
"""

from __future__ import annotations

import io
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from audit.export.cef import write as write_cef
from audit.export.spelling import spelt
from audit.export.syslog import FACILITY, Sender, message
from audit.followers.errors import SinkError
from audit.followers.exchange import connect, is_loopback, left, send_all, tls_context
from audit.followers.refusals import Batch, Notice, rows_of
from audit.times import to_rfc3339
from audit.tlog.checkpoint import SignedCheckpoint

_NOTICE: Final = 5
_WARNING: Final = 4
_INFORMATIONAL: Final = 6
_TEXT_BYTES: Final = 1_000
_NAME_BYTES: Final = 255
_PORTS: Final = {"udp": 514, "tcp": 601, "tls": 6514}


class Form(StrEnum):
    """How a refusal is spelt."""

    RFC5424 = "rfc5424"
    CEF = "cef"


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Where messages go."""

    scheme: str  # udp, tcp, tls, unix
    host: str  # of a unix socket, its path
    port: int = 0
    ca_file: Path | None = None
    timeout_s: float = 10.0

    @property
    def shown(self) -> str:
        """As it is told of."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"unix://{self.host}" if self.scheme == "unix" else f"{self.scheme}://{host}:{self.port}"


def address(
    text: str, *, ca_file: Path | None = None, timeout_s: float = 10.0, unsafe_plain: bool = False
) -> Address:
    """Read `tls://host:port`, `tcp://…`, `udp://…` or `unix:///path`; ValueError says what was expected.

    Over TCP and UDP everybody on the way can read and change messages: to other machines, `unsafe_plain` must
    say that this is wanted.
    """
    expected = (
        "tls://host:port, unix:///path, or tcp:// and udp:// to a loopback address (else: unsafe_plain)"
    )
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        raise ValueError(expected) from None
    is_printable = all("!" <= one <= "~" for one in text)
    if not is_printable or parts.query or parts.fragment or "@" in parts.netloc:
        raise ValueError(expected)
    if parts.scheme == "unix":
        if parts.netloc or not parts.path.startswith("/"):
            raise ValueError(expected)
        return Address(scheme="unix", host=parts.path, timeout_s=timeout_s)
    # SECURITY: what is refused tells a listener what is in use, and who can write can make it up
    is_open = parts.scheme in {"udp", "tcp"} and (unsafe_plain or is_loopback(parts.hostname or ""))
    if not parts.hostname or parts.path or (parts.scheme != "tls" and not is_open):
        raise ValueError(expected)
    return Address(
        scheme=parts.scheme,
        host=parts.hostname,
        port=port or _PORTS[parts.scheme],
        ca_file=ca_file,
        timeout_s=timeout_s,
    )


@dataclass(frozen=True, slots=True)
class SyslogSink:
    """Sends to one address; takes checkpoints and refusals."""

    to: Address
    sender: Sender
    form: Form = Form.RFC5424
    origin: str = field(default="-")

    def send(self, batch: Batch) -> int:
        """Send refusals and notices; see `RefusalSink`."""
        lines = list(self._refusals(batch))
        lines += [self._notice(each) for each in batch.notices]
        _deliver(self.to, lines)
        return 0

    def _refusals(self, batch: Batch) -> Iterator[bytes]:
        if self.form is Form.RFC5424:
            yield from (message(row, self.sender) for row in rows_of(batch))
            return
        out = io.BytesIO()
        write_cef(iter([batch.rows]), out, is_all=True)
        times = batch.rows.column("t_ns").to_pylist()
        for at_ns, line in zip(times, out.getvalue().splitlines(), strict=True):
            yield self._head(_WARNING, at_ns, "cef") + b"- " + line

    def _notice(self, notice: Notice) -> bytes:
        values = {"notice": notice.word, "key": notice.key}
        if notice.count is not None:
            values["count"] = str(notice.count)
        return self._head(_NOTICE, notice.at_ns, "notice") + self._structured(values) + _text(notice.text)

    def _head(self, severity: int, at_ns: int, kind: str) -> bytes:
        sender = self.sender
        time_text = to_rfc3339(at_ns)[:26] + "Z"
        names = f"{_name(sender.hostname)} {_name(sender.app_name)} {_name(sender.process)} {kind}"
        return f"<{FACILITY * 8 + severity}>1 {time_text} {names} ".encode()

    def _structured(self, values: dict[str, str]) -> bytes:
        made = "".join(f' {name}="{_value(value)}"' for name, value in values.items())
        return f"[wasmgate@{self.sender.enterprise}{made}] ".encode("utf-8", "replace")


@dataclass(frozen=True, slots=True)
class SyslogAnchor:
    """Sends checkpoints to one address."""

    sink: SyslogSink

    def send(self, signed: SignedCheckpoint, *, before: int) -> None:
        """Send size and root of a checkpoint; see `AnchorSink`."""
        head = signed.checkpoint
        values = {
            "origin": head.origin,
            "size": str(head.size),
            "root": head.root.hex(),
            "before": str(before),
        }
        line = self.sink._head(_INFORMATIONAL, time.time_ns(), "checkpoint")  # noqa: SLF001  # one module
        text = _text(f"checkpoint of {head.size} leaves, root {head.root.hex()}")
        _deliver(self.sink.to, [line + self.sink._structured(values) + text])  # noqa: SLF001  # as above


def _deliver(to: Address, lines: list[bytes]) -> None:
    ends_at = time.monotonic() + to.timeout_s
    try:
        match to.scheme:
            case "udp":
                _deliver_udp(to, lines, ends_at)
            case "unix":
                _deliver_unix(to, lines, ends_at)
            case _:
                _deliver_stream(to, lines, ends_at)
    except TimeoutError:
        raise SinkError(to.shown, f"not everything was taken within {to.timeout_s:g} s") from None
    except OSError as err:
        raise SinkError(to.shown, err.strerror or str(err) or type(err).__name__) from err


def _deliver_stream(to: Address, lines: list[bytes], ends_at: float) -> None:
    tls = tls_context(to.ca_file) if to.scheme == "tls" else None
    with connect(to.host, to.port, ends_at=ends_at, tls=tls) as channel:
        frames = b"".join(b"%d %s" % (len(line), line) for line in lines)
        send_all(channel, frames, ends_at=ends_at)
        _end(channel, ends_at)


def _end(channel: socket.socket, ends_at: float) -> None:
    """Say that this is all, and wait until the other side has read it and says the same."""
    # INVARIANT: bytes that were only handed to the kernel are not taken: a receiver that dies would lose
    # them. One that closes before it has read everything makes its kernel answer with a reset: an error.
    channel.settimeout(left(ends_at))
    unwrap = getattr(channel, "unwrap", None)
    rest = channel if unwrap is None else unwrap()
    rest.settimeout(left(ends_at))
    rest.shutdown(socket.SHUT_WR)
    while rest.recv(4096):
        rest.settimeout(left(ends_at))


def _deliver_udp(to: Address, lines: list[bytes], ends_at: float) -> None:
    family, kind, number, _, target = socket.getaddrinfo(to.host, to.port, type=socket.SOCK_DGRAM)[0]
    with socket.socket(family, kind, number) as channel:
        channel.connect(target)
        for line in lines:
            channel.settimeout(left(ends_at))
            channel.send(line)


def _deliver_unix(to: Address, lines: list[bytes], ends_at: float) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.connect(to.host)
        for line in lines:
            channel.settimeout(left(ends_at))
            channel.send(line)


def _value(text: str) -> str:
    return spelt(text).replace("\\", "\\\\").replace('"', '\\"').replace("]", "\\]")


def _text(text: str) -> bytes:
    raw = spelt(text).encode("utf-8", "replace")[:_TEXT_BYTES].decode("utf-8", "ignore")
    return raw.encode() if raw.isascii() else b"\xef\xbb\xbf" + raw.encode()


def _name(text: str) -> str:
    return "".join(one if "!" <= one <= "~" else "_" for one in text)[:_NAME_BYTES] or "-"
