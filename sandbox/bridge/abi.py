"""How values of the component model lie in memory, and how they are passed: the canonical ABI.

The types of the bridge's own functions are written as text, `result<list<u8>, stream-error>`, in
`interfaces.py`; what a guest's component says of types is read in `sandbox/wasm/component/flatten.py`.
SPEC: component model, Canonical ABI: alignment, size, flattening; pointers are 32 bits wide.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import zip_longest

MAX_FLAT_PARAMS = 16
_TOKEN = re.compile(r"[a-z][a-z0-9-]*|_|[<>,]")
_SIZES = {"bool": 1, "u8": 1, "s8": 1, "u16": 2, "s16": 2, "u32": 4, "s32": 4, "char": 4, "u64": 8, "s64": 8}


@dataclass(frozen=True, slots=True)
class Plain:
    """A number, a flag set or a handle: `size` bytes, aligned to as many."""

    size: int
    flat: str = "i32"

    @property
    def align(self) -> int:
        """What its address is a multiple of."""
        return self.size


@dataclass(frozen=True, slots=True)
class Sequence:
    """A list or a string: a pointer and a count."""

    of: Type
    size: int = 8
    align: int = 4


@dataclass(frozen=True, slots=True)
class Record:
    """A record or a tuple: its fields, each at the next place that suits it."""

    fields: tuple[Type, ...]

    @property
    def align(self) -> int:
        """The largest of its fields' alignments."""
        return max((one.align for one in self.fields), default=1)

    @property
    def offsets(self) -> tuple[int, ...]:
        """Where each field lies."""
        at, found = 0, []
        for one in self.fields:
            at = _up(at, one.align)
            found.append(at)
            at += one.size
        return tuple(found)

    @property
    def size(self) -> int:
        """Bytes up to the next of its kind."""
        end = max((at + one.size for at, one in zip(self.offsets, self.fields, strict=True)), default=0)
        return _up(end, self.align)


@dataclass(frozen=True, slots=True)
class Variant:
    """A variant, an enumeration, an option or a result: which case, then what it holds, if anything."""

    cases: tuple[Type | None, ...]

    @property
    def tag_size(self) -> int:
        """Bytes of the number of the case."""
        return 1 if len(self.cases) <= 1 << 8 else 2

    @property
    def align(self) -> int:
        """The largest of its parts' alignments."""
        return max(self.tag_size, *(one.align for one in self.cases if one is not None), 1)

    @property
    def payload_at(self) -> int:
        """Where what a case holds begins."""
        return _up(self.tag_size, max((one.align for one in self.cases if one is not None), default=1))

    @property
    def size(self) -> int:
        """Bytes up to the next of its kind."""
        largest = max((one.size for one in self.cases if one is not None), default=0)
        return _up(self.payload_at + largest, self.align)


Type = Plain | Sequence | Record | Variant


@dataclass(frozen=True, slots=True)
class Function:
    """A function's type, and how it is lowered to core WebAssembly."""

    params: tuple[Type, ...]
    result: Type | None

    @property
    def flat_params(self) -> tuple[str, ...]:
        """Core types of its parameters, without the place for the result."""
        return flat(Record(self.params))

    @property
    def has_place(self) -> bool:
        """Whether what it returns is written to memory, at a last parameter."""
        return self.result is not None and len(flat(self.result)) > 1

    @property
    def core_params(self) -> tuple[str, ...]:
        """Core types of all its parameters."""
        return (*self.flat_params, "i32") if self.has_place else self.flat_params

    @property
    def core_results(self) -> tuple[str, ...]:
        """Core type of what it returns, if it does not go to memory."""
        return () if self.result is None or self.has_place else flat(self.result)

    @property
    def needs_memory(self) -> bool:
        """Whether it can't be carried out without the guest's memory."""
        return self.has_place or has_pointers(Record(self.params))


def _up(at: int, align: int) -> int:
    return -(-at // align) * align


def flat(of: Type) -> tuple[str, ...]:
    """Core types of a value that is passed without memory."""
    match of:
        case Plain(_, kind):
            return (kind,)
        case Sequence():
            return ("i32", "i32")
        case Record(fields):
            return tuple(core for one in fields for core in flat(one))
        case Variant(cases):
            joined: tuple[str, ...] = ()
            for one in cases:
                parts = () if one is None else flat(one)
                joined = tuple(_join(*pair) for pair in zip_longest(joined, parts))
            return ("i32", *joined)


def _join(one: str | None, other: str | None) -> str:
    return (one or other or "") if one is None or other is None or one == other else "i64"


def has_pointers(of: Type) -> bool:
    """Whether a value leads to more memory than its own."""
    match of:
        case Plain():
            return False
        case Sequence():
            return True
        case Record(fields):
            return any(map(has_pointers, fields))
        case Variant(cases):
            return any(has_pointers(one) for one in cases if one is not None)


class _Parser:
    def __init__(self, text: str, named: Mapping[str, Type]) -> None:
        self.tokens = _TOKEN.findall(text)
        self.named = named

    def type(self) -> Type | None:
        name = self.tokens.pop(0)
        inner: list[Type | None] = []
        if self.tokens[:1] == ["<"]:
            while (sign := self.tokens.pop(0)) != ">":
                if sign == "," or self.tokens[0] != ">":
                    inner.append(self.type())
        return self.made(name, inner)

    def made(self, name: str, inner: list[Type | None]) -> Type | None:
        if name in _SIZES:
            return Plain(_SIZES[name], "i64" if _SIZES[name] == 8 else "i32")
        there = tuple(one for one in inner if one is not None)
        found: Type | None
        match name:
            case "_":
                found = None
            case "string":
                found = Sequence(Plain(1))
            case "own" | "borrow":
                found = Plain(4)
            case "list":
                (of,) = there
                found = Sequence(of)
            case "option":
                found = Variant((None, *there))
            case "result":
                found = Variant((*inner, None, None)[:2])
            case "tuple":
                found = Record(there)
            case _:
                found = self.named[name]
        return found


def enumeration(cases: int) -> Variant:
    """An enumeration of so many cases."""
    return Variant((None,) * cases)


def parsed(text: str, named: Mapping[str, Type]) -> Type | None:
    """Read a type; `_` is none. `named` gives the types that are not built in; handles need no name."""
    return _Parser(text, named).type()


def function(text: str, named: Mapping[str, Type]) -> Function:
    """Read `(string, u32) -> result<u64>`; what returns nothing ends in `-> _`."""
    params, _, result = text.partition("->")
    inside = _Parser(f"tuple<{params.strip()[1:-1]}>", named).type()
    if not isinstance(inside, Record):
        raise TypeError(text)
    return Function(inside.fields, parsed(result, named))
