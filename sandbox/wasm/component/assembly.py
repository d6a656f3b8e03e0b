"""A component taken apart: its core modules, how they are joined, and what each of them asks of the outside.

With this a component runs as core modules do: no part of it needs an engine that knows components.
What is asked of the outside is named as in the component, and judged in `sandbox/component_admission.py`.
Components inside that call each other, and resources of the component's own, are not taken apart yet.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from sandbox.wasm.component.boundary import Crossing, crossings
from sandbox.wasm.component.definitions import (
    CORE_EXPORTS,
    CORE_INSTANTIATE,
    INSTANTIATE,
    LIFT,
    MODULE,
    PREAMBLE,
    START,
)
from sandbox.wasm.component.flatten import Types
from sandbox.wasm.component.grammar import Node, Space
from sandbox.wasm.component.interfaces import members
from sandbox.wasm.component.levels import Definition, items
from sandbox.wasm.component.origins import Frame, Item, Origin, Resolver, UnresolvedError
from sandbox.wasm.component.read import read_component
from sandbox.wasm.cursor import TooManyError, WasmError
from sandbox.wasm.reader import read_module
from sandbox.wasm.shape import ExternKind, ModuleShape

# 200 = instances of core modules; what componentize-py makes has some twenty.
MAX_INSTANCES = 200
# 100,000 = imports of all of them together.
MAX_LINKS = 100_000
RUN = "wasi:cli/run"
_SPACES = {
    ExternKind.FUNCTION: Space.CORE_FUNC,
    ExternKind.TABLE: Space.CORE_TABLE,
    ExternKind.MEMORY: Space.CORE_MEMORY,
    ExternKind.GLOBAL: Space.CORE_GLOBAL,
    ExternKind.TAG: Space.CORE_TAG,
}


class UnsupportedError(Exception):
    """A component that is made in a way that is not taken apart here; the message holds no guest text."""


@dataclass(frozen=True, slots=True)
class Place:
    """An export of an instance of a core module."""

    instance: int
    name: str


@dataclass(frozen=True, slots=True)
class Edge:
    """Where a lowered function finds its arguments, and puts what it returns."""

    memory: Place | None
    realloc: Place | None
    encoding: str = "utf8"


@dataclass(frozen=True, slots=True)
class Outside:
    """A core function that leads outside."""

    crossing: int  # into `Assembly.crossings`
    edge: Edge


@dataclass(frozen=True, slots=True)
class Link:
    """One import of a core module, and what it is given for it."""

    module: str
    name: str
    target: Place | Outside


@dataclass(frozen=True, slots=True)
class Step:
    """One instance of a core module: instances are made in the order of the steps."""

    module: int  # into `Assembly.modules`
    links: tuple[Link, ...]


@dataclass(frozen=True, slots=True)
class Assembly:
    """A component as core modules."""

    modules: tuple[memoryview | bytes, ...]
    shapes: tuple[ModuleShape, ...]  # of the modules
    steps: tuple[Step, ...]
    crossings: tuple[Crossing, ...]
    exports: tuple[tuple[str, str], ...]  # names, and of what kind each is
    run: Place | None  # what `wasi:cli/run` leads to: takes nothing, returns 0 for success


@dataclass(slots=True)
class _Builder:
    resolver: Resolver
    types: Types
    crossings: tuple[Crossing, ...]
    modules: list[memoryview | bytes] = field(default_factory=list["memoryview | bytes"])
    shapes: list[ModuleShape] = field(default_factory=list[ModuleShape])
    steps: list[Step] = field(default_factory=list[Step])
    links: int = 0
    by_node: dict[int, int] = field(default_factory=dict[int, int])
    instances: dict[tuple[Frame, int], int] = field(default_factory=dict["tuple[Frame, int]", int])
    outside: dict[tuple[Frame, int], int] = field(default_factory=dict["tuple[Frame, int]", int])

    def level(self, frame: Frame) -> None:
        """Add the instances of a component, and of those inside it, in the order in which they are made."""
        made = [*frame.scope.by_space[Space.CORE_INSTANCE], *frame.scope.by_space[Space.INSTANCE]]
        for definition in sorted(made, key=lambda one: one.position):
            if definition.node.shape is CORE_INSTANTIATE:
                self._instance(frame, definition)
            elif definition.node.shape is INSTANTIATE:
                inner = self.resolver.instantiated(Origin(frame, definition))
                if inner is None:
                    raise UnsupportedError("it makes an instance of a component that is not in it")
                self.level(inner)

    def _instance(self, frame: Frame, definition: Definition) -> None:
        if len(self.steps) >= MAX_INSTANCES:
            found = len(self.steps) + 1
            raise TooManyError(0, what="instances of core modules", found=found, cap=MAX_INSTANCES)
        module = self._module(self.resolver.module(Origin(frame, definition)).node)
        given = {arg.text(): arg.node("item") for arg in definition.node.nodes("args")}
        links = tuple(self._links(frame, given, self.shapes[module]))
        self.instances[frame, definition.index] = len(self.steps)
        self.steps.append(Step(module, links))

    def _module(self, node: Node) -> int:
        if node.shape is not MODULE:
            raise UnsupportedError("it imports a core module")
        if id(node) not in self.by_node:
            contents = node["contents"]
            if not isinstance(contents, bytes | memoryview):
                raise UnsupportedError("it holds a core module without bytes")
            self.by_node[id(node)] = len(self.modules)
            self.modules.append(contents)
            self.shapes.append(read_module(bytes(contents)))
        return self.by_node[id(node)]

    def _links(self, frame: Frame, given: dict[str, Node], shape: ModuleShape) -> Iterator[Link]:
        self.links += len(shape.imports)
        if self.links > MAX_LINKS:
            raise TooManyError(0, what="imports of core modules", found=self.links, cap=MAX_LINKS)
        for item in shape.imports:
            arg = given.get(item.module)
            if arg is None:
                raise UnsupportedError("it leaves an import of a core module open")
            instance = self.resolver.origin(Item(frame, Space.CORE_INSTANCE, arg.number("index")))
            target = self._export(instance, item.name, _SPACES[item.kind])
            yield Link(item.module, item.name, target)

    def _export(self, instance: Origin, name: str, space: Space) -> Place | Outside:
        if instance.node.shape is not CORE_EXPORTS:
            return self.place(instance, name)
        for export in instance.node.nodes("exports"):
            item = export.node("item")
            if export.text() == name and item.shape.defines is space:
                return self.target(Item(instance.frame, space, item.number("index")))
        raise UnsupportedError("it leaves an import of a core module open")

    def target(self, item: Item) -> Place | Outside:
        """Say what a core definition is."""
        origin = self.resolver.origin(item)
        if origin.path:
            return self.place(Origin(origin.frame, origin.definition), origin.path[-1])
        nth = self.outside.get((origin.frame, origin.definition.index))
        if nth is None:
            name = origin.node.shape.name
            what = "components inside it call each other" if name == "lower" else f"it uses `{name}`"
            raise UnsupportedError(what)
        return Outside(nth, self._edge(origin))

    def place(self, instance: Origin, name: str) -> Place:
        """Name an export of an instance that was made before."""
        number = self.instances.get((instance.frame, instance.definition.index))
        if number is None or instance.path:
            raise UnsupportedError("it uses an instance before it is made")
        return Place(number, name)

    def _edge(self, origin: Origin) -> Edge:
        memory = realloc = None
        encoding = "utf8"
        if origin.node.shape.name != "lower":
            return Edge(None, None)
        for option in origin.node.nodes("options"):
            match option.shape.name:
                case "memory":
                    memory = self._own(Item(origin.frame, Space.CORE_MEMORY, option.number("index")))
                case "realloc":
                    realloc = self._own(Item(origin.frame, Space.CORE_FUNC, option.number("index")))
                case "utf8" | "utf16" | "latin1+utf16":
                    encoding = option.shape.name
                case other:
                    raise UnsupportedError(f"a function that it calls has the option `{other}`")
        return Edge(memory, realloc, encoding)

    def _own(self, item: Item) -> Place:
        found = self.target(item)
        if isinstance(found, Outside):
            raise UnsupportedError("it allocates memory by calling its host")
        return found


def assembly(component: Node) -> Assembly:
    """Take a component apart.

    Raises `UnsupportedError`, `UnresolvedError` or `WasmError` for one that can't be.
    """
    resolver = Resolver(component)
    types = Types(resolver)
    found = crossings(resolver, types)
    outside = {(one.frame, one.definition.index): nth for nth, one in enumerate(found)}
    builder = _Builder(resolver, types, found, outside=outside)
    _check_starts(component)
    builder.level(resolver.root)
    return Assembly(
        modules=tuple(builder.modules),
        shapes=tuple(builder.shapes),
        steps=tuple(builder.steps),
        crossings=found,
        exports=tuple((name, str(made.space)) for name, made in resolver.root.scope.exports.items()),
        run=_run(builder),
    )


def is_component(data: bytes) -> bool:
    """Say whether a binary starts as components do."""
    return data[: len(PREAMBLE)] == PREAMBLE


def core_modules(data: bytes) -> tuple[bytes, ...]:
    """Give the core modules of a component, by their numbers; raises ValueError for one not taken apart."""
    try:
        return tuple(bytes(module) for module in assembly(read_component(data)).modules)
    except (UnsupportedError, UnresolvedError, WasmError) as err:
        raise ValueError(str(err)) from err


def _check_starts(level: Node) -> None:
    for item in items(level):
        if item.shape is START:
            raise UnsupportedError("it has a start function")
        if item.shape.name == "component":
            _check_starts(item)


def _run(builder: _Builder) -> Place | None:
    """Find the core function behind `wasi:cli/run`, of whatever version 0.2."""
    resolver = builder.resolver
    for name, definition in resolver.root.scope.exports.items():
        interface, _, version = name.partition("@")
        if interface != RUN or not version.startswith("0.2.") or definition.space is not Space.INSTANCE:
            continue
        instance = resolver.origin(Item(resolver.root, Space.INSTANCE, definition.index))
        item = (members(resolver, instance) or {}).get("run")
        if item is None or item.space is not Space.FUNC:
            return None
        origin = resolver.origin(item)
        if origin.path or origin.node.shape is not LIFT:
            return None
        target = builder.target(Item(origin.frame, Space.CORE_FUNC, origin.node.number("func")))
        return target if isinstance(target, Place) else None
    return None
