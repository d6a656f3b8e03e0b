"""A skipper for constant expressions: the initial value of a table stands in front of the next table.

All other initial values lie at the end of what is read, so their sections are passed over whole.
It knows the instructions that the format allows in constants and refuses every other, so it can't lose its
place.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sandbox.wasm.value_types import heap_type

if TYPE_CHECKING:
    from sandbox.wasm.cursor import Cursor

# SPEC: WebAssembly 3.0, validation, constant expressions; numbers are opcodes.
_END = 0x0B
_GLOBAL_GET, _REF_FUNC = 0x23, 0xD2
_REF_NULL = 0xD0
_I32_CONST, _I64_CONST, _F32_CONST, _F64_CONST = 0x41, 0x42, 0x43, 0x44
_ARITHMETIC: Final = {0x6A, 0x6B, 0x6C, 0x7C, 0x7D, 0x7E}
_GC, _SIMD = 0xFB, 0xFD
_V128_CONST = 12
_GC_INDICES: Final = {0: 1, 1: 1, 6: 1, 7: 1, 8: 2, 26: 0, 27: 0, 28: 0}
"""How many indices follow `struct.new`, `array.new` and their like."""


def skip_constant(cursor: Cursor) -> None:
    """Pass over one constant expression, its `end` included; types are not checked."""
    while True:
        start = cursor.pos
        opcode = cursor.byte()
        if opcode == _END:
            return
        if not _skip_operands(cursor, opcode):
            raise cursor.malformed("an instruction that no constant may hold", at=start)


def _skip_operands(cursor: Cursor, opcode: int) -> bool:
    if opcode in {_GLOBAL_GET, _REF_FUNC}:
        cursor.u32()
    elif opcode == _REF_NULL:
        heap_type(cursor)
    elif opcode in {_I32_CONST, _I64_CONST}:
        cursor.signed(32 if opcode == _I32_CONST else 64)
    elif opcode in {_F32_CONST, _F64_CONST}:
        cursor.skip(4 if opcode == _F32_CONST else 8)
    elif opcode in {_GC, _SIMD}:
        return _skip_extended(cursor, opcode)
    else:
        return opcode in _ARITHMETIC
    return True


def _skip_extended(cursor: Cursor, prefix: int) -> bool:
    opcode = cursor.u32()
    if prefix == _SIMD:
        if opcode == _V128_CONST:
            cursor.skip(16)
        return opcode == _V128_CONST
    for _ in range(_GC_INDICES.get(opcode, 0)):
        cursor.u32()
    return opcode in _GC_INDICES
