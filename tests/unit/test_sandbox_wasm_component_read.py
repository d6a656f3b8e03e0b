from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.wasm.component.definitions import COMPONENT, LOWER, PREAMBLE
from sandbox.wasm.component.grammar import Node, Section, choice, shape
from sandbox.wasm.component.read import MAX_ENTRIES, MAX_LEVELS, MAX_PARTS, read_component
from sandbox.wasm.component.write import unsigned, write_component
from sandbox.wasm.cursor import MAX_NAME_BYTES, Fault, TooManyError, WasmError
from tests.components import SWITCHED_OFF, VALID, component, is_valid, random_tree, real_components
from tests.modules import module

FORMS = {name: component(text) for name, text in (VALID | SWITCHED_OFF).items()}
PADDED = "a number is written with more bytes than it needs"
CORE_MODULE, COMPONENTS, TYPES, CANONS, IMPORTS = 1, 4, 7, 8, 10


def section(code: int, body: bytes) -> bytes:
    return bytes([code]) + unsigned(len(body)) + body


def outcome(data: bytes) -> Node | WasmError:
    try:
        return read_component(data)
    except WasmError as err:
        return err


def refusal(data: bytes) -> WasmError:
    with pytest.raises(WasmError) as caught:
        read_component(data)
    return caught.value


def mutated(data: bytes, rnd: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(rnd.randrange(1, 4)):
        at = rnd.randrange(len(changed) + 1)
        match rnd.randrange(4):
            case 0 if at < len(changed):
                changed[at] ^= 1 << rnd.randrange(8)
            case 1:
                del changed[at : at + rnd.randrange(1, 9)]
            case 2:
                other = rnd.choice(list(FORMS.values()))
                start = rnd.randrange(len(other))
                changed[at:at] = other[start : start + rnd.randrange(1, 30)]
            case _:
                changed[at : at + 1] = rnd.randbytes(1)
    return bytes(changed)


@pytest.mark.parametrize("name", FORMS)
def test_what_was_read_is_written_back_byte_for_byte(name: str) -> None:
    assert write_component(read_component(FORMS[name])) == FORMS[name]


@pytest.mark.parametrize("name", VALID)
def test_the_engine_takes_the_component_and_its_copy(name: str) -> None:
    assert is_valid(FORMS[name])
    assert is_valid(write_component(read_component(FORMS[name])))


@pytest.mark.parametrize("name", ["resvg", "usvg"])
def test_a_real_component_is_written_back_byte_for_byte(name: str) -> None:
    data = real_components()[name].read_bytes()
    assert write_component(read_component(data)) == data


def test_a_core_module_is_a_view_of_the_input_and_not_a_copy() -> None:
    data = real_components()["resvg"].read_bytes()
    modules = [
        item["contents"]
        for part in read_component(data).sections()
        if part.code == CORE_MODULE
        for item in part.items
    ]
    assert len(modules) > 1
    assert all(isinstance(contents, memoryview) and contents.obj is data for contents in modules)


@given(st.randoms(use_true_random=False))
def test_every_tree_that_the_grammar_allows_is_read_back_as_it_was_written(rnd: random.Random) -> None:
    tree = random_tree(rnd)
    assert read_component(write_component(tree)) == tree


def test_sections_stay_split_and_empty_ones_stay() -> None:
    data = PREAMBLE + b"".join(
        [
            section(TYPES, b"\1\x7f"),
            section(TYPES, b"\0"),
            section(0, b"\1note"),
            section(TYPES, b"\2\x7e\x7d"),
        ]
    )
    tree = read_component(data)
    assert [(part.code, len(part.items)) for part in tree.sections()] == [
        (TYPES, 1),
        (TYPES, 0),
        (0, 1),
        (TYPES, 2),
    ]
    assert write_component(tree) == data


@pytest.mark.parametrize(
    ("data", "fault"),
    [
        (b"", Fault.EMPTY),
        (PREAMBLE[:6], Fault.TRUNCATED),
        (b"(component)", Fault.TEXT),
        (b"\x7fELF\2\1\1\0", Fault.NOT_WASM),
        (b"\0asm\x0e\0\2\0", Fault.VERSION),
        (module(), Fault.MALFORMED),
        (PREAMBLE + b"\7", Fault.TRUNCATED),
        (b"\0asm\x0c\0\1\0", Fault.MALFORMED),
    ],
)
def test_what_is_no_component_is_named(data: bytes, fault: Fault) -> None:
    assert refusal(data).fault is fault


@pytest.mark.parametrize(
    ("code", "bad", "good", "offset", "problem"),
    [
        (TYPES, b"\1\x62", b"\1\x63\x73\x7f", 11, "an unknown type"),
        (TYPES, b"\1\x6b\x72", b"\1\x6b\x73", 12, "an unknown type"),
        (TYPES, b"\1\x71\1\1a\0\1\0", b"\1\x71\1\1a\0\0", 16, "bytes that have no meaning here"),
        (
            TYPES,
            b"\1\x6b\xc0\0\0",
            b"\1\x6b\xc0\0",
            14,
            "1 bytes are left over at the end of the types section",
        ),
        (TYPES, b"\1\x6b\x80\0", b"\1\x6b\0", 12, PADDED),
        (TYPES, b"\x81\0\x7f", b"\1\x7f", 10, PADDED),
        (TYPES, b"\1\x6e\x81\0\1a", b"\1\x6e\1\1a", 12, PADDED),
        (TYPES, b"\1\x6e\1\x81\0a", b"\1\x6e\1\1a", 13, PADDED),
        (TYPES, b"\1\x69\x80\0", b"\1\x69\0", 12, PADDED),
        (TYPES, b"\1\x6a\2\x7f\0", b"\1\x6a\1\x7f\0", 12, "a flag that is neither 0 nor 1"),
        (CANONS, b"\1\x40\0", b"\1\x26", 11, "an unknown canonical function"),
        (CANONS, b"\1\1\1\0\0", b"\1\1\0\0\0", 11, "an unknown canonical function"),
        (CANONS, b"\1\1\0\0\1\x0a", b"\1\1\0\0\1\x09", 15, "an unknown canonical option"),
        (CANONS, b"\1\x0c\2", b"\1\x0c\1", 12, "a flag that is neither 0 nor 1"),
        (IMPORTS, b"\1\0\1a\2\1\x7f", b"\1\0\1a\1\0", 14, "an unknown extern type"),
        (IMPORTS, b"\1\3\1a\1\0", b"\1\1\1a\1\0", 11, "an unknown name of an import or export"),
        (IMPORTS, b"\1\0\1\xff\1\0", b"\1\0\1a\1\0", 13, "a name is not UTF-8"),
        (CORE_MODULE, PREAMBLE, b"\0asm\1\0\0\0", 10, "bytes that have no meaning here"),
        (COMPONENTS, b"\0asm\1\0\0\0", PREAMBLE, 10, "bytes that have no meaning here"),
    ],
)
def test_what_the_grammar_does_not_know_is_refused(
    code: int, bad: bytes, good: bytes, *, offset: int, problem: str
) -> None:
    err = refusal(PREAMBLE + section(code, bad))
    assert (err.fault, err.offset, err.problem) == (Fault.MALFORMED, offset, problem)
    assert write_component(read_component(PREAMBLE + section(code, good))) == PREAMBLE + section(code, good)


@pytest.mark.parametrize("code", [12, 13, 99, 0x81])
def test_an_unknown_section_is_refused(code: int) -> None:
    err = refusal(PREAMBLE + section(11, b"\0") + section(code, b"\0"))
    assert (err.fault, err.offset) == (Fault.MALFORMED, len(PREAMBLE) + 3)


def test_a_padded_size_of_a_section_is_refused_though_the_engine_takes_it() -> None:
    padded = PREAMBLE + b"\7\x82\0\1\x7f"
    assert is_valid(padded)
    assert refusal(padded).problem == PADDED
    assert read_component(PREAMBLE + b"\7\2\1\x7f").sections()


@pytest.mark.parametrize("name", FORMS)
def test_a_component_that_is_cut_off_is_refused_or_a_shorter_one(name: str) -> None:
    data = FORMS[name]
    for length in range(len(data)):
        found = outcome(data[:length])
        assert isinstance(found, WasmError) or write_component(found) == data[:length]


@given(st.binary(max_size=200))
def test_any_bytes_give_a_tree_or_a_refusal(tail: bytes) -> None:
    for data in (tail, PREAMBLE + tail):
        found = outcome(data)
        assert isinstance(found, WasmError) or write_component(found) == data


@given(st.randoms(use_true_random=False))
def test_damaged_bytes_give_the_same_bytes_back_or_a_refusal(rnd: random.Random) -> None:
    for source in FORMS.values():
        data = mutated(source, rnd)
        found = outcome(data)
        assert isinstance(found, WasmError) or write_component(found) == data


@given(st.randoms(use_true_random=False))
def test_what_the_engine_takes_is_read(rnd: random.Random) -> None:
    for name in VALID:
        data = mutated(FORMS[name], rnd)
        found = outcome(data)
        if isinstance(found, WasmError) and found.problem != PADDED:
            assert not is_valid(data), (name, found)


def nested(levels: int) -> bytes:
    data = PREAMBLE
    for _ in range(levels - 1):
        data = PREAMBLE + section(COMPONENTS, data)
    return data


def nested_types(levels: int) -> bytes:
    body = b"\x42\0"
    for _ in range(levels - 2):
        body = b"\x42\1\1" + body
    return PREAMBLE + section(TYPES, b"\1" + body)


@pytest.mark.parametrize("make", [nested, nested_types])
def test_levels_inside_each_other_are_counted(make) -> None:
    assert write_component(read_component(make(MAX_LEVELS))) == make(MAX_LEVELS)
    for levels in (MAX_LEVELS + 1, 2_000):
        err = refusal(make(levels))
        assert isinstance(err, TooManyError)
        assert (err.what, err.cap) == ("levels", MAX_LEVELS)


@pytest.mark.parametrize(
    ("code", "body", "what"),
    [
        (TYPES, unsigned(MAX_ENTRIES + 1), "types"),
        (TYPES, b"\1\x72" + unsigned(0xFFFF_FFFF), "fields"),
        (TYPES, b"\1\x6e\1" + unsigned(MAX_NAME_BYTES + 1), "bytes in a name"),
        (CANONS, b"\1\1\0\0" + unsigned(MAX_ENTRIES + 1), "canonical options"),
    ],
)
def test_a_count_is_refused_before_anything_is_made_for_it(code: int, body: bytes, what: str) -> None:
    err = refusal(PREAMBLE + section(code, body))
    assert isinstance(err, TooManyError)
    assert err.what == what


def test_a_count_above_the_bytes_that_are_left_is_refused() -> None:
    assert refusal(PREAMBLE + section(TYPES, b"\3\x7f\x7f")).problem.startswith("the contents run past")
    assert read_component(PREAMBLE + section(TYPES, b"\2\x7f\x7f")).sections()


def test_constructs_are_counted_in_all() -> None:
    full = section(TYPES, unsigned(MAX_ENTRIES) + b"\x7f" * MAX_ENTRIES)
    few = MAX_PARTS // (2 * MAX_ENTRIES + 1)
    assert len(read_component(PREAMBLE + full * few).sections()) == few
    err = refusal(PREAMBLE + full * (few + 1))
    assert isinstance(err, TooManyError)
    assert err.what == "constructs"


def test_a_tree_that_the_grammar_does_not_allow_is_not_written() -> None:
    good = Node(COMPONENT, ((Section(0, ()),),)).replace(sections=())
    assert write_component(good) == PREAMBLE
    with pytest.raises(TypeError, match="Sections"):
        write_component(good.replace(sections=3))
    with pytest.raises(TypeError, match="section"):
        write_component(good.replace(sections=(good,)))


def test_two_cases_that_begin_alike_are_refused() -> None:
    assert choice("two", shape("a", "00"), shape("b", "0100")).cases
    with pytest.raises(ValueError, match="begin alike"):
        choice("two", shape("a", "01"), shape("b", "0100"))


def test_a_field_is_read_as_what_it_is() -> None:
    call = Node(LOWER, (0, ()))
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
