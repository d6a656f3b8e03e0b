"""Another implementation of the C2SP formats accepts our tiles, notes and proofs, and we accept its own."""

from __future__ import annotations

import sys

import pytest

from audit.tlog.checkpoint import Checkpoint, open_checkpoint, parse_checkpoint_text
from audit.tlog.log import TransparencyLog
from audit.tlog.merkle import verify_consistency, verify_inclusion
from audit.tlog.note import Note, parse_note
from audit.tlog.tile_files import TileFiles
from audit.tlog.tiles import ENTRIES, Tile, TiledTree, parse_path
from audit.tlog.vkey import parse_vkey
from tests.tlogs import ORIGIN, entries_of, named_key

if sys.hexversion < 0x030C0000:  # as `version_info` it would tell the type checker to look no further
    pytest.skip("needs Python 3.12 for aics-tlog", allow_module_level=True)
aics = pytest.importorskip("aics_tlog", reason="needs the package aics-tlog")
SIZES = (1, 2, 255, 256, 257, 600, 70_000)


@pytest.fixture(scope="module", params=SIZES)
def log(request, tmp_path_factory):
    log = TransparencyLog(tmp_path_factory.mktemp("log") / "tlog")
    half = request.param // 2
    log.append(entries_of(half))
    log.append(entries_of(request.param - half, first=half))
    return log


def test_our_tiles_are_audited_by_the_other(log):
    reader = aics.FileSystemTileReader(log.directory)
    assert aics.tree_root_from_tiles(reader, log.size) == log.root()
    aics.audit_tiles(reader, log.size, log.root())
    assert aics.read_entry(reader, log.size - 1, log.size) == b"entry %d" % (log.size - 1)


def test_our_proofs_are_those_of_the_other_and_pass_there(log):
    reader = aics.FileSystemTileReader(log.directory)
    for index in {0, log.size // 2, log.size - 1}:
        path = list(log.inclusion(index, log.size))
        assert path == list(aics.inclusion_proof_from_tiles(reader, index, log.size))
        assert aics.verify_leaf_inclusion(b"entry %d" % index, index, log.size, path, log.root())
    for first in {1, log.size // 2 or 1, log.size}:
        path = list(log.consistency(first, log.size))
        assert path == list(aics.consistency_proof_from_tiles(reader, first, log.size))
        assert aics.verify_consistency(first, log.size, log.hash_of_tree(first), log.root(), path)


def test_tiles_of_the_other_are_read_by_us(tmp_path):
    entries = entries_of(600)
    names = aics.tiles.write_tiles(entries, tmp_path)
    tree = TiledTree(TileFiles(tmp_path).hashes, 600)
    other = aics.MerkleTree(entries)
    assert tree.root(600) == other.root()
    verify_inclusion(
        aics.leaf_hash(entries[300]), 300, 600, path=other.inclusion_proof(300), root=other.root()
    )
    verify_consistency(
        257, 600, path=other.consistency_proof(257, 600), first_root=other.root(257), second_root=other.root()
    )
    assert TileFiles(tmp_path).entries(Tile(ENTRIES, 2, 88)) == entries[512:]
    assert all(parse_path(name).path == name for name in names)


def test_a_log_of_the_other_grows_with_ours_to_the_same_bytes(tmp_path):
    log = TransparencyLog(tmp_path / "ours")
    writer = aics.IncrementalTileWriter(aics.DirectoryTileStore(tmp_path / "theirs"), size=0)
    for count in (3, 253, 1, 400):
        some = entries_of(count, first=log.size)
        log.append(some)
        writer.append(some)
    ours, theirs = (
        {str(path.relative_to(tmp_path / name)): path.read_bytes() for path in (tmp_path / name / "tile").rglob("*") if path.is_file()}
        for name in ("ours", "theirs")
    )  # fmt: skip
    assert ours == theirs


def test_our_keys_notes_and_cosignatures_are_verified_by_the_other():
    key, witness = named_key(), named_key(3, "witness.example.com/w1")
    text = Checkpoint(ORIGIN, 5, bytes(range(32))).text
    note = Note(text, (key.sign(text), witness.cosign(text, 1_795_000_000)))
    theirs = aics.parse_note(note.content)
    log_key, witness_key = (aics.parse_vkey(one.text) for one in (key.verifier, witness.witness))
    assert aics.format_vkey(log_key) == key.verifier.text
    assert aics.verify_note(theirs, [log_key])
    assert aics.verify_checkpoint(theirs, log_key, [witness_key], quorum=1, expected_origin=ORIGIN).ok
    wrong = aics.parse_vkey(named_key(2).verifier.text)
    assert not aics.verify_checkpoint(theirs, wrong, [witness_key], quorum=1).ok


def test_a_checkpoint_of_the_other_is_opened_by_us():
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    secret, secret_of_witness = (Ed25519PrivateKey.from_private_bytes(bytes([one]) * 32) for one in (1, 3))
    root = bytes(range(32))
    note = aics.sign_checkpoint(aics.Checkpoint(ORIGIN, 5, root), secret, ORIGIN)
    _, line = aics.sign_cosignature(secret_of_witness, "w.example", 1_795_000_000, ORIGIN, 5, root)
    key = parse_vkey(aics.format_vkey(aics.vkey_from_ed25519(ORIGIN, secret.public_key())))
    witness = parse_vkey(aics.format_vkey(aics.cosignature_vkey("w.example", secret_of_witness.public_key())))
    both = aics.Note(text=note.text, signatures=(*note.signatures, line)).to_bytes()
    found = open_checkpoint(both, ORIGIN, [key], witnesses=[witness])
    assert found.signers == (key, witness)
    assert parse_checkpoint_text(parse_note(both).text).root == root
