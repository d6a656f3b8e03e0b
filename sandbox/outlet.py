"""One output stream of a guest, on its way to whoever asked for it.

Reading it from the cell is `executor.py`; what may be written at all the monitor decides. A reader that is
slow holds up the guest, through a bounded queue and the pipe behind it, and never the supervisor: so
deadlines and the audit log do not wait for a terminal. INVARIANT: what is taken is passed on in order, byte
for byte.
"""

from __future__ import annotations

import hashlib
import queue
import threading
from typing import Protocol

_QUEUE_BYTES = 1 << 20
_LAST_WAIT_S = 1.0  # for a reader that does not read, once nobody wants the run any more


class OnOutput(Protocol):
    """Takes what the guest wrote, as it comes; called in a thread of its own, one piece after the other."""

    def __call__(self, chunk: bytes, /) -> object:
        """Take one piece; what it returns is of no interest."""


def ignore(_chunk: bytes) -> None:
    """Drop output that nobody asked for."""


class Outlet:
    """Keeps what is to be kept of a stream, and passes it on; `put` never blocks."""

    def __init__(self, onward: OnOutput, *, is_kept: bool, max_bytes: int, is_hashed: bool = False) -> None:
        """Pass on to `onward`; more than `max_bytes` (negative: any) is too much."""
        self.sha256 = hashlib.sha256() if is_hashed else None
        self.kept = bytearray()
        self.error: BaseException | None = None
        self._onward = onward
        self._is_kept = is_kept
        self._max_bytes = max_bytes
        self._taken = 0
        self._passed = 0
        self._queue: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    def put(self, chunk: bytes) -> None:
        """Take one piece, which is not empty."""
        self._taken += len(chunk)
        if self.sha256 is not None:
            self.sha256.update(chunk)
        if self._is_kept and not self.is_too_much:
            self.kept += chunk
        if self._onward is ignore:
            self._passed = self._taken
            return
        if self._thread is None:
            self._thread = threading.Thread(target=self._pass_on, name="wasmgate-output", daemon=True)
            self._thread.start()
        self._queue.put(chunk)

    @property
    def is_full(self) -> bool:
        """Whether the reader is so far behind that the guest has to wait."""
        return self._taken - self._passed >= _QUEUE_BYTES

    @property
    def is_too_much(self) -> bool:
        """Whether the guest wrote more than it may; the monitor ends it before that, if it is our monitor."""
        return 0 <= self._max_bytes < self._taken

    def finish(self, abandoned: threading.Event) -> None:
        """Wait until all is passed on, or not much longer once the run is `abandoned`."""
        if self._thread is None:
            return
        self._queue.put(b"")
        while self._thread.is_alive():
            self._thread.join(_LAST_WAIT_S)
            if abandoned.is_set():
                return

    def _pass_on(self) -> None:
        while chunk := self._queue.get():
            if self.error is None:
                try:
                    self._onward(chunk)
                except BaseException as err:  # noqa: BLE001  # the supervisor ends the run and says why
                    self.error = err
            self._passed += len(chunk)
