"""Keeps an embedded engine from taking over the signals of the process that it runs in.

The engine is opened in `clickhouse.py`. ClickHouse handles SIGSEGV, SIGILL and their like by ending the
process; the WebAssembly engine tells a guest that traps by the same signals. INVARIANT: behind the block each
of them is handled as before it.
"""

from __future__ import annotations

import contextlib
import ctypes
import signal
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

_FAULTS: Final = (
    signal.SIGILL,
    signal.SIGTRAP,
    signal.SIGABRT,
    signal.SIGBUS,
    signal.SIGFPE,
    signal.SIGSEGV,
)
_BYTES: Final = 1_024  # a `struct sigaction` has 152 with glibc on x86-64, and less elsewhere


@contextlib.contextmanager
def kept_handlers() -> Iterator[None]:
    """Put back what handles faults; Python's own `signal` does not know handlers of libraries."""
    libc = ctypes.CDLL(None, use_errno=True)
    before = {number: ctypes.create_string_buffer(_BYTES) for number in _FAULTS}
    known = [number for number, held in before.items() if libc.sigaction(int(number), None, held) == 0]
    try:
        yield
    finally:
        for number in known:
            libc.sigaction(int(number), before[number], None)
