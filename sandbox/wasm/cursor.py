"""A bounded cursor over bytes: the numbers, names and counts of the WebAssembly binary format.

What the numbers mean lives in `value_types.py` and `reader.py`.
It never reads outside its window, never loops longer than the bytes it consumes, and raises nothing but
`WasmError`.
"""

from __future__ import annotations

from enum import StrEnum


class Fault(StrEnum):
    """What is wrong with bytes that were to be a core module."""

    EMPTY = "empty"
    NOT_WASM = "not-wasm"
    TEXT = "text"
    COMPONENT = "component"
    VERSION = "version"
    TRUNCATED = "truncated"
    MALFORMED = "malformed"
    TOO_MANY = "too-many"


class WasmError(Exception):
    """Bytes that are no core module that this reader takes; `offset` counts from the start of the file."""

    def __init__(self, fault: Fault, offset: int, problem: str) -> None:
        """Keep what is wrong and where; `problem` holds no text of the guest."""
        super().__init__(fault, offset, problem)
        self.fault = fault
        self.offset = offset
        self.problem = problem

    def __str__(self) -> str:
        """Say where and what."""
        return f"byte {self.offset}: {self.problem}"


class TooManyError(WasmError):
    """A count above what this reader takes; `found` is what the module claims."""

    def __init__(self, offset: int, *, what: str, found: int, cap: int) -> None:
        """Keep the two numbers and what they count."""
        super().__init__(Fault.TOO_MANY, offset, f"{found} {what}, more than {cap}")
        self.what = what
        self.found = found
        self.cap = cap


# 100,000 = the longest name that engines take (WebAssembly JavaScript interface, implementation limits).
MAX_NAME_BYTES = 100_000


class Cursor:
    """A position in `data`, and the `end` that it may not pass."""

    __slots__ = ("data", "end", "is_whole", "pos")

    def __init__(self, data: bytes, pos: int, end: int, *, is_whole: bool = False) -> None:
        """Open the window `data[pos:end]`; `is_whole` says that it ends where the file ends."""
        self.data = data
        self.pos = pos
        self.end = end
        self.is_whole = is_whole

    @property
    def remaining(self) -> int:
        """Bytes left in the window."""
        return self.end - self.pos

    def malformed(self, problem: str, *, at: int | None = None) -> WasmError:
        """Build the error for a broken rule of the format, at this position or at `at`."""
        return WasmError(Fault.MALFORMED, self.pos if at is None else at, problem)

    def _short(self) -> WasmError:
        if self.is_whole:
            return WasmError(Fault.TRUNCATED, self.end, "the file ends here, in the middle of the module")
        return WasmError(Fault.MALFORMED, self.end, "the contents run past the end of their section")

    def skip(self, count: int) -> None:
        """Pass over `count` bytes."""
        if count > self.remaining:
            raise self._short()
        self.pos += count

    def window(self, count: int) -> Cursor:
        """Pass over `count` bytes, and return a cursor that can read them and nothing else."""
        start = self.pos
        self.skip(count)
        return Cursor(self.data, start, self.pos)

    def byte(self) -> int:
        """Read one byte."""
        if self.pos >= self.end:
            raise self._short()
        value = self.data[self.pos]
        self.pos += 1
        return value

    def unsigned(self, bits: int) -> int:
        """Read an unsigned LEB128 number of at most `bits` bits, 32 or 64."""
        start = self.pos
        value = shift = 0
        while shift < bits:
            byte = self.byte()
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                if value >> bits:
                    raise self.malformed(f"a number is larger than {bits} bits", at=start)
                return value
            shift += 7
        raise self.malformed(f"a number has more bytes than {bits} bits need", at=start)

    def u32(self) -> int:
        """Read an unsigned 32-bit number."""
        # One byte is by far the commonest length, and this is the innermost step of reading a module.
        if self.pos < self.end and (byte := self.data[self.pos]) < 0x80:
            self.pos += 1
            return byte
        return self.unsigned(32)

    def signed(self, bits: int) -> int:
        """Read a signed LEB128 number of at most `bits` bits: 32, 33 or 64."""
        start = self.pos
        value = shift = 0
        while shift < bits:
            byte = self.byte()
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                value -= (byte & 0x40) and 1 << shift
                if not -(1 << bits - 1) <= value < 1 << bits - 1:
                    raise self.malformed(f"a number is larger than {bits} bits", at=start)
                return value
        raise self.malformed(f"a number has more bytes than {bits} bits need", at=start)

    def count(self, what: str, cap: int) -> int:
        """Read how many `what` follow: at most `cap`, and at most one for each byte that is left."""
        start = self.pos
        found = self.u32()
        if found > cap:
            raise TooManyError(start, what=what, found=found, cap=cap)
        if found > self.remaining:
            raise self._short()
        return found

    def name(self) -> str:
        """Read a name: its length, then that many bytes of UTF-8."""
        start = self.pos
        length = self.u32()
        if length > MAX_NAME_BYTES:
            raise TooManyError(start, what="bytes in a name", found=length, cap=MAX_NAME_BYTES)
        at = self.pos
        self.skip(length)
        try:
            return self.data[at : self.pos].decode()
        except UnicodeDecodeError as err:
            raise self.malformed("a name is not UTF-8", at=at + err.start) from err

    def finish(self, what: str) -> None:
        """Check that the window was read to its end."""
        if self.pos != self.end:
            raise self.malformed(f"{self.remaining} bytes are left over at the end of the {what} section")
