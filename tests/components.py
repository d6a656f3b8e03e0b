"""Small components, and random trees of the grammar of components.

Their text is assembled by `wasmtime.wat2wasm`; real components are found by `tests/programs.py`.
Core modules for tests of admission and compilation live in `tests/modules.py`.
"""

from __future__ import annotations

import random
from functools import cache
from pathlib import Path

import wasmtime
from wasmtime import component as wasmtime_component

from sandbox.wasm.component.definitions import COMPONENT, SECTIONS
from sandbox.wasm.component.grammar import (
    Choice,
    Flag,
    Index,
    Kind,
    Level,
    Literal,
    Maybe,
    Name,
    Node,
    Number,
    Outer,
    OuterIndex,
    Rest,
    Section,
    Sections,
    Several,
    Shape,
    Value,
)
from tests.programs import program


def component(fields: str) -> bytes:
    """Assemble a component from the fields of its text."""
    return bytes(wasmtime.wat2wasm(f"(component {fields})"))


@cache
def engine() -> wasmtime.Engine:
    """One engine for all tests of a process."""
    return wasmtime.Engine()


def run_bare(data: bytes, config: wasmtime.WasiConfig, *, has_http: bool = False) -> None:
    """Run a command under the engine alone, to its good end; `has_http` links the engine's requests."""
    store, linker = wasmtime.Store(engine()), wasmtime_component.Linker(engine())
    store.set_wasi(config)
    linker.add_wasip2()
    if has_http:
        store.set_wasi_http()
        linker.add_wasi_http()
    instance = linker.instantiate(store, wasmtime_component.Component(engine(), data))
    interface = instance.get_export_index(store, "wasi:cli/run@0.2.6")
    assert interface is not None
    index = instance.get_export_index(store, "run", interface)
    assert index is not None
    run = instance.get_func(store, index)
    assert run is not None
    assert run(store).tag == "ok"


def is_valid(data: bytes) -> bool:
    """Say whether the engine takes a component."""
    try:
        wasmtime_component.Component(engine(), data)
    except wasmtime.WasmtimeError:
        return False
    return True


def real_components() -> dict[str, Path]:
    """Return the real components that tests look at."""
    resvg = program("resvg")
    return {"resvg": resvg, "usvg": resvg.with_name("usvg.wasm")}


_LIBC = """
    (core module $libc
        (memory (export "memory") 1)
        (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 0))
        (func (export "post") (param i32))
        (func (export "callback") (param i32 i32 i32) (result i32) (i32.const 0))
        (func (export "greet") (param i32 i32) (result i32) (i32.const 0)))
    (core instance $libc (instantiate $libc))
    (alias core export $libc "memory" (core memory $memory))
    (alias core export $libc "realloc" (core func $realloc))
"""

# Each is taken by the engine as it is.
VALID = {
    "nothing": "",
    "core modules": """
        (core module $m
            (func (export "f")) (table (export "t") 1 funcref) (memory (export "m") 1)
            (global (export "g") i32 (i32.const 0)) (tag (export "e")))
        (core instance $i (instantiate $m))
        (alias core export $i "f" (core func $f)) (alias core export $i "t" (core table $t))
        (alias core export $i "m" (core memory $m)) (alias core export $i "g" (core global $g))
        (alias core export $i "e" (core tag $e))
        (core instance $j
            (export "f" (func $f)) (export "t" (table $t)) (export "m" (memory $m))
            (export "g" (global $g)) (export "e" (tag $e)))
        (core module $n
            (import "j" "f" (func)) (import "j" "t" (table 1 funcref)) (import "j" "m" (memory 1))
            (import "j" "g" (global i32)) (import "j" "e" (tag)))
        (core instance (instantiate $n (with "j" (instance $j))))
        (core instance (instantiate $n (with "j" (instance $i))))""",
    "core types": """
        (core type (func (param i32 i64 f32 f64 v128 funcref externref) (result i32)))
        (core type (sub (func)))
        (core type (sub final (func)))
        (core rec (type $a (struct (field i8) (field (mut (ref null 3))))) (type (array i16)))
        (core type (func (param (ref any) (ref null struct) anyref eqref i31ref structref arrayref nullref)))
        (core type $outer (func))
        (core type (module
            (alias outer 1 $outer (type $t))
            (type $u (func (param i64)))
            (import "a" "f" (func (type $t))) (import "a" "m" (memory i64 1 2))
            (import "a" "t" (table 1 2 externref)) (import "a" "g" (global (mut i32)))
            (import "a" "e" (tag (type $u))) (export "f" (func (type $u))) (export "s" (memory 1 3))))""",
    "value types": """
        (type (record (field "a" u8) (field "b" (list string))))
        (type (variant (case "a") (case "b" s64)))
        (type (tuple bool s8 s16 u16 s32 u32 u64 f32 f64 char))
        (type (flags "a" "b")) (type (enum "a" "b")) (type (option u8))
        (type (result)) (type (result u8)) (type (result (error u8))) (type (result u8 (error string)))
        (type string) (type (future u8)) (type (stream)) (type (stream u8))""",
    "resources": """
        (core module $m (func (export "drop") (param i32)))
        (core instance $i (instantiate $m))
        (alias core export $i "drop" (core func $drop))
        (type $plain (resource (rep i32)))
        (type $r (resource (rep i32) (dtor (core func $drop))))
        (core func (canon resource.new $r)) (core func (canon resource.drop $r))
        (core func (canon resource.rep $r))
        (type (own $r)) (type (borrow $r))
        (export $e "r" (type $r))
        (export "s" (type $plain))""",
    "types of components": """
        (type $c (component
            (type $u (record (field "x" u8)))
            (import "r" (type $r (sub resource)))
            (import "u" (type $named (eq $u)))
            (import "f" (func (param "r" (own $r)) (result $named)))
            (core type $m (module))
            (import "m" (core module (type $m)))
            (export "i" (instance (export "n" (func))))
            (export "c" (component))))
        (import "a:b/c@1.2.3" (instance
            (export "t" (type (sub resource))) (alias outer 1 $c (type)) (export "f" (func (result string)))))
        (import "f" (func (param "a" u8) (result s32)))
        (import "g" (func async))""",
    "nested components": """
        (core module $m (func (export "f") (result i32) (i32.const 7)))
        (type $t (list u8))
        (component $empty)
        (component $c
            (alias outer 1 $m (core module $m))
            (alias outer 1 $t (type $t))
            (alias outer 1 $empty (component $empty))
            (import "g" (func $g (result u32)))
            (import "x" (instance $x))
            (core instance $i (instantiate $m))
            (func $f (result u32) (canon lift (core func $i "f")))
            (instance $inner (instantiate $empty))
            (export "f" (func $f)) (export "again" (func $g))
            (export "inner" (instance $inner)))
        (core instance $i (instantiate $m))
        (func $g (result u32) (canon lift (core func $i "f")))
        (instance $empty (instantiate $empty))
        (instance $one (instantiate $c (with "g" (func $g)) (with "x" (instance $empty))))
        (alias export $one "again" (func $again))
        (alias export $one "inner" (instance $inner))
        (instance $two (instantiate $c (with "g" (func $one "f")) (with "x" (instance $inner))))
        (instance $three (export "h" (func $again)) (export "t" (type $t)))
        (export "run" (func $two "again")) (export "a:b/three@0.1.0" (instance $three))
        (export "typed" (func $g) (func (result u32)))""",
    "canonical functions": f"""
        {_LIBC}
        (import "log" (func $log (param "text" string) (result string)))
        (core func $lowered
            (canon lower (func $log) (memory $memory) (realloc $realloc) string-encoding=utf16))
        (core module $m (import "host" "log" (func (param i32 i32 i32))))
        (core instance (instantiate $m (with "host" (instance (export "log" (func $lowered))))))
        (func $greet (param "name" string) (result string) (canon lift (core func $libc "greet")
            (memory $memory) (realloc $realloc) (post-return (core func $libc "post"))
            string-encoding=latin1+utf16))
        (export "greet" (func $greet))""",
    "asynchronous functions": f"""
        {_LIBC}
        (import "f" (func $f async (param "text" string) (result string)))
        (type $s (stream u8)) (type $u (future u8))
        (core func (canon lower (func $f) async (memory $memory) (realloc $realloc)))
        (core func (canon task.return (result u8))) (core func (canon task.return))
        (core func (canon task.cancel)) (core func (canon subtask.cancel)) (core func (canon subtask.drop))
        (core func (canon context.get i32 0)) (core func (canon context.set i32 0))
        (core func (canon backpressure.inc)) (core func (canon backpressure.dec))
        (core func (canon thread.yield))
        (core func (canon stream.new $s)) (core func (canon stream.read $s async (memory $memory)))
        (core func (canon stream.write $s async (memory $memory)))
        (core func (canon stream.cancel-read $s)) (core func (canon stream.cancel-write $s))
        (core func (canon stream.drop-readable $s)) (core func (canon stream.drop-writable $s))
        (core func (canon future.new $u)) (core func (canon future.read $u async (memory $memory)))
        (core func (canon future.write $u async (memory $memory)))
        (core func (canon future.cancel-read $u)) (core func (canon future.cancel-write $u))
        (core func (canon future.drop-readable $u)) (core func (canon future.drop-writable $u))
        (core func (canon waitable-set.new)) (core func (canon waitable-set.wait (memory $memory)))
        (core func (canon waitable-set.poll (memory $memory)))
        (core func (canon waitable-set.drop)) (core func (canon waitable.join))""",
}

# The engine of the tests has these off; they are well-formed all the same.
SWITCHED_OFF = {
    "lists of fixed length": "(type (list u8 4))",
    "maps": "(type (map string u8))",
    "error contexts": """
        (type error-context) (core func (canon error-context.new))
        (core func (canon error-context.debug-message)) (core func (canon error-context.drop))""",
    "threads": """(core func (canon thread.index)) (core func (canon subtask.cancel async))""",
}


class _Numbers(random.Random):
    """A source of chance, and the highest index to make; `None` for any."""

    highest: int | None = None


def random_tree(rnd: random.Random, *, indices: int | None = None) -> Node:
    """Make a component that follows the grammar and nothing else: its indices lead anywhere.

    `indices` bounds them, so that they often lead to something.
    """
    seeded = _Numbers(rnd.getrandbits(64))
    seeded.highest = indices
    return _shape(seeded, COMPONENT, 0)


def _shape(rnd: _Numbers, shape: Shape, depth: int) -> Node:
    return Node(shape, tuple(_value(rnd, kind, depth) for _, kind in shape.fields))


def _is_flat(shape: Shape) -> bool:
    return not any(isinstance(kind, Level) for _, kind in shape.fields)


def _number(rnd: random.Random, bits: int = 32) -> int:
    return rnd.randrange(1 << rnd.randrange(1, bits + 1))


def _index(rnd: _Numbers) -> int:
    return _number(rnd) if rnd.highest is None else rnd.randrange(rnd.highest)


def _value(rnd: _Numbers, kind: Kind, depth: int) -> Value:
    made: Value
    match kind:
        case Several(of):
            made = tuple(_value(rnd, of, depth) for _ in range(rnd.choice((0, 1, 2, 3))))
        case Maybe(of):
            made = _value(rnd, of, depth) if rnd.random() < 0.5 else None
        case Level(of):
            made = _value(rnd, of, depth + 1)
        case Sections():
            made = tuple(_section(rnd, depth) for _ in range(rnd.randrange(12 // depth)))
        case Shape():
            made = _shape(rnd, kind, depth)
        case Choice():
            cases = [case for case in kind.cases.values() if depth < 4 or _is_flat(case)]
            made = _shape(rnd, rnd.choice([*cases, *((kind.otherwise,) if kind.otherwise else ())]), depth)
        case _:
            made = _leaf(rnd, kind)
    return made


def _leaf(rnd: _Numbers, kind: Number | Index | Outer | Name | Flag | Literal | Rest) -> Value:
    made: Value = None
    match kind:
        case Number():
            made = _number(rnd, kind.bits)
        case Index():
            made = _index(rnd)
        case Outer():
            made = OuterIndex(_index(rnd), _index(rnd))
        case Name():
            made = rnd.choice(("", "a", "run", "wasi:cli/run@0.2.6", "é\0", "x" * 200))
        case Flag():
            made = rnd.random() < 0.5
        case Rest(prefix):
            made = memoryview(prefix + rnd.randbytes(rnd.randrange(9)))
        case Literal():
            pass
    return made


def _section(rnd: _Numbers, depth: int) -> Section:
    code = rnd.choice([code for code in SECTIONS if code != 4 or depth < 3])
    kind = SECTIONS[code]
    count = 1 if isinstance(kind, Shape) else rnd.randrange(4)
    of = kind if isinstance(kind, Shape) else kind.of
    made = (_value(rnd, of, depth) for _ in range(count))
    return Section(code, tuple(item for item in made if isinstance(item, Node)))
