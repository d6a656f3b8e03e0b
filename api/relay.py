"""Passes a guest's output on to a descriptor of ours, byte for byte, while somebody else watches the guest.

What the guest may write, and how much, is the plan's matter. INVARIANT: however slow the reader is, and whether
it goes away, the thread that hands output over is held up for a moment at most, so that limits stay enforced.
"""

from __future__ import annotations

import contextlib
import os
import select
import threading
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_MUCH_BYTES = 8 << 20  # behind which the guest is slowed down: its pipe fills while we wait
_HOLD_S = 0.05  # for one piece; the supervisor looks at its clocks in between


class Relay:
    """One stream; a thread of its own writes."""

    def __init__(self, fd: int) -> None:
        """Write to `fd`, which stays the caller's."""
        self._fd = fd
        self._pieces: deque[bytes] = deque()
        self._waiting = 0
        self._is_over = False
        self._is_closed = False  # the reader went away
        self.problem = ""  # why something was not written, when it is not that
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._work, name=f"wasmgate-relay-{fd}", daemon=True)
        self._thread.start()

    def __call__(self, chunk: bytes, /) -> None:
        """Take a piece; returns within a moment."""
        with self._changed:
            if self._is_closed:
                return
            self._pieces.append(chunk)
            self._waiting += len(chunk)
            self._changed.notify_all()
            if self._waiting > _MUCH_BYTES:
                self._changed.wait(_HOLD_S)

    def finish(self, is_abandoned: Callable[[], bool]) -> None:
        """Wait until all is written, or until nobody wants that any more."""
        with self._changed:
            self._is_over = True
            self._changed.notify_all()
        while self._thread.is_alive() and not is_abandoned():
            self._thread.join(_HOLD_S)

    def _work(self) -> None:
        while True:
            with self._changed:
                while not self._pieces and not self._is_over:
                    self._changed.wait()
                if not self._pieces:
                    return
                piece = self._pieces[0]
            is_open = self._write(piece)
            with self._changed:
                self._pieces.popleft()
                self._waiting -= len(piece)
                if not is_open:
                    self._is_closed = True
                    self._pieces.clear()
                    self._waiting = 0
                self._changed.notify_all()

    def _write(self, piece: bytes) -> bool:
        """Write all of it; False when that can't be done, now or later."""
        rest = memoryview(piece)
        while rest:
            try:
                rest = rest[os.write(self._fd, rest) :]
            except BlockingIOError:  # a descriptor that somebody else made non-blocking
                with contextlib.suppress(OSError):
                    select.select([], [self._fd], [], 1.0)
            except BrokenPipeError:
                return False
            except OSError as err:
                self.problem = err.strerror or str(err)
                return False
        return True
