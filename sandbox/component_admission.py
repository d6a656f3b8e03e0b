"""Which components may run: what can be said of one before it is compiled.

A component runs as the core modules that it is made of, so the checks of `admission.py` hold for all of
them together. Taking it apart lives in `sandbox/wasm/component`; what its calls do lives in `sandbox/bridge`.
SECURITY: each function that leads outside is one of the bridge's, with the bridge's own core signature, or
the component is refused; nothing else is ever linked to it.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final, TypeVar

from policy.component_calls import NAMES
from policy.plan import UNLIMITED
from sandbox.bridge.interfaces import FUNCTIONS
from sandbox.bridge.shape import unserved_name
from sandbox.imports import Provision, call_code, provision, unserved, wanted
from sandbox.parts import Edge, Parts, Place, Step, Target
from sandbox.refusal import AdmissionRefused, Refusal, listed, quoted
from sandbox.wasm.component import assembly as taken
from sandbox.wasm.component.origins import UnresolvedError
from sandbox.wasm.component.read import read_component
from sandbox.wasm.cursor import TooManyError, WasmError
from sandbox.wasm.shape import ExternKind, Import, ModuleShape

if TYPE_CHECKING:
    from policy.plan import Limits

_T = TypeVar("_T")
# 8 = pairs of a memory and an allocator that its calls use; what componentize-py makes has four.
MAX_EDGES: Final = 8
_EMPTY: Final = ModuleShape(
    size_bytes=0,
    types=0,
    imports=(),
    functions=0,
    tables=(),
    memories=(),
    globals=0,
    tags=0,
    exports=(),
    start=None,
    element_segments=0,
    data_segments=0,
    code_bytes=0,
    custom_sections=(),
)


@dataclass(frozen=True, slots=True)
class Component:
    """A component that could be taken apart."""

    shape: ModuleShape  # of all its core modules together; imports are the calls that lead outside
    assembly: taken.Assembly

    @property
    def exports(self) -> tuple[tuple[str, str], ...]:
        """Names of what it exports, and of what kind each is."""
        return self.assembly.exports


def read(module: bytes) -> Component:
    """Take a component apart; raises AdmissionRefused."""
    try:
        found = taken.assembly(read_component(module))
    except TooManyError as err:
        raise AdmissionRefused(
            Refusal.TOO_MANY,
            f"the component has {err.found} {err.what}, more than the {err.cap} that are taken here",
        ) from err
    except WasmError as err:
        raise AdmissionRefused(
            Refusal.COMPONENT,
            f"not a component that can be read here, byte {err.offset}: {quoted(err.problem)}",
        ) from err
    except (taken.UnsupportedError, UnresolvedError) as err:
        raise AdmissionRefused(
            Refusal.COMPONENT, f"the component is made in a way that is not supported: {err}"
        ) from err
    return Component(_joined(found, len(module)), found)


def _joined(found: taken.Assembly, size_bytes: int) -> ModuleShape:
    """The outline of all core modules, each as often as there are instances of it."""
    shapes = [found.shapes[step.module] for step in found.steps]
    return replace(
        _EMPTY,
        size_bytes=size_bytes,
        types=sum(shape.types for shape in shapes),
        imports=tuple(
            Import(one.source, one.function.text, ExternKind.FUNCTION, one.signature)
            for one in found.crossings
        ),
        functions=sum(shape.functions for shape in shapes),
        tables=tuple(table for shape in shapes for table in _own(shape, ExternKind.TABLE, shape.tables)),
        memories=tuple(
            memory for shape in shapes for memory in _own(shape, ExternKind.MEMORY, shape.memories)
        ),
        globals=sum(shape.globals for shape in shapes),
        tags=sum(shape.tags for shape in shapes),
        element_segments=sum(shape.element_segments for shape in shapes),
        data_segments=sum(shape.data_segments for shape in shapes),
        code_bytes=sum(shape.code_bytes for shape in found.shapes),
    )


def _own(shape: ModuleShape, kind: ExternKind, all_of_them: tuple[_T, ...]) -> tuple[_T, ...]:
    return all_of_them[sum(item.kind is kind for item in shape.imports) :]


def check_calls(component: Component) -> None:
    """Refuse a component that calls what is no call here, or calls it otherwise."""
    found = component.shape.imports
    foreign = [f"{one.module} {one.name}" for one in found if provision(one) is Provision.FOREIGN]
    if foreign:
        raise AdmissionRefused(
            Refusal.FOREIGN_IMPORT,
            f"the component calls what no host function here provides: {listed(foreign)}",
        )
    for one in found:
        if provision(one) is not Provision.PROVIDED:
            expected = quoted(str(wanted(one.module, one.name)))
            raise AdmissionRefused(
                Refusal.IMPORT_SIGNATURE,
                f"the component calls {quoted(f'{one.module} {one.name}')} with another type: "
                f"{quoted(str(one.type))}, expected {expected}",
            )


def check_instances(component: Component, limits: Limits) -> None:
    """Refuse a component of more instances of core modules than the plan allows."""
    count = len(component.assembly.steps)
    if limits.instances != UNLIMITED and count > limits.instances:
        raise AdmissionRefused(
            Refusal.TOO_MANY_INSTANCES,
            f"the component is made of {count} core instances, more than the policy allows: "
            f"{limits.instances}",
        )


def parts_of(component: Component, invoke: str | None) -> Parts:
    """What a cell is told of a component that is admitted; refuses one that can't be started."""
    found = component.assembly
    if invoke is not None:
        raise AdmissionRefused(
            Refusal.ENTRY_MISSING, "a component is started by `wasi:cli/run` only: `--invoke` is for modules"
        )
    if found.run is None:
        raise AdmissionRefused(Refusal.NO_ENTRY, "the component does not export `wasi:cli/run`")
    joints = _Joints(found)
    steps = tuple(Step(one.module, tuple(map(joints.target, one.links))) for one in found.steps)
    return Parts(steps, tuple(joints.edges), (found.run.instance, found.run.name))


@dataclass(slots=True)
class _Joints:
    """Names what the imports of core modules are given, and numbers the edges."""

    assembly: taken.Assembly

    @property
    def exports(self) -> tuple[tuple[str, str], ...]:
        """Names of what it exports, and of what kind each is."""
        return self.assembly.exports

    edges: list[Edge] = field(default_factory=list[Edge])

    def target(self, link: taken.Link) -> Target:
        target = link.target
        if isinstance(target, taken.Place):
            return target.instance, target.name, -1
        crossing = self.assembly.crossings[target.crossing]
        code = call_code(crossing.source, crossing.function.text)
        if code is None:
            place = unserved(crossing.source, crossing.function.text)
            if place is None:
                raise AdmissionRefused(
                    Refusal.FOREIGN_IMPORT, "the component calls what is not provided here"
                )
            return -1, unserved_name(place), -1
        name = NAMES[code]
        return -1, name, self._edge(name, target.edge)

    def _edge(self, name: str, edge: taken.Edge) -> int:
        if not FUNCTIONS[name].needs_memory:
            return -1
        if edge.encoding != "utf8":
            raise AdmissionRefused(
                Refusal.COMPONENT, f"the component has strings in {edge.encoding}, which is not supported"
            )
        if edge.memory is None:
            raise AdmissionRefused(Refusal.COMPONENT, f"the component calls {quoted(name)} without a memory")
        made = Edge(_place(edge.memory), None if edge.realloc is None else _place(edge.realloc))
        if made not in self.edges:
            if len(self.edges) == MAX_EDGES:
                raise AdmissionRefused(
                    Refusal.TOO_MANY,
                    f"the component uses more than {MAX_EDGES} pairs of a memory and an allocator",
                )
            self.edges.append(made)
        return self.edges.index(made)


def _place(place: taken.Place) -> Place:
    return place.instance, place.name
