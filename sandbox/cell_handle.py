"""A cell as its supervisor holds it: descriptors, and what can be done to a process through them.

Who forks cells is `cells.py`, what a cell does `cell.py`. INVARIANT: a cell is named by a descriptor, never
by a number that another process could get: kills reach the cell that was started here or nothing.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from sandbox.job import LONG_JOB, NETWORK, WORLD
from sandbox.shared_memory import make_readable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sandbox.confinement.cgroup import Group
    from sandbox.job import Job

_MAX_LINE = 4_096
_MAX_JOB = 32_768  # a longer job travels as a file


class CellError(Exception):
    """A cell could not be started; ours, or the machine's."""


class CellGoneError(CellError):
    """A cell ended before it was given its job."""


@dataclass(slots=True)
class Cell:
    """A cell, as its supervisor holds it; owns the descriptors until closed."""

    pid: int  # for people, and for its clock; never signalled by it
    zygote_pid: int  # for people
    pidfd: int
    exit_fd: int  # one line of JSON when it has ended, then the end of the file
    leash_fd: int  # the kernel ends the cell when this is closed, by us or with us
    control: socket.socket
    release: Callable[[], None]  # to be called once, when it is closed
    has_guest: bool
    born_s: float  # on the clock that only runs forward
    group: Group | None = None

    def give(self, job: Job, fds: Mapping[str, int], guest: int) -> None:
        """Have it run a job, with copies of `fds` and of the guest's artifact; CellGoneError."""
        if self.group is not None and job.bounds is not None and self.group.bound(job.bounds.memory_bytes):
            job = replace(job, outer=("cgroup",))
        text = job.to_json()
        sent = [*(fds[name] for name in WORLD), *(() if self.has_guest else (guest,))]
        sent += [fds[name] for name in NETWORK if job.has_network]
        with contextlib.ExitStack() as stack:
            if len(text) > _MAX_JOB:
                file = make_readable("wasmgate-job", text)
                stack.callback(os.close, file)
                sent, text = [*sent, file], LONG_JOB
            try:
                socket.send_fds(self.control, [text], sent)
            except OSError as err:
                raise CellGoneError(f"the cell is gone: {err}") from err

    def kill(self) -> None:
        """End it at once, whatever it is doing."""
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self.pidfd, signal.SIGKILL)

    def wait(self) -> None:
        """Return when it has ended; it writes nothing any more then."""
        _is_readable(self.pidfd, None)

    def cpu_ms(self) -> int | None:
        """Processor time that it has used, by the kernel's account; None when it is gone."""
        try:
            # SPEC: Linux, the clock of a process: its number, inverted, and 2 for the time it was scheduled
            used_ms = int(time.clock_gettime((~self.pid << 3) | 2) * 1_000)
        except OSError:
            return None
        # while it is there the number is its own; afterwards it may be another's
        return None if self.is_gone else used_ms

    @property
    def is_gone(self) -> bool:
        """Whether it has ended."""
        return _is_readable(self.pidfd, 0.0)

    @property
    def is_out_of_memory(self) -> bool:
        """Whether the kernel ended it for having more memory than its cgroup may."""
        return self.group is not None and self.group.is_out_of_memory

    @property
    def is_orphan(self) -> bool:
        """Whether nobody is left to say how it ends: its zygote has ended, or has said so already."""
        return _is_readable(self.exit_fd, 0.0)

    def exit_line(self, wait_s: float) -> bytes:
        """How it ended, in the zygote's words; empty when the zygote has ended, too."""
        return os.read(self.exit_fd, _MAX_LINE) if _is_readable(self.exit_fd, wait_s) else b""

    def close(self) -> None:
        """Kill it if it is still there, and give the descriptors back; a second call does nothing."""
        if self.pidfd >= 0:
            self.kill()
            for fd in (self.pidfd, self.exit_fd, self.leash_fd):
                os.close(fd)
            self.control.close()
            self.pidfd = -1
            if self.group is not None:
                self.group.close()
            self.release()


def _is_readable(fd: int, wait_s: float | None) -> bool:
    # not `select`, which knows no descriptor above 1023
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    return bool(poll.poll(None if wait_s is None else wait_s * 1_000))
