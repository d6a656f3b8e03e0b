"""Columns and codes are a contract with everybody who reads a log."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa

from audit.columns import CODES, DELTA_CODED, SCHEMA, WORDS, Decision, Disposition, plain

DOCS = Path(__file__).parents[2] / "docs/reference/records.md"


def test_the_schema_is_the_one_that_people_accepted(golden):
    golden(
        "record_columns.txt",
        "".join(f"{field.name} {field.type} nullable={field.nullable}\n" for field in SCHEMA),
    )


def test_every_number_is_signed():
    assert not any(pa.types.is_unsigned_integer(field.type) for field in SCHEMA)


def test_words_and_codes_are_one_to_one():
    assert {CODES[word]: word for word in CODES} == WORDS
    assert set(WORDS) == set(Decision)
    assert (WORDS[1], WORDS[2], WORDS[3], WORDS[5]) == ("allow", "deny", "would_deny", "limit")


def test_delta_coded_columns_are_numbers():
    assert all(pa.types.is_int64(SCHEMA.field(name).type) for name in DELTA_CODED)


def test_every_column_and_code_is_described():
    text = DOCS.read_text(encoding="utf-8")
    for name in SCHEMA.names:
        assert f"| `{name}` |" in text
    for code, word in WORDS.items():
        assert f"| {code} | `{word}` |" in text
    assert json.dumps([int(code) for code in Disposition]) == "[0, 1, 2, 17]"


def test_plain_text_stays_plain():
    column = pa.chunked_array([pa.array(["a", None])])
    assert plain(column) is column
