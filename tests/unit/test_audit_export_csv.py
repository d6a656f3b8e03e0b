"""A spreadsheet computes nothing, a parser of RFC 4180 finds every cell, and the cells give back the rows."""

from __future__ import annotations

import csv as standard
import io
import re

import pyarrow.csv
import pytest
from hypothesis import given

from audit.columns import CODES, SCHEMA
from audit.errors import FormatError
from audit.export import csv
from tests.export_rows import NASTY, ROWS, UNUSUAL, Row, every_call_decision_and_stage, row, table

NUMBERS = {field.name for field in SCHEMA if str(field.type).startswith("int")} - {"decision"}
BYTES = {"payload", "payload_sha256"}


def made(rows):
    out = io.BytesIO()
    assert csv.write(iter([table(rows)]), out) == len(rows)
    return out.getvalue()


def read_back(content):
    """Rows by Arrow's reader, which tells a null from an empty text."""
    options = pyarrow.csv.ConvertOptions(
        column_types=dict.fromkeys(SCHEMA.names, "string"), strings_can_be_null=True, quoted_strings_can_be_null=False,
        null_values=[""],
    )  # fmt: skip
    for cells in pyarrow.csv.read_csv(io.BytesIO(content), convert_options=options).to_pylist():
        found: Row = {}
        for name, cell in cells.items():
            if cell is None or name in BYTES:
                found[name] = None if cell is None else bytes.fromhex(cell)
            else:
                found[name] = int(cell) if name in NUMBERS else csv.uncelled(cell)
        yield found | {"decision": CODES[found["decision"]]}


@given(ROWS)
def test_any_rows_come_back(rows):
    # an empty payload is an empty cell, which is null
    rows = [each | {"payload": each["payload"] or None} for each in rows]
    assert list(read_back(made(rows))) == rows


def test_every_call_comes_back():
    rows = [*every_call_decision_and_stage(), *UNUSUAL]
    assert list(read_back(made(rows))) == rows


@given(NASTY)
def test_no_cell_begins_a_formula_whatever_separates_cells(text):
    content = made([row(target=text, rule_id=text, reason="plain")]).decode()
    for separator in ",;|\t":
        for line in content.splitlines():
            for field in line.split(separator):
                inner = field.lstrip(' \u3000\xa0"')
                assert not re.match(r"[=+@\uff1d\uff0b\uff0d\uff20]|-(?!\d+$)", inner), field


@given(NASTY)
def test_a_cell_comes_back(text):
    assert csv.uncelled(csv.celled(text)) == text


@pytest.mark.parametrize("text", ["=1", "+1", "-1", "@a", "'a", " =1", "\uff1d1", "a;=1", "x,@y"])
def test_a_formula_is_defused(text):
    assert csv.celled(text) != text


@pytest.mark.parametrize("text", ["a=1", "a-b", "/srv/@home", "a;b", "x'y", "", "über"])
def test_a_text_that_is_none_stays_as_it_is(text):
    assert csv.celled(text) == text


def test_a_cell_that_was_not_written_here_is_refused():
    with pytest.raises(FormatError):
        csv.uncelled("a\\")


def test_the_standard_reader_finds_the_same_number_of_cells_and_lines_end_as_rfc_4180_wants():
    content = made([row(target='a"b,c\r\nd\x00')])
    (head, line) = list(standard.reader(io.StringIO(content.decode(), newline="")))
    assert head == SCHEMA.names
    assert len(line) == len(head)
    assert content.count(b"\r\n") == 2
    assert content.count(b"\n") == 2
    assert b"\x00" not in content


def test_no_rows_give_a_header():
    assert made([]).decode() == ",".join(SCHEMA.names) + "\r\n"
