"""From a component's tree to its bytes.

Reading lives in `read.py`, and goes by the same grammar.
`write_component(read_component(data)) == data`, for all bytes that can be read.
"""

from __future__ import annotations

from sandbox.wasm.component.definitions import PREAMBLE, SECTIONS
from sandbox.wasm.component.grammar import (
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


def write_component(component: Node) -> bytes:
    """Return the bytes of a component; `TypeError` for a tree that the grammar does not allow."""
    out = bytearray()
    _node(out, component)
    return bytes(out)


def unsigned(value: int) -> bytes:
    """Return an unsigned number as LEB128, in its shortest form."""
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _signed(value: int) -> bytes:
    out = bytearray()
    while value >= 0x40:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _node(out: bytearray, node: Node) -> None:
    out += node.shape.code
    for (_, kind), value in zip(node.shape.fields, node.values, strict=True):
        _value(out, kind, value)


def _value(out: bytearray, kind: Kind, value: Value) -> None:
    match kind, value:
        case Choice() | Shape(), Node():
            _node(out, value)
        case Several(), tuple():
            out += unsigned(len(value))
            for one in value:
                _value(out, kind.of, one)
        case Maybe(), None:
            out.append(0)
        case Maybe(), _:
            out.append(1)
            _value(out, kind.of, value)
        case Level(), _:
            _value(out, kind.of, value)
        case Sections(), tuple():
            out += PREAMBLE
            for section in value:
                _section(out, section)
        case _:
            out += _leaf(kind, value)


def _leaf(kind: Kind, value: Value) -> bytes | memoryview:
    match kind, value:
        case Index(is_signed=True), int():
            return _signed(value)
        case Index() | Flag() | Number(), int():
            return unsigned(value)
        case Name(), str():
            text = value.encode()
            return unsigned(len(text)) + text
        case Outer(), OuterIndex(levels, index):
            return unsigned(levels) + unsigned(index)
        case Literal(), None:
            return kind.code
        case Rest(), bytes() | memoryview():
            return value
        case _:
            raise TypeError(f"{type(value).__name__} where {kind} stands")


def _section(out: bytearray, section: Value) -> None:
    if not isinstance(section, Section):
        raise TypeError(f"{type(section).__name__} where a section stands")
    body = bytearray()
    kind = SECTIONS[section.code]
    _value(body, kind, section.items[0] if isinstance(kind, Shape) else section.items)
    out.append(section.code)
    out += unsigned(len(body))
    out += body
