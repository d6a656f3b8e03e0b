"""Modules that are refused: no cell, a receipt that says why, and an execution that the log knows."""

from __future__ import annotations

import pytest
import wasmtime

from audit.query import AuditReader
from audit.receipt import OutcomeKind
from audit.recovery import recover
from sandbox.monitor.decode import decode
from tests.programs import program
from tests.runs import HELLO, exited, guest, policy

WAT = wasmtime.wat2wasm
MANY_IMPORTS = WAT(
    "(module " + '(import "wasi_snapshot_preview1" "sched_yield" (func (result i32)))' * 1_100 + ")"
)
MANY_EXPORTS = WAT("(module (func $f) " + "".join(f'(export "e{i}" (func $f))' for i in range(50_001)) + ")")

REFUSED = [
    pytest.param(b"(module)", "compile it first", id="text"),
    pytest.param(HELLO[:-5], "not a valid module", id="truncated"),
    pytest.param(b"", "empty", id="empty"),
    pytest.param(b"MZ\x00\x00" * 10, "not a valid module", id="not wasm"),
    pytest.param(b"\0asm\x0d\0\1\0", "component", id="component"),
    pytest.param(
        WAT('(module (import "wasi_unstable" "fd_write" (func (param i32 i32 i32 i32) (result i32))) (func (export "_start")))'),
        "rebuild it for `wasi_snapshot_preview1`", id="preview 0",
    ),
    pytest.param(WAT('(module (import "env" "host" (func)) (func (export "_start")))'), "`env.host`", id="foreign"),
    pytest.param(
        WAT('(module (import "wasi_snapshot_preview1" "fd_write" (func)) (func (export "_start")))'),
        "another signature", id="signature",
    ),
    pytest.param(WAT('(module (func (export "render")) (func (export "other") (param i32)))'), "`--invoke NAME`, one of `render`", id="no start"),
    pytest.param(WAT('(module (memory 1 1 shared) (func (export "_start")))'), "shared memory", id="shared memory"),
    pytest.param(WAT('(module (memory i64 1) (func (export "_start")))'), "64-bit memory", id="memory64"),
    pytest.param(WAT('(module (import "m" "m" (memory 1)) (func (export "_start")))'), "imports its memory", id="imported memory"),
    pytest.param(MANY_IMPORTS, "imports, more than", id="imports"),
    pytest.param(MANY_EXPORTS, "exports, more than", id="exports"),
    pytest.param(WAT('(module (func $f (result i32)) (func (export "_start")))'), "the module is invalid", id="invalid"),
]  # fmt: skip


@pytest.mark.parametrize(("module", "reason"), REFUSED)
def test_a_module_that_cannot_be_run_leaves_a_receipt_and_an_execution(shared, module, reason):
    done = shared.run(bytes(module))
    receipt = done.receipt
    assert (receipt.outcome.kind, receipt.records, receipt.walls) == (OutcomeKind.REFUSED, 0, ())
    assert reason in (receipt.outcome.message or "")
    assert (receipt.outcome.message or "").isprintable()
    shared.writer.rotate()
    recover(shared.root, decode)
    with AuditReader(shared.root, decode) as reader:
        known = reader.execution(receipt.execution_id)
        assert known is not None
        assert known.receipt == receipt
        assert reader.executions(limit=1)[0].receipt == receipt


def test_a_program_with_foreign_imports_is_refused_by_their_names(shared):
    receipt = shared.run(program("micropython").read_bytes()).receipt
    assert receipt.outcome.kind is OutcomeKind.REFUSED
    assert "no host function here provides" in (receipt.outcome.message or "")


@pytest.mark.parametrize(
    ("arguments", "policy_text", "reason"),
    [
        (("a\0b",), "", "NUL"),
        (("\udcff",), "", "UTF-8"),
        (("x" * (9 << 20),), "", "bytes, more than"),
        (("x",), "permissions: {extra_args: false}\n", "extra_args: false"),
    ],
)
def test_arguments_that_would_not_reach_the_guest_as_they_are_are_refused(
    shared, arguments, policy_text, reason
):
    outcome = shared.run(HELLO, policy(policy_text), extra_args=arguments).receipt.outcome
    assert outcome.kind is OutcomeKind.REFUSED
    assert reason in (outcome.message or "")


def test_long_arguments_reach_the_guest(shared):
    module = guest(
        """(drop (call $args_sizes_get (i32.const 0) (i32.const 4))) (call $proc_exit (i32.load (i32.const 4)))""",
        uses="args_sizes_get proc_exit",
    )
    done = shared.run(module, extra_args=("x" * 1_000_000, "é"), module_name="m")
    assert done.receipt.outcome == exited(2 + 1_000_001 + 3)


@pytest.mark.parametrize("name", ["a\udcff.wasm", "a\0.wasm"])
def test_a_module_name_that_is_no_text_is_refused_and_kept_inert(shared, name):
    receipt = shared.run(HELLO, module_name=name).receipt
    assert receipt.outcome.kind is OutcomeKind.REFUSED
    receipt.to_json().decode()


def test_invoke_calls_an_export_after_its_initializer(shared):
    module = WAT("""(module (global $g (mut i32) (i32.const 1)) (func (export "_initialize") (global.set $g (i32.const 42)))
        (func (export "answer") (result i32) (global.get $g)))""")
    outcome = shared.run(bytes(module), invoke="answer").receipt.outcome
    assert (outcome.kind, outcome.message) == (OutcomeKind.EXITED, "returned 42")
    assert shared.run(bytes(module), invoke="other").receipt.outcome.kind is OutcomeKind.REFUSED
