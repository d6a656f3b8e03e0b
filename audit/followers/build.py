"""Makes followers of what the file says: the files that it names are read here, and nothing is sent yet.

What the file may say is `config.py`. A file with a secret must belong to us and be closed to others.
INVARIANT: a follower that can't be made is a fault that names its key, and a secret is in none.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from audit.errors import AuditError
from audit.export.syslog import Sender
from audit.followers.anchors import Anchoring
from audit.followers.config import FollowerConfig
from audit.followers.errors import FollowersFileError
from audit.followers.exchange import Endpoint, endpoint, tls_context
from audit.followers.folder import FolderSink
from audit.followers.otlp import OtlpSink
from audit.followers.refusals import Forwarding
from audit.followers.syslog import Form, SyslogAnchor, SyslogSink, address
from audit.followers.webhook import CheckpointHook, RefusalHook
from audit.followers.witness import WitnessSink
from audit.tlog.log import TransparencyLog
from audit.tlog.tile_files import read_file
from audit.tlog.vkey import Algorithm, parse_vkey

if TYPE_CHECKING:
    from collections.abc import Sequence

    from audit.followers.anchors import AnchorSink
    from audit.followers.follower import Work
    from audit.followers.refusals import RefusalSink

_SECRET_BYTES = 8_192
_PEM_BYTES = 1 << 20
_PUBLIC = 0o077


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What followers of one log have in common."""

    audit_dir: Path
    state_dir: Path


class _ValueFaultError(Exception):
    """A value that nothing can be made of."""

    def __init__(self, key: str, problem: str) -> None:
        super().__init__(f"{key}: {problem}")


def work_of(config: FollowerConfig, around: Surroundings) -> Work:
    """Give the work of one follower; raises FollowersFileError."""
    log = TransparencyLog(around.audit_dir / "tlog")
    try:
        if config.sends == "refusals":
            sink = _refusals(config)
            return Forwarding(around.audit_dir, log, sink, config.number("most_per_second"))
        return Anchoring(log, _anchor(config, log, around), config.number("every_s"))
    except _ValueFaultError as err:
        raise FollowersFileError((f"followers.{config.name}.{err}",)) from None


def check_works(configs: Sequence[FollowerConfig], around: Surroundings) -> None:
    """Make every follower; raises FollowersFileError with the faults of all of them."""
    faults: list[str] = []
    for config in configs:
        try:
            work_of(config, around)
        except FollowersFileError as err:
            faults += err.faults
    if faults:
        raise FollowersFileError(tuple(faults))


def _refusals(config: FollowerConfig) -> RefusalSink:
    match config.kind:
        case "syslog":
            return _syslog(config)
        case "otlp":
            return OtlpSink(_endpoint(config))
        case _:
            return RefusalHook(_endpoint(config))


def _anchor(config: FollowerConfig, log: TransparencyLog, around: Surroundings) -> AnchorSink:
    match config.kind:
        case "folder":
            return FolderSink(Path(config.text("path") or "/"))
        case "syslog":
            return SyslogAnchor(_syslog(config))
        case "witness":
            return _witness(config, log, around)
        case "timestamp":
            # takes time to import, and few have an authority
            from audit.followers.timestamp import TimestampSink, load_certificates  # noqa: PLC0415

            to = _endpoint(config)
            try:
                found = load_certificates(_read(config, "certificate_file"))
            except ValueError as err:
                raise _ValueFaultError("certificate_file", f"expected {err}") from None
            return TimestampSink(to, found, log.directory)
        case _:
            return CheckpointHook(_endpoint(config))


def _witness(config: FollowerConfig, log: TransparencyLog, around: Surroundings) -> WitnessSink:
    try:
        key = parse_vkey(config.text("vkey") or "")
    except AuditError as err:
        raise _ValueFaultError("vkey", str(err)) from None
    if key.algorithm is not Algorithm.COSIGNATURE:
        raise _ValueFaultError("vkey", "expected the key of a witness (algorithm 4)")
    return WitnessSink(_endpoint(config), key, log, around.state_dir / "witnessed.lock")


def _syslog(config: FollowerConfig) -> SyslogSink:
    ca_file = _ca_file(config)
    try:
        to = address(
            config.text("address") or "",
            ca_file=ca_file,
            timeout_s=config.number("timeout_s"),
            unsafe_plain=bool(config.number("unsafe_plain")),
        )
    except ValueError as err:
        raise _ValueFaultError("address", f"expected {err}") from None
    sender = Sender(
        hostname=config.text("hostname") or "-",
        process=str(os.getpid()),
        enterprise=config.number("enterprise"),
    )
    return SyslogSink(to, sender, Form(config.text("format") or "rfc5424"))


def _endpoint(config: FollowerConfig) -> Endpoint:
    key = "url" if config.text("url") is not None else "url_file"
    url = config.text("url")
    if url is None:
        url = _secret(config, "url_file")
    token = _secret(config, "token_file") if config.text("token_file") is not None else None
    if token is not None and not all("!" <= one <= "~" for one in token):
        raise _ValueFaultError("token_file", "expected a token of printable ASCII without spaces")
    try:
        return endpoint(url, token=token, ca_file=_ca_file(config), timeout_s=config.number("timeout_s"))
    except ValueError as err:
        raise _ValueFaultError(key, f"expected {err}") from None


def _ca_file(config: FollowerConfig) -> Path | None:
    text = config.text("ca_file")
    if text is None:
        return None
    try:
        tls_context(Path(text))
    except OSError as err:
        raise _ValueFaultError("ca_file", err.strerror or "no certificates in PEM") from None
    return Path(text)


def _secret(config: FollowerConfig, key: str) -> str:
    path = Path(config.text(key) or "/")
    content = _read(config, key, most=_SECRET_BYTES)
    about = path.stat()
    if about.st_uid != os.geteuid() or about.st_mode & _PUBLIC:
        raise _ValueFaultError(key, "must be a file of yours with mode 0600")
    text = content.decode("utf-8", "replace").strip()
    if not text:
        raise _ValueFaultError(key, "the file is empty")
    return text


def _read(config: FollowerConfig, key: str, *, most: int = _PEM_BYTES) -> bytes:
    try:
        return read_file(Path(config.text(key) or "/"), most=most)
    except FileNotFoundError:
        raise _ValueFaultError(key, "the file is missing") from None
    except AuditError:
        raise _ValueFaultError(key, f"expected a regular file of at most {most} bytes") from None
