"""A line is what a plain JSON writer would write of the row, and inert."""

from __future__ import annotations

import io
import json

from hypothesis import given

from audit.columns import SCHEMA, WORDS
from audit.export import ndjson
from tests.export_rows import ROWS, UNUSUAL, every_call_decision_and_stage, row, table


def made(rows):
    out = io.BytesIO()
    assert ndjson.write(iter([table(rows)]), out) == len(rows)
    return out.getvalue().decode()


def wanted(of):
    raw = {name: None if of[name] is None else of[name].hex() for name in ("payload", "payload_sha256")}
    return of | raw | {"decision": WORDS[of["decision"]]}


@given(ROWS)
def test_any_rows_come_back(rows):
    assert [json.loads(line) for line in made(rows).split("\n")[:-1]] == [wanted(each) for each in rows]


def test_every_call_comes_back_with_the_columns_in_their_order():
    rows = [*every_call_decision_and_stage(), *UNUSUAL]
    found = [json.loads(line) for line in made(rows).split("\n")[:-1]]
    assert found == [wanted(each) for each in rows]
    assert list(found[0]) == SCHEMA.names


def test_a_line_holds_nothing_that_acts():
    text = made([row(target="\x1b[2J\n\u202e\u2028\x7f")])
    assert len(text.splitlines()) == 1
    assert not set("\x1b\u202e\x7f") & set(text)
