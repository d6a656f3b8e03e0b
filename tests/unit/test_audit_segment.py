"""Segments hold the rows they were given, small, and only under their final name when complete."""

from __future__ import annotations

import hashlib

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from audit.columns import OPENED, SCHEMA, out_of_file, plain
from audit.query.engine import sealed
from audit.segment import Written, read_pieces, segment_writer
from sandbox.monitor.decode import decode
from tests.records import IN, STORY, call, frame, start

OF = start()


def targets_of(path, exec_id):
    return [
        target
        for read in read_pieces(path, exec_id)
        for target in plain(read(["target"]).column("target")).to_pylist()
    ]


def table(first=0):
    return decode(OF, [frame(STORY, first_seq=first)], OPENED.empty_table())


def test_rows_and_their_times_come_back(tmp_path):
    path, made = tmp_path / "day" / "x.parquet", Written()
    with segment_writer(path, made) as writer:
        writer.add(table(len(STORY)))
        writer.add(SCHEMA.empty_table())
        writer.add(table())
    assert made.rows == 2 * len(STORY)
    assert (made.file_bytes, made.sha256) == (
        path.stat().st_size,
        hashlib.sha256(path.read_bytes()).hexdigest(),
    )
    found = pq.ParquetFile(path).read()
    assert found.column_names == SCHEMA.names
    assert out_of_file(found).to_pylist() == table(len(STORY)).to_pylist() + table().to_pylist()
    times = found.column("t_ns").to_pylist()
    assert (made.t_min_ns, made.t_max_ns) == (min(times), max(times))


def test_the_last_time_is_in_the_file_only_where_it_is_another_one(tmp_path):
    rows = table()
    last = [one + (at % 2) for at, one in enumerate(rows.column("t_ns").to_pylist())]
    at = SCHEMA.get_field_index("t_last_ns")
    rows = rows.set_column(at, SCHEMA.field(at), pa.array(last))
    path = tmp_path / "x.parquet"
    with segment_writer(path, Written()) as writer:
        writer.add(rows)
    kept = pq.ParquetFile(path).read(["t_last_ns"]).column(0).to_pylist()
    assert kept == [one if at % 2 else None for at, one in enumerate(last)]
    again = [read(["t_last_ns"]).column(0).to_pylist() for read in read_pieces(path, OF.exec_id)]
    assert again == [last]
    whole = duckdb.execute(f"SELECT t_last_ns FROM {sealed('$one')} ORDER BY seq", {"one": [str(path)]})
    assert [row[0] for row in whole.fetchall()] == last


def test_texts_are_plain_strings_to_other_readers(tmp_path):
    path = tmp_path / "x.parquet"
    with segment_writer(path, Written()) as writer:
        writer.add(table())
    found = pq.ParquetFile(path).schema_arrow
    assert found.field("target").type == pa.string()
    assert found.field("seq").type == pa.int64()


def test_no_rows_are_no_file(tmp_path):
    made = Written()
    with segment_writer(tmp_path / "x.parquet", made):
        pass
    assert (made.rows, list(tmp_path.iterdir())) == (0, [])


def test_an_error_leaves_no_file(tmp_path):
    def fail():
        with segment_writer(tmp_path / "x.parquet", Written()) as writer:
            writer.add(table())
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError):
        fail()
    assert list(tmp_path.iterdir()) == []


def test_small_tables_share_a_row_group(tmp_path):
    path, made = tmp_path / "x.parquet", Written()
    with segment_writer(path, made) as writer:
        for number in range(20):
            of = start(number=number)
            writer.add(decode(of, [frame(STORY)], OPENED.empty_table()))
    assert pq.read_metadata(path).num_row_groups == 1
    assert len(set(pq.read_table(path, partitioning=None).column("exec_id").to_pylist())) == 20


def test_a_path_that_is_not_there_is_known_not_to_be(tmp_path):
    path = tmp_path / "x.parquet"
    with segment_writer(path, Written()) as writer:
        writer.add(table())
    with duckdb.connect() as engine:
        probe = "SELECT sum(bloom_filter_excludes::INT) FROM parquet_bloom_probe($1, 'target', $2)"
        found = [
            engine.execute(probe, [str(path), name]).fetchone() for name in ("/srv/in/a.csv", "/srv/in/z")
        ]
    assert found == [(0,), (1,)]


def test_the_same_rows_give_the_same_bytes(tmp_path):
    for name in ("x", "y"):
        with segment_writer(tmp_path / f"{name}.parquet", Written()) as writer:
            writer.add(table())
            writer.add(table(len(STORY)))
    assert (tmp_path / "x.parquet").read_bytes() == (tmp_path / "y.parquet").read_bytes()


def test_rows_of_one_execution_are_found(tmp_path):
    path = tmp_path / "x.parquet"
    rows = decode(
        OF,
        [frame([call("path_open", b"a", opener=IN, fd2=4), call("fd_read", opener=0, fd=4)])],
        OPENED.empty_table(),
    )
    with segment_writer(path, Written()) as writer:
        writer.add(rows)
    assert targets_of(path, OF.exec_id) == ["/srv/in/a"] * 2
    assert targets_of(path, start(number=1).exec_id) == []


def test_long_paths_make_small_row_groups(tmp_path, monkeypatch):
    # a guest chooses how long its paths are, not how much memory a row group takes
    monkeypatch.setattr("audit.segment._BLOCK_BYTES", 100_000)
    path = tmp_path / "one.parquet"
    tables = [
        decode(
            OF, [frame([call("path_open", b"x" * 4000 + b"%d" % at, opener=IN, fd=3)])], OPENED.empty_table()
        )
        for at in range(100)
    ]
    with segment_writer(path, Written()) as file:
        for table in tables:
            file.add(table)
    with pq.ParquetFile(path) as made:
        assert made.metadata.num_rows == 100
        assert made.num_row_groups > 5
    whole = targets_of(path, OF.exec_id)
    assert whole == [table.column("target")[0].as_py() for table in tables]
