"""Canonical JSON (RFC 8785) of what the log stores besides records, and typed reading of it.

Which documents there are lives with their owners (`start.py`, `receipt.py`, `sealer.py`). Reading
checks the type of every field. INVARIANT: equal values give equal bytes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias, cast

import orjson
import rfc8785

from audit.errors import FormatError
from audit.text import from_host

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_LARGEST = (1 << 53) - 1  # that a number of JSON holds exactly

Json: TypeAlias = "bool | int | float | str | Sequence[Json] | Mapping[str, Json] | None"


def dumps(value: Json) -> bytes:
    """Write canonical JSON; text that is no valid Unicode is stored as `text.from_host` says."""
    if _is_plain(value):
        try:
            return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
        except orjson.JSONEncodeError:  # nested too deeply for it
            pass
    return rfc8785.dumps(_storable(value))  # pyright: ignore[reportArgumentType]  # its type is narrower: list, dict


def _is_plain(value: Json) -> bool:
    """Say whether the faster library writes it alike: it sorts ASCII alike, and numbers but not floats."""
    match value:
        case None | bool():
            return True
        case str():
            return value.isascii() or from_host(value) is value
        case int():
            return -_LARGEST <= value <= _LARGEST
        case list() | tuple():
            return all(map(_is_plain, value))
        case dict():
            return all(type(key) is str and key.isascii() and _is_plain(item) for key, item in value.items())
        case _:
            return False


def _storable(value: Json) -> Json:
    match value:
        case str():
            return from_host(value)
        case None | bool() | int() | float():
            return value
        case _ if hasattr(value, "items"):
            mapping = cast("Mapping[str, Json]", value)
            return {from_host(key): _storable(item) for key, item in mapping.items()}
        case _:
            return [_storable(item) for item in value]


@dataclass(frozen=True, slots=True)
class Document:
    """A JSON object whose fields are read with their types; `where` is for messages."""

    where: str
    fields: Mapping[str, object]

    def text(self, key: str) -> str:
        """Give a field that is text."""
        value = self.fields.get(key)
        if not isinstance(value, str):
            raise self._wrong(key, "text")
        return value

    def optional_text(self, key: str) -> str | None:
        """Give a field that is text or null or missing."""
        return None if self.fields.get(key) is None else self.text(key)

    def integer(self, key: str) -> int:
        """Give a field that is a whole number."""
        value = self.fields.get(key)
        if not isinstance(value, int) or isinstance(value, bool):
            raise self._wrong(key, "a whole number")
        return value

    def optional_integer(self, key: str) -> int | None:
        """Give a field that is a whole number or null or missing."""
        return None if self.fields.get(key) is None else self.integer(key)

    def child(self, key: str) -> Document:
        """Give a field that is an object."""
        return Document(f"{self.where}.{key}", self._object(self.fields.get(key), key))

    def children(self, key: str) -> tuple[Document, ...]:
        """Give a field that is a list of objects."""
        return tuple(
            Document(f"{self.where}.{key}[{at}]", self._object(item, key))
            for at, item in enumerate(self._list(key))
        )

    def flag(self, key: str) -> bool:
        """Give a field that is true or false."""
        value = self.fields.get(key)
        if not isinstance(value, bool):
            raise self._wrong(key, "true or false")
        return value

    def texts(self, key: str) -> tuple[str, ...]:
        """Give a field that is a list of text."""
        found = self._list(key)
        if not all(isinstance(item, str) for item in found):
            raise self._wrong(key, "a list of text")
        return tuple(cast("list[str]", found))

    def _list(self, key: str) -> list[object]:
        value = self.fields.get(key)
        if not isinstance(value, list):
            raise self._wrong(key, "a list")
        return cast("list[object]", value)

    def _object(self, value: object, key: str) -> Mapping[str, object]:
        if not isinstance(value, dict):
            raise self._wrong(key, "an object")
        return cast("dict[str, object]", value)

    def _wrong(self, key: str, expected: str) -> FormatError:
        return FormatError(f"{self.where}.{key}", expected, self.fields.get(key))


def loads(where: str, text: bytes | memoryview) -> Document:
    """Read a JSON object; FormatError if it is not one."""
    try:
        value = cast("object", orjson.loads(text))
    except orjson.JSONDecodeError as err:
        raise FormatError(where, "JSON", bytes(text[:80])) from err
    if not isinstance(value, dict):
        raise FormatError(where, "a JSON object", value)
    return Document(where, cast("dict[str, object]", value))
