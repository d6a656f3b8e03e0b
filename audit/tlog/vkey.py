"""Named keys of signed notes, and what exactly each kind of them signs.

SPEC: C2SP signed-note and tlog-cosignature. The mathematics lives in `keys.py`, notes in `note.py`. A key is
known by its name and a 4-byte number made from it. INVARIANT: text has one form: `parse_vkey` takes exactly
what `VerifierKey.text` gives.
"""

from __future__ import annotations

import base64
import binascii
import re
import struct
from dataclasses import dataclass
from enum import IntEnum
from hashlib import sha256

from audit.tlog.errors import NoteError
from audit.tlog.keys import PUBLIC_BYTES, SIGNATURE_BYTES, SigningKey, verify_signature

_ID = struct.Struct(">I")
_TIME = struct.Struct(">Q")
_PRIVATE = "PRIVATE+KEY+"  # how the text form of a secret key begins, as Go's tools write it
_EXPECTED = "the text form of a secret Ed25519 key"
_HASH = re.compile(r"[0-9a-f]{8}\Z")
_CONTROL = re.compile("[\x00-\x1f]")

MAX_TIME_S = (1 << 63) - 1


class Algorithm(IntEnum):
    """Kinds of signature. SPEC: the numbers are C2SP signed-note's."""

    ED25519 = 1  # over the text of the note
    COSIGNATURE = 4  # of a witness: over a time and the text of a checkpoint


@dataclass(frozen=True, slots=True)
class Signature:
    """One signature line of a note, as it stands there."""

    name: str
    key_id: int
    signature: bytes

    @property
    def line(self) -> str:
        """Its text form, with the final newline."""
        return f"— {self.name} {encode_base64(_ID.pack(self.key_id) + self.signature)}\n"

    @property
    def cosigned_at_s(self) -> int:
        """Seconds since 1970 at which a witness signed; NoteError if it has not the form of a cosignature."""
        if len(self.signature) != _TIME.size + SIGNATURE_BYTES:
            raise NoteError("a cosignature of 72 bytes")
        (at_s,) = _TIME.unpack_from(self.signature)
        if at_s > MAX_TIME_S:
            raise NoteError("a cosignature with a time below 2^63", at_s)
        return int(at_s)


@dataclass(frozen=True, slots=True)
class VerifierKey:
    """A public key and its name; made by `verifier_key` and `parse_vkey`, which check it."""

    name: str
    algorithm: Algorithm
    public: bytes

    @property
    def key_id(self) -> int:
        """The number that signature lines carry."""
        return _key_id(self.name, self.algorithm, self.public)

    @property
    def text(self) -> str:
        """Its text form: name, number and key, joined by `+`."""
        return _text(self.name, self.key_id, self.algorithm, self.public)

    def made(self, signature: Signature) -> bool:
        """Say whether a signature line names this key; whether it is true, `verify` says."""
        return (signature.name, signature.key_id) == (self.name, self.key_id)

    def verify(self, text: str, signature: Signature) -> None:
        """Return if this key made the signature over the text; raises NoteError."""
        if not self.made(signature):
            raise NoteError(f"a signature by {self.name}", signature.name)
        message, raw = text.encode(), signature.signature
        if self.algorithm is Algorithm.COSIGNATURE:
            message, raw = cosigned_message(text, signature.cosigned_at_s), raw[_TIME.size :]
        verify_signature(self.public, message, raw)


@dataclass(frozen=True, slots=True)
class NamedKey:
    """A secret key and its name."""

    name: str
    key: SigningKey

    @property
    def verifier(self) -> VerifierKey:
        """What others check its signatures of notes with."""
        return verifier_key(self.name, Algorithm.ED25519, self.key.public)

    @property
    def witness(self) -> VerifierKey:
        """What others check its cosignatures with."""
        return verifier_key(self.name, Algorithm.COSIGNATURE, self.key.public)

    @property
    def secret_text(self) -> str:
        """Its text form, secret."""
        verifier = self.verifier
        return _PRIVATE + _text(self.name, verifier.key_id, verifier.algorithm, self.key.seed)

    def sign(self, text: str) -> Signature:
        """Sign the text of a note."""
        return Signature(self.name, self.verifier.key_id, self.key.sign(text.encode()))

    def cosign(self, text: str, at_s: int) -> Signature:
        """Sign the text of a checkpoint as a witness does, at a time in seconds since 1970."""
        raw = _TIME.pack(at_s) + self.key.sign(cosigned_message(text, at_s))
        return Signature(self.name, self.witness.key_id, raw)


def cosigned_message(text: str, at_s: int) -> bytes:
    """What a witness signs. SPEC: C2SP tlog-cosignature, Ed25519 signed message."""
    return f"cosignature/v1\ntime {at_s}\n{text}".encode()


def verifier_key(name: str, algorithm: Algorithm, public: bytes) -> VerifierKey:
    """A public key under a name that a note can hold; NoteError."""
    check_name(name)
    if len(public) != PUBLIC_BYTES:
        raise NoteError(f"a public key of {PUBLIC_BYTES} bytes")
    return VerifierKey(name, algorithm, public)


def parse_vkey(text: str) -> VerifierKey:
    """Read the text form of a public key; NoteError."""
    name, key_id, algorithm, public = _parse(text)
    key = verifier_key(name, algorithm, public)
    if key.key_id != key_id:
        raise NoteError(f"a public key with the number {key.key_id:08x}", f"{key_id:08x}")
    return key


def parse_secret(text: str) -> NamedKey:
    """Read the text form of a secret key; NoteError, which shows nothing of it."""
    try:
        name, _, _, seed = _parse(text.removeprefix(_PRIVATE))
        key = NamedKey(name, SigningKey.from_seed(seed))
    except NoteError:
        raise NoteError(_EXPECTED) from None
    if key.secret_text != text:
        raise NoteError(_EXPECTED)
    return key


def parse_signature(line: str) -> Signature:
    """Read one signature line, without its newline; NoteError."""
    mark, _, rest = line.partition(" ")
    name, _, encoded = rest.partition(" ")
    if mark != "—":
        raise NoteError("a signature line, as `— name base64`", line)
    check_name(name)
    raw = decode_base64(encoded)
    if len(raw) <= _ID.size:
        raise NoteError("a signature of more than 4 bytes", encoded)
    return Signature(name, _ID.unpack_from(raw)[0], raw[_ID.size :])


def check_name(name: str) -> None:
    """Return if a key may have this name; raises NoteError."""
    has_space = any(one.isspace() for one in name)
    if not name or has_space or "+" in name or _CONTROL.search(name):
        raise NoteError("the name of a key, without spaces and `+`", name)


def encode_base64(raw: bytes) -> str:
    """Standard base64."""
    return base64.b64encode(raw).decode()


def decode_base64(text: str) -> bytes:
    """Read standard base64 in its one canonical form; NoteError."""
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise NoteError("base64", text) from None
    if encode_base64(raw) != text:  # bits that no byte holds, or padding in excess
        raise NoteError("base64 in its canonical form", text)
    return raw


def _key_id(name: str, algorithm: Algorithm, public: bytes) -> int:
    digest = sha256(f"{name}\n".encode() + bytes([algorithm]) + public).digest()
    return int(_ID.unpack_from(digest)[0])


def _text(name: str, key_id: int, algorithm: Algorithm, raw: bytes) -> str:
    return f"{name}+{key_id:08x}+{encode_base64(bytes([algorithm]) + raw)}"


def _parse(text: str) -> tuple[str, int, Algorithm, bytes]:
    expected = "a key, as name+12345678+base64"
    parts = text.split("+", 2)  # base64 may hold a `+` as well
    if len(parts) != 3 or not _HASH.match(parts[1]):
        raise NoteError(expected, text)
    check_name(parts[0])
    raw = decode_base64(parts[2])
    if len(raw) < 2 or raw[0] not in set(Algorithm):
        raise NoteError("an Ed25519 key: algorithm 1, or 4 for a witness", raw[:1])
    return parts[0], int(parts[1], 16), Algorithm(raw[0]), raw[1:]
