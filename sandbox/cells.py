"""Starts cells, through a zygote that is started when the first one is needed, and keeps some ready.

What the zygote and a cell do is in `zygote.py` and `cell.py`, what a cell is to its supervisor in
`cell_handle.py`, which ones are kept ready in `spares.py`. INVARIANT: a cell runs one job, and ends with this
process at the latest.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

from sandbox.cell_handle import Cell, CellError
from sandbox.job import MAX_MESSAGE, Spawn

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sandbox.confinement.cgroup import Cgroup, Group

_START_S = 30.0  # importing the engine takes 0.3 to 0.4 s on an idle machine
_END_S = 5.0
_MAX_FORKS = 10_000  # after so many a zygote is replaced: what little it may leak is gone then
_MAX_AGE_S = 3_600.0  # as well


def _grouped(cgroup: Cgroup, pid: int) -> Group | None:
    """Give a cell that was just forked a cgroup; None where it gets none, which its receipt will say."""
    try:
        # it waits for us; and had it died, the number would be given again only after all others
        return cgroup.enter(pid)
    except OSError:
        return None


def _environment() -> dict[str, str]:
    return {
        "PYTHONPATH": str(Path(__file__).resolve().parent.parent),
        "LC_ALL": "C.UTF-8",
        "TOKIO_WORKER_THREADS": "1",  # the engine's runtime, which serves one guest that waits for it
        "MALLOC_ARENA_MAX": "1",  # its threads need no arenas of their own
    }


class Zygote:
    """A process that forks cells; it ends when it is retired and its last cell is closed."""

    def __init__(self, program: str) -> None:
        """Start it; returns before it is ready. Raises OSError."""
        self._lock = threading.Lock()
        self._born_s = time.monotonic()
        self._forks = 0
        self._cells = 0
        self._is_retired = False
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            try:
                # SECURITY: the zygote gets no environment of ours: a cell cannot leak what it never had
                self.process = subprocess.Popen(
                    [sys.executable, "-P", "-m", program, str(theirs.fileno())],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    cwd="/",
                    env=_environment(),
                    pass_fds=(theirs.fileno(),),
                    start_new_session=True,
                )
            except BaseException:
                ours.close()
                raise
        ours.settimeout(_START_S)
        self._channel = ours

    @property
    def is_fit(self) -> bool:
        """Whether it lives, and is not due to be replaced."""
        is_due = self._forks >= _MAX_FORKS or time.monotonic() - self._born_s >= _MAX_AGE_S
        return not is_due and not self._is_retired and self.process.poll() is None

    def fork(self, spawn: Spawn, code: Sequence[int], cgroup: Cgroup | None = None) -> Cell:
        """Fork a cell that loads these artifacts; raises OSError or ValueError, and is unfit then."""
        exit_fd, exit_end = os.pipe()
        leash_end, leash_fd = os.pipe()
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            with self._lock:
                pid, pidfd = self._ask(spawn, [theirs.fileno(), leash_end, exit_end, *code])
                self._forks += 1
                self._cells += 1
        except BaseException:
            os.close(exit_fd)
            os.close(leash_fd)
            ours.close()
            raise
        finally:
            theirs.close()
            os.close(exit_end)
            os.close(leash_end)
        return Cell(
            pid=pid,
            zygote_pid=self.process.pid,
            pidfd=pidfd,
            exit_fd=exit_fd,
            leash_fd=leash_fd,
            control=ours,
            release=self.release,
            has_guest=spawn.has_guest,
            born_s=time.monotonic(),
            group=None if cgroup is None else _grouped(cgroup, pid),
        )

    def _ask(self, spawn: Spawn, fds: list[int]) -> tuple[int, int]:
        if self._is_retired:  # since it was chosen; its last cell may be its end at any moment
            raise OSError("it forks no more")
        got: list[int] = []
        try:
            socket.send_fds(self._channel, [spawn.to_json()], fds)
            text, got, _, _ = socket.recv_fds(self._channel, MAX_MESSAGE, 1, flags=socket.MSG_CMSG_CLOEXEC)
            (pidfd,) = got
            return int(json.loads(text)["pid"]), pidfd
        except BaseException:
            for fd in got:
                os.close(fd)
            self._is_retired = True  # what it answers next would be the answer to this
            raise

    def release(self) -> None:
        """Count a cell that was closed."""
        with self._lock:
            self._cells -= 1
            is_over = self._is_retired and self._cells == 0
        if is_over:
            self.end()

    def retire(self) -> None:
        """Fork no more, and end when the last cell is closed."""
        with self._lock:
            self._is_retired = True
            is_over = self._cells == 0
        if is_over:
            self.end()

    def end(self) -> None:
        """End it, and with it every cell; a second call does nothing."""
        self._is_retired = True
        self._channel.close()
        try:
            self.process.wait(_END_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class Cells:
    """A zygote, its successors, and the cells that they fork; thread-safe."""

    def __init__(self, program: str = "sandbox.zygote") -> None:
        """Start nothing yet; `program` is the module that a zygote runs, another one to try the walls."""
        self._program = program
        self._cgroup: Cgroup | None = None
        self._lock = threading.Lock()
        self._zygote: Zygote | None = None
        self._former: list[Zygote] = []

    def warm(self) -> None:
        """Start the zygote if there is none; returns before it is ready."""
        with self._lock:
            self._ready()

    def bound_by(self, cgroup: Cgroup) -> None:
        """Have each cell from now on be in a cgroup of its own below this one, which stays the caller's."""
        self._cgroup = cgroup

    def start(self, spawn: Spawn, code: Sequence[int]) -> Cell:
        """Fork a cell that loads artifacts (`CODE`, as `spawn` says) and waits for a job; raises CellError.

        It does nothing for the guest before its supervisor answers it: one that is lost here ends by itself.
        """
        try:
            try:
                return self._fit().fork(spawn, code, self._cgroup)
            except (OSError, ValueError, KeyError):
                # it died since it was last looked at: another one can be asked
                return self._fit().fork(spawn, code, self._cgroup)
        except (OSError, ValueError, KeyError) as err:
            raise CellError(f"the zygote is gone: {err}") from err

    def close(self) -> None:
        """End the zygotes, and with them every cell."""
        with self._lock:
            zygotes = [*self._former, *(() if self._zygote is None else (self._zygote,))]
            self._zygote, self._former = None, []
        for zygote in zygotes:
            zygote.end()

    def _fit(self) -> Zygote:
        with self._lock:
            return self._ready()

    def _ready(self) -> Zygote:
        zygote = self._zygote
        if zygote is None or not zygote.is_fit:
            if zygote is not None:
                self._former = [one for one in self._former if one.process.poll() is None]
                self._former.append(zygote)
                zygote.retire()
            zygote = self._zygote = Zygote(self._program)
        return zygote
