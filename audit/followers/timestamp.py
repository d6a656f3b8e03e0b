"""RFC 3161: an authority signs at which time a checkpoint existed; the answers are kept beside the log.

The ASN.1 and the signatures are the work of `rfc3161-client`; this is its only importer. Which authority is
believed, a certificate says. INVARIANT: a `.tsr` file that has its name was checked against that certificate,
and lies beside the very note that it is about.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from cryptography.x509 import Certificate, load_pem_x509_certificates
from rfc3161_client import (
    HashAlgorithm,
    TimestampRequestBuilder,
    TimeStampResponse,
    VerificationError,
    VerifierBuilder,
    decode_timestamp_response,
)

from audit.followers.errors import SinkError
from audit.followers.exchange import Endpoint, post
from audit.store import make_directory, publish
from audit.tlog.checkpoint import SignedCheckpoint
from audit.tlog.note import MAX_NOTE_BYTES
from audit.tlog.tile_files import read_file

FOLDER: Final = "timestamps"
_MOST: Final = 1 << 20
_NAME = re.compile(r"(0|[1-9][0-9]{0,18})\.tsr\Z")


@dataclass(frozen=True, slots=True)
class TimestampSink:
    """One authority."""

    to: Endpoint
    certificates: tuple[Certificate, ...]  # roots, and intermediate ones if its answers leave them out
    directory: Path  # of the transparency log

    def send(self, signed: SignedCheckpoint, *, before: int) -> None:  # noqa: ARG002  # as all sinks
        """Have the SHA-256 of a note signed with the time, and keep the answer as `<size>.tsr`."""
        note = signed.note.content
        builder = TimestampRequestBuilder().data(note).hash_algorithm(HashAlgorithm.SHA256)
        request = builder.nonce(nonce=True).cert_request(cert_request=True).build()
        kind = "application/timestamp-query"
        answer = post(self.to, bytes(request.as_bytes()), kind=kind, most=_MOST)
        if answer.status != 200 or answer.kind != "application/timestamp-reply":
            raise SinkError(self.to.shown, f"it answered {answer.status}, and no time stamp")
        try:
            response = decode_timestamp_response(answer.body)
            _verify(response, note, self.certificates, nonce=request.nonce)
        except (VerificationError, ValueError, TypeError) as err:
            raise SinkError(self.to.shown, f"its time stamp is refused: {err}") from err
        folder = self.directory / FOLDER
        make_directory(folder)
        publish(folder / f"{signed.checkpoint.size}.checkpoint", note)
        publish(folder / f"{signed.checkpoint.size}.tsr", answer.body)


@dataclass(frozen=True, slots=True)
class Timestamp:
    """A time stamp that is kept."""

    size: int  # leaves of the checkpoint
    at: datetime | None  # None: nothing can be read of it
    note: bytes | None
    content: bytes


def timestamps(directory: Path) -> Iterator[Timestamp]:
    """Give the time stamps beside a log, the smallest checkpoint first; nothing is verified."""
    folder = directory / FOLDER
    names = (_NAME.match(path.name) for path in folder.iterdir()) if folder.is_dir() else ()
    for size in sorted(int(found[1]) for found in names if found):
        content = read_file(folder / f"{size}.tsr", most=_MOST)
        try:
            note = read_file(folder / f"{size}.checkpoint", most=MAX_NOTE_BYTES)
        except FileNotFoundError:
            note = None
        try:
            at = decode_timestamp_response(content).tst_info.gen_time
        except ValueError:
            at = None
        yield Timestamp(size, at, note, content)


def verify_timestamp(found: Timestamp, certificates: tuple[Certificate, ...]) -> str | None:
    """Give what is wrong with a time stamp; None if the authority of these certificates made it."""
    if found.note is None:
        return "the checkpoint that it is about is missing"
    try:
        _verify(decode_timestamp_response(found.content), found.note, certificates)
    except (VerificationError, ValueError, TypeError) as err:
        return str(err)
    return None


def load_certificates(content: bytes) -> tuple[Certificate, ...]:
    """Read certificates in PEM; ValueError if there is none."""
    try:
        return tuple(load_pem_x509_certificates(content))
    except ValueError:
        raise ValueError("certificates in PEM") from None


def _verify(
    response: TimeStampResponse,
    note: bytes,
    certificates: tuple[Certificate, ...],
    *,
    nonce: int | None = None,
) -> None:
    VerifierBuilder(roots=list(certificates), nonce=nonce).build().verify_message(response, note)
