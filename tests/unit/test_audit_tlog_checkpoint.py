"""Checkpoints: the published ones are read, others of another form or origin are refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.tlog.checkpoint import Checkpoint, open_checkpoint, parse_checkpoint_text, parse_number
from audit.tlog.errors import NoteError
from audit.tlog.merkle import EMPTY_ROOT, MAX_SIZE, leaf_hash
from audit.tlog.note import Note, parse_note
from tests.tlogs import ORIGIN, named_key

# the example of C2SP tlog-checkpoint and tlog-cosignature; their keys are not published
SOFA = (
    "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n\n"
    "— example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=\n"
    "— witness.example.com/w1 jWbPPwAAAABkGFDLEZMHwSRaJNiIDoe9DYn/zXcrtPHeolMI5OWXEhZCB9dlrDJsX3b2oyin1nPZqhf5nNo0xUe+mbIUBkBIfZ+qnA==\n"
)
# from the tests of Go's `sumdb/tlog`
GO = "go.sum database tree\n123456789012\nTszzRgjTG6xce+z2AG31kAXYKBgQVtCSCE40HmuwBb0=\n"
ROOT = "CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I="


def test_the_published_checkpoint_is_read():
    note = parse_note(SOFA.encode())
    found = parse_checkpoint_text(note.text)
    assert (found.origin, found.size) == ("example.com/behind-the-sofa", 20_852_163)
    assert found.text == note.text
    assert note.content == SOFA.encode()
    # the specification gives this time for the example of what a witness signs
    assert note.signatures[1].cosigned_at_s == 1_679_315_147


def test_the_tree_of_go_is_read():
    assert parse_checkpoint_text(GO) == Checkpoint(
        "go.sum database tree", 123_456_789_012, leaf_hash(b"hello world")
    )


@pytest.mark.parametrize("size", [0, 1, MAX_SIZE])
def test_sizes_up_to_2_63_are_read(size):
    made = Checkpoint(ORIGIN, size, leaf_hash(b"") if size else EMPTY_ROOT)
    assert parse_checkpoint_text(made.text) == made


@pytest.mark.parametrize(
    "text",
    [
        "",
        "-1",
        "+1",
        "01",
        "00",
        "1 ",
        " 1",
        "1.0",
        "0x10",
        "1e3",
        "٣",
        "1_000",
        "9223372036854775808",
        "18446744073709551616",
        "9" * 5000,
    ],
)
def test_any_other_number_is_refused(text):
    assert parse_number("9223372036854775807") == MAX_SIZE
    with pytest.raises(NoteError, match="below 2\\^63 without leading zeros"):
        parse_number(text)


@pytest.mark.parametrize(
    "text",
    [
        "", "a\n1\n", f"a\n1\n{ROOT}", f"\n1\n{ROOT}\n", f"a\n01\n{ROOT}\n", f"a\n-1\n{ROOT}\n", f"a\nx\n{ROOT}\n", "a\n1\n!!!\n",
        "a\n1\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2J=\n", "a\n1\nAAAA\n", f"a\n1\n{ROOT}\n\n", f"a\n1\n{ROOT}\n\nx\n", f"a\n0\n{ROOT}\n",
        GO.replace("HmuwBb0=", "HmuwBTOOBIG="), GO.replace("123456789012", "0xabcdef"),
    ],
)  # fmt: skip
def test_any_other_text_is_refused(text):
    assert parse_checkpoint_text(f"a\n1\n{ROOT}\n").size == 1
    with pytest.raises(NoteError):
        parse_checkpoint_text(text)


def test_further_lines_are_kept():
    found = parse_checkpoint_text(f"a\n1\n{ROOT}\nfoo extension\nbar\n")
    assert found.extensions == ("foo extension", "bar")
    assert found.text.endswith("\nfoo extension\nbar\n")


def signed(*keys, origin=ORIGIN, size=5):
    text = Checkpoint(origin, size, leaf_hash(b"x")).text
    return Note(text, tuple(key.sign(text) for key in keys)).content


def test_a_checkpoint_of_the_log_is_opened_and_one_of_another_origin_is_not():
    key = named_key()
    assert open_checkpoint(signed(key), ORIGIN, [key.verifier]).checkpoint.size == 5
    # the right key, another log: the same key must not vouch for two histories
    with pytest.raises(NoteError, match="a checkpoint of the log"):
        open_checkpoint(signed(key, origin="example.com/other"), ORIGIN, [key.verifier])


def test_a_checkpoint_by_another_key_of_the_same_name_is_refused():
    with pytest.raises(NoteError):
        open_checkpoint(signed(named_key(2)), ORIGIN, [named_key(1).verifier])


def test_a_witness_alone_is_not_enough_and_a_false_one_spoils_it():
    key, witness = named_key(), named_key(3, "witness.example.com/w1")
    note = parse_note(signed(key))
    both = note.with_signatures(witness.cosign(note.text, 1_795_000_000))
    found = open_checkpoint(both.content, ORIGIN, [key.verifier], witnesses=[witness.witness])
    assert found.signers == (key.verifier, witness.witness)
    assert open_checkpoint(both.content, ORIGIN, [key.verifier]).signers == (key.verifier,)
    alone = Note(note.text, both.signatures[1:])
    with pytest.raises(NoteError, match="a signature by the log"):
        open_checkpoint(alone.content, ORIGIN, [key.verifier], witnesses=[witness.witness])
    other = note.with_signatures(witness.cosign(note.text + "x\n", 1_795_000_000))
    with pytest.raises(NoteError):
        open_checkpoint(other.content, ORIGIN, [key.verifier], witnesses=[witness.witness])


def test_a_log_key_does_not_pass_as_its_own_witness():
    key = named_key()
    with pytest.raises(NoteError):
        open_checkpoint(signed(key), ORIGIN, [key.witness])


@given(st.integers(0, MAX_SIZE), st.binary(min_size=32, max_size=32))
def test_a_checkpoint_is_read_back(size, root):
    made = Checkpoint(ORIGIN, size, root if size else EMPTY_ROOT)
    assert parse_checkpoint_text(made.text) == made
