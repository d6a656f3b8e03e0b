"""One reader for each section of a core module, and what they fill in: the outline.

Which section may follow which, and how many bytes in all, is checked in `reader.py`; types are read in
`value_types.py`.
A count is checked against its cap, and against the bytes that are left, before anything is made for it.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from sandbox.wasm.constant import skip_constant
from sandbox.wasm.cursor import Cursor, TooManyError
from sandbox.wasm.shape import (
    Export,
    ExternKind,
    ExternType,
    FuncType,
    Import,
    MemoryType,
    ModuleShape,
    TableType,
    TagType,
)
from sandbox.wasm.value_types import global_type, memory_type, rec_types, table_type

# 1,000: the largest real programs seen import 43 functions; each import becomes a function of the monitor.
MAX_IMPORTS = 1_000
# 10,000: the engine's look-up of exports is quadratic; 50,000 kept it busy for over 15 s, uninterruptibly.
MAX_EXPORTS = 10_000
# 100,000: 30,000 types already cost seconds to compile; large real programs have some thousands.
MAX_TYPES = 100_000
# 1,000,000 functions, globals or segments: what engines take (WebAssembly JavaScript interface,
# implementation limits).
MAX_FUNCTIONS = 1_000_000
MAX_GLOBALS = 1_000_000
MAX_SEGMENTS = 1_000_000
# 100 tables, memories: the same list.
MAX_TABLES = 100
MAX_MEMORIES = 100
MAX_TAGS = 100_000
_TAG_ATTRIBUTE = 0


@dataclass(slots=True)
class Outline:
    """What was read so far; becomes a `ModuleShape`."""

    types: list[FuncType | None] = field(default_factory=list)
    imports: list[Import] = field(default_factory=list)
    signatures: list[FuncType] = field(default_factory=list)  # of imported functions
    functions: array[int] = field(default_factory=lambda: array("I"))  # type index of each own function
    tables: list[TableType] = field(default_factory=list)
    memories: list[MemoryType] = field(default_factory=list)
    globals: int = 0
    tags: int = 0
    counts: dict[ExternKind, int] = field(default_factory=lambda: dict.fromkeys(ExternKind, 0))
    exports: list[Export] = field(default_factory=list)
    start: int | None = None
    element_segments: int = 0
    data_segments: int = 0
    code_bytes: int = 0
    custom_sections: list[str] = field(default_factory=list)

    def signature(self, cursor: Cursor, index: int, at: int) -> FuncType:
        """Return the function type at `index`; `at` is where the index stands."""
        found = self.types[index] if index < len(self.types) else None
        if found is None:
            raise cursor.malformed(f"type {index} is not the type of a function", at=at)
        return found

    def shape(self, size_bytes: int) -> ModuleShape:
        """Freeze what was read; `size_bytes` is the size of the whole module."""
        return ModuleShape(
            size_bytes=size_bytes,
            types=len(self.types),
            imports=tuple(self.imports),
            functions=len(self.functions),
            tables=tuple(self.tables),
            memories=tuple(self.memories),
            globals=self.globals,
            tags=self.tags,
            exports=tuple(self.exports),
            start=self.start,
            element_segments=self.element_segments,
            data_segments=self.data_segments,
            code_bytes=self.code_bytes,
            custom_sections=tuple(self.custom_sections),
        )


def _read_types(cursor: Cursor, outline: Outline) -> None:
    for _ in range(cursor.count("types", MAX_TYPES)):
        start = cursor.pos
        outline.types += rec_types(cursor, MAX_TYPES)
        # A group counts as one entry of the section and holds many types.
        if (found := len(outline.types)) > MAX_TYPES:
            raise TooManyError(start, what="types", found=found, cap=MAX_TYPES)


def _kind(cursor: Cursor) -> ExternKind:
    start = cursor.pos
    code = cursor.byte()
    try:
        return ExternKind(code)
    except ValueError as err:
        raise cursor.malformed("an unknown kind of import or export", at=start) from err


def _tag_type(cursor: Cursor, outline: Outline) -> TagType:
    start = cursor.pos
    if cursor.byte() != _TAG_ATTRIBUTE:
        raise cursor.malformed("an unknown attribute of a tag", at=start)
    start = cursor.pos
    return TagType(outline.signature(cursor, cursor.u32(), start))


def _import_type(cursor: Cursor, outline: Outline, kind: ExternKind) -> ExternType:
    start = cursor.pos
    match kind:
        case ExternKind.FUNCTION:
            signature = outline.signature(cursor, cursor.u32(), start)
            outline.signatures.append(signature)
            return signature
        case ExternKind.TABLE:
            table = table_type(cursor)
            outline.tables.append(table)
            return table
        case ExternKind.MEMORY:
            memory = memory_type(cursor)
            outline.memories.append(memory)
            return memory
        case ExternKind.GLOBAL:
            return global_type(cursor)
        case ExternKind.TAG:
            return _tag_type(cursor, outline)


def _read_imports(cursor: Cursor, outline: Outline) -> None:
    for _ in range(cursor.count("imports", MAX_IMPORTS)):
        module, name, kind = cursor.name(), cursor.name(), _kind(cursor)
        outline.imports.append(Import(module, name, kind, _import_type(cursor, outline, kind)))
        outline.counts[kind] += 1


def _read_functions(cursor: Cursor, outline: Outline) -> None:
    for _ in range(cursor.count("functions", MAX_FUNCTIONS)):
        start = cursor.pos
        index = cursor.u32()
        outline.signature(cursor, index, start)
        outline.functions.append(index)
    outline.counts[ExternKind.FUNCTION] += len(outline.functions)


def _read_tables(cursor: Cursor, outline: Outline) -> None:
    count = cursor.count("tables", MAX_TABLES)
    for _ in range(count):
        if has_initial := cursor.data[cursor.pos : min(cursor.pos + 2, cursor.end)] == b"\x40\0":
            cursor.skip(2)
        outline.tables.append(table_type(cursor))
        if has_initial:
            skip_constant(cursor)
    outline.counts[ExternKind.TABLE] += count


def _read_memories(cursor: Cursor, outline: Outline) -> None:
    count = cursor.count("memories", MAX_MEMORIES)
    for _ in range(count):
        outline.memories.append(memory_type(cursor))
    outline.counts[ExternKind.MEMORY] += count


def _read_tags(cursor: Cursor, outline: Outline) -> None:
    outline.tags = cursor.count("tags", MAX_TAGS)
    for _ in range(outline.tags):
        _tag_type(cursor, outline)
    outline.counts[ExternKind.TAG] += outline.tags


def _count_globals(cursor: Cursor, outline: Outline) -> None:
    outline.globals = cursor.count("globals", MAX_GLOBALS)
    outline.counts[ExternKind.GLOBAL] += outline.globals


def _export(cursor: Cursor, outline: Outline) -> Export:
    name, kind, start = cursor.name(), _kind(cursor), cursor.pos
    index = cursor.u32()
    if index >= outline.counts[kind]:
        raise cursor.malformed(f"an export of {kind.word} {index}, which does not exist", at=start)
    if kind is not ExternKind.FUNCTION:
        return Export(name, kind, index)
    imported = len(outline.signatures)
    if index < imported:
        return Export(name, kind, index, outline.signatures[index])
    return Export(name, kind, index, outline.signature(cursor, outline.functions[index - imported], start))


def _read_exports(cursor: Cursor, outline: Outline) -> None:
    names: set[str] = set()
    for _ in range(cursor.count("exports", MAX_EXPORTS)):
        start = cursor.pos
        export = _export(cursor, outline)
        if export.name in names:
            raise cursor.malformed("a second export of the same name", at=start)
        names.add(export.name)
        outline.exports.append(export)


def _read_start(cursor: Cursor, outline: Outline) -> None:
    start = cursor.pos
    outline.start = cursor.u32()
    if outline.start >= outline.counts[ExternKind.FUNCTION]:
        raise cursor.malformed(
            f"the start function is function {outline.start}, which does not exist", at=start
        )


def _count_elements(cursor: Cursor, outline: Outline) -> None:
    outline.element_segments = cursor.count("element segments", MAX_SEGMENTS)


def _count_data(cursor: Cursor, outline: Outline) -> None:
    outline.data_segments = cursor.count("data segments", MAX_SEGMENTS)


def _read_data_count(cursor: Cursor, _outline: Outline) -> None:
    cursor.u32()


def _measure_code(cursor: Cursor, outline: Outline) -> None:
    outline.code_bytes = cursor.remaining
    start = cursor.pos
    if (found := cursor.u32()) != len(outline.functions):
        raise cursor.malformed(f"{found} function bodies for {len(outline.functions)} functions", at=start)


@dataclass(frozen=True, slots=True)
class Section:
    """Where a section stands in the order, and how it is read."""

    rank: int  # where it stands in the order of sections
    name: str
    read: Callable[[Cursor, Outline], None]
    is_read_whole: bool = True


# SPEC: WebAssembly 3.0, binary format, modules: the tag section (13) and the data count (12) came later than
# their numbers' neighbours, so order and number differ.
SECTIONS: Final[dict[int, Section]] = {
    1: Section(1, "type", _read_types),
    2: Section(2, "import", _read_imports),
    3: Section(3, "function", _read_functions),
    4: Section(4, "table", _read_tables),
    5: Section(5, "memory", _read_memories),
    13: Section(6, "tag", _read_tags),
    6: Section(7, "global", _count_globals, is_read_whole=False),
    7: Section(8, "export", _read_exports),
    8: Section(9, "start", _read_start),
    9: Section(10, "element", _count_elements, is_read_whole=False),
    12: Section(11, "data count", _read_data_count),
    10: Section(12, "code", _measure_code, is_read_whole=False),
    11: Section(13, "data", _count_data, is_read_whole=False),
}
