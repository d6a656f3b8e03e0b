from __future__ import annotations

import random
import time

import pytest
import wasmtime
from hypothesis import given
from hypothesis import strategies as st

from sandbox.wasm.cursor import MAX_NAME_BYTES, Fault, TooManyError, WasmError
from sandbox.wasm.reader import MAX_OUTLINE_BYTES, MAX_SECTIONS, read_module
from sandbox.wasm.sections import MAX_EXPORTS, MAX_IMPORTS, MAX_TYPES
from sandbox.wasm.shape import Export, ExternKind, FuncType, GlobalType, MemoryType, ModuleShape, TableType
from tests.modules import module
from tests.programs import program

HEADER = b"\0asm\1\0\0\0"

RICH = module(
    """
    (type $unused (struct (field i8) (field (mut (ref null func)))))
    (rec (type (array i16)) (type (sub (func (param (ref null 1))))))
    (import "wasi_snapshot_preview1" "fd_seek" (func (param i32 i64 i32 i32) (result i32)))
    (import "env" "table" (table 1 10 externref))
    (import "env" "global" (global (mut i64)))
    (memory (export "memory") 1 3)
    (memory 2)
    (table (export "table") 3 funcref)
    (table 2 (ref func) (ref.func $run))
    (tag (export "tag") (param i32))
    (global (export "global") (mut i32) (i32.const 3))
    (func $run (export "_start"))
    (func (export "add") (param i32 f64) (result i32 v128) (local.get 0) (v128.const i64x2 0 0))
    (start $run)
    (elem declare func $run)
    (data (i32.const 0) "abc")
    """
)

TEXTS = (
    "",
    '(func (export "a") (param i32 i64 f32 f64 v128 funcref externref))',
    '(memory (export "m") 0) (memory (export "n") 7 9)',
    "(memory i64 1 5) (table i64 1 5 funcref)",
    '(import "a" "t" (tag (param i64))) (import "a" "m" (memory 1)) (import "b" "é" (global i32))',
    "(table 1 anyref (ref.i31 (i32.const 3))) (table 2 (ref null any) (ref.null any))",
    "(type $s (struct (field i32))) (table 1 (ref null $s) (struct.new $s (i32.add (i32.const 1) (i32.const 2))))",
    "(type $a (array i8)) (global (ref $a) (array.new_fixed $a 2 (i32.const 1) (i32.const 2)))",
    '(func (export "x") (result (ref null func) nullref exnref) unreachable)',
    "(func $f) (start $f)",
)


def section(code: int, body: bytes) -> bytes:
    return bytes([code]) + leb(len(body)) + body


def leb(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def name(text: str) -> bytes:
    return leb(len(text.encode())) + text.encode()


def outcome(data: bytes) -> ModuleShape | WasmError:
    try:
        return read_module(data)
    except WasmError as err:
        return err


def fault_of(data: bytes) -> tuple[Fault, int]:
    with pytest.raises(WasmError) as caught:
        read_module(data)
    return caught.value.fault, caught.value.offset


def test_a_rich_module_is_read_whole() -> None:
    shape = read_module(RICH)
    assert [(item.module, item.name, item.kind) for item in shape.imports] == [
        ("wasi_snapshot_preview1", "fd_seek", ExternKind.FUNCTION),
        ("env", "table", ExternKind.TABLE),
        ("env", "global", ExternKind.GLOBAL),
    ]
    assert shape.imports[0].type == FuncType(("i32", "i64", "i32", "i32"), ("i32",))
    assert shape.imports[2].type == GlobalType("i64", is_mutable=True)
    assert shape.memories == (MemoryType(1, 3), MemoryType(2, None))
    assert shape.tables == (
        TableType("externref", 1, 10),
        TableType("funcref", 3, None),
        TableType("(ref func)", 2, None),
    )
    assert shape.export("add") == Export(
        "add", ExternKind.FUNCTION, 2, FuncType(("i32", "f64"), ("i32", "v128"))
    )
    assert shape.export("nothing") is None
    assert (shape.functions, shape.globals, shape.tags, shape.start, shape.data_segments) == (2, 1, 1, 1, 1)
    assert shape.size_bytes == len(RICH)


@pytest.mark.parametrize(
    ("data", "fault"),
    [
        (b"", Fault.EMPTY),
        (b"\0as", Fault.TRUNCATED),
        (HEADER[:6], Fault.TRUNCATED),
        (b"\x7fELF\2\1\1\0", Fault.NOT_WASM),
        (b"(module)", Fault.TEXT),
        (b"\xef\xbb\xbf ;; hello\n(module)", Fault.TEXT),
        (b"\0asm\x0d\0\1\0", Fault.COMPONENT),
        (b"\0asm\2\0\0\0", Fault.VERSION),
    ],
)
def test_what_is_no_core_module_is_named(data: bytes, fault: Fault) -> None:
    assert fault_of(data)[0] is fault


def test_the_empty_module_is_a_module() -> None:
    assert read_module(HEADER) == ModuleShape(8, 0, (), 0, (), (), 0, 0, (), None, 0, 0, 0, ())


def test_every_prefix_of_a_module_is_refused_or_shorter() -> None:
    whole = read_module(RICH)
    for end in range(len(RICH)):
        found = outcome(RICH[:end])
        assert found != whole
        assert not isinstance(found, WasmError) or found.offset <= end


def test_a_module_cut_inside_a_section_is_truncated() -> None:
    assert fault_of(RICH[:-1])[0] is Fault.TRUNCATED


def test_a_module_cut_before_its_code_is_refused() -> None:
    whole = module("(func)")
    assert fault_of(whole[: whole.index(b"\x0a\4")]) == (Fault.MALFORMED, len(whole) - 6)


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (section(1, b"\1\x60\0"), "past the end of their section"),
        (section(1, b"\1\x60\0\0\0"), "1 bytes are left over"),
        (section(1, b"\1\x61\0\0"), "unknown kind of type"),
        (section(1, b"\1\x60\1\x01\0"), "unknown value type"),
        (section(1, b"\1\x5e\x7f\2"), "neither 0 nor 1"),
        (section(1, b"\1\x60\1\x64\x65\0"), "unknown heap type"),
        (section(3, b"\1\0"), "type 0 is not the type of a function"),
        (section(5, b"\0") + section(5, b"\0"), "second memory section"),
        (section(5, b"\0") + section(1, b"\0"), "out of order"),
        (section(5, b"\1\x10\0"), "unknown flags of a memory"),
        (section(5, b"\1\x08\0\x11"), "page size above 64 KiB"),
        (section(4, b"\1\x70\x08\0"), "unknown flags of a table"),
        (section(4, b"\1\x40\0\x70\0\0\x10\0\x0b"), "no constant may hold"),
        (section(4, b"\1\x40\0\x70\0\0\xfb\3\x0b"), "no constant may hold"),
        (section(4, b"\1\x40\0\x70\0\0\xfd\3\x0b"), "no constant may hold"),
        (section(7, b"\1\1a\0\0"), "function 0, which does not exist"),
        (section(7, b"\1\1a\5\0"), "unknown kind"),
        (section(7, b"\1\1\xff\0\0"), "not UTF-8"),
        (section(5, b"\1\0\0") + section(7, b"\2\1a\2\0\1a\2\0"), "second export of the same name"),
        (section(8, b"\0"), "start function is function 0"),
        (section(10, b"\1"), "1 function bodies for 0 functions"),
        (section(13, b"\1\1\0"), "unknown attribute"),
        (section(99, b""), "unknown section, number 99"),
        (b"\1\x80\x80\x80\x80\x80\0", "more bytes than 32 bits need"),
        (b"\1\x80\x80\x80\x80\x10", "larger than 32 bits"),
    ],
)
def test_broken_modules_are_refused_with_the_place(body: bytes, problem: str) -> None:
    with pytest.raises(WasmError, match=problem) as caught:
        read_module(HEADER + body)
    assert caught.value.fault is Fault.MALFORMED
    assert 8 <= caught.value.offset <= len(HEADER + body)
    assert str(caught.value).startswith(f"byte {caught.value.offset}: ")


def test_a_claimed_count_allocates_nothing() -> None:
    assert fault_of(HEADER + section(7, leb(MAX_EXPORTS)))[0] is Fault.MALFORMED
    assert fault_of(HEADER + section(1, leb(MAX_TYPES)))[0] is Fault.MALFORMED


def import_section(count: int) -> bytes:
    return HEADER + section(2, leb(count) + count * (name("a") + name("b") + b"\3\x7f\0"))


def export_section(count: int) -> bytes:
    body = b"".join(name(f"e{i}") + b"\2\0" for i in range(count))
    return HEADER + section(5, b"\1\0\0") + section(7, leb(count) + body)


def test_the_caps_on_imports_and_exports_hold_exactly() -> None:
    assert len(read_module(import_section(MAX_IMPORTS)).imports) == MAX_IMPORTS
    assert len(read_module(export_section(MAX_EXPORTS)).exports) == MAX_EXPORTS
    for data, what in (
        (import_section(MAX_IMPORTS + 1), "imports"),
        (export_section(MAX_EXPORTS + 1), "exports"),
    ):
        with pytest.raises(TooManyError) as caught:
            read_module(data)
        assert (caught.value.what, caught.value.found) == (what, caught.value.cap + 1)


def test_the_cap_on_names_and_sections_holds_exactly() -> None:
    longest = HEADER + section(0, name("n" * MAX_NAME_BYTES))
    assert read_module(longest).custom_sections == ("n" * MAX_NAME_BYTES,)
    assert fault_of(HEADER + section(0, name("n" * (MAX_NAME_BYTES + 1))))[0] is Fault.TOO_MANY
    assert len(read_module(HEADER + section(0, name("n")) * MAX_SECTIONS).custom_sections) == MAX_SECTIONS
    assert fault_of(HEADER + section(0, name("n")) * (MAX_SECTIONS + 1))[0] is Fault.TOO_MANY


def test_types_in_groups_count_towards_the_cap() -> None:
    group = b"\x4e" + leb(MAX_TYPES) + b"\x60\0\0" * MAX_TYPES
    assert read_module(HEADER + section(1, b"\1" + group)).types == MAX_TYPES
    assert fault_of(HEADER + section(1, b"\2" + group + b"\x60\0\0"))[0] is Fault.TOO_MANY
    assert fault_of(HEADER + section(1, b"\2" + group + b"\x4e\1\x60\0\0"))[0] is Fault.TOO_MANY


def test_many_declarations_are_refused_before_they_are_read() -> None:
    begun = time.process_time()
    assert fault_of(HEADER + section(1, leb(1) + b"\x60" * MAX_OUTLINE_BYTES))[0] is Fault.TOO_MANY
    assert time.process_time() - begun < 1


def test_large_code_and_data_are_passed_over() -> None:
    large = module(f'(memory 100) (data (i32.const 0) "{"a" * 4_000_000}")')
    begun = time.process_time()
    assert read_module(large).data_segments == 1
    assert time.process_time() - begun < 0.1


def spelt(kind: object) -> tuple[object, ...]:
    match kind:
        case wasmtime.FuncType():
            return ("function", len(kind.params), len(kind.results))
        case wasmtime.TableType():
            return ("table", kind.limits.min, kind.limits.max)
        case wasmtime.MemoryType():
            return ("memory", kind.limits.min, kind.limits.max, kind.is_64)
        case wasmtime.GlobalType():
            return ("global", kind.mutable)
        case _:
            return ("tag",)


def ours(shape: ModuleShape, kind: ExternKind, index: int, type_: object) -> tuple[object, ...]:
    match type_:
        case FuncType():
            return ("function", len(type_.params), len(type_.results))
        case TableType():
            return ("table", type_.minimum, type_.maximum)
        case MemoryType():
            return ("memory", type_.minimum, type_.maximum, type_.is_64)
        case GlobalType():
            return ("global", type_.is_mutable)
        case _:
            return (kind.word,)


def engine() -> wasmtime.Engine:
    config = wasmtime.Config()
    config.wasm_memory64 = True
    config.wasm_gc = True
    config.wasm_function_references = True
    config.wasm_exceptions = True
    return wasmtime.Engine(config)


def agree(data: bytes) -> None:
    """What the engine says of a module's imports and exports is what the reader says."""
    view = wasmtime.Module(engine(), data)
    shape = read_module(data)
    try:
        theirs = [(item.module, item.name, spelt(item.type)) for item in view.imports]
        exports = [(item.name, spelt(item.type)) for item in view.exports]
    except (wasmtime.WasmtimeError, KeyError, TypeError, ValueError):
        # The engine's Python package cannot describe some newer types; then only that both read it is compared.
        return
    assert [(i.module, i.name, ours(shape, i.kind, 0, i.type)) for i in shape.imports] == theirs
    for export, (exported, kind) in zip(shape.exports, exports, strict=True):
        assert export.name == exported
        assert export.kind.word == kind[0]
        if export.signature is not None:
            assert kind == ours(shape, export.kind, export.index, export.signature)
        if export.kind is ExternKind.MEMORY:
            assert kind == ours(shape, export.kind, export.index, shape.memories[export.index])
        if export.kind is ExternKind.TABLE:
            assert kind == ours(shape, export.kind, export.index, shape.tables[export.index])


@pytest.mark.parametrize("text", TEXTS)
def test_reader_and_engine_see_the_same_module(text: str) -> None:
    agree(module(text))


def test_reader_and_engine_agree_on_a_module_with_everything() -> None:
    agree(RICH)


@given(data=st.binary(max_size=400), has_header=st.booleans())
def test_random_bytes_raise_nothing_but_wasm_error(data: bytes, has_header: bool) -> None:
    whole = HEADER + data if has_header else data
    found = outcome(whole)
    assert not isinstance(found, WasmError) or 0 <= found.offset <= len(whole)


@given(seed=st.integers(0, 2**32), edits=st.integers(1, 6))
def test_mutated_modules_raise_nothing_but_wasm_error(seed: int, edits: int) -> None:
    dice = random.Random(seed)
    sample = bytearray(dice.choice([RICH, *map(module, TEXTS)]))
    for _ in range(edits):
        at = dice.randrange(8, len(sample) + 1)
        match dice.randrange(3):
            case 0 if at < len(sample):
                sample[at] = dice.randrange(256)
            case 1:
                del sample[at : at + dice.randrange(4)]
            case _:
                sample[at:at] = dice.randbytes(dice.randrange(4))
    data = bytes(sample)
    found = outcome(data)
    if isinstance(found, WasmError):
        assert 0 <= found.offset <= len(data)
        # What the reader refuses, the engine refuses, caps of ours apart.
        if found.fault is not Fault.TOO_MANY:
            with pytest.raises(wasmtime.WasmtimeError):
                wasmtime.Module(engine(), data)


@pytest.mark.parametrize("name_of_program", ["quickjs", "cpython"])
def test_real_programs_are_read_in_a_moment(name_of_program: str) -> None:
    data = program(name_of_program).read_bytes()
    begun = time.process_time()
    shape = read_module(data)
    assert time.process_time() - begun < 1
    assert shape.export("_start") is not None
    assert {item.module for item in shape.imports} == {"wasi_snapshot_preview1"}
