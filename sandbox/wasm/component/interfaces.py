"""What a component imports and exports: interfaces by name and version, their functions and resources.

Names are split here and judged nowhere in this package: text in them is the guest's own.
The core signatures of lowered functions live in `flatten.py`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from sandbox.wasm.component.definitions import EXPORTS, IMPORT
from sandbox.wasm.component.flatten import Types
from sandbox.wasm.component.grammar import Space
from sandbox.wasm.component.origins import Frame, Item, Origin, Resolver, UnresolvedError
from sandbox.wasm.cursor import TooManyError

# SPEC: component model, explainer: `namespace:package/interface@version`; nested namespaces and packages are
# not in the format yet, and are no interface here.
_INTERFACE = re.compile(
    r"(?P<namespace>[^:/@\[\]]+):(?P<package>[^:/@\[\]]+)/(?P<interface>[^:/@\[\]]+)(?:@(?P<version>[^@/:\[\]]+))?"
)
_FUNCTION = re.compile(r"\[(?P<kind>[a-z][a-z \-]*)\](?P<resource>[^.\[\]]+)(?:\.(?P<name>[^.\[\]]+))?")


class FunctionKind(StrEnum):
    """What the brackets in front of a function's name say it is."""

    FUNCTION = "function"
    METHOD = "method"
    STATIC = "static"
    CONSTRUCTOR = "constructor"
    RESOURCE_DROP = "resource-drop"
    RESOURCE_NEW = "resource-new"
    RESOURCE_REP = "resource-rep"
    DESTRUCTOR = "dtor"


_WITH_NAME = {FunctionKind.METHOD, FunctionKind.STATIC}


@dataclass(frozen=True, slots=True)
class InterfaceName:
    """The name of an interface, `wasi:cli/stdin@0.2.6`, in its parts."""

    namespace: str
    package: str
    interface: str
    version: str | None

    @classmethod
    def parse(cls, text: str) -> InterfaceName | None:
        """Split a name; `None` for one that names no interface."""
        found = _INTERFACE.fullmatch(text)
        if found is None:
            return None
        return cls(found["namespace"], found["package"], found["interface"], found["version"])

    def __str__(self) -> str:
        """Render the name as it was."""
        version = "" if self.version is None else f"@{self.version}"
        return f"{self.namespace}:{self.package}/{self.interface}{version}"


@dataclass(frozen=True, slots=True)
class FunctionName:
    """The name of a function in its parts: `[method]descriptor.open-at`."""

    text: str
    kind: FunctionKind = FunctionKind.FUNCTION
    resource: str | None = None
    name: str | None = None  # without the resource; a constructor has none

    @classmethod
    def parse(cls, text: str) -> FunctionName:
        """Split a name; one with brackets that are not known is a plain function's."""
        found = _FUNCTION.fullmatch(text)
        try:
            kind = FunctionKind(found["kind"].removeprefix("async ")) if found is not None else None
        except ValueError:
            kind = None
        if found is None or kind is None or kind is FunctionKind.FUNCTION:
            return cls(text, name=text)
        if (kind in _WITH_NAME) != (found["name"] is not None):
            return cls(text, name=text)
        return cls(text, kind, found["resource"], found["name"])


@dataclass(frozen=True, slots=True)
class Extern:
    """One import or export of a component; functions and resources are those of an instance.

    `is_open` says that an exported instance could not be looked into, so that its lists are empty.
    """

    name: str
    kind: Space
    interface: InterfaceName | None
    functions: tuple[FunctionName, ...] = ()
    resources: tuple[str, ...] = ()
    is_open: bool = False


# 100,000 = functions and types of all instances that are imported or exported; a program has some hundred.
MAX_MEMBERS = 100_000


def _counted(before: int, members: int) -> int:
    if before + members > MAX_MEMBERS:
        raise TooManyError(0, what="members of instances", found=before + members, cap=MAX_MEMBERS)
    return before + members


def imports(resolver: Resolver, types: Types) -> tuple[Extern, ...]:
    """List what the component asks for, in its order.

    Raises `UnresolvedError` for an instance whose type is not in the component.
    """
    found: list[Extern] = []
    frame = resolver.root
    members = 0
    for definition in frame.scope.imports.values():
        node = definition.node
        extern = _extern(node.node("name").text(), definition.space)
        if node.shape is IMPORT and definition.space is Space.INSTANCE:
            declared = types.declared(Origin(frame, definition))
            members = _counted(members, len(declared.scope.exports))
            extern = _with_type(extern, declared)
        found.append(extern)
    return tuple(found)


def exports(resolver: Resolver, types: Types) -> tuple[Extern, ...]:
    """List what the component offers, in its order."""
    found: list[Extern] = []
    members = 0
    for definition in resolver.root.scope.exports.values():
        extern = _extern(definition.node.node("name").text(), definition.space)
        if definition.space is Space.INSTANCE:
            instance = resolver.origin(Item(resolver.root, Space.INSTANCE, definition.index))
            extern = _with_members(extern, resolver, types, instance)
            members = _counted(members, len(extern.functions) + len(extern.resources))
        found.append(extern)
    return tuple(found)


def _extern(name: str, kind: Space) -> Extern:
    return Extern(name, kind, InterfaceName.parse(name))


def _filled(extern: Extern, functions: list[str], resources: list[str]) -> Extern:
    names = tuple(FunctionName.parse(name) for name in functions)
    return Extern(extern.name, extern.kind, extern.interface, names, tuple(resources))


def _with_type(extern: Extern, declared: Frame) -> Extern:
    functions: list[str] = []
    resources: list[str] = []
    for name, definition in declared.scope.exports.items():
        made = definition.node.node("type")
        if definition.space is Space.FUNC:
            functions.append(name)
        elif definition.space is Space.TYPE and made.node("bound").shape.name == "sub resource":
            resources.append(name)
    return _filled(extern, functions, resources)


def _with_members(extern: Extern, resolver: Resolver, types: Types, instance: Origin) -> Extern:
    found = members(resolver, instance)
    if found is None:
        try:
            return _with_type(extern, types.declared(instance))
        except UnresolvedError:
            return Extern(extern.name, extern.kind, extern.interface, is_open=True)
    functions = [name for name, item in found.items() if item.space is Space.FUNC]
    resources = [
        name
        for name, item in found.items()
        if item.space is Space.TYPE and _is_resource(types.type(item.frame, item.index))
    ]
    return _filled(extern, functions, resources)


def members(resolver: Resolver, instance: Origin) -> dict[str, Item] | None:
    """Return what an instance exports; `None` if it comes from outside."""
    if instance.path:
        return None
    if instance.node.shape is EXPORTS:
        found: dict[str, Item] = {}
        for export in instance.node.nodes("exports"):
            item = export.node("item")
            if item.shape.defines is not None:
                name = export.node("name").text()
                found[name] = Item(instance.frame, item.shape.defines, item.number("index"))
        return found
    inner = resolver.instantiated(instance)
    if inner is None:
        return None
    return {
        name: Item(inner, definition.space, definition.index)
        for name, definition in inner.scope.exports.items()
    }


def _is_resource(made: Origin) -> bool:
    # What is left after following equal types is a resource type, or the import or export of one.
    return made.node.shape.name in {"resource", "import", "export"}
