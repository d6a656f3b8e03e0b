"""Ed25519: the vectors of RFC 8032, and no other signature."""

from __future__ import annotations

import pytest

from audit.tlog.errors import NoteError
from audit.tlog.keys import SigningKey, verify_signature

# RFC 8032, 7.1: secret, public, message, signature
VECTORS = (
    (
        "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "",
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
    ),
    (
        "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        "72",
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
    ),
)


@pytest.mark.parametrize("vector", VECTORS)
def test_the_vectors_of_rfc_8032_hold(vector):
    secret, public, message, signature = (bytes.fromhex(one) for one in vector)
    key = SigningKey.from_seed(secret)
    assert (key.public, key.sign(message), key.seed) == (public, signature, secret)
    verify_signature(public, message, signature)
    for wrong in (signature[:-1], signature + b"\0", bytes(64), signature[:32] + bytes(32)):
        with pytest.raises(NoteError):
            verify_signature(public, message, wrong)
    with pytest.raises(NoteError):
        verify_signature(public, message + b"x", signature)


def test_new_keys_differ_and_their_secret_is_not_shown():
    one, other = SigningKey.generate(), SigningKey.generate()
    assert one.seed != other.seed
    assert one.seed.hex() not in repr(one)
    assert repr(one) == "SigningKey(...)"


@pytest.mark.parametrize("seed", [b"", bytes(31), bytes(33)])
def test_a_secret_of_another_length_is_refused(seed):
    with pytest.raises(NoteError, match="32 bytes"):
        SigningKey.from_seed(seed)


def test_a_public_key_of_another_length_verifies_nothing():
    with pytest.raises(NoteError):
        verify_signature(b"short", b"", bytes(64))
