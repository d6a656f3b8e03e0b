"""The grammar of core types, as they stand in a component: functions, structs, arrays, groups, module types.

The core modules themselves are not looked into here; `sandbox.wasm.reader` reads their outlines.
Shared types, exact types, continuations and descriptors are not in the grammar, so they are refused.
"""

from __future__ import annotations

from sandbox.wasm.component.grammar import (
    Flag,
    Index,
    Level,
    Name,
    Number,
    Outer,
    Several,
    Shape,
    Space,
    choice,
    shape,
)

# SPEC: WebAssembly 3.0, binary format, types.
_ABSTRACT = {
    "74": "noexn",
    "73": "nofunc",
    "72": "noextern",
    "71": "none",
    "70": "func",
    "6f": "extern",
    "6e": "any",
    "6d": "eq",
    "6c": "i31",
    "6b": "struct",
    "6a": "array",
    "69": "exn",
}
_NUMBERS = {"7f": "i32", "7e": "i64", "7d": "f32", "7c": "f64", "7b": "v128"}

_TYPE = Index(Space.CORE_TYPE)
_HEAP = choice(
    "heap type",
    *(shape(name, code) for code, name in _ABSTRACT.items()),
    otherwise=shape("defined type", type=Index(Space.CORE_TYPE, is_signed=True)),
)
_REFERENCES = (
    shape("ref", "64", heap=_HEAP),
    shape("ref null", "63", heap=_HEAP),
    *(shape(f"{name}ref", code) for code, name in _ABSTRACT.items()),
)
_REFERENCE = choice("reference type", *_REFERENCES)
CORE_VALUE = choice("core value type", *(shape(name, code) for code, name in _NUMBERS.items()), *_REFERENCES)
_STORED = choice("stored type", *CORE_VALUE.cases.values(), shape("i8", "78"), shape("i16", "77"))
_FIELD = shape("field", type=_STORED, is_mutable=Flag())
_VALUES = Several(CORE_VALUE, "core value types")

CORE_FUNC = shape("core func type", "60", params=_VALUES, results=_VALUES)
_STRUCT = shape("struct type", "5f", fields=Several(_FIELD, "fields"))
_ARRAY = shape("array type", "5e", element=_FIELD)
_COMPOSITE = choice("composite type", CORE_FUNC, _STRUCT, _ARRAY)
_PARENTS = Several(_TYPE, "parents of a type")
_FINAL = shape("final type", "4f", parents=_PARENTS, type=_COMPOSITE)
_OPEN = shape("open type", "50", parents=_PARENTS, type=_COMPOSITE)
_SUB = choice("core type", *_COMPOSITE.cases.values(), _FINAL, _OPEN)
CORE_GROUP = shape("group of types", "4e", types=Several(_SUB, "types"))


def _defining(one: Shape, code: str | None = None) -> Shape:
    """Make of a type what defines it where it stands as an item; a group defines several."""
    return Shape(one.name, one.code if code is None else bytes.fromhex(code), one.fields, Space.CORE_TYPE)


_COMPLETE = tuple(_defining(one) for one in (CORE_FUNC, _STRUCT, _ARRAY, _FINAL, CORE_GROUP))


_HAS_MAXIMUM, _IS_SHARED, _IS_64, _HAS_PAGE_SIZE = 1, 2, 4, 8


def _limits(flags: int) -> Shape:
    size = Number(64 if flags & _IS_64 else 32)
    fields = {"minimum": size}
    if flags & _HAS_MAXIMUM:
        fields["maximum"] = size
    if flags & _HAS_PAGE_SIZE:
        fields["page_exponent"] = Number()
    return shape(f"limits {flags}", f"{flags:02x}", **fields)


_TABLE_LIMITS = choice("table limits", *(_limits(flags) for flags in range(2 * _IS_64)))
_MEMORY_LIMITS = choice("memory limits", *(_limits(flags) for flags in range(2 * _HAS_PAGE_SIZE)))
_EXTERN = choice(
    "core extern type",
    shape("func", "00", type=_TYPE),
    shape("table", "01", element=_REFERENCE, limits=_TABLE_LIMITS),
    shape("memory", "02", limits=_MEMORY_LIMITS),
    shape("global", "03", type=CORE_VALUE, is_mutable=Flag()),
    shape("tag", "0400", type=_TYPE),
)
_DECLARATION = choice(
    "declaration of a module type",
    shape("core import", "00", module=Name(), name=Name(), type=_EXTERN),
    shape("core type declaration", "01", type=choice("core type", *_COMPLETE, _defining(_OPEN))),
    shape("outer core type", "021001", Space.CORE_TYPE, target=Outer(Space.CORE_TYPE)),
    shape("core export", "03", name=Name(), type=_EXTERN),
)
MODULE_TYPE = shape(
    "module type",
    "50",
    Space.CORE_TYPE,
    declarations=Level(Several(_DECLARATION, "declarations of a module type")),
)
# SPEC: in a component, 0x50 is a module type, so an open type that stands by itself has a zero in front.
CORE_TYPE = choice("core type", *_COMPLETE, _defining(_OPEN, "0050"), MODULE_TYPE)

__all__ = ["CORE_FUNC", "CORE_GROUP", "CORE_TYPE", "CORE_VALUE", "MODULE_TYPE"]
