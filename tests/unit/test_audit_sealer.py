"""A segment lies about nothing: rows, ranges and digests agree with what was written."""

from __future__ import annotations

import hashlib
import json

import pyarrow.parquet as pq

from audit.recovery import recover
from audit.store import Store
from audit.wal import Problem
from audit.writer import AuditWriter
from sandbox.monitor.decode import decode
from tests.records import STORY, start, tell


def test_the_manifest_says_what_is_in_the_segment(tmp_path):
    writer, runs = AuditWriter(tmp_path), [start(number=number) for number in (2, 0, 1)]
    for of in runs:
        tell(writer, of)
    size, name = writer.size_bytes, writer.path.name
    writer.close()
    (sealed,) = recover(tmp_path, decode)
    path = sealed.segment
    assert path is not None
    made = json.loads(path.with_suffix(".manifest.json").read_text())
    assert made["schema"] == "wasmgate.record.v1"
    assert made["segment"] == path.relative_to(tmp_path).as_posix()
    assert made["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert made["rows"] == 3 * len(STORY) == pq.read_metadata(path).num_rows
    assert made["source"] == {"wal": name, "bytes": size, "lost_bytes": 0, "problem": None}
    assert [
        (one["exec_id"], one["first_seq"], one["last_seq"], one["rows"], one["gaps"])
        for one in made["executions"]
    ] == [(of.exec_id, 0, len(STORY) - 1, len(STORY), []) for of in sorted(runs, key=lambda of: of.exec_id)]


def test_rows_are_sorted_by_execution_and_number(tmp_path):
    writer = AuditWriter(tmp_path)
    for number in (2, 0, 1):
        tell(writer, start(number=number), rounds=2)
    writer.close()
    (sealed,) = recover(tmp_path, decode)
    rows = pq.ParquetFile(sealed.segment).read(columns=["exec_id", "seq"]).to_pylist()
    keys = [(row["exec_id"], row["seq"]) for row in rows]
    assert keys == sorted(keys)


def test_a_decoder_that_loses_rows_is_not_believed(tmp_path):
    writer = AuditWriter(tmp_path)
    tell(writer, start())
    writer.close()
    (sealed,) = recover(tmp_path, lambda of, frames, known: decode(of, frames, known).slice(1))
    assert (sealed.problem, sealed.rows) == (Problem.CORRUPT, 0)
    assert len(list(Store(tmp_path).wal.glob("*.damaged"))) == 1
    assert list(Store(tmp_path).segments.rglob("*.parquet")) == []
