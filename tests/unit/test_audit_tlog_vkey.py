"""Keys of notes: the text forms of Go's tests, and nothing like them."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.tlog.errors import NoteError
from audit.tlog.keys import SigningKey
from audit.tlog.vkey import Algorithm, NamedKey, decode_base64, parse_secret, parse_vkey, verifier_key

# from the tests of Go's `sumdb/note`
PUBLIC = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
SECRET = "PRIVATE+KEY+PeterNeumann+c74f20a3+AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz"
SUMDB = "sum.golang.org+033de0ae+Ac4zctda0e5eza+HJyk9SxEdh+s3Ux18htTTAD8OuAn8"


@pytest.mark.parametrize("text", [PUBLIC, SUMDB])
def test_a_published_key_is_read_and_written(text):
    key = parse_vkey(text)
    assert key.text == text
    assert key.algorithm is Algorithm.ED25519


def test_a_published_secret_is_read_and_belongs_to_its_public_key():
    key = parse_secret(SECRET)
    assert key.secret_text == SECRET
    assert key.verifier.text == PUBLIC


def test_every_part_of_a_key_is_refused():
    for text, read in ((PUBLIC, parse_vkey), (SECRET, parse_secret)):
        for start in range(len(text)):
            for end in range(start + 1, len(text) + 1):
                if (start, end) != (0, len(text)):
                    with pytest.raises(NoteError):
                        read(text[start:end])


@pytest.mark.parametrize(("text", "read"), [(PUBLIC, parse_vkey), (SECRET, parse_secret)])
def test_a_key_with_one_character_changed_is_refused(text, read):
    for at, letter in enumerate(text):
        with pytest.raises(NoteError):
            read(text[:at] + chr(ord(letter) + 1) + text[at + 1 :])


@pytest.mark.parametrize(
    "text",
    [
        "PeterNeumann+cc469956+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TWBADKEY==",
        "PeterNeumann+173116ae+ZRpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
        PUBLIC.upper(), PUBLIC + "\n", " " + PUBLIC, PUBLIC.replace("c74f20a3", "C74F20A3"),
    ],
)  # fmt: skip
def test_another_length_algorithm_or_form_is_refused(text):
    with pytest.raises(NoteError):
        parse_vkey(text)


@given(st.binary(min_size=32, max_size=32), st.sampled_from(list(Algorithm)))
def test_a_key_is_read_back(raw, algorithm):
    key = verifier_key("example.com/ä", algorithm, SigningKey.from_seed(raw).public)
    assert parse_vkey(key.text) == key


@pytest.mark.parametrize("name", ["", "a b", "a+b", "a\tb", "a\nb", "a\u00a0b", "a\u2028b", "a\x00b"])
def test_a_name_that_a_note_cannot_hold_is_refused(name):
    with pytest.raises(NoteError, match="the name of a key"):
        verifier_key(name, Algorithm.ED25519, bytes(32))


def test_a_secret_is_never_shown():
    key = parse_secret(SECRET)
    assert "AYEK" not in repr(key)
    with pytest.raises(NoteError) as caught:
        parse_secret(SECRET + "x")
    assert "AYEK" not in str(caught.value)


@pytest.mark.parametrize("text", ["QQ", "QR==", "QQ= =", "QQ==\n", "Q-_=", "QQ===", "=", "ä"])
def test_base64_in_any_other_form_is_refused(text):
    assert decode_base64("QQ==") == b"A"
    assert decode_base64("") == b""
    with pytest.raises(NoteError, match="base64"):
        decode_base64(text)


def test_a_cosignature_counts_for_its_text_and_its_time_only():
    witness = NamedKey("witness.example.com/w1", SigningKey.from_seed(bytes(32)))
    text = "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n"
    made = witness.cosign(text, 1_679_315_147)
    witness.witness.verify(text, made)
    assert made.cosigned_at_s == 1_679_315_147
    later = type(made)(made.name, made.key_id, made.signature[:7] + b"\0" + made.signature[8:])
    for wrong_text, wrong in (
        (text + "x\n", made),
        (text, later),
        (text, type(made)(made.name, made.key_id, b"")),
    ):
        with pytest.raises(NoteError):
            witness.witness.verify(wrong_text, wrong)


def test_a_cosignature_of_a_time_beyond_2_63_is_refused():
    witness = NamedKey("w", SigningKey.from_seed(bytes(32)))
    witness.witness.verify("t\n", witness.cosign("t\n", (1 << 63) - 1))
    with pytest.raises(NoteError, match="below 2\\^63"):
        witness.witness.verify("t\n", witness.cosign("t\n", 1 << 63))


def test_a_signature_of_a_note_is_none_of_a_witness():
    key = NamedKey("w", SigningKey.from_seed(bytes(32)))
    assert key.verifier.key_id != key.witness.key_id
    with pytest.raises(NoteError):
        key.witness.verify("t\n", key.sign("t\n"))
    assert base64.b64decode(key.verifier.text.split("+", 2)[2])[0] == 1
