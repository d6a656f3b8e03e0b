"""Passes a guest's output on to a descriptor of ours, byte for byte.

The queue before it, and what becomes of a slow reader, is `sandbox.outlet`. INVARIANT: a reader that goes
away, or a full disk, ends nothing but the output: the run goes on under its limits, and its record is
complete.
"""

from __future__ import annotations

import contextlib
import os
import select


class Relay:
    """One stream; called from one thread, which may be held up by the reader."""

    def __init__(self, fd: int) -> None:
        """Write to `fd`, which stays the caller's."""
        self._fd = fd
        self._is_open = True
        self.problem = ""  # why something was not written, when it is not that the reader went away

    def __call__(self, chunk: bytes, /) -> None:
        """Write a piece, all of it; nothing once that failed."""
        rest = memoryview(chunk)
        while rest and self._is_open:
            try:
                rest = rest[os.write(self._fd, rest) :]
            except BlockingIOError:  # a descriptor that somebody else made non-blocking
                with contextlib.suppress(OSError):
                    select.select([], [self._fd], [], 1.0)
            except BrokenPipeError:
                self._is_open = False
            except OSError as err:
                self._is_open = False
                self.problem = err.strerror or str(err)
