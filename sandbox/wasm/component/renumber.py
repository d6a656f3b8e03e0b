"""A copy of a component with items inserted: every reference is renumbered, and some are redirected.

Making the items lives in `build.py`.
What is not touched by an edit is copied as it is: an edit that inserts nothing gives an equal tree.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from sandbox.wasm.component.definitions import CUSTOM, SECTIONS
from sandbox.wasm.component.grammar import (
    Choice,
    Fresh,
    Index,
    Kind,
    Level,
    Maybe,
    Node,
    Outer,
    OuterIndex,
    Section,
    Sections,
    Several,
    Shape,
    Space,
    Value,
)
from sandbox.wasm.component.levels import defined

Redirect = Mapping[tuple[Space, int], int | Fresh]
LevelPath = tuple[int, ...]


class EditError(Exception):
    """An edit that does not fit its component; a mistake of ours and never the guest's."""


@dataclass(frozen=True, slots=True)
class Insertion:
    """Items to be put into one level, in front of the item at the position `before`.

    References in the items are to the component before the edit, or to a `Fresh` that stands for an item
    that is inserted earlier. `names` gives each item its `Fresh`, or `None`.
    `redirect` says which old definitions are replaced, and by what, in every reference of the component's
    own items from `before` on; inserted items keep theirs.
    """

    before: int
    items: tuple[Node, ...]
    names: tuple[Fresh | None, ...]
    redirect: Redirect = field(default_factory=dict[tuple[Space, int], "int | Fresh"])


def edited(component: Node, edits: Mapping[LevelPath, Sequence[Insertion]]) -> Node:
    """Return a copy of `component` with items inserted.

    A level is named by the positions of nested components on the way to it: `()` is the component itself.
    A level that is edited loses its `component-name` section, which gives names to old numbers.
    Raises `EditError` for a level or position that is not there, and for a `Fresh` without an item.
    """
    copier = _Copier(edits)
    copy = copier.level_of(component, ())
    if missing := set(edits) - copier.seen:
        raise EditError(f"no component at {min(missing)}")
    return copy


def _section_codes() -> Iterator[tuple[Shape, int]]:
    for code, kind in SECTIONS.items():
        of = kind.of if isinstance(kind, Several) else kind
        for shape in of.cases.values() if isinstance(of, Choice) else (of,):
            if not isinstance(shape, Shape):
                raise TypeError(f"section {code} holds no constructs")
            yield shape, code


_SECTION_OF = dict(_section_codes())


def _is_naming(item: Node) -> bool:
    return item.shape is CUSTOM and item.text() == "component-name"


class _Numbers:
    """How one level's old indices become new ones, up to the item that is being copied."""

    def __init__(self) -> None:
        self.old = dict.fromkeys(Space, 0)
        self.new = dict.fromkeys(Space, 0)
        # From which old index on, and by how much more, the numbers of a space are shifted.
        self.starts: dict[Space, list[int]] = {space: [] for space in Space}
        self.shifts: dict[Space, list[int]] = {space: [] for space in Space}
        self.fresh: dict[Fresh, int] = {}
        self.redirect: dict[tuple[Space, int], int | Fresh] = {}
        self.is_inserting = False

    def count(self, item: Node) -> None:
        """Number the definitions of an item of the component."""
        if (found := defined(item)) is not None:
            space, count = found
            self.old[space] += count
            self.new[space] += count

    def insert(self, item: Node, name: Fresh | None) -> None:
        """Number the definition of an inserted item."""
        found = defined(item)
        if found is None:
            if name is not None:
                raise EditError(f"{name.label} names an item that defines nothing")
            return
        space, count = found
        if name is not None:
            if name in self.fresh:
                raise EditError(f"{name.label} names two items")
            self.fresh[name] = self.new[space]
        self.new[space] += count
        self.starts[space].append(self.old[space])
        self.shifts[space].append(self.new[space] - self.old[space])

    def renumbered(self, space: Space, index: Value) -> int:
        """Return the new index for a reference."""
        if isinstance(index, int) and not self.is_inserting:
            index = self.redirect.get((space, index), index)
        if isinstance(index, Fresh):
            if index not in self.fresh:
                raise EditError(f"{index.label} is used before it is inserted")
            return self.fresh[index]
        if not isinstance(index, int):
            raise EditError(f"{type(index).__name__} is no index")
        at = bisect_right(self.starts[space], index)
        return index + self.shifts[space][at - 1] if at else index


class _Copier:
    """One copy of one component: the levels around the place that is being copied, outermost first."""

    def __init__(self, edits: Mapping[LevelPath, Sequence[Insertion]]) -> None:
        self.edits = edits
        self.seen: set[LevelPath] = set()
        self.levels: list[_Numbers] = []

    def level_of(self, component: Node, path: LevelPath) -> Node:
        """Copy a component that stands at `path`."""
        self.seen.add(path)
        numbers = _Numbers()
        self.levels.append(numbers)
        waiting = sorted(self.edits.get(path, ()), key=lambda insertion: insertion.before)
        copied = _Sections()
        position = 0
        for section in component.sections():
            copied.start(section.code, is_empty=not section.items)
            for item in section.items:
                while waiting and waiting[0].before == position:
                    self.insert(numbers, waiting.pop(0), copied)
                numbers.count(item)
                if not (self.edits.get(path) and _is_naming(item)):
                    copied.add(section.code, self.item(item, (*path, position)))
                position += 1
        while waiting and waiting[0].before == position:
            self.insert(numbers, waiting.pop(0), copied)
        if waiting:
            raise EditError(f"no item at {waiting[0].before}")
        self.levels.pop()
        return component.replace(sections=copied.made)

    def insert(self, numbers: _Numbers, insertion: Insertion, copied: _Sections) -> None:
        """Copy inserted items, then redirect."""
        numbers.is_inserting = True
        for item, name in zip(insertion.items, insertion.names, strict=True):
            copied.add(_SECTION_OF[item.shape], self.node(item))
            numbers.insert(item, name)
        numbers.is_inserting = False
        numbers.redirect.update(insertion.redirect)

    def item(self, item: Node, path: LevelPath) -> Node:
        """Copy an item of a component."""
        if any(isinstance(kind, Level) and isinstance(kind.of, Sections) for _, kind in item.shape.fields):
            return self.level_of(item, path)
        return self.node(item)

    def node(self, node: Node) -> Node:
        """Copy a construct; one without references is not copied but shared."""
        values = tuple(
            self.value(kind, value) for (_, kind), value in zip(node.shape.fields, node.values, strict=True)
        )
        return Node(node.shape, values) if node.values else node

    def value(self, kind: Kind, value: Value) -> Value:
        """Copy what one field holds."""
        copy = value
        match kind, value:
            case Index(), _:
                copy = self.levels[-1].renumbered(kind.space, value)
            case Outer(), OuterIndex():
                copy = self.outer(kind.space, value)
            case Choice() | Shape(), Node():
                copy = self.node(value)
            case Several(of), tuple():
                copy = tuple(self.value(of, one) for one in value)
            case Maybe(of), _ if value is not None:
                copy = self.value(of, value)
            case Level(of), _:
                self.levels.append(_Numbers())
                copy = self.value(of, value)
                self.levels.pop()
            case Sections(), tuple():  # of an inserted component: one that is there is edited as a level
                copy = tuple(self.section(one) for one in value)
            case _:
                pass  # what is no reference, and holds none
        return copy

    def section(self, section: Value) -> Section:
        """Copy a section of an inserted component."""
        if not isinstance(section, Section):
            raise EditError(f"{type(section).__name__} is no section")
        return Section(section.code, tuple(self.node(item) for item in section.items))

    def outer(self, space: Space, target: OuterIndex) -> OuterIndex:
        """Copy a reference to an enclosing level; one that leads out of the component stays as it is."""
        if target.levels >= len(self.levels):
            return target
        return OuterIndex(target.levels, self.levels[-1 - target.levels].renumbered(space, target.index))


class _Sections:
    """The sections of a copy, as they grow; an item that is inserted into a section may split it."""

    def __init__(self) -> None:
        self._found: list[tuple[int, list[Node]]] = []
        self._is_open = False

    def start(self, code: int, *, is_empty: bool) -> None:
        """Begin a section where the component has one."""
        self._is_open = False
        if is_empty:
            self._found.append((code, []))

    def add(self, code: int, item: Node) -> None:
        """Add an item to the section that is open, or to a new one."""
        if self._is_open and self._found[-1][0] == code and isinstance(SECTIONS[code], Several):
            self._found[-1][1].append(item)
        else:
            self._found.append((code, [item]))
            self._is_open = True

    @property
    def made(self) -> tuple[Section, ...]:
        """The sections so far."""
        return tuple(Section(code, tuple(items)) for code, items in self._found)
