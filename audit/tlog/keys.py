"""Ed25519: keys are made, sign and are checked here, and nowhere else in the service.

How a key is stored lives in `key_files.py`, what is signed in `vkey.py`. All mathematics is that of the
`cryptography` package; this is its only importer apart from the stand-alone verifier. INVARIANT: a secret
leaves this module only as the bytes of `SigningKey.seed`, and is never part of a message or a `repr`.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from audit.tlog.errors import NoteError

SEED_BYTES = 32
PUBLIC_BYTES = 32
SIGNATURE_BYTES = 64


@dataclass(frozen=True, slots=True, repr=False)
class SigningKey:
    """A secret key."""

    _key: Ed25519PrivateKey = field(compare=False)

    @staticmethod
    def generate() -> SigningKey:
        """Make a new one from the system's random numbers."""
        return SigningKey(Ed25519PrivateKey.generate())

    @staticmethod
    def from_seed(seed: bytes) -> SigningKey:
        """Read the 32 secret bytes (RFC 8032, 5.1.5) of a key; NoteError if there are more or fewer."""
        if len(seed) != SEED_BYTES:
            raise NoteError(f"a secret key of {SEED_BYTES} bytes")
        return SigningKey(Ed25519PrivateKey.from_private_bytes(seed))

    @property
    def seed(self) -> bytes:
        """The 32 secret bytes."""
        return self._key.private_bytes_raw()

    @property
    def public(self) -> bytes:
        """The public key, 32 bytes."""
        return self._key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)

    def sign(self, message: bytes) -> bytes:
        """Signature over a message, 64 bytes; the same message always gives the same."""
        return self._key.sign(message)

    def __repr__(self) -> str:
        """Show nothing of the key."""
        return "SigningKey(...)"


def verify_signature(public: bytes, message: bytes, signature: bytes) -> None:
    """Return if the holder of the key signed the message; raises NoteError otherwise."""
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, message)
    except (InvalidSignature, ValueError):
        raise NoteError("a signature by the key that it names") from None
