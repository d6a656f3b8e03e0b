"""Receipts have the form that scripts rely on."""

from __future__ import annotations

import json
import stat
from dataclasses import replace

import pytest

from audit.errors import FormatError, WriteError
from audit.receipt import CallCount, Outcome, OutcomeKind, Receipt, Refusal, Resources, write_receipt
from audit.times import to_ns

RECEIPT = Receipt(
    execution_id="01a20486-6d44-71fa-a66a-5abf52833cf0",  # type: ignore[arg-type]  # a checked name in earnest
    module_digest="sha256:aa",
    module_name="clean.wasm",
    policy_name="cleaner",
    policy_digest="sha256:bb",
    plan_digest="sha256:cc",
    started_at_ns=to_ns("2026-11-22T18:14:40Z"),
    ended_at_ns=to_ns("2026-11-22T18:14:41.5Z"),
    outcome=Outcome(kind=OutcomeKind.LIMIT, limit="timeout", message="ran for 1 s"),
    calls=(
        CallCount(call="fd_read", decision="allow", count=7),
        CallCount(call="path_open", decision="allow", count=1),
        CallCount(call="path_open", decision="deny", count=2),
    ),
    records=10,
    refusals=(Refusal(seq=3, call="path_open", target="/etc/passwd", rule="default", reason="rule"),),
    resources=Resources(
        wall_ms=1500, cpu_ms=20, peak_memory_bytes=65536, bytes_read=9, bytes_written=8, host_calls=10
    ),
    walls=("process",),
)


def test_the_document_is_the_one_that_people_accepted(golden):
    golden("receipt.json", json.dumps(json.loads(RECEIPT.to_json()), indent=2) + "\n")


def test_it_comes_back():
    assert Receipt.from_json(RECEIPT.to_json()) == RECEIPT


def test_gaps_are_there_when_there_are_any():
    with_gaps = Receipt.from_json(
        RECEIPT.to_json().replace(b'"module"', b'"gaps":[{"first":2,"last":4}],"module"')
    )
    assert with_gaps.gaps == ((2, 4),)
    assert Receipt.from_json(with_gaps.to_json()) == with_gaps
    assert b"gaps" not in RECEIPT.to_json()


def test_what_was_not_enforced_is_there_when_there_is_any():
    made = replace(RECEIPT, unenforced=("permissions.network.tcp", "rules[0]"))
    assert Receipt.from_json(made.to_json()) == made
    assert b"unenforced" not in RECEIPT.to_json()


def test_the_digest_of_a_deterministic_run_is_there_when_there_is_one():
    made = replace(RECEIPT, determinism_digest="sha256:" + "0" * 64)
    assert Receipt.from_json(made.to_json()) == made
    assert b"determinism" not in RECEIPT.to_json()


def test_a_broken_document_is_refused():
    with pytest.raises(FormatError):
        Receipt.from_json(RECEIPT.to_json().replace(b'"records":10', b'"records":"10"'))
    with pytest.raises(FormatError):
        Receipt.from_json(RECEIPT.to_json().replace(b'"kind":"limit"', b'"kind":"finished"'))


def test_it_is_written_whole_and_for_the_owner_only(tmp_path):
    path = tmp_path / "receipt.json"
    path.write_text("old")
    write_receipt(RECEIPT, path)
    assert Receipt.from_json(path.read_bytes()) == RECEIPT
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_is_not_there_is_an_error_with_the_path(tmp_path):
    with pytest.raises(WriteError, match="nowhere"):
        write_receipt(RECEIPT, tmp_path / "nowhere" / "receipt.json")
