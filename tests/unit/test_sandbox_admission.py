from __future__ import annotations

from dataclasses import replace

import pytest

from policy.calls import CALLS
from policy.plan import UNLIMITED, Plan
from sandbox.admission import Admitted, admit, digest_of
from sandbox.imports import signature
from sandbox.refusal import MAX_LISTED, MAX_QUOTED, AdmissionRefused, Refusal, listed, quoted
from sandbox.wasm.sections import MAX_EXPORTS, MAX_IMPORTS
from tests.components import real_components
from tests.modules import LIMITS, START, imported, module, plan

HOSTILE = (
    "a\\0a\\1b[31m\\e2\\80\\ae`x"  # in WebAssembly text: newline, colour, right-to-left override, backtick
)


def admitted(
    data: bytes, *, under: Plan | None = None, name: str = "m.wasm", invoke: str | None = None
) -> Admitted:
    return admit(data, name=name, plan=under or plan(), invoke=invoke)


def refused(
    data: bytes, *, under: Plan | None = None, name: str = "m.wasm", invoke: str | None = None
) -> AdmissionRefused:
    with pytest.raises(AdmissionRefused) as caught:
        admitted(data, under=under, name=name, invoke=invoke)
    message = str(caught.value)
    assert message.isprintable()
    assert len(message) < 4_000
    return caught.value


def limited(**changes: int) -> Plan:
    return plan(limits=replace(LIMITS, **changes))


def test_a_module_is_admitted_with_its_digest_and_entry() -> None:
    data = module(f'{imported("fd_close", "(param i32) (result i32)")} (memory (export "memory") 1) {START}')
    found = admitted(data, name="x.wasm")
    assert (found.name, found.digest, found.entry) == ("x.wasm", digest_of(data), "_start")
    assert found.digest.startswith("sha256:")
    assert found.has_memory
    assert not found.has_initializer
    assert found.host_calls == ("fd_close",)


def test_a_module_above_the_size_limit_is_refused() -> None:
    data = module()
    assert refused(data, under=limited(module_bytes=len(data) - 1)).reason is Refusal.TOO_LARGE


@pytest.mark.parametrize("spare", [0, None])
def test_a_module_at_the_size_limit_is_admitted(spare: int | None) -> None:
    data = module()
    admitted(data, under=limited(module_bytes=UNLIMITED if spare is None else len(data)))


@pytest.mark.parametrize(
    ("data", "reason", "words"),
    [
        (b"", Refusal.EMPTY, "the file is empty"),
        (b"hello, world", Refusal.NOT_WASM, "magic number"),
        (b'(module (func (export "_start")))', Refusal.TEXT, "WebAssembly text, not a binary"),
        (b"\0asm\x0d\0\1\0", Refusal.NO_ENTRY, "does not export `wasi:cli/run`"),
        (b"\0asm\x0d\0\1\0\7", Refusal.COMPONENT, "not a component that can be read here, byte 9"),
        (b"\0asm\7\0\0\0", Refusal.VERSION, "version 7"),
        (b"\0asm\1\0\0", Refusal.TRUNCATED, "the file ends here"),
        (b"\0asm\1\0\0\0\5\3\1\0", Refusal.TRUNCATED, "the file ends here"),
        (b"\0asm\1\0\0\0\5\3\1\x40\0", Refusal.INVALID, "unknown flags of a memory"),
    ],
)
def test_what_is_no_core_module_is_refused_by_name(data: bytes, reason: Refusal, words: str) -> None:
    refusal = refused(data)
    assert refusal.reason is reason
    assert words in refusal.message


def test_real_components_are_admitted() -> None:
    roomy = limited(module_bytes=UNLIMITED, memory_bytes=UNLIMITED)
    for path in real_components().values():
        found = admitted(path.read_bytes(), under=roomy)
        assert found.parts is not None
        assert len(found.parts.steps) == 4
        assert "[method]descriptor.open-at" in found.host_calls
        few = refused(path.read_bytes(), under=replace(roomy, limits=replace(roomy.limits, instances=3)))
        assert (few.reason, few.limit) == (Refusal.TOO_MANY_INSTANCES, "instances")


def test_a_truncated_module_is_refused_and_the_whole_one_is_not() -> None:
    data = module()
    assert refused(data[:-1]).reason is Refusal.TRUNCATED
    admitted(data)


def test_foreign_imports_are_all_listed() -> None:
    foreign = imported("log", from_module="env") + imported("emit", from_module="env")
    refusal = refused(module(foreign + imported("sched_yield", "(result i32)") + START))
    assert refusal.reason is Refusal.FOREIGN_IMPORT
    assert "`env.log`, `env.emit`" in refusal.message
    assert "sched_yield" not in refusal.message


def test_an_unknown_name_of_the_interface_is_foreign() -> None:
    assert "`wasi_snapshot_preview1.fd_steal`" in refused(module(imported("fd_steal") + START)).message


def test_only_twenty_foreign_imports_are_listed() -> None:
    fields = "".join(imported(f"f{i}", from_module="env") for i in range(25))
    message = refused(module(fields + START)).message
    assert "`env.f19` and 5 more" in message
    assert "f20" not in message


def test_hostile_names_come_out_inert() -> None:
    message = refused(module(imported(HOSTILE, from_module="env") + START)).message
    assert "\\x0a" in message
    assert "\\x1b[31m" in message
    assert "\\u202e" in message


def test_long_names_are_cut() -> None:
    message = refused(module(imported("f" * 10_000, from_module="env") + START)).message
    assert len(message) < 200
    assert "…" in message


def test_preview_0_is_refused_with_what_to_do() -> None:
    fields = imported("fd_close", "(param i32) (result i32)", from_module="wasi_unstable")
    refusal = refused(module(fields + START))
    assert refusal.reason is Refusal.PREVIEW0
    assert "rebuild it for `wasi_snapshot_preview1`" in refusal.message
    admitted(module(fields.replace("wasi_unstable", "wasi_snapshot_preview1") + START))


def test_a_wrong_signature_is_refused_with_both() -> None:
    refusal = refused(module(imported("fd_seek", "(param i32 i32 i32 i32) (result i32)") + START))
    assert refusal.reason is Refusal.IMPORT_SIGNATURE
    assert "`(i32, i32, i32, i32) -> (i32)`, expected `(i32, i64, i32, i32) -> (i32)`" in refusal.message
    admitted(module(imported("fd_seek", "(param i32 i64 i32 i32) (result i32)") + START))


def test_every_host_call_is_admitted_with_its_signature() -> None:
    fields = ""
    offered = [call for call in CALLS if not call.is_inner]
    for call in offered:
        kind = signature(call)
        fields += imported(call.name, f"(param {' '.join(kind.params)}) (result {' '.join(kind.results)})")
    assert len(admitted(module(fields + START)).host_calls) == len(offered)


@pytest.mark.parametrize(
    ("field", "reason"),
    [
        ('(import "env" "t" (table 1 funcref))', Refusal.IMPORT_KIND),
        ('(import "env" "g" (global i32))', Refusal.IMPORT_KIND),
        ('(import "env" "t" (tag))', Refusal.IMPORT_KIND),
        ('(import "wasi_snapshot_preview1" "fd_read" (global i32))', Refusal.IMPORT_KIND),
        ('(import "env" "memory" (memory 1))', Refusal.IMPORTED_MEMORY),
        ('(import "env" "memory" (memory 1 1 shared))', Refusal.SHARED_MEMORY),
        ("(memory 1 1 shared)", Refusal.SHARED_MEMORY),
        ("(memory i64 1)", Refusal.MEMORY64),
    ],
)
def test_other_kinds_of_imports_and_memories_are_refused(field: str, reason: Refusal) -> None:
    assert refused(module(field + START)).reason is reason


@pytest.mark.parametrize(
    "field", ["(memory 1 1)", "(table 1 funcref)", "(global i32 (i32.const 0))", "(tag)"]
)
def test_the_same_kinds_are_admitted_when_they_are_the_modules_own(field: str) -> None:
    admitted(module(field + START))


def test_a_module_without_start_is_refused_with_an_offer() -> None:
    fields = '(func (export "run")) (func (export "add") (param i32)) (memory (export "memory") 1)'
    refusal = refused(module(fields))
    assert refusal.reason is Refusal.NO_ENTRY
    assert refusal.message == (
        "the module exports no function `_start`; call another with `--invoke NAME`, one of `run`"
    )
    assert admitted(module(fields), invoke="run").entry == "run"


def test_an_export_that_is_no_function_is_no_start() -> None:
    refusal = refused(module('(memory (export "_start") 1)'))
    assert refusal.reason is Refusal.NO_ENTRY
    assert "no other that takes no parameters" in refusal.message


@pytest.mark.parametrize(
    ("invoke", "reason"),
    [
        ("missing", Refusal.ENTRY_MISSING),
        ("memory", Refusal.ENTRY_MISSING),
        ("with_parameter", Refusal.ENTRY_SIGNATURE),
        ("with_reference", Refusal.ENTRY_SIGNATURE),
        ("\x1b[2J", Refusal.ENTRY_MISSING),
    ],
)
def test_what_cannot_be_invoked_is_refused(invoke: str, reason: Refusal) -> None:
    assert refused(module(INVOKABLE), invoke=invoke).reason is reason


INVOKABLE = """
    (func (export "plain")) (func (export "with_result") (result i32 f64) (i32.const 1) (f64.const 1))
    (func (export "with_parameter") (param i32)) (func (export "with_reference") (result externref) (ref.null extern))
    (memory (export "memory") 1)
"""


@pytest.mark.parametrize("invoke", ["plain", "with_result"])
def test_what_takes_nothing_and_returns_numbers_can_be_invoked(invoke: str) -> None:
    assert admitted(module(INVOKABLE), invoke=invoke).entry == invoke


def test_a_start_function_with_parameters_is_refused() -> None:
    assert refused(module('(func (export "_start") (param i32))')).reason is Refusal.ENTRY_SIGNATURE


def test_a_reactor_is_initialised_before_another_export_is_called() -> None:
    reactor = module('(func (export "_initialize")) (func (export "run"))')
    assert admitted(reactor, invoke="run").has_initializer
    assert not admitted(reactor, invoke="_initialize").has_initializer
    assert not admitted(
        module('(func (export "_initialize") (param i32)) (func (export "run"))'), invoke="run"
    ).has_initializer


def test_too_many_imports_are_refused_and_the_most_are_not() -> None:
    one = imported("sched_yield", "(result i32)")
    assert refused(module(one * (MAX_IMPORTS + 1) + START)).reason is Refusal.TOO_MANY_IMPORTS
    found = admitted(module(one * MAX_IMPORTS + START))
    assert len(found.shape.imports) == MAX_IMPORTS
    assert found.host_calls == ("sched_yield",)


def test_too_many_exports_are_refused_and_the_most_are_not() -> None:
    def exporting(count: int) -> bytes:
        names = "".join(f'(export "e{i}" (func $f))' for i in range(count - 1))
        return module(f'(func $f (export "_start")) {names}')

    assert refused(exporting(MAX_EXPORTS + 1)).reason is Refusal.TOO_MANY_EXPORTS
    admitted(exporting(MAX_EXPORTS))


@pytest.mark.parametrize(
    ("above", "at", "reason"),
    [
        ("(memory 17)", "(memory 16)", Refusal.MEMORY_SIZE),
        ("(memory 8) (memory 9)", "(memory 8) (memory 8)", Refusal.MEMORY_SIZE),
        ("(memory 0) (memory 0) (memory 0)", "(memory 0) (memory 0)", Refusal.TOO_MANY_MEMORIES),
        ("(table 0 funcref)" * 5, "(table 0 funcref)" * 4, Refusal.TOO_MANY_TABLES),
        ("(table 1001 funcref)", "(table 1000 funcref)", Refusal.TABLE_SIZE),
    ],
)
def test_what_exceeds_the_limits_as_it_starts_is_refused(above: str, at: str, reason: Refusal) -> None:
    assert refused(module(above + START)).reason is reason
    admitted(module(at + START))
    admitted(
        module(above + START),
        under=limited(memory_bytes=UNLIMITED, memories=UNLIMITED, tables=UNLIMITED, table_elements=UNLIMITED),
    )


def test_a_policy_for_another_digest_is_refused() -> None:
    data = module()
    other = "sha256:" + "0" * 64
    refusal = refused(data, under=plan(match_digests=(other,)))
    assert refusal.reason is Refusal.MATCH
    assert digest_of(data) in refusal.message
    admitted(data, under=plan(match_digests=(other, digest_of(data))))


@pytest.mark.parametrize("pattern", ["csv-*", "CSV-clean.wasm", "[!c]*"])
def test_a_policy_for_another_name_is_refused(pattern: str) -> None:
    under = plan(match_names=(pattern,))
    assert refused(module(), under=under, name="xsv" if pattern != "[!c]*" else "csv").reason is Refusal.MATCH


@pytest.mark.parametrize("pattern", ["csv-*", "csv-clean.wasm", "*"])
def test_a_policy_for_this_name_is_accepted(pattern: str) -> None:
    admitted(module(), under=plan(match_names=("other", pattern)), name="csv-clean.wasm")


def test_digest_and_name_must_both_match() -> None:
    data = module()
    under = plan(match_digests=(digest_of(data),), match_names=("a",))
    assert refused(data, under=under, name="b").reason is Refusal.MATCH
    admitted(data, under=under, name="a")


def test_quoting_cuts_and_listing_counts() -> None:
    assert quoted("fd_read") == "`fd_read`"
    assert quoted("x" * MAX_QUOTED) == f"`{'x' * MAX_QUOTED}`"
    assert quoted("x" * (MAX_QUOTED + 1)) == f"`{'x' * (MAX_QUOTED - 1)}…`"
    assert len(quoted("\x1b" * 50)) == MAX_QUOTED + 2
    assert listed(["a"] * MAX_LISTED).count("`a`") == MAX_LISTED
    assert listed(["a"] * (MAX_LISTED + 1)).endswith(" and 1 more")
