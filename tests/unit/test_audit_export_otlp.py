"""A log record has the shape of OTLP/JSON."""

from __future__ import annotations

import json

from hypothesis import given

from audit.columns import SCHEMA, WORDS
from audit.export.otlp import log_record
from tests.export_rows import ROWS, Row, row


def test_a_refusal_is_a_warning_with_its_columns():
    record: Row = log_record(row() | {"decision": "deny"}, observed_ns=7)
    assert (record["severityNumber"], record["severityText"]) == (13, "WARN")
    assert record["observedTimeUnixNano"] == "7"
    assert {"key": "wasmgate.errno", "value": {"intValue": "0"}} in record["attributes"]
    assert {"key": "wasmgate.target", "value": {"stringValue": "/srv/in/a.csv"}} in record["attributes"]


def test_what_was_allowed_is_no_warning():
    assert log_record(row() | {"decision": "allow"}, observed_ns=7)["severityText"] == "INFO"


@given(ROWS)
def test_any_row_is_json_and_its_columns_come_back(rows):
    for each in rows:
        told = each | {"decision": WORDS[each["decision"]]}
        record = json.loads(json.dumps(log_record(told, observed_ns=0)))
        found = {}
        for attribute in record["attributes"]:
            ((kind, value),) = attribute["value"].items()
            found[attribute["key"].removeprefix("wasmgate.")] = int(value) if kind == "intValue" else value
        raw = {
            name: None if told[name] is None else told[name].hex() for name in ("payload", "payload_sha256")
        }
        assert {name: found.get(name) for name in SCHEMA.names} == told | raw
