"""Proof files: those of the specification's form are read, and only true ones verified."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.tlog.checkpoint import Checkpoint
from audit.tlog.errors import NoteError, ProofError
from audit.tlog.merkle import inclusion_path, leaf_hash, root_of
from audit.tlog.note import Note
from audit.tlog.tlog_proof import TlogProof, parse_proof
from tests.tlogs import ORIGIN, entries_of, named_key

# the example of C2SP tlog-proof; its checkpoint's signatures are cut there
SPECIFIED = (
    "c2sp.org/tlog-proof@v1\nextra YWdlLXYxLjIuMS1kYXJ3aW4tYXJtNjQudGFyLmd6kYXJ3aW4tYXJ\nindex 73894\n"
    "gSKyXoYZUgZ6jduWYrkDOARinOMGJveXjgMkBTcdPlQ=\nB95lDa8R83lS8n0eG+o0buTxRKQTYFi//1U8anccXmA=\n"
    "EKNzoDWG8LGC0Yp9o+sv3qllpMP9uHQ9B20KNL+Q1zs=\nRoopEkOdqkYqMB4MJXrbt/hMjOxsVn0IrWjpz1ZMMes=\n"
    "AHCioX9nLjsrse6YhjRRmk1WUEirVOLLRoOQ6vfO5vk=\n\nexample.com/fancylog\n109482\nsFodV/vSp5O8n9a8QpW6PRY97tfOSW5bsc2Xl/EQi08=\n"
)


def proof_of(index, size, *, extra=None, key=None):
    leaves = [leaf_hash(one) for one in entries_of(size)]
    text = Checkpoint(ORIGIN, size, root_of(leaves)).text
    note = Note(text, ((key or named_key()).sign(text),))
    return TlogProof(index, inclusion_path(leaves, index), note.content, extra)


def test_the_example_of_the_specification_is_read():
    found = parse_proof(SPECIFIED.encode())
    assert (found.index, len(found.path)) == (73_894, 5)
    assert found.extra is not None
    assert found.extra.startswith(b"age-v1.2.1-darwin-arm64.tar.gz")
    assert found.content == SPECIFIED.encode()


@given(st.data())
def test_a_proof_is_read_back_and_verified(data):
    size = data.draw(st.integers(1, 40))
    index = data.draw(st.integers(0, size - 1))
    made = proof_of(index, size, extra=data.draw(st.none() | st.binary(max_size=50)))
    assert parse_proof(made.content) == made
    leaf = leaf_hash(entries_of(size)[index])
    assert made.verify(leaf, ORIGIN, [named_key().verifier]).checkpoint.size == size


def test_a_false_proof_is_refused():
    made, leaf, keys = proof_of(3, 9), leaf_hash(entries_of(9)[3]), [named_key().verifier]
    assert made.verify(leaf, ORIGIN, keys)
    for wrong in (
        dataclasses.replace(made, index=4),
        dataclasses.replace(made, path=made.path[:-1]),
        dataclasses.replace(made, path=made.path[::-1]),
        dataclasses.replace(made, checkpoint=proof_of(3, 10).checkpoint),
    ):
        with pytest.raises(ProofError):
            wrong.verify(leaf, ORIGIN, keys)
    with pytest.raises(ProofError):
        made.verify(leaf_hash(b"another"), ORIGIN, keys)
    for origin, known in ((ORIGIN, [named_key(2).verifier]), ("other", keys), (ORIGIN, [])):
        with pytest.raises(NoteError):
            made.verify(leaf, origin, known)


GOOD = proof_of(1, 3, extra=b"e").content


@pytest.mark.parametrize(
    "content",
    [
        b"", GOOD[:30], GOOD.replace(b"@v1", b"@v2"), b"\n" + GOOD, GOOD.replace(b"\n", b"\r\n"), GOOD.replace(b"index 1", b"index 01"),
        GOOD.replace(b"index 1", b"index -1"), GOOD.replace(b"index 1", b"index 9223372036854775808"), GOOD.replace(b"index 1\n", b""),
        GOOD.replace(b"index 1\n", b"index 1\nindex 1\n"), GOOD.replace(b"extra ZQ==", b"extra ZR=="), GOOD.replace(b"extra ZQ==", b"extra"),
        GOOD.replace(b"extra ZQ==\nindex 1\n", b"index 1\nextra ZQ==\n"), GOOD.replace(b"index 1\n", b"index 1\nAAAA\n"),
        GOOD.replace(b"index 1\n", b"index 1\n" + b"A" * 43 + b"=\n" * 1 + (b"A" * 43 + b"=\n") * 63), GOOD + bytes(2_000_000), "ä".encode() + GOOD,
    ],
)  # fmt: skip
def test_any_other_file_is_refused(content):
    assert parse_proof(GOOD).index == 1
    with pytest.raises(NoteError):
        parse_proof(content)
