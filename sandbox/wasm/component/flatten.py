"""The core signature of a component's function: how the canonical ABI lays its types out as core values.

Where a definition comes from lives in `origins.py`; the listing of imports lives in `interfaces.py`.
Pointers are 32 bits wide, as in every component that a released engine runs.
"""

from __future__ import annotations

from itertools import zip_longest

from sandbox.wasm.component.definitions import LIFT, LOWER
from sandbox.wasm.component.grammar import Node, Space
from sandbox.wasm.component.origins import Frame, Item, Origin, Resolver, UnresolvedError
from sandbox.wasm.cursor import TooManyError
from sandbox.wasm.shape import FuncType

# SPEC: Canonical ABI, flattening: more parameters than this are passed in memory, by one pointer.
MAX_FLAT_PARAMS = 16
MAX_FLAT_ASYNC_PARAMS = 4
MAX_FLAT_RESULTS = 1
# 50 = types inside types; those of WASI are five deep. Each level costs some six frames of Python's stack.
MAX_TYPE_DEPTH = 50
# 20 = instances inside imported instances, and types of instances that are named by others.
MAX_INSTANCE_DEPTH = 20

Flat = tuple[str, ...] | None
"""Core value types; `None` stands for more than any signature passes by value."""

_SMALL = "bool s8 u8 s16 u16 s32 u32 char flags enum own borrow stream future error-context"
_SIMPLE: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(_SMALL.split(), ("i32",)),
    "s64": ("i64",),
    "u64": ("i64",),
    "f32": ("f32",),
    "f64": ("f64",),
    "string": ("i32", "i32"),
    "list": ("i32", "i32"),
    "map": ("i32", "i32"),
}


class Types:
    """Looks up and flattens the types of one component."""

    def __init__(self, resolver: Resolver) -> None:
        """Start with nothing looked up."""
        self._resolver = resolver
        self._flat: dict[tuple[Frame, int], Flat] = {}
        self._declared: dict[tuple[Frame, int, tuple[str, ...]], Frame] = {}
        self._signatures: dict[tuple[Frame, int, bool], FuncType] = {}
        self._depth = self._instances = 0

    # -- looking up -------------------------------------------------------------------------------------

    def type(self, frame: Frame, index: int) -> Origin:
        """Follow a type to what makes it: a type, or the import or export of a resource."""
        origin = self._resolver.origin(Item(frame, Space.TYPE, index))
        for _ in range(MAX_TYPE_DEPTH):
            origin = _named(origin)
            inner, extern = self.outside(origin)
            if extern is None or extern.shape.defines is not Space.TYPE:
                return origin
            bound = extern.node("bound")
            if bound.shape.name != "eq":
                return origin
            origin = self._resolver.origin(Item(inner, Space.TYPE, bound.number("type")))
        raise TooManyError(0, what="names of a type", found=MAX_TYPE_DEPTH + 1, cap=MAX_TYPE_DEPTH)

    def function(self, frame: Frame, index: int) -> tuple[Frame, Node]:
        """Return the type of a function of a level, and where that type's own types are numbered."""
        origin = self._resolver.origin(Item(frame, Space.FUNC, index))
        return self.function_of(origin)

    def function_of(self, origin: Origin) -> tuple[Frame, Node]:
        """Return the type of a function whose origin is known, and where its types are numbered."""
        if origin.node.shape is LIFT:
            return self.function_type(origin.frame, origin.node.number("type"))
        inner, extern = self.outside(origin)
        if extern is None or extern.shape.defines is not Space.FUNC:
            raise UnresolvedError("a function without a type")
        return self.function_type(inner, extern.number("type"))

    def function_type(self, frame: Frame, index: int) -> tuple[Frame, Node]:
        """Return the function type at an index."""
        made = self.type(frame, index)
        if made.node.shape.name not in {"func", "async func"}:
            raise UnresolvedError("not the type of a function")
        return made.frame, made.node

    def declared(self, instance: Origin) -> Frame:
        """Return the inside of the type of an instance that comes from outside."""
        key = (instance.frame, instance.definition.index, instance.path)
        known = self._declared.get(key)
        if known is None:
            if self._instances >= MAX_INSTANCE_DEPTH:
                found = self._instances + 1
                raise TooManyError(0, what="instances in a row", found=found, cap=MAX_INSTANCE_DEPTH)
            self._instances += 1
            try:
                known = self._declared[key] = self._described(instance)
            finally:
                self._instances -= 1
        return known

    def _described(self, instance: Origin) -> Frame:
        frame, extern = self.outside(instance)
        if extern is None or extern.shape.defines is not Space.INSTANCE:
            raise UnresolvedError("an export of what is no instance")
        made = self.type(frame, extern.number("type"))
        if made.node.shape.name != "instance type":
            raise UnresolvedError("not the type of an instance")
        return Frame(self._resolver.scope(made.node), made.frame, described=instance)

    def outside(self, origin: Origin) -> tuple[Frame, Node | None]:
        """Return what an import, or an export that a type declares, says of what comes from outside."""
        if origin.node.shape.name not in {"import", "export"}:
            if origin.path:
                raise UnresolvedError("an export of an instance without a known type")
            return origin.frame, None
        if not origin.path:
            return origin.frame, origin.node.node("type")
        frame = self.declared(Origin(origin.frame, origin.definition, origin.path[:-1]))
        made = frame.scope.exports.get(origin.path[-1])
        if made is None:
            raise UnresolvedError("an instance without such an export")
        return frame, made.node.node("type")

    # -- flattening -------------------------------------------------------------------------------------

    def flat(self, frame: Frame, value: Node) -> Flat:
        """Flatten one value type."""
        if value.shape.name == "defined type":
            return self._flat_type(frame, value.number("type"))
        return _SIMPLE[value.shape.name]

    def flat_all(self, frame: Frame, values: tuple[Node, ...]) -> Flat:
        """Flatten several value types, one after the other."""
        out: tuple[str, ...] = ()
        for value in values:
            more = self.flat(frame, value)
            if more is None or len(out) + len(more) > MAX_FLAT_PARAMS:
                return None
            out += more
        return out

    def _flat_type(self, frame: Frame, index: int) -> Flat:
        key = (frame, index)
        if key not in self._flat:
            if self._depth >= MAX_TYPE_DEPTH:
                found = self._depth + 1
                raise TooManyError(0, what="types in a row", found=found, cap=MAX_TYPE_DEPTH)
            self._depth += 1
            try:
                made = self.type(frame, index)
                self._flat[key] = self._flat_node(made.frame, made.node)
            finally:
                self._depth -= 1
        return self._flat[key]

    def _flat_node(self, frame: Frame, node: Node) -> Flat:
        match node.shape.name:
            case "record":
                flat = self.flat_all(frame, tuple(one.node("type") for one in node.nodes("fields")))
            case "tuple":
                flat = self.flat_all(frame, node.nodes("types"))
            case "list of fixed length":
                length = min(node.number("length"), MAX_FLAT_PARAMS + 1)
                flat = self.flat_all(frame, (node.node("type"),) * length)
            case "variant":
                flat = self._flat_cases(frame, tuple(one.nodes("type") for one in node.nodes("cases")))
            case "option":
                flat = self._flat_cases(frame, ((), node.nodes("type")))
            case "result":
                flat = self._flat_cases(frame, (node.nodes("ok"), node.nodes("error")))
            case name if name in _SIMPLE:
                flat = _SIMPLE[name]
            case _:
                raise UnresolvedError("not the type of a value")
        return flat

    def _flat_cases(self, frame: Frame, cases: tuple[tuple[Node, ...], ...]) -> Flat:
        joined: tuple[str, ...] = ()
        for case in cases:
            flat = self.flat_all(frame, case)
            if flat is None:
                return None
            joined = tuple(_join(*pair) for pair in zip_longest(joined, flat))
        return ("i32", *joined) if len(joined) < MAX_FLAT_PARAMS else None

    # -- signatures -------------------------------------------------------------------------------------

    def lowered(self, frame: Frame, lower: Node) -> FuncType:
        """Return the core signature of a lowered function; `lower` stands in the level of `frame`."""
        if lower.shape is not LOWER:
            raise UnresolvedError("not a lowered function")
        options = {option.shape.name for option in lower.nodes("options")}
        if "gc" in options:
            raise UnresolvedError("a function lowered to garbage-collected values")
        inner, func = self.function(frame, lower.number("func"))
        key = (inner, id(func), "async" in options)
        if key not in self._signatures:
            self._signatures[key] = self._signature(inner, func, is_async="async" in options)
        return self._signatures[key]

    def _signature(self, inner: Frame, func: Node, *, is_async: bool) -> FuncType:
        cap = MAX_FLAT_ASYNC_PARAMS if is_async else MAX_FLAT_PARAMS
        flat = self.flat_all(inner, tuple(one.node("type") for one in func.nodes("params")))
        params = flat if flat is not None and len(flat) <= cap else ("i32",)
        returned = func.node("results")
        results = self.flat_all(inner, returned.nodes("type") if returned.values else ())
        if is_async:
            return FuncType((*params, "i32") if results != () else params, ("i32",))
        if results is None or len(results) > MAX_FLAT_RESULTS:
            return FuncType((*params, "i32"), ())
        return FuncType(params, results)


def _named(origin: Origin) -> Origin:
    """Name what the type of an instance declares as an export of that instance."""
    instance = origin.frame.described
    if instance is None or origin.path or origin.node.shape.name != "export":
        return origin
    name = origin.node.node("name").text()
    return Origin(instance.frame, instance.definition, (*instance.path, name))


def _join(one: str | None, other: str | None) -> str:
    """Return the core type that holds either of two; `None` stands for none."""
    if one is None or other is None or one == other:
        return one or other or "i32"
    return "i32" if {one, other} == {"i32", "f32"} else "i64"
