"""Modules that try to be first, or to be taken for something else: start sections, names of the monitor, foreign imports."""

from __future__ import annotations

import pytest
import wasmtime

from audit.receipt import OutcomeKind
from tests.escape.guests import Scene
from tests.runs import P1, exited, guest, says, text_data

OPEN = "(param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)"
SAYS, TEXT = says(b"early")
MAKE = """(drop (call $path_open (i32.const 3) (i32.const 0) (i32.const 900) (i32.const 3) (i32.const 1)
  (i64.const 64) (i64.const 0) (i32.const 0) (i32.const 512)))"""


@pytest.fixture
def scene(tmp_path) -> Scene:
    return Scene.made(tmp_path / "scene")


def wat(text: str) -> bytes:
    return bytes(wasmtime.wat2wasm(f"(module {text})"))


def early(body: str, uses: str) -> bytes:
    """Does it in its start function, and again in `_start`."""
    return guest(
        "(call $s)", uses=uses, fields=f"(func $s {body}) (start $s) {TEXT} {text_data(900, b'new')}"
    )


def late(body: str, uses: str) -> bytes:
    """Does it in `_start` only, twice."""
    return guest("(call $s) (call $s)", uses=uses, fields=f"(func $s {body}) {TEXT} {text_data(900, b'new')}")


def test_what_a_start_function_asks_of_the_host_is_refused(scene, log):
    done = log.run(early(SAYS + MAKE, "fd_write path_open"), scene.granting())
    assert done.receipt.outcome.kind is OutcomeKind.EXITED
    assert "2 host calls of the module's start section were refused" in (done.receipt.outcome.message or "")
    assert done.stdout == b"early"
    assert [row["call"] for row in log.check(done)] == [f"{P1}.fd_write", f"{P1}.path_open"]
    done = log.run(late(SAYS + MAKE, "fd_write path_open"), scene.granting())
    assert done.receipt.outcome == exited()
    assert (done.stdout, len(log.check(done))) == (b"early" * 2, 4)


def test_a_start_function_leaves_no_trace_on_disk(scene, log):
    module = guest("", uses="path_open", fields=f"(func $s {MAKE}) (start $s) {text_data(900, b'new')}")
    done = log.run(module, scene.granting())
    assert "1 host calls" in (done.receipt.outcome.message or "")
    assert not (scene.mount / "new").exists()
    done = log.run(guest(MAKE, uses="path_open", fields=text_data(900, b"new")), scene.granting())
    assert done.receipt.outcome == exited()
    assert (scene.mount / "new").exists()


def test_a_start_function_that_never_ends_is_ended(log, scene):
    plan = scene.granting(after="resources: {limits: {cpu: 100ms, timeout: 10s}}\n")
    spins = guest("", fields="(func $s (loop $l (br $l))) (start $s)")
    outcome = log.run(spins, plan).receipt.outcome
    assert (outcome.kind, outcome.limit) == (OutcomeKind.LIMIT, "cpu")
    counts = "(local $i i32) (loop $l (br_if $l (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 9))))"
    assert log.run(guest("", fields=f"(func $s {counts}) (start $s)"), plan).receipt.outcome == exited()


WRITES = f'(import "{P1}" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))'
STARTS = f'(func (export "_start") {SAYS})'
NAMED_LIKE_OURS = {
    name: f'{WRITES} (memory (export "memory") 1) {TEXT} {STARTS} {export}'
    for name, export in {
        "a function drain": '(func (export "drain") (result i32) (i32.const 0))',
        "a function arm": '(func (export "arm") (param i32))',
        "a table": '(table (export "table") 1 funcref) (table (export "gate") 9 funcref)',
        "a second memory": '(memory (export "ring") 1) (memory (export "tables") 1)',
        "a global": '(global (export "armed") (mut i32) (i32.const 1))',
        "an allocator": '(func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (unreachable))',
        "names of imports": f'(func (export "fd_write") (result i32) (i32.const 0)) (func (export "{P1}"))',
    }.items()
}


@pytest.mark.parametrize("name", NAMED_LIKE_OURS)
def test_a_module_that_exports_names_of_the_monitor_is_monitored_like_any_other(name, scene, log):
    done = log.run(wat(NAMED_LIKE_OURS[name]), scene.granting())
    if done.receipt.outcome.kind is OutcomeKind.REFUSED:
        assert done.receipt.records == 0
        assert name == "a second memory"  # one memory is the limit, unless the policy says otherwise
        return
    assert (done.receipt.outcome, done.stdout) == (exited(), b"early")
    (row,) = log.check(done)
    assert (row["call"], row["decision"], row["bytes_out"]) == (f"{P1}.fd_write", "allow", 5)


MEMORY = '(memory (export "memory") 1)'
REFUSED = {
    "another module": f'(import "wasi_snapshot_preview2" "fd_write" (func {OPEN})) {MEMORY} (func (export "_start"))',
    "a name that looks like one": f'(import "{P1}" "fd_wrіte" (func {OPEN})) {MEMORY} (func (export "_start"))',
    "a name with a space": f'(import "{P1} " "fd_write" (func {OPEN})) {MEMORY} (func (export "_start"))',
    "a name with NUL": f'(import "{P1}\\00" "fd_write" (func {OPEN})) {MEMORY} (func (export "_start"))',
    "another type": f'(import "{P1}" "path_open" (func (param i64))) {MEMORY} (func (export "_start"))',
    "the monitor's gate": f'(import "gate" "fd_write" (func {OPEN})) {MEMORY} (func (export "_start"))',
    "the monitor's ring": '(import "monitor" "ring" (memory 1)) (func (export "_start"))',
    "a table of ours": f'(import "gate" "table" (table 1 funcref)) {MEMORY} (func (export "_start"))',
    "a global of ours": f'(import "monitor" "armed" (global i32)) {MEMORY} (func (export "_start"))',
    "a memory that is shared": '(memory (export "memory") 1 1 shared) (func (export "_start"))',
}


@pytest.mark.parametrize("name", REFUSED)
def test_nothing_is_linked_that_no_host_function_of_ours_provides(name, scene, log):
    done = log.run(wat(REFUSED[name]), scene.granting())
    assert done.receipt.outcome.kind is OutcomeKind.REFUSED
    assert (done.receipt.outcome.message or "").isprintable()
    assert (done.receipt.records, done.stdout) == (0, b"")


def test_the_same_module_with_the_right_names_runs(scene, log):
    fine = f'(import "{P1}" "path_open" (func {OPEN})) {MEMORY} (func (export "_start"))'
    assert log.run(wat(fine), scene.granting()).receipt.outcome == exited()


def test_one_function_that_is_imported_twice_is_decided_each_time(scene, log):
    again = WRITES.replace("$fd_write", "$again")
    module = wat(
        f'{WRITES} {again} {MEMORY} {TEXT} (func (export "_start") {SAYS} {SAYS.replace("$fd_write", "$again")})'
    )
    done = log.run(module, scene.granting())
    assert done.stdout == b"early" * 2
    assert len(log.check(done)) == 2
    fewer = log.run(module, scene.granting(after="resources: {limits: {stdout: 7}}\n"))
    assert (fewer.receipt.outcome.limit, fewer.stdout) == ("stdout", b"early")


def test_a_module_without_a_memory_makes_no_call_with_one(scene, log):
    body = "(drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))"
    done = log.run(guest(body, uses="fd_write", memory=""), scene.granting())
    assert done.receipt.outcome.kind in {OutcomeKind.REFUSED, OutcomeKind.TRAPPED}
    assert done.stdout == b""
    yields = guest("(drop (call $sched_yield))", uses="sched_yield", memory="")
    assert log.run(yields, scene.granting()).receipt.outcome == exited()
