"""What each index of each index space of one level refers to.

A level is a component, a component type, an instance type or a module type: what has index spaces of its own.
Following a definition through aliases, exports and instances lives in `origins.py`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from sandbox.wasm.component.core_types import CORE_GROUP
from sandbox.wasm.component.definitions import COMPONENT, START
from sandbox.wasm.component.grammar import Node, Space


@dataclass(frozen=True, slots=True)
class Definition:
    """One definition of a level; `position` counts the items of the level, of all its sections."""

    space: Space
    index: int
    position: int
    node: Node


def items(level: Node) -> Iterator[Node]:
    """Return the items of a component or type, in order; custom sections are items too."""
    if level.shape is COMPONENT:
        for section in level.sections():
            yield from section.items
    else:
        yield from level.nodes("declarations")


def components(level: Node, path: tuple[int, ...] = ()) -> Iterator[tuple[tuple[int, ...], Node]]:
    """Yield a component and those inside it, each with the positions of items on the way to it.

    A `Frame` belongs to the one that its scope's `node` is.
    """
    yield path, level
    for position, item in enumerate(items(level)):
        if item.shape is COMPONENT:
            yield from components(item, (*path, position))


def defining(item: Node) -> Node | None:
    """Return the part of an item that says in which space it makes a definition; `None` if it makes none."""
    if item.shape.defines is not None:
        return item
    for value in item.values:
        if isinstance(value, Node) and value.shape.defines is not None:
            return value
    return None


def defined(item: Node) -> tuple[Space, int] | None:
    """Return in which space an item makes definitions, and how many; `None` if it makes none."""
    part = defining(item)
    if part is None or part.shape.defines is None:
        return None
    if part.shape is START:
        return part.shape.defines, part.number("results")
    if part.shape.name == CORE_GROUP.name:
        return part.shape.defines, len(part.nodes("types"))
    return part.shape.defines, 1


class Scope:
    """The index spaces of one level."""

    __slots__ = ("by_space", "exports", "imports", "node")

    def __init__(self, node: Node) -> None:
        """Number the definitions of a component or type."""
        self.node = node
        self.by_space: dict[Space, list[Definition]] = {space: [] for space in Space}
        self.imports: dict[str, Definition] = {}
        self.exports: dict[str, Definition] = {}
        for position, item in enumerate(items(node)):
            self._add(position, item)

    def _add(self, position: int, item: Node) -> None:
        found = defined(item)
        if found is None:
            return
        space, count = found
        numbered = self.by_space[space]
        # A start function can claim any number of results; they are values, and nothing here looks one up.
        if space is Space.VALUE:
            return
        node = item
        if item.shape.name.endswith(" declaration"):  # of an alias or type, which is all that it holds
            node = next(value for value in item.values if isinstance(value, Node))
        made = Definition(space, len(numbered), position, node)
        numbered.extend(Definition(space, made.index + nth, position, node) for nth in range(count))
        if item.shape.name == "import":
            self.imports[item.node("name").text()] = made
        elif item.shape.name == "export":
            self.exports[item.node("name").text()] = made

    def find(self, space: Space, index: int) -> Definition | None:
        """Return the definition at an index, if there is one."""
        numbered = self.by_space[space]
        return numbered[index] if index < len(numbered) else None
