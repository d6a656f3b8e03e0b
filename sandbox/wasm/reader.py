"""From the bytes of a core module to its shape: one pass over the sections, nothing executed.

The sections' contents are read in `sections.py`; function bodies are not validated here, the engine does that
in the compiler's process.
For any bytes at all it returns a shape or raises `WasmError`, in time and memory of the order of the input's
size.
"""

from __future__ import annotations

from sandbox.wasm.cursor import Cursor, Fault, TooManyError, WasmError
from sandbox.wasm.sections import SECTIONS, Outline
from sandbox.wasm.shape import ModuleShape

# 1,000: real modules have some twenty sections, mostly custom ones.
MAX_SECTIONS = 1_000
# 4 MiB: what is read entry by entry, in all; it bounds the reader at some seconds. A module of 58 MB needs
# under 1 MiB.
MAX_OUTLINE_BYTES = 4_194_304

_MAGIC = b"\0asm"
_CORE_VERSION = b"\1\0\0\0"
_COMPONENT_LAYER = b"\1\0"
_HEADER_BYTES = 8
_CUSTOM = 0


def read_module(data: bytes) -> ModuleShape:
    """Read the outline of the core module in `data`.

    Function bodies, data and initial values are passed over, so a module with a shape can still be invalid.
    Raises `WasmError` for everything else, `TooManyError` for counts above the caps of this file.
    """
    sniff(data)
    outline = Outline()
    cursor = Cursor(data, _HEADER_BYTES, len(data), is_whole=True)
    rank = sections = outline_bytes = 0
    while cursor.remaining:
        start = cursor.pos
        sections += 1
        if sections > MAX_SECTIONS:
            raise TooManyError(start, what="sections", found=sections, cap=MAX_SECTIONS)
        code = cursor.byte()
        size = cursor.u32()
        body = cursor.window(size)
        if code == _CUSTOM:
            outline.custom_sections.append(body.name())
            continue
        section = SECTIONS.get(code)
        if section is None:
            raise cursor.malformed(f"an unknown section, number {code}", at=start)
        if section.rank <= rank:
            raise cursor.malformed(f"a second {section.name} section, or one out of order", at=start)
        rank = section.rank
        outline_bytes += size if section.is_read_whole else 0
        if outline_bytes > MAX_OUTLINE_BYTES:
            raise TooManyError(
                start, what="bytes of declarations", found=outline_bytes, cap=MAX_OUTLINE_BYTES
            )
        section.read(body, outline)
        if section.is_read_whole:
            body.finish(section.name)
    if outline.functions and not outline.code_bytes:
        raise WasmError(
            Fault.MALFORMED, len(data), "functions without bodies: the end of the module may be missing"
        )
    return outline.shape(len(data))


def sniff(data: bytes) -> None:
    """Check the first eight bytes: raise `WasmError` that names what the file is, if it is no core module."""
    if not data:
        raise WasmError(Fault.EMPTY, 0, "the file is empty")
    if not data.startswith(_MAGIC):
        if _MAGIC.startswith(data):
            raise WasmError(Fault.TRUNCATED, len(data), "the file ends here, in the middle of the module")
        if data[:256].lstrip(b"\xef\xbb\xbf \t\r\n").startswith((b"(", b";;")):
            raise WasmError(Fault.TEXT, 0, "WebAssembly text, not a binary")
        raise WasmError(Fault.NOT_WASM, 0, "the file does not start with the WebAssembly magic number")
    version = data[4:_HEADER_BYTES]
    if len(version) < 4:
        raise WasmError(Fault.TRUNCATED, len(data), "the file ends here, in the middle of the module")
    if version == _CORE_VERSION:
        return
    if version[2:] == _COMPONENT_LAYER:
        raise WasmError(Fault.COMPONENT, 4, "a component, not a core module")
    raise WasmError(Fault.VERSION, 4, f"WebAssembly version {int.from_bytes(version, 'little')}, expected 1")
