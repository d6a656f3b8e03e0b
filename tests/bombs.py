"""Modules that are cheap to send and dear to compile, written byte by byte.

A bomb is a function of its size, and always a module that runs when it is small enough: `_start` does nothing,
or little. The text format is of no use here: its assembler is as dear as the compiler.

    admit(functions(100), ...)        # the twin
    admit(functions(2_000_000), ...)  # the bomb
"""

from __future__ import annotations

from collections.abc import Sequence

_BLOCK, _LOOP, _IF, _BR_IF, _BR_TABLE = b"\x02", b"\x03", b"\x04", b"\x0d", b"\x0e"
_CALL, _DROP = b"\x10", b"\x1a"
_GET, _SET, _TEE = b"\x20", b"\x21", b"\x22"
_GLOBAL_GET, _GLOBAL_SET = b"\x23", b"\x24"
_CONST, _ADD, _MUL = b"\x41", b"\x6a", b"\x6c"
_I32, _I64, _FUNC, _FUNCREF = b"\x7f", b"\x7e", b"\x60", b"\x70"
_VOID = _FUNC + b"\0\0"

_SECTIONS = {
    "type": 1,
    "import": 2,
    "function": 3,
    "table": 4,
    "memory": 5,
    "global": 6,
    "export": 7,
    "element": 9,
    "code": 10,
    "data": 11,
}


def leb(value: int) -> bytes:
    """An unsigned number; also a signed one, if it is below 64 or what a reader takes for unsigned."""
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def sleb(value: int) -> bytes:
    """A signed number."""
    out = bytearray()
    while not -0x40 <= value < 0x40:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value & 0x7F])


def sized(content: bytes) -> bytes:
    """Bytes behind their number: a name, a body, the contents of a section."""
    return leb(len(content)) + content


def vector(items: Sequence[bytes]) -> bytes:
    """Items behind their number."""
    return leb(len(items)) + b"".join(items)


def body(code: bytes, local_groups: Sequence[tuple[int, bytes]] = ()) -> bytes:
    """A function's body; `code` without its last `end`."""
    return sized(vector([leb(count) + kind for count, kind in local_groups]) + code + b"\x0b")


def assemble(
    bodies: bytes,
    count: int,
    *,
    types: bytes = b"\1" + _VOID,
    functions: bytes | None = None,
    **sections: bytes,
) -> bytes:
    """A module of `count` functions, of which the first is `_start`; all of type 0 unless it is said.

    `sections` are by name, and `custom` is appended whole.
    """
    contents = {
        "type": types,
        "function": leb(count) + (bytes(count) if functions is None else functions),
        "export": vector([sized(b"_start") + b"\0\0"]),
        "code": leb(count) + bodies,
        **sections,
    }
    out = [b"\0asm\1\0\0\0"]
    out += [bytes([code]) + sized(contents[name]) for name, code in _SECTIONS.items() if name in contents]
    return b"".join(out) + contents.get("custom", b"")


def functions(size: int) -> bytes:
    """Many functions of a few instructions."""
    one = body(_GET + b"\0" + _CONST + b"\3" + _MUL + _SET + b"\0", [(1, _I32)])
    return assemble(one * size, size)


def jump_table(size: int) -> bytes:
    """One jump with many targets."""
    jump = _CONST + b"\0" + _BR_TABLE + leb(size) + bytes(size) + b"\0"
    return assemble(body(_BLOCK + b"\x40" + jump + b"\x0b"), 1)


def nested_blocks(size: int) -> bytes:
    """Blocks in blocks."""
    return assemble(body((_BLOCK + b"\x40") * size + b"\x0b" * size), 1)


def nested_loops(size: int) -> bytes:
    """Loops in loops, each with a way back."""
    back = _GET + b"\0" + _BR_IF + b"\0\x0b"
    return assemble(body((_LOOP + b"\x40") * size + back * size, [(1, _I32)]), 1)


def nested_branches(size: int) -> bytes:
    """Conditions in conditions, each with both ways."""
    opened = _GET + b"\0" + _IF + b"\x40"
    closed = b"\x05" + _CONST + b"\1" + _SET + b"\0\x0b"
    return assemble(body(opened * size + closed * size, [(1, _I32)]), 1)


def local_variables(size: int) -> bytes:
    """One function with many local variables, none of them used."""
    return assemble(body(b"", [(size, _I64)]), 1)


def functions_of_locals(size: int) -> bytes:
    """Many functions of eight bytes, each of which declares the most local variables that there may be."""
    return assemble(body(b"", [(50_000, _I64)]) * size, size)


def loops_of_locals(size: int) -> bytes:
    """Many loops after each other, each of which changes many variables: the compiler joins each with each."""
    count = 1_000
    turn = _LOOP + b"\x40" + _GET + b"\0" + _BR_IF + b"\0\x0b"
    change = b"".join(_GET + leb(i) + _CONST + b"\1" + _ADD + _SET + leb(i) for i in range(1, count))
    code = (_LOOP + b"\x40") + turn * size + change + _GET + b"\0" + _BR_IF + b"\0\x0b"
    return assemble(body(_CONST + b"\0" + _SET + b"\0" + code, [(count, _I32)]), 1)


def live_values(size: int) -> bytes:
    """Many values that are all alive at once."""
    made = _GLOBAL_GET + b"\0"
    code = made * size + _MUL * (size - 1) + _GLOBAL_SET + b"\0"
    return assemble(body(code), 1, **{"global": b"\1" + _I32 + b"\1" + _CONST + b"\1\x0b"})


def long_function(size: int) -> bytes:
    """One function of `size` times ten bytes of arithmetic."""
    step = _GLOBAL_GET + b"\0" + _CONST + b"\3" + _MUL + _GLOBAL_SET + b"\0"
    return assemble(body(step * size), 1, **{"global": b"\1" + _I32 + b"\1" + _CONST + b"\1\x0b"})


def calls_with_values(size: int) -> bytes:
    """Calls that take and return a thousand values."""
    wide = _FUNC + vector([_I32] * 1_000) + vector([_I32] * 1_000)
    code = (_CONST + b"\0") * 1_000 + (_CALL + b"\1") * size + _DROP * 1_000
    ways = b"".join(_GET + leb(i) for i in range(1_000))
    return assemble(body(code) + body(ways), 2, types=b"\2" + _VOID + wide, functions=b"\0\1")


def blocks_of_values(size: int) -> bytes:
    """Blocks that take and return a thousand values."""
    wide = _FUNC + vector([_I32] * 1_000) + vector([_I32] * 1_000)
    code = (
        (_CONST + b"\0") * 1_000
        + (_LOOP + b"\1" + _CONST + b"\0" + _BR_IF + b"\0\x0b") * size
        + _DROP * 1_000
    )
    return assemble(body(code), 1, types=b"\2" + _VOID + wide)


def jumps_with_values(size: int) -> bytes:
    """Jump tables that carry a thousand values to each of many targets."""
    wide = _FUNC + b"\0" + vector([_I32] * 1_000)
    depth = 64
    jump = (_CONST + b"\0") * 1_001 + _BR_TABLE + leb(depth) + bytes(range(depth)) + b"\0"
    one = (_BLOCK + b"\1") * depth + jump + b"\x0b" * depth + _DROP * 1_000
    return assemble(body(one * size), 1, types=b"\2" + _VOID + wide)


def elements(size: int) -> bytes:
    """One segment that fills a table with many functions."""
    segment = b"\0" + _CONST + b"\0\x0b" + leb(size) + bytes(size)
    return assemble(body(b""), 1, table=b"\1" + _FUNCREF + b"\0" + leb(size), element=b"\1" + segment)


def element_segments(size: int) -> bytes:
    """Many segments of one function each."""
    segment = b"\0" + _CONST + b"\0\x0b\1\0"
    return assemble(body(b""), 1, table=b"\1" + _FUNCREF + b"\0\1", element=leb(size) + segment * size)


def element_expressions(size: int) -> bytes:
    """One segment of many constant expressions."""
    segment = b"\4" + _CONST + b"\0\x0b" + leb(size) + b"\xd2\0\x0b" * size
    return assemble(body(b""), 1, table=b"\1" + _FUNCREF + b"\0" + leb(size), element=b"\1" + segment)


def data(size: int) -> bytes:
    """One segment of data."""
    segment = b"\0" + _CONST + b"\0\x0b" + sized(b"x" * size)
    return assemble(body(b""), 1, memory=b"\1\0" + leb(-(-size // 65_536)), data=b"\1" + segment)


def data_segments(size: int) -> bytes:
    """Many segments of one byte."""
    segment = b"\0" + _CONST + b"\0\x0b\1x"
    return assemble(body(b""), 1, memory=b"\1\0\1", data=leb(size) + segment * size)


def scattered_data(size: int) -> bytes:
    """Two bytes of data, `size` apart: an image of the memory has everything between."""
    first, last = (b"\0" + _CONST + sleb(at) + b"\x0b\1x" for at in (0, size))
    pages = -(-(size + 1) // 65_536)
    return assemble(body(b""), 1, memory=b"\1\0" + leb(pages), data=b"\2" + first + last)


def types(size: int) -> bytes:
    """Many types, each another."""
    made = [_FUNC + _digits(index) + b"\0" for index in range(1, size)]
    return assemble(body(b""), 1, types=vector([_VOID, *made]))


def _digits(index: int) -> bytes:
    """Parameters that spell `index` in binary."""
    return vector([_I64 if digit == "1" else _I32 for digit in f"{index:b}"])


def recursive_types(size: int) -> bytes:
    """One group of types, each of which refers to the next."""
    nodes = [b"\x5f\1\x63" + sleb((index + 1) % size + 1) + b"\1" for index in range(size)]
    return assemble(body(b""), 1, types=b"\2" + _VOID + b"\x4e" + vector(nodes))


def type_groups(size: int) -> bytes:
    """Many groups of types, each of which refers to the one before it twice."""
    groups = [b"\x4e\1\x5f\2" + (b"\x63" + sleb(index) + b"\1") * 2 for index in range(size)]
    return assemble(body(b""), 1, types=vector([_VOID, *groups]))


def subtypes(size: int) -> bytes:
    """Many types that are subtypes of one."""
    made = [b"\x50\0\x5f\0"] + [b"\x50\1\1\x5f" + vector([_I32 + b"\0"] * 100)] * size
    return assemble(body(b""), 1, types=vector([_VOID, *made]))


def wide_structs(size: int) -> bytes:
    """Types with ten thousand fields each."""
    made = [b"\x5f" + vector([_I32 + b"\1"] * (10_000 - index)) for index in range(size)]
    return assemble(body(b""), 1, types=vector([_VOID, *made]))


def constant(size: int) -> bytes:
    """One constant of many additions."""
    value = _CONST + b"\0" + (_CONST + b"\1" + _ADD) * size + b"\x0b"
    return assemble(body(b""), 1, **{"global": b"\1" + _I32 + b"\0" + value})


def globals_(size: int) -> bytes:
    """Many globals."""
    return assemble(body(b""), 1, **{"global": leb(size) + (_I32 + b"\1" + _CONST + b"\0\x0b") * size})


def export_name(size: int) -> bytes:
    """One export with a long name."""
    names = [sized(b"_start") + b"\0\0", sized(b"x" * size) + b"\0\0"]
    return assemble(body(b""), 1, export=vector(names))


def export_names(size: int) -> bytes:
    """Many exports of one function."""
    names = [sized(b"_start") + b"\0\0", *(sized(b"%d" % index) + b"\0\0" for index in range(size))]
    return assemble(body(b""), 1, export=vector(names))


def import_name(size: int) -> bytes:
    """One import with a long name, which nothing provides."""
    one = sized(b"wasi_snapshot_preview1") + sized(b"x" * size) + b"\0\0"
    return assemble(body(b""), 1, **{"import": b"\1" + one, "export": b"\1" + sized(b"_start") + b"\0\1"})


def names_of_functions(size: int) -> bytes:
    """A section of names, `size` bytes of them, all of one function."""
    named = b"\1" + sized(b"\1\0" + sized(b"n" * size))
    return assemble(body(b""), 1, custom=b"\0" + sized(sized(b"name") + named))
