"""Several precompiled modules in one file: what a component is compiled to.

SECURITY: what is in a bundle is native code; it is authenticated whole before anybody opens it.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

MAGIC = b"wgbundle"
_COUNT = struct.Struct("<8sI")
_ALIGN = 4_096


def pack(parts: Sequence[bytes]) -> bytes:
    """Put parts behind each other, each at the start of a page."""
    head = _COUNT.pack(MAGIC, len(parts)) + struct.pack(f"<{len(parts)}Q", *map(len, parts))
    out = bytearray(head)
    for part in parts:
        out += bytes(-len(out) % _ALIGN)
        out += part
    return bytes(out)


def is_bundle(data: bytes | memoryview) -> bool:
    """Say whether a file that starts with these bytes is a bundle."""
    return bytes(data[: len(MAGIC)]) == MAGIC


def unpack(data: memoryview) -> tuple[memoryview, ...]:
    """Give the parts of a bundle, as views; ValueError for what is none."""
    magic, count = _COUNT.unpack_from(data)
    if magic != MAGIC:
        raise ValueError("not a bundle")
    sizes = struct.unpack_from(f"<{count}Q", data, _COUNT.size)
    at, found = _COUNT.size + 8 * count, []
    for size in sizes:
        at += -at % _ALIGN
        found.append(data[at : at + size])
        at += size
    if at > len(data):
        raise ValueError("a bundle that is cut short")
    return tuple(found)
