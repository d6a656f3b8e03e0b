"""How a construct of the component binary format is described, and the node that is read by a description.

The descriptions themselves live in `core_types.py`, `types.py` and `definitions.py`.
Reading and writing go by the same description, so they cannot disagree about a construct.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TypeAlias


class Space(StrEnum):
    """The index spaces of a component."""

    CORE_FUNC = "core func"
    CORE_TABLE = "core table"
    CORE_MEMORY = "core memory"
    CORE_GLOBAL = "core global"
    CORE_TAG = "core tag"
    CORE_TYPE = "core type"
    CORE_MODULE = "core module"
    CORE_INSTANCE = "core instance"
    FUNC = "func"
    VALUE = "value"
    TYPE = "type"
    COMPONENT = "component"
    INSTANCE = "instance"


@dataclass(frozen=True, slots=True)
class Number:
    """An unsigned number that is no index; an `int`."""

    bits: int = 32


@dataclass(frozen=True, slots=True)
class Index:
    """The index of a definition in `space`."""

    space: Space
    is_signed: bool = False  # an index that shares its place with negative codes is a signed number


@dataclass(frozen=True, slots=True)
class Outer:
    """A count of levels outwards, and an index in `space` there; an `OuterIndex`."""

    space: Space


@dataclass(frozen=True, slots=True)
class Name:
    """A length and that many bytes of UTF-8; a `str`."""


@dataclass(frozen=True, slots=True)
class Flag:
    """A byte 0 or 1; a `bool`."""


@dataclass(frozen=True, slots=True)
class Literal:
    """These bytes and no others; `None`."""

    code: bytes


@dataclass(frozen=True, slots=True)
class Rest:
    """All bytes up to the end of the section, not looked into; a `memoryview` of the input."""

    prefix: bytes = b""  # what they have to begin with


@dataclass(frozen=True, slots=True)
class Several:
    """A count, and that many of `of`; a tuple."""

    of: Kind
    what: str  # for errors, in the plural


@dataclass(frozen=True, slots=True)
class Maybe:
    """A byte 0, or a byte 1 and `of`; `None`, or what `of` gives."""

    of: Kind


@dataclass(frozen=True, slots=True)
class Level:
    """What `of` gives, in index spaces of its own."""

    of: Kind


@dataclass(frozen=True, slots=True)
class Sections:
    """A component's preamble and its sections; a tuple of `Section`."""


@dataclass(frozen=True, slots=True, eq=False)
class Shape:
    """One construct: the bytes that announce it, then its fields; a `Node`."""

    name: str
    code: bytes
    fields: tuple[tuple[str, Kind], ...]
    defines: Space | None  # the space in which such a node makes a definition, if it is an item of a level

    def position(self, name: str) -> int:
        """Return where in a node's values the field `name` stands; `KeyError` if it has none."""
        for at, (known, _) in enumerate(self.fields):
            if known == name:
                return at
        raise KeyError(f"{self.name} has no {name}")


@dataclass(frozen=True, slots=True, eq=False)
class Choice:
    """One of several shapes, told apart by the bytes that announce them; a `Node`.

    INVARIANT: no code is the start of another one, and none is longer than `longest`.
    """

    name: str
    cases: dict[bytes, Shape] = field(default_factory=dict[bytes, Shape])
    otherwise: Shape | None = None  # what stands there when no code fits

    def add(self, *shapes: Shape) -> None:
        """Add cases; a grammar that contains itself is completed after it was named."""
        for new in shapes:
            if any(new.code.startswith(code) or code.startswith(new.code) for code in self.cases):
                raise ValueError(f"two cases of {self.name} begin alike: {new.name}")
            self.cases[new.code] = new


Kind: TypeAlias = (
    Number
    | Index
    | Outer
    | Name
    | Flag
    | Literal
    | Rest
    | Several
    | Maybe
    | Level
    | Sections
    | Shape
    | Choice
)

LONGEST_CODE = 3
"""Bytes in the longest code of a shape."""


def shape(name: str, code: str = "", defines: Space | None = None, /, **fields: Kind) -> Shape:
    """Describe a construct; `code` is in hexadecimal."""
    return Shape(name, bytes.fromhex(code), tuple(fields.items()), defines)


def choice(name: str, *shapes: Shape, otherwise: Shape | None = None) -> Choice:
    """Describe a choice between constructs."""
    made = Choice(name, otherwise=otherwise)
    made.add(*shapes)
    return made


@dataclass(frozen=True, slots=True)
class OuterIndex:
    """A definition of an enclosing level; `levels` counts outwards, 0 is the level of the reference."""

    levels: int
    index: int


@dataclass(frozen=True, slots=True)
class Section:
    """One section: its code, and what it holds."""

    code: int
    items: tuple[Node, ...]


Value: TypeAlias = "int | str | bytes | memoryview | OuterIndex | Node | Section | tuple[Value, ...] | None"


@dataclass(frozen=True, slots=True)
class Node:
    """One construct as it was read: a value for each field of its shape, in order."""

    shape: Shape
    values: tuple[Value, ...]

    def __getitem__(self, name: str) -> Value:
        """Return the value of the field `name`."""
        return self.values[self.shape.position(name)]

    def number(self, name: str) -> int:
        """Return the number, index or flag `name`."""
        value = self[name]
        if not isinstance(value, int):
            raise TypeError(f"{name} of {self.shape.name} is no number")
        return value

    def text(self, name: str = "name") -> str:
        """Return the text `name`; it is the guest's own."""
        value = self[name]
        if not isinstance(value, str):
            raise TypeError(f"{name} of {self.shape.name} is no text")
        return value

    def node(self, name: str) -> Node:
        """Return the construct `name`."""
        value = self[name]
        if not isinstance(value, Node):
            raise TypeError(f"{name} of {self.shape.name} is no construct")
        return value

    def nodes(self, name: str) -> tuple[Node, ...]:
        """Return the constructs `name`; a missing one gives none."""
        value = self[name]
        if value is None:
            return ()
        if isinstance(value, Node):
            return (value,)
        if not isinstance(value, tuple):
            raise TypeError(f"{name} of {self.shape.name} are no constructs")
        return tuple(item for item in value if isinstance(item, Node))

    def sections(self) -> tuple[Section, ...]:
        """Return the sections of a component."""
        value = self["sections"]
        if not isinstance(value, tuple):
            raise TypeError(f"{self.shape.name} has no sections")
        return tuple(section for section in value if isinstance(section, Section))

    def replace(self, **changes: Value) -> Node:
        """Return a copy with other values for the fields named."""
        values = list(self.values)
        for name, value in changes.items():
            values[self.shape.position(name)] = value
        return Node(self.shape, tuple(values))
