"""The grammar of component types: values, functions, resources, and what components and instances declare.

Core types live in `core_types.py`; what stands in the other sections lives in `definitions.py`.
Value imports and value exports are not in the grammar: the engine has them off, and their binary form is not
settled.
"""

from __future__ import annotations

from collections.abc import Iterator

from sandbox.wasm.component.core_types import CORE_TYPE, CORE_VALUE
from sandbox.wasm.component.grammar import (
    Choice,
    Index,
    Kind,
    Level,
    Literal,
    Maybe,
    Name,
    Number,
    Outer,
    Several,
    Shape,
    Space,
    choice,
    shape,
)

_PRIMITIVES = {
    "7f": "bool",
    "7e": "s8",
    "7d": "u8",
    "7c": "s16",
    "7b": "u16",
    "7a": "s32",
    "79": "u32",
    "78": "s64",
    "77": "u64",
    "76": "f32",
    "75": "f64",
    "74": "char",
    "73": "string",
    "64": "error-context",
}

_TYPE = Index(Space.TYPE)
DEFINED = shape("defined type", type=Index(Space.TYPE, is_signed=True))
VALUE_TYPE = choice(
    "value type", *(shape(name, code) for code, name in _PRIMITIVES.items()), otherwise=DEFINED
)
_LABELLED = shape("labelled type", name=Name(), type=VALUE_TYPE)
# SPEC: the zero was once the case that this one refines; the clause was taken back, its byte stayed.
_CASE = shape("case", name=Name(), type=Maybe(VALUE_TYPE), end=Literal(b"\0"))
_LABELS = Several(Name(), "labels")
_PARAMS = Several(_LABELLED, "parameters")
RESULTS = choice("results of a function", shape("result", "00", type=VALUE_TYPE), shape("no result", "0100"))

# What stands on the other side of an import or export, and what it defines there.
TYPE_BOUND = choice("bound of a type", shape("eq", "00", type=_TYPE), shape("sub resource", "01"))
EXTERN_TYPE = choice(
    "extern type",
    shape("core module", "0011", Space.CORE_MODULE, type=Index(Space.CORE_TYPE)),
    shape("func", "01", Space.FUNC, type=_TYPE),
    shape("type", "03", Space.TYPE, bound=TYPE_BOUND),
    shape("component", "04", Space.COMPONENT, type=_TYPE),
    shape("instance", "05", Space.INSTANCE, type=_TYPE),
)

_ATTRIBUTE = choice(
    "attribute of a name",
    shape("implements", "00", name=Name()),
    shape("version suffix", "01", name=Name()),
    shape("external id", "02", name=Name()),
)
EXTERN_NAME = choice(
    "name of an import or export",
    shape("name", "00", name=Name()),
    shape("name of an older encoder", "01", name=Name()),
    shape("name with attributes", "02", name=Name(), attributes=Several(_ATTRIBUTE, "attributes of a name")),
)

# The second byte of a core sort's code is the core sort's own.
SORTS = {
    "0000": Space.CORE_FUNC,
    "0001": Space.CORE_TABLE,
    "0002": Space.CORE_MEMORY,
    "0003": Space.CORE_GLOBAL,
    "0004": Space.CORE_TAG,
    "0010": Space.CORE_TYPE,
    "0011": Space.CORE_MODULE,
    "0012": Space.CORE_INSTANCE,
    "01": Space.FUNC,
    "02": Space.VALUE,
    "03": Space.TYPE,
    "04": Space.COMPONENT,
    "05": Space.INSTANCE,
}
_OUTER_SORTS = (Space.CORE_TYPE, Space.CORE_MODULE, Space.TYPE, Space.COMPONENT)


# Core modules export nothing but these, and components nothing of what is core but modules.
_CORE_EXPORTED = (
    Space.CORE_FUNC,
    Space.CORE_TABLE,
    Space.CORE_MEMORY,
    Space.CORE_GLOBAL,
    Space.CORE_TAG,
)
_EXPORTED = (Space.CORE_MODULE, Space.FUNC, Space.VALUE, Space.TYPE, Space.COMPONENT, Space.INSTANCE)


def _aliases(code: str, space: Space) -> Iterator[Shape]:
    if space in _EXPORTED:
        yield shape("alias", f"{code}00", space, instance=Index(Space.INSTANCE), name=Name())
    if space in _CORE_EXPORTED:
        yield shape("core alias", f"{code}01", space, instance=Index(Space.CORE_INSTANCE), name=Name())
    if space in _OUTER_SORTS:
        yield shape("outer alias", f"{code}02", space, target=Outer(space))


ALIAS = choice("alias", *(one for code, space in SORTS.items() for one in _aliases(code, space)))

TYPE = Choice("type")
_INSTANCE_DECLARATIONS = (
    shape("core type declaration", "00", type=CORE_TYPE),
    shape("type declaration", "01", type=TYPE),
    shape("alias declaration", "02", alias=ALIAS),
    shape("export", "04", name=EXTERN_NAME, type=EXTERN_TYPE),
)
_COMPONENT_DECLARATIONS = (
    shape("import", "03", name=EXTERN_NAME, type=EXTERN_TYPE),
    *_INSTANCE_DECLARATIONS,
)


def _declares(name: str, *declarations: Shape) -> Level:
    what = f"declarations of {name}"
    return Level(Several(choice(f"declaration of {name}", *declarations), what))


_KINDS_OF_TYPE: tuple[tuple[str, str, dict[str, Kind]], ...] = (
    *((code, name, {}) for code, name in _PRIMITIVES.items()),
    ("72", "record", {"fields": Several(_LABELLED, "fields")}),
    ("71", "variant", {"cases": Several(_CASE, "cases")}),
    ("70", "list", {"type": VALUE_TYPE}),
    ("67", "list of fixed length", {"type": VALUE_TYPE, "length": Number()}),
    ("6f", "tuple", {"types": Several(VALUE_TYPE, "value types")}),
    ("6e", "flags", {"labels": _LABELS}),
    ("6d", "enum", {"labels": _LABELS}),
    ("6b", "option", {"type": VALUE_TYPE}),
    ("6a", "result", {"ok": Maybe(VALUE_TYPE), "error": Maybe(VALUE_TYPE)}),
    ("69", "own", {"type": _TYPE}),
    ("68", "borrow", {"type": _TYPE}),
    ("66", "stream", {"type": Maybe(VALUE_TYPE)}),
    ("65", "future", {"type": Maybe(VALUE_TYPE)}),
    ("63", "map", {"key": VALUE_TYPE, "value": VALUE_TYPE}),
    ("3f", "resource", {"representation": CORE_VALUE, "destructor": Maybe(Index(Space.CORE_FUNC))}),
    ("40", "func", {"params": _PARAMS, "results": RESULTS}),
    ("43", "async func", {"params": _PARAMS, "results": RESULTS}),
    ("41", "component type", {"declarations": _declares("a component", *_COMPONENT_DECLARATIONS)}),
    ("42", "instance type", {"declarations": _declares("an instance", *_INSTANCE_DECLARATIONS)}),
)
TYPE.add(*(shape(name, code, Space.TYPE, **fields) for code, name, fields in _KINDS_OF_TYPE))
