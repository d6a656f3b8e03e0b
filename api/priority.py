"""Who goes first on a busy machine: guests and their records, then those who read the log.

What the service itself reads has the priority of the service. INVARIANT: only this thread, and those that it
starts meanwhile, are asked to wait.
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

NICENESS = 19
"""Of programs that read the log: the lowest, with which a writer gets 98 % of a processor that both want."""


@contextlib.contextmanager
def giving_way() -> Iterator[None]:
    """Let others go first; for good where the system lets nobody raise a priority again."""
    before = os.getpriority(os.PRIO_PROCESS, 0)  # the kernel's way: 0 is the calling thread
    os.setpriority(os.PRIO_PROCESS, 0, max(before, NICENESS))
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, 0, before)
