"""What a core module says about itself: its types, imports, exports and sizes, as frozen values.

Reading the bytes lives in `reader.py`; judging what was read lives in `sandbox.admission`.
A shape only repeats what the module claims: text in it is the guest's own and is hostile wherever it is
shown.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

PAGE_BYTES = 65_536
"""Size of a memory page, unless the module says otherwise."""


class ExternKind(IntEnum):
    """What is imported or exported; the codes of the binary format."""

    FUNCTION = 0
    TABLE = 1
    MEMORY = 2
    GLOBAL = 3
    TAG = 4

    @property
    def word(self) -> str:
        """The kind as a word of a sentence: `function`."""
        return self.name.lower()


@dataclass(frozen=True, slots=True)
class FuncType:
    """A function's signature; value types are spelt as in the text format, as `i32`."""

    params: tuple[str, ...]
    results: tuple[str, ...]

    def __str__(self) -> str:
        """Render the signature on one line: `(i32, i64) -> (i32)`."""
        return f"({', '.join(self.params)}) -> ({', '.join(self.results)})"


@dataclass(frozen=True, slots=True)
class MemoryType:
    """A linear memory; sizes in pages of `page_bytes`."""

    minimum: int
    maximum: int | None
    is_shared: bool = False
    is_64: bool = False
    page_bytes: int = PAGE_BYTES

    @property
    def minimum_bytes(self) -> int:
        """How large the memory is when the module starts."""
        return self.minimum * self.page_bytes


@dataclass(frozen=True, slots=True)
class TableType:
    """A table; sizes in elements."""

    element: str
    minimum: int
    maximum: int | None
    is_64: bool = False


@dataclass(frozen=True, slots=True)
class GlobalType:
    """A global variable."""

    value: str
    is_mutable: bool


@dataclass(frozen=True, slots=True)
class TagType:
    """An exception tag."""

    signature: FuncType


ExternType = FuncType | TableType | MemoryType | GlobalType | TagType


@dataclass(frozen=True, slots=True)
class Import:
    """One thing that the module asks the host for."""

    module: str
    name: str
    kind: ExternKind
    type: ExternType


@dataclass(frozen=True, slots=True)
class Export:
    """One thing that the module offers; `signature` is there for functions only."""

    name: str
    kind: ExternKind
    index: int
    signature: FuncType | None = None


@dataclass(frozen=True, slots=True)
class ModuleShape:
    """The outline of one core module; code, data and initial values are counted, not read.

    `memories` and `tables` hold imported ones first, then the module's own, as the format numbers them.
    """

    size_bytes: int
    types: int
    imports: tuple[Import, ...]
    functions: int  # the module's own, without imported ones
    tables: tuple[TableType, ...]
    memories: tuple[MemoryType, ...]
    globals: int  # the module's own
    tags: int  # the module's own
    exports: tuple[Export, ...]
    start: int | None  # index of the function that runs at instantiation
    element_segments: int
    data_segments: int
    code_bytes: int
    custom_sections: tuple[str, ...]

    def export(self, name: str) -> Export | None:
        """Return the export of that name, if there is one."""
        return next((export for export in self.exports if export.name == name), None)
