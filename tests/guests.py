"""A guest that does what a script in its memory says: any sequence of host calls, from one compiled module.

`Script` lays the calls out, `tests/machines.py` runs them, bare or monitored. What the guest saw of each
call (errno, and a window of its memory after the call) is in a log in its memory, in the order of the calls.
"""

from __future__ import annotations

import functools
import struct
from dataclasses import dataclass, field

from policy.calls import CALL_CODES, CALLS, MODULE, HostCall

PAGES = 16
PAGE = 65_536
DATA, DATA_END = 64, 0x1_0000  # paths, buffers and results; the first 64 bytes stay free
OPS, OPS_END = 0x1_0000, 0x4_0000
LOG, LOG_END = 0x4_0000, PAGES * PAGE
OP_BYTES = 96
MAX_ARGUMENTS = 9
UNTOUCHED = 0xAA  # what windows hold before the call

COPY, FILL, LOOP, END = 1_000, 1_001, 1_002, 0xFFFF_FFFF
END_OF_MEMORY = PAGES * PAGE
OUTSIDE = 0x7FFF_FFF0  # no memory of this guest

_TYPES = {"i": "i32", "I": "i64"}


@dataclass(frozen=True, slots=True)
class Slot:
    """A word of the guest's memory whose value, when the call is made, is the argument."""

    at: int


Argument = int | Slot


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a script, as it was laid out."""

    name: str
    arguments: tuple[Argument, ...]
    window: tuple[int, int]


@dataclass(frozen=True, slots=True)
class Seen:
    """What the guest saw of one call that returned."""

    name: str
    errno: int
    window: bytes


def _invocation(code: int, call: HostCall) -> str:
    arguments = " ".join(
        f"(call $arg (i32.const {place}))"
        if letter == "I"
        else f"(i32.wrap_i64 (call $arg (i32.const {place})))"
        for place, letter in enumerate(call.parameters)
    )
    result = (
        f"(local.set $errno (call ${call.name} {arguments}))"
        if call.has_result
        else f"(call ${call.name} {arguments})"
    )
    return f"(if (i32.eq (local.get $code) (i32.const {code})) (then {result} (br $done)))"


@functools.cache
def script_text(segments: tuple[tuple[int, bytes], ...] = ()) -> str:
    """The guest; with `segments`, one that carries its script and prints its log when it is through."""
    imports = "\n".join(
        f'(import "{MODULE}" "{call.name}" (func ${call.name} (param {" ".join(_TYPES[p] for p in call.parameters)})'
        f" {'(result i32)' if call.has_result else ''}))"
        for call in CALLS
        if not call.is_inner
    )
    held = "".join(
        f'(data (i32.const {at}) "{"".join(f"{chr(92)}{byte:02x}" for byte in content)}")'
        for at, content in segments
    )
    calls = "\n".join(_invocation(code, call) for code, call in enumerate(CALLS) if not call.is_inner)
    report = """
  (i32.store (i32.const 0) (i32.const LOG)) (i32.store (i32.const 4) (i32.sub (global.get $log) (i32.const LOG)))
  (drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))""".replace("LOG", str(LOG))
    return f"""(module {imports}
(memory (export "memory") {PAGES} {PAGES}) {held}
(global $op (mut i32) (i32.const {OPS}))
(global $log (export "log") (mut i32) (i32.const {LOG}))
(func $arg (param $i i32) (result i64) (local $v i64)
  (local.set $v (i64.load offset=8 (i32.add (global.get $op) (i32.shl (local.get $i) (i32.const 3)))))
  (if (i32.and (i32.shr_u (i32.load offset=4 (global.get $op)) (local.get $i)) (i32.const 1))
    (then (return (i64.load32_u (i32.wrap_i64 (local.get $v))))))
  (local.get $v))
(func $perform (local $code i32) (local $errno i32) (local $n i32)
  (local.set $code (i32.load (global.get $op)))
  (block $done
    (if (i32.eq (local.get $code) (i32.const {COPY})) (then
      (memory.copy (i32.wrap_i64 (call $arg (i32.const 0))) (i32.wrap_i64 (call $arg (i32.const 1)))
        (i32.wrap_i64 (call $arg (i32.const 2)))) (br $done)))
    (if (i32.eq (local.get $code) (i32.const {FILL})) (then
      (memory.fill (i32.wrap_i64 (call $arg (i32.const 0))) (i32.wrap_i64 (call $arg (i32.const 1)))
        (i32.wrap_i64 (call $arg (i32.const 2)))) (br $done)))
    {calls}
    (unreachable))
  (local.set $n (i32.load offset=84 (global.get $op)))
  (i32.store (global.get $log) (local.get $errno))
  (memory.copy (i32.add (global.get $log) (i32.const 4)) (i32.load offset=80 (global.get $op)) (local.get $n))
  (global.set $log (i32.add (global.get $log) (i32.add (local.get $n) (i32.const 4)))))
(func (export "_start") (local $back i32) (local $times i64)
  (block $over (loop $next
    (br_if $over (i32.eq (i32.load (global.get $op)) (i32.const -1)))
    (if (i32.eq (i32.load (global.get $op)) (i32.const {LOOP})) (then
      ;; go back: counts its second word down, and keeps only the last round in the log
      (local.set $times (i64.load offset=16 (global.get $op)))
      (if (i64.ne (local.get $times) (i64.const 0)) (then
        (i64.store offset=16 (global.get $op) (i64.sub (local.get $times) (i64.const 1)))
        (global.set $log (i32.const {LOG}))
        (global.set $op (i32.wrap_i64 (i64.load offset=8 (global.get $op))))
        (br $next))))
      (else (call $perform)))
    (global.set $op (i32.add (global.get $op) (i32.const {OP_BYTES})))
    (br $next)))
  {report if segments else ""}))"""


@dataclass(slots=True)
class Script:
    """Calls, and the memory they need, put down one after the other."""

    memory: bytearray = field(default_factory=lambda: bytearray(OPS))
    at: int = DATA
    calls: list[Call] = field(default_factory=list)
    ops: bytearray = field(default_factory=bytearray)

    def out(self, size: int, align: int = 8) -> int:
        """Room for a result, filled with a byte that shows what was not written."""
        self.at = -(-self.at // align) * align
        at, self.at = self.at, self.at + size
        if self.at > DATA_END:
            raise ValueError("the script's data is full")
        self.memory[at : self.at] = bytes([UNTOUCHED]) * size
        return at

    def put(self, content: bytes, align: int = 1) -> int:
        """Address of `content`."""
        at = self.out(len(content), align)
        self.memory[at : at + len(content)] = content
        return at

    def text(self, content: bytes | str) -> tuple[int, int]:
        """Address and length of a text."""
        raw = content.encode() if isinstance(content, str) else content
        return self.put(raw), len(raw)

    def vectors(self, *buffers: tuple[int, int]) -> tuple[int, int]:
        """Address and length of a list of buffers."""
        return self.put(b"".join(struct.pack("<II", *buffer) for buffer in buffers), 8), len(buffers)

    def _op(self, code: int, arguments: tuple[Argument, ...], window: tuple[int, int] = (0, 0)) -> None:
        mask, values = 0, [0] * MAX_ARGUMENTS
        for place, argument in enumerate(arguments):
            if isinstance(argument, Slot):
                mask |= 1 << place
            values[place] = (argument.at if isinstance(argument, Slot) else argument) & ((1 << 64) - 1)
        self.ops += struct.pack(f"<II{MAX_ARGUMENTS}QII8x", code, mask, *values, *window)
        if OPS + len(self.ops) + OP_BYTES > OPS_END:
            raise ValueError("the script is too long")

    def call(self, name: str, *arguments: Argument, window: tuple[int, int] = (0, 0)) -> int:
        """Add a call; says which it is."""
        if len(arguments) != len(CALLS[CALL_CODES[name]].parameters):
            raise ValueError(f"{name} takes {CALLS[CALL_CODES[name]].parameters}")
        self._op(CALL_CODES[name], arguments, window)
        self.calls.append(Call(name, arguments, window))
        return len(self.calls) - 1

    def copy(self, to: int, start: int, size: int) -> None:
        """Have the guest copy a piece of its memory; it is in the log like a call."""
        self._op(COPY, (to, start, size))
        self.calls.append(Call("copy", (), (0, 0)))

    def loop(self, times: int, back: int) -> None:
        """Go back `back` calls, `times` times; the log then starts anew."""
        self._op(LOOP, (OPS + len(self.ops) - back * OP_BYTES, times))

    def image(self) -> bytes:
        """The memory that the guest starts with, from address 0."""
        return bytes(self.memory) + bytes(self.ops) + struct.pack("<I", END)

    def segments(self) -> tuple[tuple[int, bytes], ...]:
        """The same, as the data of a module that carries it."""
        return ((0, bytes(self.memory[: self.at])), (OPS, bytes(self.ops) + struct.pack("<I", END)))

    def seen(self, log: bytes) -> list[Seen]:
        """What the log says of the calls that returned."""
        found: list[Seen] = []
        at = 0
        for call in self.calls:
            size = 4 + call.window[1]
            if at + size > len(log):
                break
            errno = struct.unpack_from("<I", log, at)[0]
            found.append(Seen(call.name, errno, log[at + 4 : at + size]))
            at += size
        return found

    # --- the calls that tests make most ----------------------------------------------------------

    def open(
        self,
        path: bytes | str,
        fd: Argument = 3,
        *,
        oflags: int = 0,
        rights: int = 2,
        fdflags: int = 0,
        follow: bool = True,
        inheriting: int = 0,
    ) -> Slot:
        """Open a path; the descriptor is in the slot."""
        slot = self.put(struct.pack("<I", 0xFFFF_FFFF), 4)
        self.call(
            "path_open",
            fd,
            int(follow),
            *self.text(path),
            oflags,
            rights,
            inheriting,
            fdflags,
            slot,
            window=(slot, 4),
        )
        return Slot(slot)

    def read(self, fd: Argument, size: int = 64) -> int:
        """Read into a new buffer."""
        count = self.out(4)
        buffer = self.out(size)
        return self.call(
            "fd_read", fd, *self.vectors((buffer, size)), count, window=(count, buffer + size - count)
        )

    def write(self, fd: Argument, content: bytes) -> int:
        """Write a text."""
        count = self.out(4, 4)
        return self.call("fd_write", fd, *self.vectors(self.text(content)), count, window=(count, 4))

    def pwrite(self, fd: Argument, content: bytes, offset: int) -> int:
        """Write a text at a place."""
        count = self.out(4, 4)
        return self.call("fd_pwrite", fd, *self.vectors(self.text(content)), offset, count, window=(count, 4))

    def stat(self, path: bytes | str, fd: Argument = 3, *, follow: bool = True) -> int:
        """Ask about a path."""
        buffer = self.out(64)
        return self.call("path_filestat_get", fd, int(follow), *self.text(path), buffer, window=(buffer, 64))

    def on(self, name: str, path: bytes | str, fd: Argument = 3) -> int:
        """A call that takes a directory and a path, and no more: mkdir, rmdir, unlink."""
        return self.call(name, fd, *self.text(path))

    def rename(self, old: bytes | str, new: bytes | str, fd: Argument = 3, fd2: Argument = 3) -> int:
        """Rename."""
        return self.call("path_rename", fd, *self.text(old), fd2, *self.text(new))

    def link(
        self, old: bytes | str, new: bytes | str, fd: Argument = 3, fd2: Argument = 3, flags: int = 0
    ) -> int:
        """Make a hard link."""
        return self.call("path_link", fd, flags, *self.text(old), fd2, *self.text(new))

    def symlink(self, content: bytes | str, path: bytes | str, fd: Argument = 3) -> int:
        """Make a symbolic link."""
        return self.call("path_symlink", *self.text(content), fd, *self.text(path))

    def readlink(self, path: bytes | str, fd: Argument = 3, size: int = 64) -> int:
        """Read a link."""
        count = self.out(4)
        buffer = self.out(size)
        return self.call(
            "path_readlink", fd, *self.text(path), buffer, size, count, window=(count, buffer + size - count)
        )

    def readdir(self, fd: Argument, size: int = 1_024, cookie: int = 0) -> int:
        """List a directory."""
        count = self.out(4)
        buffer = self.out(size)
        return self.call("fd_readdir", fd, buffer, size, cookie, count, window=(count, buffer + size - count))
