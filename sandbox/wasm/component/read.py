"""From the bytes of a component to its tree: one pass, nothing executed, core modules not looked into.

What may stand where is the grammar in `definitions.py`; whether the parts fit together is not checked here,
the engine does that in the compiler's process.
For any bytes at all it returns a tree that `write` turns into the same bytes, or raises `WasmError`, in time
and memory of the order of the input's size.
"""

from __future__ import annotations

from sandbox.wasm.component.definitions import COMPONENT, PREAMBLE, SECTIONS
from sandbox.wasm.component.grammar import (
    LONGEST_CODE,
    Choice,
    Flag,
    Index,
    Kind,
    Level,
    Literal,
    Maybe,
    Name,
    Node,
    Number,
    Outer,
    OuterIndex,
    Rest,
    Section,
    Sections,
    Several,
    Shape,
    Value,
)
from sandbox.wasm.cursor import Cursor, Fault, TooManyError, WasmError
from sandbox.wasm.reader import sniff

# 30 = levels of components and types inside each other; real components have four. Each level costs the
# reader some twelve frames of Python's stack.
MAX_LEVELS = 30
# 500,000 = constructs and entries of lists in all: it bounds the reader at some seconds and 200 MB. A program
# of 18 MB has 14,000.
MAX_PARTS = 500_000
# 100,000 = entries of one list.
MAX_ENTRIES = 100_000


def read_component(data: bytes) -> Node:
    """Read the component in `data`; the tree's core modules and custom sections are views of `data`.

    A component with a tree can still be invalid.
    Raises `WasmError` for what is no component and for what the grammar does not know, `TooManyError` for
    counts above the caps of this file.
    """
    try:
        sniff(data)
    except WasmError as err:
        if err.fault is not Fault.COMPONENT:
            raise
    else:
        raise WasmError(Fault.MALFORMED, 4, "a core module, not a component")
    return _Reader(data).component()


class _ExactCursor(Cursor):
    """A cursor that refuses numbers written longer than they need be.

    A tree keeps numbers, not how they were spelt. Every encoder in use writes the shortest form, so a padded
    number is refused, and what is read can be written back byte for byte.
    """

    __slots__ = ()

    def window(self, count: int) -> _ExactCursor:
        """Pass over `count` bytes, and return a cursor that can read them and nothing else."""
        start = self.pos
        self.skip(count)
        return _ExactCursor(self.data, start, self.pos)

    def unsigned(self, bits: int) -> int:
        """Read an unsigned number in its shortest form."""
        start = self.pos
        value = super().unsigned(bits)
        if self.pos - start > 1 and not self.data[self.pos - 1]:
            raise self.malformed("a number is written with more bytes than it needs", at=start)
        return value

    def index(self) -> int:
        """Read an index that is written as a signed number, in its shortest form."""
        start = self.pos
        value = self.signed(33)
        if value < 0:
            raise self.malformed("an unknown type", at=start)
        if self.pos - start > 1 and not (self.data[self.pos - 1] or self.data[self.pos - 2] & 0x40):
            raise self.malformed("a number is written with more bytes than it needs", at=start)
        return value


class _Reader:
    """One reading of one file: what was made so far is counted over all levels."""

    def __init__(self, data: bytes) -> None:
        self.view = memoryview(data)
        self.whole = _ExactCursor(data, 0, len(data), is_whole=True)
        self.levels = 0
        self.parts = 0

    def component(self) -> Node:
        """Read the file as one component."""
        return self.shape(self.whole, COMPONENT)

    def spend(self, cursor: _ExactCursor, parts: int) -> None:
        """Count what is made, over all levels."""
        self.parts += parts
        if self.parts > MAX_PARTS:
            raise TooManyError(cursor.pos, what="constructs", found=self.parts, cap=MAX_PARTS)

    def count(self, cursor: _ExactCursor, what: str) -> int:
        """Read how many entries a list has."""
        # Each entry takes a byte at least, so a count is never above the bytes that are left.
        count = cursor.count(what, MAX_ENTRIES)
        self.spend(cursor, count)
        return count

    def shape(self, cursor: _ExactCursor, shape: Shape) -> Node:
        """Read the fields of a construct; its code was passed already."""
        self.spend(cursor, 1)
        return Node(shape, tuple([self.value(cursor, kind) for _, kind in shape.fields]))

    def value(self, cursor: _ExactCursor, kind: Kind) -> Value:
        """Read what one field holds."""
        match kind:
            case Choice() | Shape():
                return self.shape(cursor, _chosen(cursor, kind) if isinstance(kind, Choice) else kind)
            case Index():
                return cursor.index() if kind.is_signed else cursor.u32()
            case Name():
                return cursor.name()
            case Several():
                count = self.count(cursor, kind.what)
                return tuple([self.value(cursor, kind.of) for _ in range(count)])
            case Level():
                return self.level(cursor, kind)
            case _:
                return self.rarer(cursor, kind)

    def rarer(self, cursor: _ExactCursor, kind: Kind) -> Value:
        """Read what one field holds, of the kinds that occur less often."""
        found: Value
        match kind:
            case Maybe():
                found = self.value(cursor, kind.of) if _flag(cursor) else None
            case Flag():
                found = _flag(cursor)
            case Number():
                found = cursor.unsigned(kind.bits)
            case Outer():
                found = OuterIndex(cursor.u32(), cursor.u32())
            case Literal():
                _literal(cursor, kind.code)
                found = None
            case Rest():
                start = cursor.pos
                _literal(cursor, kind.prefix)
                cursor.skip(cursor.remaining)
                found = self.view[start : cursor.pos]
            case Sections():
                found = self.sections(cursor)
            case _:
                raise TypeError(f"no reader for {kind}")
        return found

    def level(self, cursor: _ExactCursor, kind: Level) -> Value:
        """Read what has index spaces of its own."""
        self.levels += 1
        if self.levels > MAX_LEVELS:
            raise TooManyError(cursor.pos, what="levels", found=self.levels, cap=MAX_LEVELS)
        value = self.value(cursor, kind.of)
        self.levels -= 1
        return value

    def sections(self, cursor: _ExactCursor) -> tuple[Section, ...]:
        """Read a component's sections, up to the end of the window."""
        _literal(cursor, PREAMBLE)
        found: list[Section] = []
        while cursor.remaining:
            self.spend(cursor, 1)
            start = cursor.pos
            code = cursor.byte()
            kind = SECTIONS.get(code)
            if kind is None:
                raise cursor.malformed(f"an unknown section, number {code}", at=start)
            body = cursor.window(cursor.u32())
            if isinstance(kind, Shape):
                items: tuple[Node, ...] = (self.shape(body, kind),)
            else:
                items = self.entries(body, kind)
            body.finish(kind.name if isinstance(kind, Shape) else kind.what)
            found.append(Section(code, items))
        return tuple(found)

    def entries(self, cursor: _ExactCursor, kind: Several) -> tuple[Node, ...]:
        """Read a section's count, and that many constructs."""
        count = self.count(cursor, kind.what)
        of = kind.of
        if not isinstance(of, Shape | Choice):
            raise TypeError(f"no construct: {of}")
        return tuple(
            self.shape(cursor, _chosen(cursor, of) if isinstance(of, Choice) else of) for _ in range(count)
        )


def _chosen(cursor: _ExactCursor, choice: Choice) -> Shape:
    start = cursor.pos
    for length in range(1, LONGEST_CODE + 1):
        code = cursor.data[start : min(start + length, cursor.end)]
        if (shape := choice.cases.get(code)) is not None:
            cursor.skip(length)
            return shape
    if choice.otherwise is None:
        if not cursor.remaining:
            cursor.byte()  # raises what a missing byte raises
        raise cursor.malformed(f"an unknown {choice.name}", at=start)
    return choice.otherwise


def _flag(cursor: _ExactCursor) -> bool:
    start = cursor.pos
    value = cursor.byte()
    if value > 1:
        raise cursor.malformed("a flag that is neither 0 nor 1", at=start)
    return value == 1


def _literal(cursor: _ExactCursor, code: bytes) -> None:
    start = cursor.pos
    for expected in code:
        if cursor.byte() != expected:
            raise cursor.malformed("bytes that have no meaning here", at=start)
