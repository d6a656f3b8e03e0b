"""Which core instance calls which lowered function, and under which name.

Where the lowered function itself comes from lives in `origins.py`; its signature lives in `flatten.py`.
Functions that reach a module through a table, as shims do, are found where the table is filled.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from sandbox.wasm.component.definitions import CORE_EXPORTS, CORE_INSTANTIATE, INSTANTIATE
from sandbox.wasm.component.grammar import Space
from sandbox.wasm.component.origins import Frame, Item, Origin, Resolver, UnresolvedError
from sandbox.wasm.cursor import TooManyError

# 1,000 instances of components in all, as the engine allows.
MAX_FRAMES = 1_000
# 500,000 = definitions of all those instances, and functions that core instances import: a component of 18 MB
# has 3,000 of each.
MAX_DEFINITIONS = 500_000
MAX_CONSUMERS = 500_000


@dataclass(frozen=True, slots=True)
class Consumer:
    """A core instance that imports a core function, as `name` of `module`; both are the guest's own."""

    instance: Origin
    module: str
    name: str
    func: Item  # as the consumer's level numbers it


def frames(resolver: Resolver) -> Iterator[Frame]:
    """Yield the component, then each instance of a component in it; `TooManyError` above a cap."""
    waiting = [resolver.root]
    seen = definitions = 0
    while waiting:
        frame = waiting.pop()
        seen += 1
        if seen > MAX_FRAMES:
            raise TooManyError(0, what="instances of components", found=seen, cap=MAX_FRAMES)
        definitions += sum(map(len, frame.scope.by_space.values()))
        if definitions > MAX_DEFINITIONS:
            raise TooManyError(0, what="definitions in instances", found=definitions, cap=MAX_DEFINITIONS)
        yield frame
        for definition in frame.scope.by_space[Space.INSTANCE]:
            if definition.node.shape is INSTANTIATE:
                inner = resolver.instantiated(Origin(frame, definition))
                if inner is not None:
                    waiting.append(inner)


def consumers(resolver: Resolver, frame: Frame) -> Iterator[tuple[Origin, Consumer]]:
    """Yield each core function that a core instance of this level imports: its origin, and who imports it.

    Functions of instances that are passed on whole are not listed: their names are not in the component.
    """
    seen = 0
    for definition in frame.scope.by_space[Space.CORE_INSTANCE]:
        if definition.node.shape is not CORE_INSTANTIATE:
            continue
        consumer = Origin(frame, definition)
        for arg in definition.node.nodes("args"):
            given = resolver.origin(Item(frame, Space.CORE_INSTANCE, arg.node("item").number("index")))
            if given.node.shape is not CORE_EXPORTS:
                continue
            listed = given.node.nodes("exports")
            seen += len(listed)
            if seen > MAX_CONSUMERS:
                raise TooManyError(0, what="imports of core instances", found=seen, cap=MAX_CONSUMERS)
            for export in listed:
                item = export.node("item")
                if item.shape.defines is not Space.CORE_FUNC:
                    continue
                func = Item(given.frame, Space.CORE_FUNC, item.number("index"))
                try:
                    origin = resolver.origin(func)
                except UnresolvedError:
                    continue
                yield origin, Consumer(consumer, arg.text(), export.text(), func)
