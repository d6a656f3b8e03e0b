from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.wasm.component.boundary import crossings
from sandbox.wasm.component.definitions import CORE_INSTANTIATE, IMPORT, LIFT, LOWER, MODULE, PREAMBLE
from sandbox.wasm.component.flatten import MAX_TYPE_DEPTH, Types
from sandbox.wasm.component.grammar import Space
from sandbox.wasm.component.interfaces import (
    Extern,
    FunctionKind,
    FunctionName,
    InterfaceName,
    exports,
    imports,
)
from sandbox.wasm.component.levels import Scope, components
from sandbox.wasm.component.origins import MAX_STEPS, Item, Origin, Resolver, UnresolvedError
from sandbox.wasm.component.read import read_component
from sandbox.wasm.component.wiring import MAX_FRAMES, consumers, frames
from sandbox.wasm.component.write import unsigned
from sandbox.wasm.cursor import TooManyError
from sandbox.wasm.reader import read_module
from sandbox.wasm.shape import FuncType
from tests.components import VALID, component, is_valid, random_tree, real_components

REAL = ["resvg", "usvg"]


def resolver(fields: str) -> Resolver:
    return Resolver(read_component(component(fields)))


def real(name: str) -> Resolver:
    return Resolver(read_component(real_components()[name].read_bytes()))


def exported(found: Resolver, name: str) -> Origin:
    definition = found.root.scope.exports[name]
    return found.origin(Item(found.root, definition.space, definition.index))


def import_of(origin: Origin) -> tuple[str, ...]:
    assert origin.node.shape is IMPORT
    return (origin.node.node("name").text(), *origin.path)


def test_each_index_space_is_numbered_by_itself() -> None:
    scope = resolver(VALID["nested components"]).root.scope
    counts = {space: len(found) for space, found in scope.by_space.items() if found}
    assert counts == {
        Space.CORE_FUNC: 1,
        Space.CORE_MODULE: 1,
        Space.CORE_INSTANCE: 1,
        Space.FUNC: 6,
        Space.TYPE: 3,
        Space.COMPONENT: 2,
        Space.INSTANCE: 6,
    }
    assert scope.find(Space.CORE_MODULE, 0) is not None
    assert scope.find(Space.CORE_MODULE, 1) is None


def test_each_component_has_a_path_and_each_frame_is_of_one_component() -> None:
    text = "(component (component) (core module) (component (component)))"
    tree = read_component(component(f"{text} (instance (instantiate 0)) (instance (instantiate 0))"))
    found = dict(components(tree))
    assert list(found) == [(), (0,), (0, 0), (0, 2), (0, 2, 0)]
    paths = [
        path for frame in frames(Resolver(tree)) for path, node in found.items() if frame.scope.node is node
    ]
    assert paths == [(), (0,), (0,)]


def test_a_group_of_types_is_numbered_type_by_type() -> None:
    scope = resolver(VALID["core types"]).root.scope
    kinds = [definition.node.shape.name for definition in scope.by_space[Space.CORE_TYPE]]
    assert kinds[3:5] == ["group of types", "group of types"]
    assert kinds[-1] == "module type"


def test_a_function_is_followed_through_components_to_the_module_that_has_it() -> None:
    found = resolver(VALID["nested components"])
    origin = exported(found, "run")
    assert origin.node.shape is LIFT
    assert origin.frame is not found.root
    core = found.origin(Item(origin.frame, Space.CORE_FUNC, origin.node.number("func")))
    assert core.node.shape is CORE_INSTANTIATE
    assert core.path == ("f",)
    module = found.module(Origin(core.frame, core.definition))
    assert module.node.shape is MODULE
    assert module.frame is found.root


def test_an_import_of_a_nested_component_is_what_it_was_given() -> None:
    text = """
        (import "a:b/c@1.0.0" (instance $outside (export "f" (func)) (export "g" (func))))
        (component $inner
            (import "in" (instance $in (export "h" (func))))
            (export "out" (func $in "h")))
        (instance $i (instantiate $inner (with "in" (instance (export "h" (func $outside "NAME"))))))
        (export "run" (func $i "out"))
    """
    for name in ("f", "g"):
        found = exported(resolver(text.replace("NAME", name)), "run")
        assert import_of(found) == ("a:b/c@1.0.0", name)


def test_each_instance_of_one_component_has_its_own_arguments() -> None:
    found = resolver("""
        (import "f" (func $f)) (import "g" (func $g))
        (component $inner (import "in" (func $in)) (export "out" (func $in)))
        (instance $one (instantiate $inner (with "in" (func $f))))
        (instance $two (instantiate $inner (with "in" (func $g))))
        (export "one" (func $one "out")) (export "two" (func $two "out"))
    """)
    assert import_of(exported(found, "one")) == ("f",)
    assert import_of(exported(found, "two")) == ("g",)
    assert len(list(frames(found))) == 3


def test_what_was_found_out_does_not_outlive_its_frame() -> None:
    found = real("resvg")
    first = crossings(found, Types(found))
    # A second look has frames of its own, and may not be answered from those of the first.
    assert crossings(found, Types(found)) == first


def test_what_is_not_there_is_unresolved() -> None:
    found = resolver(VALID["canonical functions"])
    assert found.origin(Item(found.root, Space.FUNC, 0)).node.shape is IMPORT
    with pytest.raises(UnresolvedError, match="there is no func 9"):
        found.origin(Item(found.root, Space.FUNC, 9))
    with pytest.raises(UnresolvedError, match="outside the component"):
        found.root.outwards(1)


@pytest.mark.parametrize("name", REAL)
def test_every_lowered_function_of_a_real_component_is_an_import_of_wasi(name: str) -> None:
    found = real(name)
    lowered = [item for item in found.root.scope.by_space[Space.CORE_FUNC] if item.node.shape is LOWER]
    names = [
        import_of(found.origin(Item(found.root, Space.FUNC, item.node.number("func")))) for item in lowered
    ]
    assert ("wasi:filesystem/types@0.2.6", "[method]descriptor.open-at") in names
    assert all(len(parts) == 2 and parts[0].startswith("wasi:") for parts in names)


@pytest.mark.parametrize("name", REAL)
def test_the_modules_of_a_real_component_import_lowered_functions_as_they_are_flattened(name: str) -> None:
    found = real(name)
    types = Types(found)
    seen: set[int] = set()
    for origin, consumer in consumers(found, found.root):
        if origin.node.shape is LOWER:
            seen.add(origin.definition.index)
            contents = found.module(consumer.instance).node["contents"]
            assert isinstance(contents, memoryview)
            shape = read_module(bytes(contents))
            wanted = [
                one.type
                for one in shape.imports
                if (one.module, one.name) == (consumer.module, consumer.name)
            ]
            assert wanted == [types.lowered(origin.frame, origin.node)]
    lowered = {item.index for item in found.root.scope.by_space[Space.CORE_FUNC] if item.node.shape is LOWER}
    assert seen == lowered


@pytest.mark.parametrize("name", REAL)
def test_each_function_that_leads_out_of_a_real_component_is_listed_with_who_calls_it(name: str) -> None:
    found = real(name)
    listed = {
        (one.source, one.function.text): one
        for one in crossings(found, Types(found))
        if one.frame is found.root
    }
    opening = listed["wasi:filesystem/types@0.2.6", "[method]descriptor.open-at"]
    assert str(opening.signature) == "(i32, i32, i32, i32, i32, i32, i32) -> ()"
    assert opening.consumers
    dropping = listed["wasi:filesystem/types@0.2.6", "[resource-drop]descriptor"]
    assert dropping.function == FunctionName(
        "[resource-drop]descriptor", FunctionKind.RESOURCE_DROP, "descriptor"
    )
    assert [one.name for one in dropping.consumers] == ["[resource-drop]descriptor"] * len(dropping.consumers)
    assert dropping.consumers


def test_a_function_of_the_component_itself_does_not_lead_outside() -> None:
    text = """
        (core module $m (func (export "f")))
        (core instance $i (instantiate $m))
        (import "out" (func $out))
        (func $own (canon lift (core func $i "f")))
        (type $r (resource (rep i32)))
        (import "there" (type $there (sub resource)))
        (core func (canon lower (func $own))) (core func (canon lower (func $out)))
        (core func (canon resource.drop $r)) (core func (canon resource.drop $there))
    """
    found = resolver(text)
    assert [(one.source, one.function.text, one.consumers) for one in crossings(found, Types(found))] == [
        ("out", "out", ()),
        ("there", "[resource-drop]there", ()),
    ]


def test_a_resource_that_an_interface_names_twice_is_dropped_under_its_first_name() -> None:
    found = resolver("""
        (type $t (instance
            (export "file" (type $file (sub resource))) (export "alias" (type (eq $file)))))
        (import "one" (instance $one (type $t))) (import "two" (instance $two (type $t)))
        (alias export $one "alias" (type $a)) (alias export $two "alias" (type $b))
        (core func (canon resource.drop $a)) (core func (canon resource.drop $b))
    """)
    assert [(one.source, one.function.text) for one in crossings(found, Types(found))] == [
        ("one", "[resource-drop]file"),
        ("two", "[resource-drop]file"),
    ]


def test_a_resource_that_one_interface_takes_from_another_is_dropped_where_it_is_from() -> None:
    found = resolver("""
        (import "streams" (instance $streams (export "stream" (type (sub resource)))))
        (alias export $streams "stream" (type $stream))
        (import "files" (instance $files
            (alias outer 1 $stream (type $s)) (export "stream" (type (eq $s)))))
        (alias export $files "stream" (type $same))
        (core func (canon resource.drop $same))
    """)
    (only,) = crossings(found, Types(found))
    assert (only.source, only.function.text) == ("streams", "[resource-drop]stream")


def test_a_function_that_a_nested_component_lowers_leads_outside_too() -> None:
    found = resolver("""
        (import "i" (instance $i (export "f" (func (param "a" u64)))))
        (component $c
            (import "g" (func $g (param "a" u64)))
            (core func $lowered (canon lower (func $g)))
            (core module $m (import "host" "g" (func (param i64))))
            (core instance (instantiate $m (with "host" (instance (export "g" (func $lowered)))))))
        (instance (instantiate $c (with "g" (func $i "f"))))
    """)
    (only,) = crossings(found, Types(found))
    assert only.frame is not found.root
    assert (only.source, only.function.text, str(only.signature)) == ("i", "f", "(i64) -> ()")
    assert [(one.module, one.name) for one in only.consumers] == [("host", "g")]


def lowered(signature: str, *, options: str = "", types: str = "") -> tuple[str, FuncType]:
    """Return a component that lowers a function, and the core signature that is told for it."""
    text = f"""
        (core module $libc (memory (export "memory") 1)
            (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 0)))
        (core instance $libc (instantiate $libc))
        (alias core export $libc "memory" (core memory $memory))
        (alias core export $libc "realloc" (core func $realloc))
        (import "i" (instance $i {types} (export "f" (func {signature}))))
        (core func $f (canon lower (func $i "f") (memory $memory) (realloc $realloc) {options}))
    """
    found = resolver(text)
    last = found.root.scope.by_space[Space.CORE_FUNC][-1]
    return text, Types(found).lowered(found.root, last.node)


def wired(text: str, signature: FuncType) -> bytes:
    """Return a component whose module imports the lowered function with that signature."""
    core = f"(param {' '.join(signature.params)}) (result {' '.join(signature.results)})"
    return component(f"""{text}
        (core module $m (import "h" "f" (func {core})))
        (core instance (instantiate $m (with "h" (instance (export "f" (func $f))))))""")


@pytest.mark.parametrize(
    ("signature", "told"),
    [
        ("", "() -> ()"),
        ('(param "a" u8) (result s16)', "(i32) -> (i32)"),
        ('(param "a" u64) (result f64)', "(i64) -> (f64)"),
        ('(param "a" string) (result (list u8))', "(i32, i32, i32) -> ()"),
        ('(param "a" (option u64)) (result (option u8))', "(i32, i64, i32) -> ()"),
        ('(param "a" (result u32 (error f32))) (result bool)', "(i32, i32) -> (i32)"),
        ('(param "a" (result f32 (error f64)))', "(i32, i64) -> ()"),
        (
            '(param "a" (tuple u8 f32 char)) (result (tuple (tuple u8)))',
            "(i32, f32, i32) -> (i32)",
        ),
        (
            '(param "a" (tuple u64 u64 u64 u64 u64 u64 u64 u64 u64 u64 u64 u64 u64 u64 u64 u64))',
            f"({', '.join(['i64'] * 16)}) -> ()",
        ),
        (
            '(param "a" (tuple u64 u64 u64 u64 u64 u64 u64 u64 u64 u64 u64 u64 u64 u64 u64 string))',
            "(i32) -> ()",
        ),
        ('(param "a" (result)) (result (result))', "(i32) -> (i32)"),
        (
            '(param "a" (option (tuple u64 u64 u64 u64 u64 u64 u64 u64 u64 u64 u64 u64 u64 u64 u64)))',
            f"(i32, {', '.join(['i64'] * 15)}) -> ()",
        ),
        (
            '(param "a" (option (tuple u64 u64 u64 u64 u64 u64 u64 u64 u64 u64 u64 u64 u64 u64 u64 u64)))',
            "(i32) -> ()",
        ),
        (
            '(param "a" (option (tuple string string string string string string string string string)))',
            "(i32) -> ()",
        ),
    ],
)
def test_a_signature_is_flattened(signature: str, told: str) -> None:
    text, flat = lowered(signature)
    assert str(flat) == told
    assert is_valid(wired(text, flat))
    assert not is_valid(wired(text, FuncType((*flat.params, "i32"), flat.results)))


def test_a_function_of_the_component_itself_has_a_signature_too() -> None:
    found = resolver("""
        (core module $m (func (export "f") (param i64 f32)))
        (core instance $i (instantiate $m))
        (func $own (param "a" u64) (param "b" f32) (canon lift (core func $i "f")))
        (core func (canon lower (func $own)))""")
    lower = found.root.scope.by_space[Space.CORE_FUNC][-1].node
    assert str(Types(found).lowered(found.root, lower)) == "(i64, f32) -> ()"


@pytest.mark.parametrize(
    ("value", "told"),
    [("(list u64 3)", ("i64",) * 3), ("(list u8 16)", ("i32",) * 16), ("(list u8 17)", None)],
)
def test_a_list_of_fixed_length_is_flattened(value: str, told: tuple[str, ...] | None) -> None:
    found = resolver(f'(type (func (param "a" {value})))')
    frame, func = Types(found).function_type(found.root, 1)
    assert Types(found).flat_all(frame, (func.nodes("params")[0].node("type"),)) == told


@pytest.mark.parametrize(
    "text",
    [
        '(import "f" (func $f)) (core func (canon lower (func $f) gc))',
        """(import "c" (component $c (export "f" (func)))) (instance $i (instantiate $c))
        (core func (canon lower (func $i "f")))""",
        """(import "c" (component $c (export "r" (type (sub resource))))) (instance $i (instantiate $c))
        (alias export $i "r" (type $r)) (core func (canon resource.drop $r))""",
    ],
)
def test_what_leads_outside_and_cannot_be_told_is_not_passed_over(text: str) -> None:
    found = resolver(text)
    with pytest.raises(UnresolvedError):
        crossings(found, Types(found))


def test_an_exported_instance_that_cannot_be_looked_into_says_so() -> None:
    found = resolver("""(import "c" (component $c (export "i" (instance)))) (instance $i (instantiate $c))
        (export "a" (instance $i "i"))""")
    assert exports(found, Types(found)) == (Extern("a", Space.INSTANCE, None, is_open=True),)


@pytest.mark.parametrize(
    ("signature", "told"),
    [
        ("async", "() -> (i32)"),
        ('async (param "a" string) (param "b" string) (result u8)', "(i32, i32, i32, i32, i32) -> (i32)"),
        ('async (param "a" string) (param "b" string) (param "c" u8)', "(i32) -> (i32)"),
    ],
)
def test_the_signature_of_an_asynchronous_call_is_flattened(signature: str, told: str) -> None:
    text, flat = lowered(signature, options="async")
    assert str(flat) == told
    assert is_valid(wired(text, flat))


PRIMITIVES = ["bool", "s8", "u8", "s16", "u16", "s32", "u32", "s64", "u64", "f32", "f64", "char", "string"]
VALUES = st.recursive(
    st.sampled_from([*PRIMITIVES, "(own $r)", "(borrow $r)", "$flags", "$enum"]),
    lambda inner: st.one_of(
        inner.map(lambda one: f"(list {one})"),
        inner.map(lambda one: f"(option {one})"),
        st.lists(inner, min_size=1, max_size=6).map(lambda all_: f"(tuple {' '.join(all_)})"),
        st.tuples(inner, inner).map(lambda two: f"(result {two[0]} (error {two[1]}))"),
    ),
    max_leaves=12,
)
NAMED = """
    (export "r" (type $r (sub resource)))
    (type $flags_ (flags "a" "b" "c")) (export "flags" (type $flags (eq $flags_)))
    (type $enum_ (enum "a" "b")) (export "enum" (type $enum (eq $enum_)))
"""


@given(st.lists(VALUES, max_size=4), VALUES)
def test_the_engine_agrees_about_flattened_signatures(params: list[str], result: str) -> None:
    listed = " ".join(f'(param "p{nth}" {one})' for nth, one in enumerate(params))
    returned = f"(result {result})" if "borrow" not in result else ""
    text, flat = lowered(f"{listed} {returned}", types=NAMED)
    assert is_valid(wired(text, flat)), (params, result, flat)


def test_a_type_that_is_too_deep_is_unresolved() -> None:
    def deep(levels: int) -> Callable[[], object]:
        texts = ["(type $t0 (tuple u8))"]
        texts += [f"(type $t{nth} (tuple $t{nth - 1}))" for nth in range(1, levels)]
        return lambda: lowered(f'(param "a" $t{levels - 1})', types=" ".join(texts))

    deep(MAX_TYPE_DEPTH)()
    with pytest.raises(TooManyError, match="types in a row"):
        deep(MAX_TYPE_DEPTH + 1)()


def test_a_wide_type_of_wide_types_is_flattened_once() -> None:
    types = ['(type $t0 (variant (case "a") (case "b" u8)))']
    for nth in range(1, 10):
        cases = " ".join(f'(case "c{case}" $t{nth - 1})' for case in range(30))
        types.append(f"(type $t{nth} (variant {cases}))")
    found = resolver(" ".join(types) + '(type (func (param "a" $t9)))')
    frame, func = Types(found).function_type(found.root, 10)
    # Thirty to the power of nine, if each were looked at each time that it is named.
    assert Types(found).flat_all(frame, (func.nodes("params")[0].node("type"),)) == ("i32",) * 11


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("wasi:cli/stdin@0.2.6", ("wasi", "cli", "stdin", "0.2.6")),
        ("my-company:a/b", ("my-company", "a", "b", None)),
        ("a:b/c@1.0.0-rc.1+build", ("a", "b", "c", "1.0.0-rc.1+build")),
        ("run", None),
        ("a:b", None),
        ("a:b/c@", None),
        ("a:b/c/d@1", None),
        ("wasi:cli/stdin@0.2.6\n", ("wasi", "cli", "stdin", "0.2.6\n")),
    ],
)
def test_the_name_of_an_interface_is_split(text: str, parts: tuple[str, ...] | None) -> None:
    found = InterfaceName.parse(text)
    if parts is None:
        assert found is None
    else:
        assert found is not None
        assert (found.namespace, found.package, found.interface, found.version) == parts
        assert str(found) == text


@pytest.mark.parametrize(
    ("text", "kind", "resource", "name"),
    [
        ("get-stdin", FunctionKind.FUNCTION, None, "get-stdin"),
        ("[method]descriptor.open-at", FunctionKind.METHOD, "descriptor", "open-at"),
        ("[async method]descriptor.read", FunctionKind.METHOD, "descriptor", "read"),
        ("[static]fields.from-list", FunctionKind.STATIC, "fields", "from-list"),
        ("[constructor]fields", FunctionKind.CONSTRUCTOR, "fields", None),
        ("[resource-drop]fields", FunctionKind.RESOURCE_DROP, "fields", None),
        ("[method]fields", FunctionKind.FUNCTION, None, "[method]fields"),
        ("[constructor]a.b", FunctionKind.FUNCTION, None, "[constructor]a.b"),
        ("[other]a.b", FunctionKind.FUNCTION, None, "[other]a.b"),
        ("[function]a", FunctionKind.FUNCTION, None, "[function]a"),
    ],
)
def test_the_name_of_a_function_is_split(
    text: str, kind: FunctionKind, *, resource: str | None, name: str | None
) -> None:
    assert FunctionName.parse(text) == FunctionName(text, kind, resource, name)


def test_the_imports_of_a_real_component_are_listed() -> None:
    found = real("resvg")
    listed = {extern.name: extern for extern in imports(found, Types(found))}
    files = listed["wasi:filesystem/types@0.2.6"]
    assert files.interface == InterfaceName("wasi", "filesystem", "types", "0.2.6")
    assert files.kind is Space.INSTANCE
    assert files.resources == ("descriptor", "directory-entry-stream")
    assert FunctionName.parse("[method]descriptor.open-at") in files.functions
    assert listed["wasi:io/error@0.2.6"].resources == ("error",)
    assert listed["wasi:io/error@0.2.6"].functions == ()


def test_the_exports_of_a_real_component_are_listed() -> None:
    found = real("resvg")
    assert exports(found, Types(found)) == (
        Extern(
            "wasi:cli/run@0.2.6",
            Space.INSTANCE,
            InterfaceName("wasi", "cli", "run", "0.2.6"),
            (FunctionName("run", name="run"),),
        ),
    )


def test_exports_of_each_kind_are_listed() -> None:
    found = resolver("""
        (import "in" (instance $in (export "f" (func)) (export "r" (type (sub resource)))))
        (type $r (resource (rep i32)))
        (type $t (list u8))
        (component $c (import "x" (type $x (sub resource))) (export "x" (type $x)))
        (instance $own (instantiate $c (with "x" (type $r))))
        (instance $listed (export "f" (func $in "f")) (export "r" (type $r)) (export "t" (type $t)))
        (export "a" (instance $in)) (export "b" (instance $listed)) (export "c" (instance $own))
        (export "d" (func $in "f"))
    """)
    functions = (FunctionName("f", name="f"),)
    assert exports(found, Types(found)) == (
        Extern("a", Space.INSTANCE, None, functions, ("r",)),
        Extern("b", Space.INSTANCE, None, functions, ("r",)),
        Extern("c", Space.INSTANCE, None, (), ("x",)),
        Extern("d", Space.FUNC, None),
    )


def test_instances_of_instances_are_counted() -> None:
    def doubling(levels: int) -> Resolver:
        text = "(component $c0)"
        for nth in range(1, levels):
            text = (
                f"(component $c{nth} {text} (instance (instantiate $c{nth - 1}))"
                f" (instance (instantiate $c{nth - 1})))"
            )
        return resolver(f"{text} (instance (instantiate $c{levels - 1}))")

    assert len(list(frames(doubling(5)))) == 1 + 31
    with pytest.raises(TooManyError) as caught:
        list(frames(doubling(12)))
    assert caught.value.cap == MAX_FRAMES


def sections(*parts: tuple[int, str]) -> Resolver:
    """Return a component out of the codes and contents of sections, the latter in hexadecimal."""
    data = PREAMBLE
    for code, text in parts:
        body = bytes.fromhex(text)
        data += bytes([code, len(body)]) + body
    return Resolver(read_component(data))


ITSELF = {
    "an alias of itself": sections((6, "01 03 02 00 00"), (8, "01 03 00")),
    "an instance inside itself": sections(
        (6, "01 05 00 00 01 61"), (6, "01 01 00 00 01 61"), (8, "01 0100 00 00")
    ),
    "an export of itself": sections((11, "01 00 01 61 01 00 00"), (8, "01 0100 00 00")),
    "an instance of the type that it has": sections(
        (10, "01 00 01 61 05 00"), (6, "01 03 00 00 01 61"), (8, "01 03 00")
    ),
    "a type of itself": sections(
        (7, "01 6b 00"), (7, "01 40 01 01 61 00 0100"), (10, "01 00 01 61 01 01"), (8, "01 0100 00 00")
    ),
    "types of each other": sections((10, "02 00 01 61 03 00 01 00 01 62 03 00 00"), (8, "01 03 00")),
    "no argument": sections(
        (4, PREAMBLE.hex() + "0a 06 01 00 01 61 01 00 08 05 01 0100 00 00"), (5, "01 00 00 00")
    ),
    "a function that is a resource": sections(
        (7, "01 3f 7f 00"), (10, "01 00 01 61 01 00"), (8, "01 0100 00 00")
    ),
    "an instance that is a resource": sections(
        (7, "01 3f 7f 00"), (10, "01 00 01 61 05 00"), (6, "01 01 00 00 01 61"), (8, "01 0100 00 00")
    ),
    "an export that is not there": sections(
        (7, "01 42 00"), (10, "01 00 01 61 05 00"), (6, "01 01 00 00 01 61"), (8, "01 0100 00 00")
    ),
    "a function as a value": sections(
        (7, "02 40 00 01 00 40 01 01 61 00 01 00"), (10, "01 00 01 61 01 01"), (8, "01 0100 00 00")
    ),
    "an instance of an instance that is a function": sections(
        (7, "01 42 02 01 40 00 01 00 04 00 01 61 01 00"),
        (10, "01 00 01 61 05 00"),
        (6, "02 05 00 00 01 61 01 00 01 01 61"),
        (8, "01 0100 00 00"),
    ),
    "the end of an enclosing level": sections((6, "01 03 02 01 00"), (8, "01 03 00")),
}


@pytest.mark.parametrize("name", ITSELF)
def test_what_leads_nowhere_is_unresolved(name: str) -> None:
    found = ITSELF[name]
    with pytest.raises((UnresolvedError, TooManyError)):
        crossings(found, Types(found))


def test_a_component_that_instantiates_itself_is_refused() -> None:
    inner = PREAMBLE.hex() + "06 05 01 04 02 01 00  05 04 01 00 00 00"
    found = sections((4, inner), (5, "01 00 00 00"))
    with pytest.raises(TooManyError) as caught:
        crossings(found, Types(found))
    assert caught.value.cap == MAX_FRAMES


def vec(entries: list[bytes]) -> bytes:
    return unsigned(len(entries)) + b"".join(entries)


def named(nth: int) -> bytes:
    return bytes([len(str(nth))]) + str(nth).encode()


def bomb(*parts: tuple[int, bytes]) -> Resolver:
    data = b"".join(bytes([code]) + unsigned(len(body)) + body for code, body in parts)
    return Resolver(read_component(PREAMBLE + data))


# An import of a function without parameters, type 0, function 0.
IMPORTED = (7, b"\1\x40\0\1\0"), (10, b"\1\0\1f\1\0")


@pytest.mark.parametrize("aliases", [MAX_STEPS - 1, MAX_STEPS])
def test_aliases_of_aliases_are_counted(aliases: int) -> None:
    chain = vec([b"\0" + named(nth) + b"\1" + unsigned(nth) + b"\0" for nth in range(aliases)])
    found = bomb(*IMPORTED, (11, chain), (8, b"\1\1\0" + unsigned(aliases) + b"\0"))
    if aliases < MAX_STEPS:
        assert [one.source for one in crossings(found, Types(found))] == ["f"]
    else:
        with pytest.raises(TooManyError, match="aliases in a row"):
            crossings(found, Types(found))


def test_a_long_chain_that_many_use_is_followed_once() -> None:
    aliases = MAX_STEPS - 1
    chain = vec([b"\0" + named(nth) + b"\1" + unsigned(nth) + b"\0" for nth in range(aliases)])
    # Some hundred million steps, if it were followed for each.
    found = bomb(*IMPORTED, (11, chain), (8, vec([b"\1\0" + unsigned(aliases) + b"\0"] * aliases)))
    assert len(crossings(found, Types(found))) == aliases


@pytest.mark.parametrize(("count", "is_many"), [(10, False), (400, True)])
def test_members_of_imported_instances_are_counted(count: int, *, is_many: bool) -> None:
    declared = vec([b"\1\x40\0\1\0"] + [b"\4\0" + named(nth) + b"\1\0" for nth in range(count)])
    imported = vec([b"\0" + named(nth) + b"\5\0" for nth in range(count)])
    found = bomb((7, b"\1\x42" + declared), (10, imported))
    if not is_many:
        assert len(imports(found, Types(found))) == count
    else:
        with pytest.raises(TooManyError, match="members of instances"):
            imports(found, Types(found))


@pytest.mark.parametrize(("count", "is_many"), [(10, False), (800, True)])
def test_imports_of_core_instances_are_counted(count: int, *, is_many: bool) -> None:
    exported_ = b"\1" + vec([b"\1f\0\0"] * count)
    instances = vec([exported_, *[b"\0\0" + vec([b"\1m\x12\0"])] * count])
    found = bomb(*IMPORTED, (8, b"\1\1\0\0\0"), (2, instances))
    if not is_many:
        (only,) = crossings(found, Types(found))
        assert len(only.consumers) == count**2
    else:
        with pytest.raises(TooManyError, match="imports of core instances"):
            crossings(found, Types(found))


@pytest.mark.parametrize(("count", "is_many"), [(10, False), (900, True)])
def test_definitions_of_instances_are_counted(count: int, *, is_many: bool) -> None:
    body = vec([b"\5"] * count)
    inner = PREAMBLE + b"\x08" + unsigned(len(body)) + body
    found = bomb((4, inner), (5, vec([b"\0\0\0"] * count)))
    if not is_many:
        assert len(list(frames(found))) == 1 + count
    else:
        with pytest.raises(TooManyError, match="definitions in instances"):
            list(frames(found))


def questions(found: Resolver) -> None:
    types = Types(found)
    for frame in frames(found):
        list(consumers(found, frame))
        for space, numbered in frame.scope.by_space.items():
            for definition in numbered:
                found.origin(Item(frame, space, definition.index))
                if definition.node.shape is LOWER:
                    types.lowered(frame, definition.node)
    crossings(found, types)
    imports(found, types)
    exports(found, types)


@pytest.mark.parametrize("name", VALID)
def test_every_question_about_a_valid_component_has_an_answer(name: str) -> None:
    found = resolver(VALID[name])
    assert isinstance(found.root.scope, Scope)
    questions(found)


@given(st.randoms(use_true_random=False))
def test_questions_about_nonsense_end_in_an_answer_or_a_typed_error(rnd: random.Random) -> None:
    found = Resolver(random_tree(rnd, indices=6))
    types = Types(found)
    for space, numbered in found.root.scope.by_space.items():
        for definition in numbered:
            try:
                origin = found.origin(Item(found.root, space, definition.index))
                assert origin.path or origin.definition.space is space
            except (UnresolvedError, TooManyError):
                continue
    for ask in (lambda: questions(found), lambda: imports(found, types), lambda: exports(found, types)):
        try:
            ask()
        except (UnresolvedError, TooManyError):
            continue
