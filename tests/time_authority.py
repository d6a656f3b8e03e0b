"""A small authority for time stamps (RFC 3161) for tests, written from the ASN.1 of RFC 3161 and RFC 5652.

Only what an answer needs is encoded; `lie` changes one thing of it.
"""

from __future__ import annotations

import datetime as dt
import hashlib
from dataclasses import dataclass, field

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID

from tests.receivers import Answer, Issuer, Received

SHA256 = "2.16.840.1.101.3.4.2.1"
ECDSA_SHA256 = "1.2.840.10045.4.3.2"
TST_INFO = "1.2.840.113549.1.9.16.1.4"
SIGNED_DATA = "1.2.840.113549.1.7.2"


def der(tag: int, *parts: bytes) -> bytes:
    content = b"".join(parts)
    size = len(content)
    length = (
        bytes([size])
        if size < 128
        else bytes([0x80 | -(-size.bit_length() // 8)]) + size.to_bytes(-(-size.bit_length() // 8), "big")
    )
    return bytes([tag]) + length + content


def seq(*parts: bytes) -> bytes:
    return der(0x30, *parts)


def integer(value: int) -> bytes:
    return der(0x02, value.to_bytes(value.bit_length() // 8 + 1, "big"))


def oid(text: str) -> bytes:
    first, second, *rest = (int(part) for part in text.split("."))
    content = bytes([first * 40 + second])
    for number in rest:
        some = [number & 0x7F]
        while number := number >> 7:
            some.insert(0, 0x80 | number & 0x7F)
        content += bytes(some)
    return der(0x06, content)


def read(content: bytes) -> list[tuple[int, bytes]]:
    """The parts of a sequence, one level deep."""
    found = []
    while content:
        tag, size, at = content[0], content[1], 2
        if size & 0x80:
            count = size & 0x7F
            size, at = int.from_bytes(content[2 : 2 + count], "big"), 2 + count
        found.append((tag, content[at : at + size]))
        content = content[at + size :]
    return found


@dataclass
class TimeAuthority:
    """Answers requests as an authority does, or lies."""

    issuer: Issuer = field(default_factory=lambda: Issuer.make("time root"))
    lie: str = ""
    is_stamper: bool = True

    def __post_init__(self) -> None:
        usage = ExtendedKeyUsageOID.TIME_STAMPING if self.is_stamper else ExtendedKeyUsageOID.CODE_SIGNING
        self.key, self.certificate = self.issuer.issue("stamper", (x509.ExtendedKeyUsage([usage]), True))

    def __call__(self, got: Received) -> Answer:
        return 200, "application/timestamp-reply", self.answer(got.body)

    def answer(self, request: bytes) -> bytes:
        if self.lie == "rejection":
            return seq(seq(integer(2)))
        parts = read(read(request)[0][1])
        imprint = read(parts[1][1])[1][1]
        nonce = next(int.from_bytes(content, "big") for tag, content in parts[2:] if tag == 0x02)
        if self.lie == "another note":
            imprint = hashlib.sha256(b"another").digest()
        if self.lie == "replay":
            nonce += 1
        made = self._token(imprint, nonce)
        return made if self.lie != "cut" else made[:-40]

    def _token(self, imprint: bytes, nonce: int) -> bytes:
        sha256 = seq(oid(SHA256))
        now = dt.datetime.now(dt.UTC).strftime("%Y%m%d%H%M%SZ").encode()
        info = seq(
            integer(1), oid("1.2.3.4"), seq(sha256, der(0x04, imprint)), integer(7), der(0x18, now), integer(nonce)
        )  # fmt: skip
        encoded = self.certificate.public_bytes(Encoding.DER)
        attributes = [
            seq(oid("1.2.840.113549.1.9.3"), der(0x31, oid(TST_INFO))),
            seq(oid("1.2.840.113549.1.9.4"), der(0x31, der(0x04, hashlib.sha256(info).digest()))),
            seq(
                oid("1.2.840.113549.1.9.16.2.47"),
                der(0x31, seq(seq(seq(der(0x04, hashlib.sha256(encoded).digest()))))),
            ),
        ]
        signed = b"".join(sorted(attributes))
        key = self.key if self.lie != "another key" else ec.generate_private_key(ec.SECP256R1())
        signature = key.sign(der(0x31, signed), ec.ECDSA(hashes.SHA256()))
        signer = seq(
            integer(1),
            seq(self.issuer.root.subject.public_bytes(), integer(self.certificate.serial_number)),
            sha256,
            der(0xA0, signed),
            seq(oid(ECDSA_SHA256)),
            der(0x04, signature),
        )
        content = seq(
            integer(3),
            der(0x31, sha256),
            seq(oid(TST_INFO), der(0xA0, der(0x04, info))),
            der(0xA0, encoded),
            der(0x31, signer),
        )
        return seq(seq(integer(0)), seq(oid(SIGNED_DATA), der(0xA0, content)))
