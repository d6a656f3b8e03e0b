from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest
import wasmtime
from hypothesis import given
from hypothesis import strategies as st
from wasmtime import component as wasmtime_component

from sandbox.wasm.component.build import core_alias, core_exports, core_instance, core_module, node
from sandbox.wasm.component.definitions import CORE_INSTANTIATE, CUSTOM, LOWER
from sandbox.wasm.component.flatten import Types
from sandbox.wasm.component.grammar import (
    Choice,
    Fresh,
    Index,
    Kind,
    Level,
    Maybe,
    Node,
    Outer,
    OuterIndex,
    Section,
    Sections,
    Several,
    Shape,
    Space,
    Value,
)
from sandbox.wasm.component.levels import Scope, items
from sandbox.wasm.component.origins import Resolver
from sandbox.wasm.component.read import read_component
from sandbox.wasm.component.renumber import EditError, Insertion, LevelPath, edited
from sandbox.wasm.component.wiring import consumers
from sandbox.wasm.component.write import write_component
from sandbox.wasm.shape import FuncType
from tests.components import VALID, component, engine, is_valid, random_tree, real_components
from tests.modules import module

NOTHING = module("")
RUN = "wasi:cli/run@0.2.6"
PICTURE = """<svg xmlns="http://www.w3.org/2000/svg" width="20" height="20">
<circle cx="9" cy="9" r="7" fill="red"/></svg>"""


def between(signature: FuncType) -> bytes:
    """Return a module that passes a call on."""
    core = f"(param {' '.join(signature.params)}) (result {' '.join(signature.results)})"
    gets = " ".join(f"(local.get {nth})" for nth in range(len(signature.params)))
    return module(f"""
        (import "host" "f" (func $f {core}))
        (func (export "f") {core} {gets} (call $f))""")


def interposed(tree: Node) -> tuple[Node, int]:
    """Put a module between each lowered function of a component and whoever calls it."""
    resolver = Resolver(tree)
    types = Types(resolver)
    insertions: list[Insertion] = []
    for definition in resolver.root.scope.by_space[Space.CORE_FUNC]:
        if definition.node.shape is LOWER:
            nth = definition.index
            made, given_, instance, func = (Fresh(f"{part} {nth}") for part in ("module", "args", "is", "f"))
            new = (
                core_module(between(types.lowered(resolver.root, definition.node))),
                core_exports([("f", Space.CORE_FUNC, nth)]),
                core_instance(made, [("host", given_)]),
                core_alias(Space.CORE_FUNC, instance, "f"),
            )
            insertions.append(
                Insertion(
                    definition.position + 1,
                    new,
                    (made, given_, instance, func),
                    {(Space.CORE_FUNC, nth): func},
                )
            )
    return edited(tree, {(): insertions}), len(insertions)


@pytest.mark.parametrize("name", VALID)
def test_an_edit_that_inserts_nothing_gives_an_equal_tree(name: str) -> None:
    tree = read_component(component(VALID[name]))
    assert edited(tree, {}) == tree


@pytest.mark.parametrize("name", ["resvg", "usvg"])
def test_an_edit_that_inserts_nothing_copies_a_real_component(name: str) -> None:
    data = real_components()[name].read_bytes()
    assert write_component(edited(read_component(data), {(): ()})) == data


@given(st.randoms(use_true_random=False))
def test_an_edit_that_inserts_nothing_copies_any_tree(rnd: random.Random) -> None:
    tree = random_tree(rnd)
    assert edited(tree, {}) == tree


# What a reference leads to, told without the code under test: the item of the level, by its contents' place.


def parts(kind: Kind, value: Value) -> list[tuple[Kind, Value]]:
    """Return what a value is made of."""
    match kind, value:
        case Choice() | Shape(), Node(shape, values):
            return [(inner, part) for (_, inner), part in zip(shape.fields, values, strict=True)]
        case Several(of), tuple():
            return [(of, one) for one in value]
        case ((Maybe(of) | Level(of)), _) if value is not None:
            return [(of, value)]
        case Sections(), tuple():
            sections = [section for section in value if isinstance(section, Section)]
            return [(item.shape, item) for section in sections for item in section.items]
        case _:
            return []


def references(kind: Kind, value: Value, depth: int = 0) -> Iterator[tuple[Space, int]]:
    """Yield the references that a value makes to the level it stands in."""
    if isinstance(kind, Index) and isinstance(value, int) and depth == 0:
        yield kind.space, value
    match kind, value:
        case Outer(space), OuterIndex(levels, int(index)) if levels == depth:
            yield space, index
        case _:
            pass
    for inner, part in parts(kind, value):
        yield from references(inner, part, depth + isinstance(kind, Level))


def targets(level: Node, numbers: dict[int, int]) -> dict[int, list[tuple[Space, int]]]:
    """Map each item to the items that it refers to; `numbers` names the positions of those that count."""
    scope = Scope(level)
    found: dict[int, list[tuple[Space, int]]] = {}
    for position, item in enumerate(items(level)):
        if position in numbers:
            led = [(space, scope.find(space, index)) for space, index in references(item.shape, item)]
            found[numbers[position]] = [
                (space, numbers[definition.position]) for space, definition in led if definition is not None
            ]
    return found


def inserted(rnd: random.Random, tree: Node) -> tuple[list[Insertion], dict[int, int]]:
    """Return random insertions, and which old item stands at which new position."""
    # The section of names, the last one, is not copied.
    count = sum(item.shape is not CUSTOM for item in items(tree))
    insertions: list[Insertion] = []
    for nth in range(rnd.randrange(1, 5)):
        made, instance = Fresh(f"module {nth}"), Fresh(f"instance {nth}")
        new = (
            core_module(module('(func (export "f")) (memory (export "m") 1) (table (export "t") 1 funcref)')),
            core_instance(made),
            core_alias(Space.CORE_FUNC, instance, "f"),
            core_alias(Space.CORE_MEMORY, instance, "m"),
            core_exports([("f", Space.CORE_FUNC, Fresh(f"f {nth}"))]),
        )
        names = (made, instance, Fresh(f"f {nth}"), None, None)
        insertions.append(Insertion(rnd.randrange(count + 1), new, names))
    numbers: dict[int, int] = {}
    for old in range(count):
        before = sum(len(one.items) for one in insertions if one.before <= old)
        numbers[old + before] = old
    return insertions, numbers


@given(st.randoms(use_true_random=False))
def test_references_lead_where_they_led_and_the_engine_takes_the_copy(rnd: random.Random) -> None:
    name = rnd.choice(list(VALID))
    tree = read_component(component(VALID[name]))
    insertions, numbers = inserted(rnd, tree)
    copy = edited(tree, {(): insertions})
    same = {position: position for position in numbers.values()}
    assert targets(copy, numbers) == targets(tree, same)
    assert is_valid(write_component(copy)), name
    assert read_component(write_component(copy)) == copy


@given(st.randoms(use_true_random=False))
def test_redirected_references_lead_to_the_new_item_and_no_others_do(rnd: random.Random) -> None:
    tree = read_component(component(VALID[rnd.choice(list(VALID))]))
    count = sum(item.shape is not CUSTOM for item in items(tree))
    replaced = rnd.choice(Scope(tree).by_space[Space.CORE_FUNC] or [None])
    if replaced is None:
        return
    before = rnd.randrange(replaced.position + 1, count + 1)
    made, instance, func = Fresh("module"), Fresh("instance"), Fresh("func")
    new = (core_module(NOTHING), core_instance(made), core_alias(Space.CORE_FUNC, instance, "f"))
    insertion = Insertion(before, new, (made, instance, func), {(Space.CORE_FUNC, replaced.index): func})
    copy = edited(tree, {(): [insertion]})
    numbers = {old + (len(new) if old >= before else 0): old for old in range(count)}
    wanted = {
        position: [
            (
                space,
                -1 if position >= before and (space, led) == (Space.CORE_FUNC, replaced.position) else led,
            )
            for space, led in found
        ]
        for position, found in targets(tree, {old: old for old in range(count)}).items()
    }
    got = targets(copy, numbers | {before: -3, before + 1: -2, before + 2: -1})
    assert {position: found for position, found in got.items() if position >= 0} == wanted


@given(st.randoms(use_true_random=False))
def test_nested_components_are_edited_too(rnd: random.Random) -> None:
    tree = read_component(component(VALID["nested components"]))
    inside = [
        (position, item)
        for position, item in enumerate(items(tree))
        if item.shape.name == "component" and list(items(item))
    ]
    (position, inner), outer = inside[0], inserted(rnd, tree)
    insertions, numbers = inserted(rnd, inner)
    copy = edited(tree, {(position,): insertions, (): outer[0]})
    new_position = next(new for new, old in outer[1].items() if old == position)
    copied = list(items(copy))[new_position]
    same = {old: old for old in numbers.values()}
    assert targets(copied, numbers) == targets(inner, same)
    assert is_valid(write_component(copy))


def test_a_redirected_reference_leads_to_the_new_item_from_there_on() -> None:
    tree = read_component(
        component("""
            (core module $m (func (export "f") (result i32) (i32.const 1)))
            (core instance $i (instantiate $m))
            (alias core export $i "f" (core func $f))
            (func $before (result u32) (canon lift (core func $f)))
            (func $after (result u32) (canon lift (core func $f)))
            (export "before" (func $before)) (export "after" (func $after))""")
    )
    other, instance, func = Fresh("module"), Fresh("instance"), Fresh("func")
    scope = Scope(tree)
    before, after = (definition.position for definition in scope.by_space[Space.FUNC][:2])
    new = (
        core_module(module('(func (export "f") (result i32) (i32.const 2))')),
        core_instance(other),
        core_alias(Space.CORE_FUNC, instance, "f"),
    )
    for at, told in ((before, (2, 2)), (after, (1, 2)), (after + 1, (1, 1))):
        insertion = Insertion(at, new, (other, instance, func), {(Space.CORE_FUNC, 0): func})
        data = write_component(edited(tree, {(): [insertion]}))
        store = wasmtime.Store(engine())
        made = wasmtime_component.Linker(engine()).instantiate(
            store, wasmtime_component.Component(engine(), data)
        )
        answers: list[object] = []
        for name in ("before", "after"):
            call = made.get_func(store, name)
            assert call is not None
            answers.append(call(store))
        assert tuple(answers) == told


def test_an_inserted_item_keeps_its_own_reference_to_what_it_replaces() -> None:
    tree = read_component(component(VALID["canonical functions"]))
    copy, count = interposed(tree)
    assert count == 1
    resolver = Resolver(copy)
    found = [
        (origin.node.shape, consumer.module, consumer.name)
        for origin, consumer in consumers(resolver, resolver.root)
    ]
    assert found == [(LOWER, "host", "f"), (CORE_INSTANTIATE, "host", "log")]
    assert is_valid(write_component(copy))


def test_a_nested_component_follows_a_redirect_of_its_surroundings() -> None:
    tree = read_component(
        component("""
            (core module $m (func (export "f")))
            (component (alias outer 1 $m (core module $n)) (core instance (instantiate $n)))""")
    )
    replaced = Fresh("module")
    insertion = Insertion(
        1, (core_module(module('(func (export "g"))')),), (replaced,), {(Space.CORE_MODULE, 0): replaced}
    )
    copy = edited(tree, {(): [insertion]})
    inner = next(item for item in items(copy) if item.shape.name == "component")
    assert next(items(inner))["target"] == OuterIndex(1, 1)
    assert is_valid(write_component(copy))


def test_an_inserted_component_may_refer_to_its_surroundings() -> None:
    tree = read_component(component('(core module $m (func (export "f")))'))
    inner = read_component(
        component("""(core module $m) (component
            (alias outer 1 $m (core module $n)) (type (instance (export "f" (func))))
            (core instance (instantiate $n)))""")
    )
    new = next(item for item in items(inner) if item.shape.name == "component")
    insertions = [Insertion(0, (core_module(NOTHING),), (None,)), Insertion(1, (new,), (None,))]
    copy = edited(tree, {(): insertions})
    nested = next(item for item in items(copy) if item.shape.name == "component")
    assert next(items(nested))["target"] == OuterIndex(1, 1)
    assert is_valid(write_component(copy))


def test_names_of_old_numbers_are_left_out_of_a_level_that_is_edited() -> None:
    def names(tree: Node) -> list[str]:
        return [item.text() for item in items(tree) if item.shape is CUSTOM]

    assert names(TREE) == ["component-name"]
    assert names(edited(TREE, {})) == ["component-name"]
    assert names(edited(TREE, one_edit(0, core_module(NOTHING), names=(None,)))) == []
    other = TREE.replace(sections=(*TREE.sections(), *_notes()))
    assert names(edited(other, one_edit(0, core_module(NOTHING), names=(None,)))) == ["note"]


def _notes() -> tuple[Section, ...]:
    return (Section(0, (node(CUSTOM, name="note", contents=b"kept"),)),)


def test_a_section_is_split_only_where_something_else_is_inserted() -> None:
    tree = read_component(component("(type u8) (type u16) (type u32)"))
    assert [len(section.items) for section in tree.sections()] == [3]
    one = core_module(NOTHING)
    split = edited(tree, {(): [Insertion(1, (one,), (None,))]})
    assert [(section.code, len(section.items)) for section in split.sections()] == [(7, 1), (1, 1), (7, 2)]
    first = edited(tree, {(): [Insertion(0, (one,), (None,))]})
    assert [(section.code, len(section.items)) for section in first.sections()] == [(1, 1), (7, 3)]
    more = edited(tree, {(): [Insertion(2, tuple(items(tree))[:1], (None,))]})
    assert [(section.code, len(section.items)) for section in more.sections()] == [(7, 4)]


TREE = read_component(component('(core module $m (func (export "f"))) (core instance (instantiate $m))'))
ONE, TWO = Fresh("one"), Fresh("two")


def one_edit(
    before: int, *new: Node, names: tuple[Fresh | None, ...], path: LevelPath = ()
) -> dict[LevelPath, list[Insertion]]:
    return {path: [Insertion(before, new, names)]}


@pytest.mark.parametrize(
    ("edits", "problem"),
    [
        (one_edit(99, core_module(NOTHING), names=(ONE,)), "no item at 99"),
        (one_edit(-1, core_module(NOTHING), names=(ONE,)), "no item at -1"),
        (one_edit(2, core_instance(ONE), names=(TWO,)), "one is used before it is inserted"),
        (one_edit(2, core_instance(ONE), names=(ONE,)), "one is used before it is inserted"),
        (one_edit(2, core_instance(0), core_instance(0), names=(ONE, ONE)), "one names two items"),
        (one_edit(0, core_module(NOTHING), names=(ONE,), path=(1,)), "no component at"),
        (
            one_edit(0, node(CUSTOM, name="note", contents=b""), names=(ONE,)),
            "one names an item that defines nothing",
        ),
    ],
)
def test_an_edit_that_does_not_fit_is_refused(edits: dict[LevelPath, list[Insertion]], problem: str) -> None:
    good = edited(TREE, one_edit(2, core_module(NOTHING), core_instance(ONE), names=(ONE, TWO)))
    assert is_valid(write_component(good))
    with pytest.raises(EditError, match=problem):
        edited(TREE, edits)


def test_an_item_that_is_not_renumbered_is_not_written() -> None:
    assert write_component(edited(TREE, one_edit(2, core_instance(0), names=(None,))))
    with pytest.raises(TypeError, match="Fresh"):
        write_component(TREE.replace(sections=(Section(2, (core_instance(ONE),)),)))


def test_a_field_is_read_as_what_it_is() -> None:
    call = node(LOWER, func=0, options=())
    assert (call.number("func"), call.nodes("options")) == (0, ())
    for wrong in (
        lambda: call.number("options"),
        lambda: call.text("func"),
        lambda: call.node("func"),
        lambda: call.nodes("func"),
    ):
        with pytest.raises(TypeError, match="lower"):
            wrong()
    with pytest.raises(KeyError, match="lower has no name"):
        call.text()


def test_a_construct_is_made_of_its_fields_and_no_others() -> None:
    assert node(LOWER, func=0, options=()).number("func") == 0
    with pytest.raises(TypeError, match="takes"):
        node(LOWER, func=0)


def drawn(data: bytes, folder: Path) -> bytes:
    """Run resvg on a picture, and return what it made of it."""
    folder.mkdir()
    (folder / "picture.svg").write_text(PICTURE)
    config = wasmtime.WasiConfig()
    config.argv = ["resvg", "/there/picture.svg", "/there/picture.png"]
    config.preopen_dir(str(folder), "/there")
    store = wasmtime.Store(engine())
    store.set_wasi(config)
    linker = wasmtime_component.Linker(engine())
    linker.add_wasip2()
    instance = linker.instantiate(store, wasmtime_component.Component(engine(), data))
    interface = instance.get_export_index(store, RUN)
    assert interface is not None
    index = instance.get_export_index(store, "run", interface)
    assert index is not None
    run = instance.get_func(store, index)
    assert run is not None
    assert run(store).tag == "ok"
    return (folder / "picture.png").read_bytes()


def test_resvg_draws_the_same_with_a_module_in_front_of_each_lowered_function(tmp_path: Path) -> None:
    data = real_components()["resvg"].read_bytes()
    copy, count = interposed(read_component(data))
    assert count == 34
    picture = drawn(write_component(copy), tmp_path / "copy")
    assert picture.startswith(b"\x89PNG")
    assert picture == drawn(data, tmp_path / "original")


def test_usvg_is_taken_with_a_module_in_front_of_each_lowered_function() -> None:
    copy, count = interposed(read_component(real_components()["usvg"].read_bytes()))
    assert count == 32
    assert is_valid(write_component(copy))
