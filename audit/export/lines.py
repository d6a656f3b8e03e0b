"""Writes many rows as lines of text without a step of Python for each: lines of one shape are written once.

What a line says is the matter of each form. A form writes one line for all rows that are alike in the columns
it calls shared, with marks where the other columns go; the marks are filled for all rows at once. INVARIANT:
a mark is made of a character that no form lets through, so text from a guest cannot be one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from audit.columns import plain

Value = int | str | bytes | None
Shared = Mapping[str, Value]
"""What rows of one shape have in common, by name."""

_MARK = "\x01"
_MOST_SHAPES = 5_000  # lines that are remembered, of a few thousand characters each
_MOST_TEXT = 8 << 20  # characters of a column's texts that are remembered

_MOST_CODES = 1 << 62  # a piece has far fewer than 2^31 rows, so two codes that are made dense fit


def mark(name: str) -> str:
    """Give what stands in a line for the value of each row.

    A name is one of the form's marks, which are all different: a value that a line has twice is marked by
    `name` and `name:2`.
    """
    return f"{_MARK}{name}{_MARK}"


@dataclass(slots=True)
class Known:
    """Remembers what was made of a value; forgets all when it grows large."""

    _make: Callable[[Value], str]
    _made: dict[Value, str] = field(default_factory=dict)
    _size: int = 0

    def of(self, value: Value) -> str:
        """Give what is made of a value."""
        found = self._made.get(value)
        if found is None:
            found = self._make(value)
            self._size += len(found) + 100  # about what an entry takes besides
            if self._size > _MOST_TEXT:
                self._made.clear()
                self._size = len(found)
            self._made[value] = found
        return found


@dataclass(frozen=True, slots=True)
class Shape:
    """A line with marks, taken apart: what stands before each mark in the order of the form's marks."""

    before: Mapping[str, str]
    tail: str

    @classmethod
    def of(cls, line: str, order: Sequence[str]) -> Shape:
        """Take a line apart; ValueError if its marks are not in the form's order: a fault of the form."""
        parts = line.split(_MARK)
        names = parts[1::2]
        if names != [name for name in order if name in set(names)]:
            raise ValueError(f"marks out of order: {names}")
        return cls(dict(zip(names, parts[::2], strict=False)), parts[-1])


class Columns:
    """The columns of one piece of rows, as codes to group by and as text to fill marks with."""

    def __init__(self, rows: pa.Table) -> None:
        """Take a piece of rows with the stored columns."""
        self.rows = rows
        self.count = rows.num_rows

    def numbers(self, name: str) -> npt.NDArray[np.int64]:
        """Give a column of numbers; 0 where it is null."""
        return pc.fill_null(self.rows.column(name), 0).to_numpy().astype(np.int64)  # type: ignore[no-any-return]  # ships no types

    def is_set(self, name: str) -> npt.NDArray[np.bool_]:
        """Say for each row whether a column has a value."""
        return self.rows.column(name).is_valid().to_numpy()  # type: ignore[no-any-return]  # ships no types

    def coded(self, name: str) -> tuple[npt.NDArray[np.int64], list[Value]]:
        """Give a column as codes, and what each code means."""
        column = plain(self.rows.column(name)).combine_chunks().dictionary_encode(null_encoding="encode")
        return column.indices.to_numpy().astype(np.int64), column.dictionary.to_pylist()

    def text(self, name: str, write: Known) -> pa.Array:
        """Give a column as text: `write` is asked once for each value that occurs."""
        return self.texts(self.rows.column(name), write)

    def texts(self, column: pa.ChunkedArray, write: Known) -> pa.Array:
        """Give a column that was made of others as text, in the same way."""
        coded = plain(column).combine_chunks().dictionary_encode(null_encoding="encode")
        values = coded.dictionary.to_pylist()
        return pa.array([write.of(value) for value in values], pa.string()).take(coded.indices)

    def digits(self, name: str, *, null: str = "") -> pa.Array:
        """Give a column of numbers as decimal digits."""
        return pc.fill_null(self.rows.column(name).combine_chunks().cast(pa.string()), null)

    def hexadecimal(self, name: str, *, null: str, quote: str = "") -> pa.Array:
        """Give a column of bytes in hexadecimal."""
        column = self.rows.column(name)
        if column.null_count == len(column):
            return pa.repeat(null, len(column))
        found = [null if raw is None else f"{quote}{raw.hex()}{quote}" for raw in column.to_pylist()]
        return pa.array(found, pa.string())


@dataclass(slots=True)
class Keys:
    """What the lines of a piece are grouped by: columns, and facts that a form adds about each row."""

    columns: Columns
    _codes: npt.NDArray[np.int64]
    _size: int = 1  # all codes are below it
    _names: list[str] = field(default_factory=list)
    _parts: list[tuple[npt.NDArray[np.int64], list[Value]]] = field(default_factory=list)

    @classmethod
    def of(cls, columns: Columns, names: Sequence[str]) -> Keys:
        """Group by these columns."""
        keys = cls(columns, np.zeros(columns.count, np.int64))
        for name in names:
            keys.add(name, *columns.coded(name))
        return keys

    def add(self, name: str, codes: npt.NDArray[np.int64], values: list[Value]) -> None:
        """Group by a fact as well: a code for each row, and what each code means."""
        self._names.append(name)
        self._parts.append((codes, values))
        if self._size * len(values) >= _MOST_CODES:
            self._codes = np.unique(self._codes, return_inverse=True)[1].astype(np.int64)
            self._size = self.columns.count
        self._codes = self._codes * len(values) + codes
        self._size *= len(values)

    def add_number(self, name: str, numbers: npt.NDArray[np.int64]) -> None:
        """Group by a number as well."""
        values, codes = np.unique(numbers, return_inverse=True)
        self.add(name, codes.astype(np.int64), values.tolist())

    def groups(self) -> tuple[list[Shared], npt.NDArray[np.int64]]:
        """Give what each group shares, and the group of each row."""
        _, first, group = np.unique(self._codes, return_index=True, return_inverse=True)
        shared: list[Shared] = [
            {name: values[codes[at]] for name, (codes, values) in zip(self._names, self._parts, strict=True)}
            for at in first
        ]
        return shared, group.astype(np.int64)


@dataclass(slots=True)
class LineWriter:
    """Writes the rows of one form, piece by piece."""

    order: Sequence[str]
    line: Callable[[Shared], str]
    keys: Callable[[Columns], Keys]
    fill: Callable[[Columns, str], pa.Array]
    _known: dict[tuple[Value, ...], Shape] = field(default_factory=dict)

    def write(self, rows: pa.Table) -> memoryview:
        """Give the lines of a piece."""
        columns = Columns(rows)
        shared, group = self.keys(columns).groups()
        shapes = [self._shape(each) for each in shared]
        parts: list[pa.Array | str] = []
        filled: dict[str, pa.Array] = {}
        for name in self.order:
            used = [name in shape.before for shape in shapes]
            if not any(used):
                continue
            parts.append(_spread([shape.before.get(name, "") for shape in shapes], group))
            value = name.partition(":")[0]
            if value not in filled:
                filled[value] = self.fill(columns, value)
            found = filled[value]
            parts.append(found if all(used) else pc.if_else(pa.array(used).take(pa.array(group)), found, ""))
        parts.append(_spread([shape.tail for shape in shapes], group))
        made = pc.binary_join_element_wise(*parts, "")
        if isinstance(made, pa.ChunkedArray):
            made = made.combine_chunks()
        return _content(made)

    def _shape(self, shared: Shared) -> Shape:
        key = tuple(shared.values())
        found = self._known.get(key)
        if found is None:
            if len(self._known) >= _MOST_SHAPES:
                self._known.clear()
            found = self._known[key] = Shape.of(self.line(shared), self.order)
        return found


def _spread(texts: list[str], group: npt.NDArray[np.int64]) -> pa.Array | str:
    return texts[0] if len(set(texts)) == 1 else pa.array(texts, pa.string()).take(pa.array(group))


def _content(texts: pa.Array) -> memoryview:
    offsets = np.frombuffer(texts.buffers()[1], np.int32)
    first, last = offsets[texts.offset], offsets[texts.offset + len(texts)]
    return memoryview(texts.buffers()[2])[first:last] if last > first else memoryview(b"")
