"""A record's chunk is the one whose records hash to it, and only what the checkpoint covers is named."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from audit.chunks import chunk_leaves, context_of
from audit.errors import FormatError
from audit.export.evidence import NoEvidence, chunk_hashes, origin_of
from audit.export.sealed import SealedEvidence
from tests.export_rows import PLAIN, row, table

FIRST, SECOND = PLAIN["exec_id"], "01a1ee56-5e00-7000-8000-000000000001"
# the second has gaps, as summaries and lost records make them
SEQS = {FIRST: list(range(300)), SECOND: [seq * 3 + 10 for seq in range(129)]}


@dataclass(frozen=True)
class Segment:
    path: Path
    chunks_path: Path


@dataclass
class Catalogue:
    root: Path
    found: tuple[Segment, ...]
    leaves: dict[str, int]

    def segments(self, *, exec_id):
        return self.found if exec_id else ()

    def leaf(self, kind, key):
        return self.leaves.get(key) if kind == "segment" else None


def rows_of(exec_id):
    return [row(exec_id=exec_id, seq=seq) for seq in SEQS[exec_id]]


def leaves_of(exec_id, rows):
    return chunk_leaves(
        table(rows), exec_id, context_of(exec_id, PLAIN["tenant_id"], PLAIN["module_id"], PLAIN["policy_id"])
    )


@pytest.fixture
def log(tmp_path):
    folder = tmp_path / "seg/tenant=default"
    folder.mkdir(parents=True)
    segment = Segment(folder / "a.parquet", folder / "a.chunks")
    pq.write_table(
        pa.concat_tables([table(rows_of(FIRST)), table(rows_of(SECOND))]), segment.path, row_group_size=100
    )
    segment.chunks_path.write_bytes(
        b"".join(leaf for name in SEQS for leaf in leaves_of(name, rows_of(name)))
    )
    checkpoint(tmp_path, 3)
    return Catalogue(tmp_path, (segment,), {"seg/tenant=default/a.parquet": 2})


def checkpoint(root, size):
    (root / "tlog").mkdir(exist_ok=True)
    (root / "tlog/checkpoint").write_text(
        f"wasmgate.example/log\n{size}\nAAAA\n\n— wasmgate.example/log AbCd\n"
    )


@pytest.mark.parametrize("exec_id", SEQS)
def test_each_record_has_the_chunk_whose_records_hash_to_it(log, exec_id):
    evidence = SealedEvidence(log, log.root)
    rows = rows_of(exec_id)
    wanted = leaves_of(exec_id, rows)
    for at, seq in enumerate(SEQS[exec_id]):
        found = evidence.chunk_of(exec_id, seq)
        assert found is not None
        assert found.leaf_hash == wanted[at // 128]
        assert found.first_seq <= seq <= found.last_seq


def test_a_record_that_is_in_no_chunk_has_none(log):
    evidence = SealedEvidence(log, log.root)
    assert evidence.chunk_of(FIRST, 300) is None
    assert evidence.chunk_of(FIRST, -1) is None
    assert evidence.chunk_of("01a1ee56-5e00-7000-8000-000000000002", 0) is None


def test_a_segment_that_the_checkpoint_does_not_cover_proves_nothing(log):
    checkpoint(log.root, 2)
    assert SealedEvidence(log, log.root).chunk_of(FIRST, 0) is None
    log.leaves.clear()
    checkpoint(log.root, 3)
    assert SealedEvidence(log, log.root).chunk_of(FIRST, 0) is None


def test_without_a_checkpoint_nothing_is_proved(log):
    (log.root / "tlog/checkpoint").unlink()
    evidence = SealedEvidence(log, log.root)
    assert (evidence.tree_size, evidence.checkpoint(), evidence.chunk_of(FIRST, 0)) == (None, None, None)


@pytest.mark.parametrize(
    "text", ["", "origin\n", "origin\n-1\nAAAA\n\n", "origin\n12x\nAAAA\n\n", "origin\n\u0663\nAAAA\n\n"]
)
def test_a_file_that_is_no_checkpoint_is_refused(log, text):
    (log.root / "tlog/checkpoint").write_text(text)
    with pytest.raises(FormatError):
        SealedEvidence(log, log.root)


@pytest.mark.parametrize("cut", [slice(None, -32), slice(None, -1), slice(32, None)])
def test_missing_hashes_are_damage(log, cut):
    path = log.found[0].chunks_path
    path.write_bytes(path.read_bytes()[cut])
    with pytest.raises(FormatError):
        SealedEvidence(log, log.root).chunk_of(FIRST, 0)


def test_evidence_is_asked_once_for_a_chunk(log):
    import numpy as np

    evidence = SealedEvidence(log, log.root)
    found = chunk_hashes(evidence, FIRST, np.array([0, 1, 127, 128, 256, 299, 300, 301]))
    assert [(first, end) for first, end, _ in found] == [(0, 3), (3, 4), (4, 6), (6, 7), (7, 8)]
    assert [leaf is None for *_, leaf in found] == [False, False, False, True, True]


def test_no_evidence_names_nothing():
    assert (NoEvidence().checkpoint(), NoEvidence().chunk_of(FIRST, 0), origin_of(None)) == (None, None, None)
    assert origin_of("a/b\n1\n") == "a/b"
