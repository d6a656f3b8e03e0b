"""Makers of the items that are inserted into a component: core modules, their instances, aliases.

Where they are inserted lives in `renumber.py`.
Indices are those of the component before it is edited, or `Fresh` for what is inserted with them.
"""

from __future__ import annotations

from collections.abc import Iterable

from sandbox.wasm.component.definitions import (
    CORE_ARGUMENT,
    CORE_EXPORT,
    CORE_EXPORTS,
    CORE_INSTANTIATE,
    CORE_SORT,
    MODULE,
)
from sandbox.wasm.component.grammar import Fresh, Literal, Node, Shape, Space, Value
from sandbox.wasm.component.types import ALIAS, SORTS


def node(shape: Shape, **values: Value) -> Node:
    """Make a construct; each field that is no literal has to be given, and no other."""
    wanted = {name for name, kind in shape.fields if not isinstance(kind, Literal)}
    if wanted != set(values):
        raise TypeError(f"{shape.name} takes {sorted(wanted)}, not {sorted(values)}")
    return Node(shape, tuple(values.get(name) for name, _ in shape.fields))


def core_module(contents: bytes) -> Node:
    """Make a core module out of its bytes."""
    return node(MODULE, contents=contents)


def core_instance(module: int | Fresh, args: Iterable[tuple[str, int | Fresh]] = ()) -> Node:
    """Make an instance of a core module; `args` names the core instances that it imports from."""
    return node(
        CORE_INSTANTIATE,
        module=module,
        args=tuple(core_argument(name, instance) for name, instance in args),
    )


def core_argument(name: str, instance: int | Fresh) -> Node:
    """Make an argument of a core instance."""
    return node(CORE_ARGUMENT, name=name, item=core_sort(Space.CORE_INSTANCE, instance))


def core_exports(exports: Iterable[tuple[str, Space, int | Fresh]]) -> Node:
    """Make a core instance out of definitions that are there: a name, a space and an index for each."""
    return node(
        CORE_EXPORTS,
        exports=tuple(
            node(CORE_EXPORT, name=name, item=core_sort(space, index)) for name, space, index in exports
        ),
    )


def core_sort(space: Space, index: int | Fresh) -> Node:
    """Make a reference that says of what space it is."""
    return node(CORE_SORT[space], index=index)


def core_alias(space: Space, instance: int | Fresh, name: str) -> Node:
    """Make a definition in `space` out of the export `name` of a core instance."""
    code = next(code for code, known in SORTS.items() if known is space)
    return node(ALIAS.cases[bytes.fromhex(code) + b"\1"], instance=instance, name=name)
