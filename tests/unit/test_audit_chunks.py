"""The canonical form of records agrees with a naive writer, row by row, however the columns are encoded."""

from __future__ import annotations

import hashlib
import json
import struct
from itertools import pairwise
from uuid import UUID

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.chunks import CHUNK_ROWS, RECORD_BYTES, Chunker, canonical_records, chunk_leaves, context_of
from audit.columns import OPENED, SCHEMA
from sandbox.monitor.decode import decode
from tests.records import STORY, frame, start

OF = start()
CONTEXT = context_of(OF.exec_id, OF.tenant, OF.module_digest, OF.policy_digest)
TEXTS = st.none() | st.text(st.characters(exclude_categories=["Cs"]), max_size=6) | st.sampled_from(["a", ""])
INTS = {
    pa.int64(): st.integers(-(2**63), 2**63 - 1),
    pa.int32(): st.integers(-(2**31), 2**31 - 1),
    pa.int16(): st.integers(-(2**15), 2**15 - 1),
    pa.int8(): st.integers(-128, 127),
}
BYTES = st.none() | st.binary(max_size=5)


def values_of(field):
    if field.name == "payload":
        return BYTES
    if field.name == "payload_sha256":
        return st.none() | st.binary(min_size=32, max_size=32)
    if field.name == "n":
        return st.integers(1, 3)
    if field.name in {"rule_id", "reason", "right", "errnos", "target", "guest_target", "target2"}:
        return TEXTS
    if pa.types.is_dictionary(field.type):
        return st.sampled_from(["x", "y"])
    values = INTS[field.type]
    return st.none() | values if field.nullable else values


ROWS = st.lists(st.fixed_dictionaries({field.name: values_of(field) for field in SCHEMA}), max_size=12)


def table(rows):
    return pa.Table.from_pylist(rows, SCHEMA)


def digest(content):
    return hashlib.sha256(content).digest()[:16]


def text_digest(value):
    return bytes(16) if value is None else digest(value.encode())


def naive(row):
    """Give one record, from the description of the form and nothing else."""
    times: list[str | None] = [None, None]
    if row["n"] > 1:
        longest = row["dur_max_ns"]
        times = [str(row["t_last_ns"]), None if longest is None else str(longest)]
    names = ["call", "rule_id", "reason", "right", "errnos", "class_uid", "activity_id", "disposition"]
    words = json.dumps([*(row[name] for name in names), *times], ensure_ascii=False, separators=(",", ":"))
    payload, whole = row["payload"], row["payload_sha256"]
    kept = bytes(16) if payload is whole is None else digest((whole or bytes(32)) + (payload or b""))
    return struct.pack(
        "<8q2ih4b16s16s16s16s16s2s",
        row["seq"],
        row["t_ns"],
        -(2**63) if row["dur_ns"] is None else row["dur_ns"],
        *(row[name] for name in ("flags", "bytes_in", "bytes_out", "n", "opener_seq", "fd", "fd2", "errno")),
        *(row[name] for name in ("stage", "decision", "target_kind", "masked")),
        digest(words.encode()),
        *(text_digest(row[name]) for name in ("target", "guest_target", "target2")),
        kept,
        b"\0\0",
    )


@given(ROWS)
def test_each_record_is_what_a_naive_writer_makes_of_its_row(rows):
    assert canonical_records(table(rows)).tobytes() == b"".join(naive(row) for row in rows)


@given(ROWS, st.integers(0, 12))
def test_how_rows_are_cut_and_encoded_changes_nothing(rows, at):
    whole = table(rows)
    parts = pa.concat_tables([whole.slice(0, at), whole.slice(at)])
    plain = pa.table(
        [
            column.cast(pa.string()) if pa.types.is_dictionary(column.type) else column
            for column in whole.columns
        ],
        names=whole.column_names,
    )
    expected = canonical_records(whole).tobytes()
    assert canonical_records(parts).tobytes() == canonical_records(plain).tobytes() == expected


@pytest.mark.parametrize("name", SCHEMA.names)
def test_a_change_of_any_column_changes_the_hash(name):
    rows = decode(OF, [frame(STORY)], OPENED.empty_table()).to_pylist()
    field = SCHEMA.field(name)
    before = rows[1]
    own: dict[str, object] = {
        "payload": b"x",
        "payload_sha256": b"x" * 32,
        "exec_id": start(number=9).exec_id,
    }
    other = own.get(name)
    if other is None:
        other = 7 if not pa.types.is_dictionary(field.type) else "other"
    # of rows of one call the last time is the first, and there is no longest duration
    several = {"n": 2} if name in {"t_last_ns", "dur_max_ns"} else {}
    made = []
    for change in ({}, {name: other}):
        row = before | several | change
        context = context_of(row["exec_id"], row["tenant_id"], row["module_id"], row["policy_id"])
        made.append(chunk_leaves(table([row]), row["exec_id"], context))
    assert made[0] != made[1]


def test_chunks_are_hashed_as_described():
    rows = table(decode(OF, [frame(STORY * 30, first_seq=7)], OPENED.empty_table()).to_pylist())
    records = canonical_records(rows).tobytes()
    expected = []
    for at in range(0, rows.num_rows, 128):
        some = records[at * 160 : (at + 128) * 160]
        head = UUID(OF.exec_id).bytes + struct.pack("<QI", 7 + at, len(some) // 160)
        expected.append(hashlib.sha256(b"\0" + head + CONTEXT + some).digest())
    assert list(chunk_leaves(rows, OF.exec_id, CONTEXT)) == expected
    assert (CHUNK_ROWS, RECORD_BYTES, len(expected)) == (128, 160, 3)


def test_the_context_is_canonical_json():
    text = f'{{"exec_id":"{OF.exec_id}","module_id":"m","policy_id":"p","tenant_id":"t"}}'
    assert context_of(OF.exec_id, "t", "m", "p") == hashlib.sha256(text.encode()).digest()


@given(st.lists(st.integers(0, 330), max_size=4))
def test_rows_may_come_in_any_pieces(cuts):
    rows = decode(OF, [frame(STORY * 30)], OPENED.empty_table())
    chunker = Chunker(OF.exec_id, CONTEXT)
    edges = [0, *sorted(cuts), rows.num_rows]
    for low, high in pairwise(edges):
        chunker.add(canonical_records(rows.slice(low, high - low)))
    assert chunker.finish() == chunk_leaves(rows, OF.exec_id, CONTEXT)


def test_no_rows_are_no_chunks():
    assert chunk_leaves(SCHEMA.empty_table(), OF.exec_id, CONTEXT) == ()
    assert canonical_records(SCHEMA.empty_table()).shape == (0, 160)
