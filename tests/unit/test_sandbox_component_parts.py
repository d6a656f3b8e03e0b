"""Components taken apart, the types of their calls, and the bundle that they are compiled to."""

from __future__ import annotations

import random
import re
from pathlib import Path

import pytest

from policy.calls import CALL_CODES, CALLS
from policy.component_calls import (
    BASE_CODES,
    BASES,
    COMPONENT_CALLS,
    FIRST_CODE,
    MAX_CODES,
    MODULES,
    NAMES,
    base_name,
)
from sandbox.bridge.abi import Function, Plain, Record, Sequence, Variant, flat, function
from sandbox.bridge.interfaces import FUNCTIONS, TYPES
from sandbox.bundle import is_bundle, pack, unpack
from sandbox.component_admission import MAX_EDGES, check_calls, parts_of, read
from sandbox.parts import Parts
from sandbox.refusal import AdmissionRefused, Refusal
from sandbox.wasm.component.assembly import core_modules
from tests.components import component, real_components
from tests.wasi2 import command

PAGE = Path(__file__).parents[2] / "docs/reference/components.md"


def test_each_call_has_a_name_a_module_and_a_base() -> None:
    assert len(NAMES) == len(MODULES) == len(BASES) == len(CALLS) + len(COMPONENT_CALLS)
    assert base_name("descriptor.open-at") == "path_open"
    assert base_name("pollable.drop") == "sched_yield"
    assert base_name("nothing.known") == "nothing.known"
    assert base_name("path_open") == "path_open"
    assert BASE_CODES["descriptor.open-at"] == BASE_CODES["path_open"] == CALL_CODES["path_open"]
    assert BASE_CODES["pollable.drop"] == CALL_CODES["sched_yield"]
    assert set(BASE_CODES) == set(NAMES)
    assert NAMES[FIRST_CODE:] == tuple(call.name for call in COMPONENT_CALLS)
    assert all(base == MAX_CODES or base < len(CALLS) for base in BASES)


def test_the_page_has_each_call() -> None:
    rows = re.findall(r"^\| `(.*)` \| `(.*)` \| `(.*)` \| (?:`(.*)`|-) \|$", PAGE.read_text(), re.MULTILINE)
    assert rows == [(call.interface, call.function, call.name, call.base or "") for call in COMPONENT_CALLS]


@pytest.mark.parametrize(
    ("text", "params", "results"),
    [
        ("() -> _", (), ()),
        ("() -> u64", (), ("i64",)),
        ("(string) -> bool", ("i32", "i32"), ("i32",)),
        ("(own<descriptor>, u8) -> result<u32>", ("i32", "i32", "i32"), ()),
        ("(new-timestamp) -> result", ("i32", "i64", "i32"), ("i32",)),
        ("(result<u64, u32>) -> tuple<u32>", ("i32", "i64"), ("i32",)),
        ("(option<list<u8>>) -> option<u64>", ("i32", "i32", "i32", "i32"), ()),
    ],
)
def test_functions_are_lowered_as_the_canonical_abi_says(
    text: str, params: tuple[str, ...], results: tuple[str, ...]
) -> None:
    made = function(text, TYPES)
    assert (made.core_params, made.core_results) == (params, results)


def test_values_lie_where_the_canonical_abi_says() -> None:
    stat = TYPES["descriptor-stat"]
    assert isinstance(stat, Record)
    assert (stat.offsets, stat.size, stat.align) == ((0, 8, 16, 24, 48, 72), 96, 8)
    answer = FUNCTIONS["descriptor.stat"].result
    assert isinstance(answer, Variant)
    assert (answer.payload_at, answer.size) == (8, 104)
    entry = FUNCTIONS["directory-entry-stream.read-directory-entry"].result
    assert entry is not None
    assert (entry.size, entry.align) == (20, 4)
    assert flat(Sequence(Plain(1))) == ("i32", "i32")
    assert Function((), None).core_params == ()


def test_real_components_call_nothing_that_is_not_here_and_with_these_types() -> None:
    for path in real_components().values():
        found = read(path.read_bytes())
        check_calls(found)
        parts = parts_of(found, None)
        assert len(parts.edges) == 2
        assert {edge.memory for edge in parts.edges} == {(1, "memory")}


def admit(data: bytes) -> Parts:
    found = read(data)
    check_calls(found)
    return parts_of(found, None)


def refused(data: bytes) -> tuple[Refusal, str]:
    with pytest.raises(AdmissionRefused) as caught:
        admit(data)
    return caught.value.reason, caught.value.message


def test_what_a_component_is_refused_for() -> None:
    good = command("(i32.const 0)", uses="random.get-random-u64")
    found = read(good)
    check_calls(found)
    assert parts_of(found, None).entry == (1, "run")
    with pytest.raises(AdmissionRefused, match="--invoke"):
        parts_of(found, "run")
    assert refused(component(""))[0] is Refusal.NO_ENTRY
    lowered = '(alias export $i "{}" (func $f)) (core func (canon lower (func $f)))'
    other = component(
        '(import "acme:store/kv@0.2.0" (instance $i (export "get" (func))))' + lowered.format("get")
    )
    assert refused(other) == (
        Refusal.FOREIGN_IMPORT,
        "the component calls what no host function here provides: `acme:store/kv@0.2.0 get`",
    )
    newer = component(
        '(import "wasi:random/random@0.3.0" (instance $i (export "get-random-u64" (func (result u64)))))'
        + lowered.format("get-random-u64")
    )
    assert refused(newer)[0] is Refusal.FOREIGN_IMPORT
    wrong = component(
        '(import "wasi:random/random@0.2.0" (instance $i (export "get-random-u64" (func (result u32)))))'
        + lowered.format("get-random-u64")
    )
    reason, message = refused(wrong)
    assert reason is Refusal.IMPORT_SIGNATURE
    assert "expected `() -> (i64)`" in message
    resource = component("(type $r (resource (rep i32))) (core func $new (canon resource.new $r))"
        '(core instance $w (export "new" (func $new)))'
        '(core module $M (import "w" "new" (func (param i32) (result i32))))'
        '(core instance (instantiate $M (with "w" (instance $w))))')  # fmt: skip
    assert refused(resource) == (
        Refusal.COMPONENT,
        "the component is made in a way that is not supported: it uses `resource.new`",
    )


def test_what_is_torn_or_turned_is_refused_or_calls_what_is_here() -> None:
    data = command("(i32.const 0)", uses="random.get-random-u64 descriptor.open-at")
    source = random.Random(7)
    admitted = 0
    for _ in range(1_500):
        torn = bytearray(data)
        if source.random() < 0.3:
            del torn[source.randrange(8, len(torn)) :]
        for _ in range(source.randrange(4)):
            torn[source.randrange(8, len(torn))] = source.randrange(256)
        try:
            found = read(bytes(torn))
            check_calls(found)
            parts = parts_of(found, None)
        except AdmissionRefused:
            continue
        admitted += 1
        for step in parts.steps:
            for place, name, edge in step.targets:
                assert place < len(parts.steps)
                assert place >= 0 or name in FUNCTIONS
                assert edge < len(parts.edges)
    assert 0 < admitted < 1_500


def test_parts_cross_processes_as_json() -> None:
    from dataclasses import asdict
    from json import dumps, loads

    parts = parts_of(read(command("(i32.const 0)", uses="descriptor.open-at")), None)
    assert Parts.of(loads(dumps(asdict(parts)))) == parts


def test_a_bundle_gives_back_what_was_packed() -> None:
    parts = [b"", b"a" * 5_000, b"b"]
    data = pack(parts)
    assert is_bundle(data)
    assert not is_bundle(b"\x7fELF")
    assert [bytes(part) for part in unpack(memoryview(data))] == parts
    with pytest.raises(ValueError, match="cut short"):
        unpack(memoryview(data[:-1]))
    with pytest.raises(ValueError, match="not a bundle"):
        unpack(memoryview(b"\0" * 40))


def test_core_modules_are_those_of_the_component() -> None:
    data = command("(i32.const 0)", uses="")
    assert [module[:8] for module in core_modules(data)] == [b"\0asm\1\0\0\0"] * 2
    with pytest.raises(ValueError, match="a core module, not a component"):
        core_modules(b"\0asm\1\0\0\0")


def allocating(allocators: int) -> bytes:
    """A component that gets its arguments through so many allocators."""
    each = range(allocators)
    text = " ".join(
        [
            '(import "wasi:cli/environment@0.2.0" (instance $e',
            '(export "get-arguments" (func (result (list string))))))',
            '(alias export $e "get-arguments" (func $get))',
            '(core module $Libc (memory (export "memory") 1)',
            *(
                f'(func (export "r{nth}") (param i32 i32 i32 i32) (result i32) (i32.const 64))'
                for nth in each
            ),
            ") (core instance $libc (instantiate $Libc))",
            '(alias core export $libc "memory" (core memory $memory))',
            *(f'(alias core export $libc "r{nth}" (core func $r{nth}))' for nth in each),
            *(
                f"(core func $f{nth} (canon lower (func $get) (memory (core memory $memory))"
                f" (realloc (core func $r{nth}))))"
                for nth in each
            ),
            "(core instance $w",
            *(f'(export "f{nth}" (func $f{nth}))' for nth in each),
            ") (core module $Main",
            *(f'(import "w" "f{nth}" (func (param i32)))' for nth in each),
            '(func (export "run") (result i32) (i32.const 0)))',
            '(core instance $main (instantiate $Main (with "w" (instance $w))))',
            '(alias core export $main "run" (core func $run))',
            "(func $lifted (result (result)) (canon lift (core func $run)))",
            '(instance $exported (export "run" (func $lifted)))',
            '(export "wasi:cli/run@0.2.0" (instance $exported))',
        ]
    )
    return component(text)


def test_only_so_many_edges_are_taken() -> None:
    assert len(admit(allocating(MAX_EDGES)).edges) == MAX_EDGES
    reason, message = refused(allocating(MAX_EDGES + 1))
    assert reason is Refusal.TOO_MANY
    assert "more than 8 pairs" in message
