"""Parquet and Arrow hold the stored values and types."""

from __future__ import annotations

import io

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given

from audit.columns import SCHEMA
from audit.export import arrow, parquet
from audit.export.rows import PIECE_ROWS
from tests.export_rows import ROWS, UNUSUAL, every_call_decision_and_stage, row, table


def from_parquet(content):
    return pq.read_table(io.BytesIO(content))


def from_arrow(content):
    with pa.ipc.open_stream(content) as stream:
        return stream.read_all()


FORMS = [(parquet, from_parquet), (arrow, from_arrow)]


def made(form, tables):
    out = io.BytesIO()
    count = form.write(iter(tables), out)
    assert not out.closed
    return count, out.getvalue()


@pytest.mark.parametrize(("form", "read"), FORMS)
@given(rows=ROWS)
def test_any_rows_come_back(form, read, rows):
    count, content = made(form, [table(rows)])
    assert count == len(rows)
    assert read(content).to_pylist() == rows


@pytest.mark.parametrize(("form", "read"), FORMS)
def test_every_call_comes_back_from_many_batches_with_dictionaries_of_their_own(form, read):
    rows = [*every_call_decision_and_stage(), *UNUSUAL]
    batches = [batch for at in range(0, len(rows), 7) for batch in table(rows[at : at + 7]).to_batches()]
    count, content = made(form, batches)
    assert count == len(rows)
    assert read(content).to_pylist() == rows


@pytest.mark.parametrize(("form", "read"), FORMS)
def test_types_are_those_that_are_stored(form, read):
    found = read(made(form, [table([row()])])[1]).schema
    for field in SCHEMA:
        kind = found.field(field.name).type
        stored = field.type.value_type if pa.types.is_dictionary(field.type) else field.type
        assert kind in {field.type, stored}


@pytest.mark.parametrize(("form", "read"), FORMS)
def test_no_rows_give_a_file_that_can_be_read(form, read):
    count, content = made(form, [])
    assert count == 0
    assert read(content).num_rows == 0


def test_text_that_an_engine_gave_uncoded_is_taken_too():
    plain = pa.table(
        {
            name: table([row()]).column(name).cast("string")
            if pa.types.is_dictionary(SCHEMA.field(name).type)
            else table([row()]).column(name)
            for name in SCHEMA.names
        }
    )
    assert from_parquet(made(parquet, [plain])[1]).to_pylist() == [row()]


def test_a_large_piece_is_cut():
    rows = table([row()] * (PIECE_ROWS + 1))
    with pa.ipc.open_stream(made(arrow, [rows])[1]) as stream:
        assert [batch.num_rows for batch in stream] == [PIECE_ROWS, 1]
