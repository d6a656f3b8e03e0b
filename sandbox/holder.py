"""What a supervisor needs of that in which a guest runs.

That is a process (`cells.py`) or a thread (`in_process.py`). Who watches it is `executor.py`.
Nothing here does anything.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import socket
    from collections.abc import Mapping

    from sandbox.job import Job


class Holder(Protocol):
    """A guest that was asked for, from before its job until its descriptors are given back."""

    control: socket.socket
    pidfd: int  # can be read from when the guest is over

    @property
    def is_gone(self) -> bool:
        """Whether it has ended."""
        ...

    @property
    def is_out_of_memory(self) -> bool:
        """Whether the kernel ended it for want of memory."""
        ...

    def give(self, job: Job, fds: Mapping[str, int], guest: int) -> None:
        """Have it run a job, with copies of `fds` (`WORLD`) and of the guest's artifact; CellGoneError."""

    def kill(self) -> None:
        """End it, whatever it is doing."""

    def wait(self) -> None:
        """Return when it has ended; `kill` it before."""

    def cpu_ms(self) -> int | None:
        """Processor time that it has used; None when it is gone."""

    def exit_line(self, wait_s: float) -> bytes:
        """How it ended, one line of JSON; empty when nobody can say."""
        ...

    def close(self) -> None:
        """End it if it is still there, and give the descriptors back; a second call does nothing."""
