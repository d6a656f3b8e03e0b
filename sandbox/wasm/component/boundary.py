"""The core functions of a component that lead outside: lowered imports, and drops of imported resources.

Which core instance imports which function lives in `wiring.py`; signatures live in `flatten.py`.
Built-in functions that only reach the engine, as those of streams and threads, are not listed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from sandbox.wasm.component.definitions import IMPORT, LIFT, LOWER, RESOURCE_DROP
from sandbox.wasm.component.flatten import Types
from sandbox.wasm.component.grammar import Space
from sandbox.wasm.component.interfaces import FunctionKind, FunctionName
from sandbox.wasm.component.levels import Definition
from sandbox.wasm.component.origins import Frame, Item, Origin, Resolver, UnresolvedError
from sandbox.wasm.component.wiring import Consumer, consumers, frames
from sandbox.wasm.shape import FuncType


@dataclass(frozen=True, slots=True)
class Crossing:
    """A core function that leads outside.

    `source` is the name of the import, of an instance or of a function by itself; `function` is its export
    there. A resource's drop is spelt as core modules import it: `[resource-drop]descriptor`.
    """

    frame: Frame
    definition: Definition
    source: str
    function: FunctionName
    signature: FuncType
    consumers: tuple[Consumer, ...]


def crossings(resolver: Resolver, types: Types) -> tuple[Crossing, ...]:
    """List the core functions that lead outside, level by level, in the order of their numbers.

    Raises `UnresolvedError` if the origin or signature of one cannot be told.
    """
    levels = tuple(frames(resolver))
    used: dict[tuple[Frame, int], list[Consumer]] = {}
    for frame in levels:
        for origin, consumer in consumers(resolver, frame):
            if not origin.path:
                used.setdefault((origin.frame, origin.definition.index), []).append(consumer)
    return tuple(
        Crossing(
            frame, definition, source, function, signature, tuple(used.get((frame, definition.index), ()))
        )
        for frame in levels
        for definition in frame.scope.by_space[Space.CORE_FUNC]
        for source, function, signature in _outside(resolver, types, frame, definition)
    )


def _outside(
    resolver: Resolver, types: Types, frame: Frame, definition: Definition
) -> Iterator[tuple[str, FunctionName, FuncType]]:
    node = definition.node
    if node.shape is LOWER:
        origin = resolver.origin(Item(frame, Space.FUNC, node.number("func")))
        if origin.node.shape is not LIFT:
            source, name = _names(origin)
            yield source, FunctionName.parse(name), types.lowered(frame, node)
    elif node.shape is RESOURCE_DROP:
        origin = types.type(frame, node.number("type"))
        if origin.node.shape.name != "resource":
            source, name = _names(origin)
            text = f"[{FunctionKind.RESOURCE_DROP}]{name}"
            yield source, FunctionName(text, FunctionKind.RESOURCE_DROP, name), FuncType(("i32",), ())


def _names(origin: Origin) -> tuple[str, str]:
    # SECURITY: what is neither the component's own nor an import is an error, so that none is passed over.
    if origin.node.shape is not IMPORT:
        raise UnresolvedError("a function that is neither the component's own nor imported")
    source = origin.node.node("name").text()
    # An instance inside an imported instance has no name of its own outside.
    return source, "/".join(origin.path) or source
