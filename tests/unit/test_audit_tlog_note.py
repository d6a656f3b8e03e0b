"""Signed notes: those that were published are read, and no other text is taken for one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.tlog.errors import NoteError
from audit.tlog.note import MAX_NOTE_BYTES, Note, parse_note
from audit.tlog.vkey import parse_vkey
from tests.tlogs import named_key

# keys and signatures of the tests of Go's `sumdb/note`
PETER = parse_vkey("PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW")
ENOCH = parse_vkey("EnochRoot+af0cfe78+ATtqJ7zOtqQtYqOo0CpvDXNlMhV3HeJDpjrASKGLWdop")
TEXT = "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n"
BY_PETER = "— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
BY_ENOCH = "— EnochRoot rwz+eBzmZa0SO3NbfRGzPCpDckykFXSdeX+MNtCOXm2/5n2tiOHp+vAF1aGrQ5ovTG01oOTGwnWLox33WWd1RvMc+QQ=\n"
# the example of C2SP signed-note, whose key is not published
POEM = (
    "Ognuno sta solo sul cuor della terra\ntrafitto da un raggio di sole:\n\ned è subito sera.\n\n"
    "— quasimodo.example/salvatore NnugSzTjtVAewIS+Z/iJhUPeFDkO/5QQ2i5ddnGITLlC+EhfLW9oJKONrMouFSQU0xMcXxj99ihAQwaqP3ZekRwNtIc=\n"
)


def note_of(*lines: str, text: str = TEXT) -> bytes:
    return (text + "\n" + "".join(lines)).encode()


def test_published_notes_are_verified_and_an_unknown_signature_is_kept():
    note = parse_note(note_of(BY_PETER, BY_ENOCH))
    assert note.text == TEXT
    assert note.verify([PETER]) == (PETER,)
    assert note.verify([ENOCH, PETER]) == (PETER, ENOCH)
    assert [one.name for one in note.signatures] == ["PeterNeumann", "EnochRoot"]
    assert note.content == note_of(BY_PETER, BY_ENOCH)


def test_a_text_with_an_empty_line_is_split_at_the_last_one():
    note = parse_note(POEM.encode())
    assert note.text.endswith("ed è subito sera.\n")
    assert (note.signatures[0].name, f"{note.signatures[0].key_id:08x}") == (
        "quasimodo.example/salvatore",
        "367ba04b",
    )
    with pytest.raises(NoteError):
        note.verify([PETER])


def test_a_note_that_nobody_known_signed_is_refused():
    note = parse_note(note_of(BY_PETER))
    for keys in ([], [ENOCH]):
        with pytest.raises(NoteError, match="a signature by"):
            note.verify(keys)


def test_one_false_signature_of_a_known_key_spoils_the_note():
    forged = BY_PETER.replace("x08go/ZJ", "x08go/ZK")
    with pytest.raises(NoteError, match="by the key that it names"):
        parse_note(note_of(BY_ENOCH, forged)).verify([PETER, ENOCH])
    assert parse_note(note_of(BY_ENOCH, forged)).verify([ENOCH]) == (ENOCH,)


def test_a_signature_under_the_wrong_key_id_or_name_is_unknown():
    wrong_id = BY_PETER.replace(" x08g", " xxxx")
    wrong_name = BY_PETER.replace("PeterNeumann", "CarmenSandiego")
    for line in (wrong_id, wrong_name):
        with pytest.raises(NoteError, match="a signature by PeterNeumann"):
            parse_note(note_of(line)).verify([PETER])


def test_a_signature_moved_to_another_text_is_refused():
    with pytest.raises(NoteError):
        parse_note(note_of(BY_PETER, text=TEXT.replace("think", "know"))).verify([PETER])
    assert parse_note(note_of(BY_PETER)).verify([PETER])


def test_two_notes_one_behind_the_other_are_one_with_a_text_that_nobody_signed():
    two = note_of(BY_PETER) + b"\n" + note_of(BY_PETER)
    with pytest.raises(NoteError, match="by the key that it names"):
        parse_note(two).verify([PETER])


def test_a_signature_that_is_there_twice_counts_once():
    assert parse_note(note_of(BY_PETER, BY_PETER)).verify([PETER]) == (PETER,)


def test_keys_with_one_name_and_number_are_no_choice():
    assert parse_note(note_of(BY_PETER)).verify([PETER, PETER]) == (PETER,)
    other = type(PETER)(PETER.name, PETER.algorithm, PETER.public)
    assert other == PETER


@pytest.mark.parametrize(
    "content",
    [
        b"", b"\n", b"\n\n", TEXT.encode(), note_of(), note_of(BY_PETER[:-1]), b"\x01" + note_of(BY_PETER),
        b"\xff" + note_of(BY_PETER), note_of(BY_PETER.replace("PeterNeumann", "Bad Name")), note_of(BY_PETER, "Unexpected line.\n"),
        note_of(BY_PETER) + b"trailing", note_of(BY_PETER) + b"\n", note_of(BY_PETER, "\n"), note_of(BY_PETER).replace(b"\n", b"\r\n"),
        note_of(BY_PETER.replace("—", "-")), note_of(BY_PETER.replace("nAM=", "nAN=")), note_of(BY_PETER.replace("nAM=", "nAM")),
        note_of(BY_PETER.replace("nAM=\n", "nAM= \n")), note_of("— PeterNeumann x08gow==\n"), note_of("— PeterNeumann \n"),
        note_of("— x08go/ZJkuBS\n"), note_of(*[BY_PETER] * 101), TEXT.encode() + BY_PETER.encode(), note_of(BY_PETER) + bytes(MAX_NOTE_BYTES),
    ],
)  # fmt: skip
def test_anything_else_is_no_note(content):
    with pytest.raises(NoteError):
        parse_note(content)


def test_a_hundred_signatures_are_read():
    assert len(parse_note(note_of(*[BY_PETER] * 100)).signatures) == 100


LINES = st.text(st.characters(min_codepoint=32, exclude_categories=["Cs"]), max_size=30).filter(
    lambda t: "\n" not in t
)


@given(st.lists(LINES, min_size=1, max_size=6), st.integers(1, 4))
def test_a_note_is_read_back_and_verified(lines, number):
    text = "".join(f"{line}\n" for line in lines)
    key = named_key(number)
    note = Note(text, (key.sign(text), named_key(9, "other").sign(text)))
    assert parse_note(note.content) == note
    assert parse_note(note.content).verify([key.verifier]) == (key.verifier,)


@given(st.data())
def test_a_note_with_one_byte_changed_is_no_note_or_not_signed(data):
    content = bytearray(note_of(BY_PETER))
    at = data.draw(st.integers(0, len(content) - 1))
    content[at] ^= data.draw(st.integers(1, 255))
    with pytest.raises(NoteError):
        parse_note(bytes(content)).verify([PETER])
