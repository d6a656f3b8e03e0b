"""Where a definition comes from: through aliases, exports, instances and their arguments.

The index spaces of one level live in `levels.py`; function types and signatures live in `flatten.py`.
All questions about one component take time in the order of their number and of the component's size.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from sandbox.wasm.component.definitions import (
    COMPONENT,
    CORE_EXPORTS,
    CORE_INSTANTIATE,
    EXPORT,
    EXPORTS,
    IMPORT,
    INSTANTIATE,
)
from sandbox.wasm.component.grammar import Node, OuterIndex, Space
from sandbox.wasm.component.levels import Definition, Scope
from sandbox.wasm.cursor import TooManyError

# 10,000 = aliases of aliases; real components have some ten.
MAX_STEPS = 10_000
# 40 = questions inside a question; each takes some four frames of Python's stack.
MAX_DEPTH = 40


class UnresolvedError(Exception):
    """A definition whose origin cannot be told from the component alone, or that is not there."""


@dataclass(eq=False, slots=True)
class Frame:
    """A level as it is used in one place: with the arguments that it got there, if it is instantiated.

    `args` is `None` for the component itself, whose imports come from outside, and for types.
    """

    scope: Scope
    parent: Frame | None = None
    args: Mapping[str, Item] | None = None
    described: Origin | None = None  # the instance whose type this is
    instances: dict[int, Frame] = field(default_factory=dict["int", "Frame"])

    def outwards(self, levels: int) -> Frame:
        """Return the frame that many levels out."""
        frame = self
        for _ in range(levels):
            if frame.parent is None:
                raise UnresolvedError("a level outside the component")
            frame = frame.parent
        return frame


@dataclass(frozen=True, slots=True)
class Item:
    """One definition, named by its frame, space and index."""

    frame: Frame
    space: Space
    index: int


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a definition comes from.

    With an empty `path` it is `definition` itself. Otherwise `definition` is an instance that cannot be
    looked into, and `path` are the names of exports to go by.
    """

    frame: Frame
    definition: Definition
    path: tuple[str, ...] = ()

    @property
    def node(self) -> Node:
        """The construct that makes the definition."""
        return self.definition.node


class Resolver:
    """Answers where definitions of one component come from."""

    def __init__(self, component: Node) -> None:
        """Number the component's definitions; nested components are numbered when they are met."""
        self._scopes: dict[int, Scope] = {}
        # What was found out is kept, so that all questions together take steps in the order of their number.
        # A node is known by its address, which the tree keeps; a frame is known by itself.
        self._known: dict[Item, Origin] = {}
        self._inline: dict[tuple[Frame, int], dict[tuple[str, Space], Item]] = {}
        self._depth = 0
        self.root = Frame(self.scope(component))

    def scope(self, node: Node) -> Scope:
        """Return the index spaces of a component or type of this tree."""
        # The scope holds the node, so that its address is not given to another one.
        found = self._scopes.get(id(node))
        if found is None:
            found = self._scopes[id(node)] = Scope(node)
        return found

    def origin(self, item: Item) -> Origin:
        """Follow a definition to where it comes from.

        Raises `UnresolvedError` if it is not there, `TooManyError` above the caps of this file.
        """
        self._depth = 0
        return self._origin(item)

    def _origin(self, item: Item) -> Origin:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise TooManyError(0, what="instances in a row", found=self._depth, cap=MAX_DEPTH)
        passed: list[Item] = []
        found: Item | Origin = item
        while isinstance(found, Item):
            passed.append(found)
            if len(passed) > MAX_STEPS:
                raise TooManyError(0, what="aliases in a row", found=len(passed), cap=MAX_STEPS)
            found = self._known.get(found) or self._step(found)
        self._known.update(dict.fromkeys(passed, found))
        self._depth -= 1
        return found

    def _step(self, item: Item) -> Item | Origin:
        frame = item.frame
        definition = frame.scope.find(item.space, item.index)
        if definition is None:
            raise UnresolvedError(f"there is no {item.space} {item.index}")
        node = definition.node
        match node.shape.name:
            case "outer alias":
                target = node["target"]
                if isinstance(target, OuterIndex):
                    return Item(frame.outwards(target.levels), item.space, target.index)
            case "alias":
                instance = self._origin(Item(frame, Space.INSTANCE, node.number("instance")))
                return self._export(instance, node.text(), item.space)
            case "core alias":
                instance = self._origin(Item(frame, Space.CORE_INSTANCE, node.number("instance")))
                return self._export(instance, node.text(), item.space)
            case _:
                pass
        if node.shape is EXPORT:
            return _target(frame, node.node("item"))
        if node.shape is IMPORT and frame.args is not None:
            given = frame.args.get(node.node("name").text())
            if given is None or given.space is not item.space:
                raise UnresolvedError("an import without an argument")
            return given
        return Origin(frame, definition)

    def _export(self, instance: Origin, name: str, space: Space) -> Item | Origin:
        node = instance.node
        if not instance.path:
            if node.shape is CORE_EXPORTS or node.shape is EXPORTS:
                return self._listed(instance, name, space)
            inner = self._instantiated(instance) if node.shape is INSTANTIATE else None
            if inner is not None:
                made = inner.scope.exports.get(name)
                if made is None or made.space is not space:
                    raise UnresolvedError("an instance without such an export")
                return Item(inner, space, made.index)
        return Origin(instance.frame, instance.definition, (*instance.path, name))

    def instantiated(self, instance: Origin) -> Frame | None:
        """Return the inside of an instance of a nested component; `None` if it cannot be looked into."""
        self._depth = 0
        return self._instantiated(instance)

    def _instantiated(self, instance: Origin) -> Frame | None:
        frame, node = instance.frame, instance.node
        if node.shape is not INSTANTIATE or instance.path:
            return None
        known = frame.instances.get(instance.definition.index)
        if known is not None:
            return known
        component = self._origin(Item(frame, Space.COMPONENT, node.number("component")))
        if component.path or component.node.shape is not COMPONENT:
            return None
        args = {arg.text(): _target(frame, arg.node("item")) for arg in node.nodes("args")}
        made = Frame(self.scope(component.node), component.frame, args)
        frame.instances[instance.definition.index] = made
        return made

    def _listed(self, instance: Origin, name: str, space: Space) -> Item:
        key = (instance.frame, id(instance.node))
        names = self._inline.get(key)
        if names is None:
            names = self._inline[key] = {}
            for export in instance.node.nodes("exports"):
                own = export["name"]
                target = _target(instance.frame, export.node("item"))
                names.setdefault((own.text() if isinstance(own, Node) else str(own), target.space), target)
        found = names.get((name, space))
        if found is None:
            raise UnresolvedError("an instance without such an export")
        return found

    def module(self, instance: Origin) -> Origin:
        """Return where the core module of a core instance comes from."""
        if instance.node.shape is not CORE_INSTANTIATE:
            raise UnresolvedError("no instance of a core module")
        return self.origin(Item(instance.frame, Space.CORE_MODULE, instance.node.number("module")))


def _target(frame: Frame, sort: Node) -> Item:
    space = sort.shape.defines
    if space is None:
        raise UnresolvedError("no definition")
    return Item(frame, space, sort.number("index"))
