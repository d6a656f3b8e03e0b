"""Readers for the types of the WebAssembly binary format: values, functions, tables, memories, globals.

Sections and the order they come in live in `reader.py`.
Each reader consumes at least one byte for everything it makes, so what it makes stays in the order of the
input's size.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Final

from sandbox.wasm.shape import PAGE_BYTES, FuncType, GlobalType, MemoryType, TableType

if TYPE_CHECKING:
    from sandbox.wasm.cursor import Cursor

# SPEC: WebAssembly 3.0, binary format, types.
_ABSTRACT: Final = {
    0x74: "noexn",
    0x73: "nofunc",
    0x72: "noextern",
    0x71: "none",
    0x70: "func",
    0x6F: "extern",
    0x6E: "any",
    0x6D: "eq",
    0x6C: "i31",
    0x6B: "struct",
    0x6A: "array",
    0x69: "exn",
}
_SHORTHAND: Final = {code: f"{heap}ref" for code, heap in _ABSTRACT.items()} | {
    0x74: "nullexnref",
    0x73: "nullfuncref",
    0x72: "nullexternref",
    0x71: "nullref",
}
_NUMBERS: Final = {0x7F: "i32", 0x7E: "i64", 0x7D: "f32", 0x7C: "f64", 0x7B: "v128"}
_VALUES: Final = _NUMBERS | _SHORTHAND
_REF_NULL, _REF = 0x63, 0x64
_PACKED: Final = {0x78, 0x77}
_FUNC, _STRUCT, _ARRAY = 0x60, 0x5F, 0x5E
_SUB, _SUB_FINAL, _REC = 0x50, 0x4F, 0x4E

# 1,000 = the most parameters or results that engines take (WebAssembly JavaScript interface, implementation
# limits).
MAX_SIGNATURE = 1_000
# 10,000 = the most fields of a struct there.
MAX_FIELDS = 10_000
# 63 = the deepest chain of subtypes there; a type names at most one parent today.
MAX_PARENTS = 63

_HAS_MAXIMUM, _IS_SHARED, _IS_64, _HAS_PAGE_SIZE = 1, 2, 4, 8


@lru_cache(maxsize=256)
def _reference(heap: str, *, is_nullable: bool) -> str:
    return f"(ref null {heap})" if is_nullable else f"(ref {heap})"


def heap_type(cursor: Cursor) -> str:
    """Read a heap type: an abstract one, or the index of a type."""
    start = cursor.pos
    value = cursor.signed(33)
    if value >= 0:
        return str(value)
    name = _ABSTRACT.get(value & 0x7F) if value >= -64 else None
    if name is None:
        raise cursor.malformed("an unknown heap type", at=start)
    return name


def value_type(cursor: Cursor) -> str:
    """Read a value type, spelt as in the text format."""
    start = cursor.pos
    code = cursor.byte()
    known = _VALUES.get(code)
    if known is not None:
        return known
    if code in {_REF, _REF_NULL}:
        return _reference(heap_type(cursor), is_nullable=code == _REF_NULL)
    raise cursor.malformed("an unknown value type", at=start)


def _value_types(cursor: Cursor, what: str) -> tuple[str, ...]:
    return tuple(value_type(cursor) for _ in range(cursor.count(what, MAX_SIGNATURE)))


def func_type(cursor: Cursor) -> FuncType:
    """Read a function's parameters and results."""
    params = _value_types(cursor, "parameters")
    return FuncType(params, _value_types(cursor, "results"))


def _field(cursor: Cursor) -> None:
    if cursor.pos < cursor.end and cursor.data[cursor.pos] in _PACKED:
        cursor.skip(1)
    else:
        value_type(cursor)
    _flag(cursor)


def _flag(cursor: Cursor) -> bool:
    start = cursor.pos
    value = cursor.byte()
    if value > 1:
        raise cursor.malformed("a flag that is neither 0 nor 1", at=start)
    return value == 1


def _composite(cursor: Cursor, code: int, start: int) -> FuncType | None:
    if code == _FUNC:
        return func_type(cursor)
    if code == _ARRAY:
        _field(cursor)
        return None
    if code == _STRUCT:
        for _ in range(cursor.count("fields", MAX_FIELDS)):
            _field(cursor)
        return None
    raise cursor.malformed("an unknown kind of type", at=start)


def _sub_type(cursor: Cursor) -> FuncType | None:
    start = cursor.pos
    code = cursor.byte()
    if code in {_SUB, _SUB_FINAL}:
        for _ in range(cursor.count("parents of a type", MAX_PARENTS)):
            cursor.u32()
        start = cursor.pos
        code = cursor.byte()
    return _composite(cursor, code, start)


def rec_types(cursor: Cursor, cap: int) -> list[FuncType | None]:
    """Read one entry of the type section: one type, or a group; `None` stands for what is no function."""
    if cursor.pos < cursor.end and cursor.data[cursor.pos] == _REC:
        cursor.skip(1)
        return [_sub_type(cursor) for _ in range(cursor.count("types", cap))]
    return [_sub_type(cursor)]


def _bounds(cursor: Cursor, flags: int) -> tuple[int, int | None]:
    bits = 64 if flags & _IS_64 else 32
    minimum = cursor.unsigned(bits)
    return minimum, cursor.unsigned(bits) if flags & _HAS_MAXIMUM else None


def memory_type(cursor: Cursor) -> MemoryType:
    """Read a memory type, shared, 64-bit and custom-page ones included."""
    start = cursor.pos
    flags = cursor.byte()
    if flags >= 2 * _HAS_PAGE_SIZE:
        raise cursor.malformed("unknown flags of a memory", at=start)
    minimum, maximum = _bounds(cursor, flags)
    page_bytes = PAGE_BYTES
    if flags & _HAS_PAGE_SIZE:
        start = cursor.pos
        exponent = cursor.u32()
        if exponent > 16:  # 16 = log2 of the ordinary page, the largest that the format allows
            raise cursor.malformed("a page size above 64 KiB", at=start)
        page_bytes = 1 << exponent
    return MemoryType(minimum, maximum, bool(flags & _IS_SHARED), bool(flags & _IS_64), page_bytes)


def table_type(cursor: Cursor) -> TableType:
    """Read a table type."""
    element = value_type(cursor)
    start = cursor.pos
    flags = cursor.byte()
    if flags >= 2 * _IS_64:
        raise cursor.malformed("unknown flags of a table", at=start)
    minimum, maximum = _bounds(cursor, flags)
    return TableType(element, minimum, maximum, bool(flags & _IS_64))


def global_type(cursor: Cursor) -> GlobalType:
    """Read a global's type."""
    value = value_type(cursor)
    return GlobalType(value, _flag(cursor))
