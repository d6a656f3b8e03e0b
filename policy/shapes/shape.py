"""A shape: the JSON Schema of one kind of text, its name, and how it is told in words.

The shapes themselves are in the siblings of this file. YAML editors read a text without quotes as a number or
a boolean where it looks like one, so a shape says which of those it takes as well. INVARIANT: each pattern
is one that Python, ECMAScript with the `u` flag and Rust read alike.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pydantic import GetJsonSchemaHandler
    from pydantic.json_schema import JsonSchemaValue
    from pydantic_core import CoreSchema

    from policy.digest import Json

MARK = "x-shape"
"""The key under which a shape leaves its name in a schema."""

WIDEST = 18
"""Digits of the longest number that a document may hold."""


@dataclass(frozen=True, slots=True, eq=False)  # by identity: type checkers and `typing` hash what annotates
class Shape:
    """One kind of text."""

    name: str  # of its definition in the schema
    words: str  # what it expects, as a finding says it
    schema: Mapping[str, Json]
    write: Callable[[int], str] = str
    """How a number of this kind, such as a default, stands in a document."""

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        """Only the name: `json_schema.py` puts in the definition."""
        return {MARK: self.name}


@dataclass(frozen=True, slots=True, eq=False)
class Alternatives:
    """What else a list or a section may be: nothing at all, or one item of a list by itself."""

    is_one_item: bool = False

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        """The schema of the value, with the alternatives beside it."""
        inner = handler(schema)
        one = [inner["items"]] if self.is_one_item else []
        return {"anyOf": [inner, *one, {"type": "null"}]}


def text(pattern: str = "", *, longest: int = 0) -> dict[str, Json]:
    """A text that no number and no boolean could be."""
    found: dict[str, Json] = {"type": "string"}
    if pattern:
        found["pattern"] = f"^(?:{pattern})$"
    if longest:
        found["maxLength"] = longest
    return found


def scalar(pattern: str = "", *, is_signed: bool = True, longest: int = 0) -> dict[str, Json]:
    """A text that YAML may read as a number or as a boolean; `is_signed` says that -1 is one of them."""
    found = text(pattern, longest=longest)
    found["type"] = ["string", "number", "boolean"]
    if not is_signed:
        found["minimum"] = 0
    return found


def numbers(low: int, high: int) -> str:
    """The pattern of the whole numbers from `low` to `high`, without zeros in front."""
    blocks: list[_Block] = []
    while low <= high:
        free = 0
        while low and low % 10 ** (free + 1) == 0 and low + 10 ** (free + 1) - 1 <= high:
            free += 1
        size = 10**free
        head, first = divmod(low // size, 10)
        last = min(9, first + (high + 1 - low) // size - 1)
        low += (last - first + 1) * size
        fewest = free
        if blocks and (head, first, last) == (0, 1, 9) and blocks[-1].may_grow(free):
            fewest = blocks.pop().fewest
        blocks.append(_Block(head, (first, last), fewest, free))
    return "|".join(str(each) for each in blocks)


@dataclass(frozen=True, slots=True)
class _Block:
    """Numbers that begin alike and go on with any digits."""

    head: int  # 0: nothing
    digit: tuple[int, int]  # the first and the last that may follow
    fewest: int  # digits after these
    most: int

    def may_grow(self, free: int) -> bool:
        return self.head == 0 and self.digit == (1, 9) and self.most == free - 1

    def __str__(self) -> str:
        first, last = self.digit
        digit = str(first) if first == last else f"[{first}-{last}]"
        times = f"{self.most}" if self.fewest == self.most else f"{self.fewest},{self.most}"
        free = "" if self.most == 0 else f"[0-9]{{{times}}}"
        return f"{self.head or ''}{digit}{free}"
