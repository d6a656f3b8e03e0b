"""A line of CEF can't be broken out of, and its values give back what the field map says is carried."""

from __future__ import annotations

import io

import pytest
from hypothesis import given

from audit.columns import WORDS
from audit.errors import FormatError
from audit.export import cef
from audit.export.fields import CEF_LABELS, FIELDS
from audit.export.ocsf_events import Source
from audit.export.spelling import unspelt
from tests.export_rows import NASTY, ROWS, UNUSUAL, cef_values, every_call_decision_and_stage, row, table

TEXTS = {"exec_id", "tenant_id", "module_id", "policy_id", "rule_id", "call", "decision", "reason", "right", "target", "guest_target", "target2", "errnos"}  # fmt: skip


def made(rows, **options):
    out = io.BytesIO()
    count = cef.write(iter([table(rows)]), out, **options)
    lines = out.getvalue().decode().split("\n")[:-1]
    assert len(lines) == count
    return lines


def read_back(line):
    _, values = cef_values(line)
    found = {}
    for field in FIELDS:
        if field.cef is None:
            continue
        value = values.get(field.cef)
        if value is None:
            found[field.column] = field.absent
        elif field.column in TEXTS:
            found[field.column] = unspelt(value)
        else:
            found[field.column] = value if field.column == "payload_sha256" else int(value)
    return found | ({"t_last_ns": found["t_ns"]} if found["t_last_ns"] is None else {})


def carried(of):
    digest = of["payload_sha256"]
    found = of | {
        "decision": WORDS[of["decision"]],
        "payload_sha256": None if digest is None else digest.hex(),
    }
    return {name: value for name, value in found.items() if name != "payload"}


@given(ROWS)
def test_any_rows_come_back(rows):
    assert [read_back(line) for line in made(rows, is_all=True)] == [carried(each) for each in rows]


def test_every_call_comes_back_and_by_default_only_refusals_and_traps_are_written():
    rows = [*every_call_decision_and_stage(), *UNUSUAL]
    assert [read_back(line) for line in made(rows, is_all=True)] == [carried(each) for each in rows]
    kept = [each for each in rows if each["decision"] in {2, 3, 5} or each["stage"] == 2]
    assert [read_back(line) for line in made(rows)] == [carried(each) for each in kept]
    assert 0 < len(kept) < len(rows)


@given(NASTY)
def test_no_text_ends_its_line_its_field_or_its_value(text):
    (line,) = made(
        [row(decision=2, call=f"x.{text}", target=text, guest_target=text, rule_id=text, tenant_id=text)]
    )
    header, values = cef_values(line)
    assert len(line.splitlines()) == 1
    assert header[0] == "CEF:0"
    assert set(values) <= {key for field in FIELDS for key in (field.cef, *field.cef_also)} | {
        f"{key}Label" for key in CEF_LABELS
    }
    assert not any(value != value.strip() for value in values.values())


@given(NASTY)
def test_a_value_comes_back(text):
    assert cef.unextended(cef.extension_text(text)) == text


def test_a_value_that_was_not_written_here_is_refused():
    with pytest.raises(FormatError):
        cef.unextended("a\\\\")


def test_the_header_says_what_happened():
    (line,) = made([row(decision=2, errno=76)], source=Source(version="1|2"))
    assert line.startswith("CEF:0|wasmgate|wasmgate|1\\|2|path_open|path_open refused|6|")
    assert " outcome=failure " in line
    assert f" rt={row()['t_ns'] // 10**6} " in line


@pytest.mark.parametrize(
    ("changes", "severity"),
    [({"decision": 2}, 6), ({"decision": 5}, 7), ({"decision": 3}, 4), ({"stage": 2}, 5), ({}, 2)],
)
def test_severities_follow_decisions(changes, severity):
    (line,) = made([row(**changes)], is_all=True)
    assert cef_values(line)[0][6] == str(severity)
