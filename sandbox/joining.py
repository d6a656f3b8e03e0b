"""Joins the core modules of a component, the bridge and its edges, by what an engine can do.

What is joined how was decided by `component_admission.py`; here it is carried out. INVARIANT: what leads out
of the component's own modules is a function of the bridge or of an edge, and nothing else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sandbox.parts import Edge, Parts, Place, Target

M = TypeVar("M")
M_contra = TypeVar("M_contra", contravariant=True)  # a module
I = TypeVar("I")  # noqa: E741  # an instance
E = TypeVar("E")  # what is imported or exported


class Joinery(Protocol[M_contra, I, E]):
    """What is asked of an engine; each method raises what the engine raises."""

    def find(self, instance: I, name: str) -> E:
        """An export by its name."""
        ...

    def make(self, module: M_contra, given: Sequence[E]) -> I:
        """An instance, with its imports in their order."""
        ...

    def link(self, module: M_contra, instances: Mapping[str, I], items: Mapping[tuple[str, str], E]) -> I:
        """An instance, with its imports by their names: all of some instances, and single ones."""
        ...


class Joined(Generic[M, I, E]):
    """One component on its way to run; used once."""

    def __init__(self, engine: Joinery[M, I, E], ours: tuple[M, M], gate: I, named: E) -> None:
        """Make the bridge, on the functions of the gate; `ours` are bridge and edge.

        `named` is the word that says which call is on its way.
        """
        self._engine = engine
        bridge, self._edge_module = ours
        self._bridge = engine.link(bridge, {"gate": gate}, {("slots", "as"): named})
        self._instances: list[I] = []
        self._edges: dict[int, I] = {}
        self._parts: Parts | None = None
        self.named = named

    @property
    def memory(self) -> E:
        """The bridge's memory, which stands for the guest's before the monitor."""
        return self._engine.find(self._bridge, "memory")

    @property
    def memories(self) -> tuple[E, ...]:
        """The memories that the component's calls are about, as far as they are there."""
        edges = () if self._parts is None else self._parts.edges
        places = dict.fromkeys(edge.memory for edge in edges if edge.memory[0] < len(self._instances))
        return tuple(map(self._find, places))

    def join(self, modules: Sequence[M], parts: Parts) -> I:
        """Make the instances, in their order; gives the one with the entry."""
        self._parts = parts
        for step in parts.steps:
            given = [self._given(target, parts.edges) for target in step.targets]
            self._instances.append(self._engine.make(modules[step.module], given))
        return self._instances[parts.entry[0]]

    def _given(self, target: Target, edges: Sequence[Edge]) -> E:
        number, name, edge = target
        if number >= 0:
            return self._find((number, name))
        if edge < 0:
            return self._engine.find(self._bridge, name)
        if edge not in self._edges:
            self._edges[edge] = self._edge(edges[edge])
        return self._engine.find(self._edges[edge], name)

    def _find(self, place: Place) -> E:
        number, name = place
        return self._engine.find(self._instances[number], name)

    def _edge(self, edge: Edge) -> I:
        no_room = self._engine.find(self._bridge, "no_room")
        items = {
            ("guest", "memory"): self._find(edge.memory),
            ("guest", "realloc"): no_room if edge.realloc is None else self._find(edge.realloc),
        }
        return self._engine.link(self._edge_module, {"bridge": self._bridge}, items)
