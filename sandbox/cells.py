"""Starts cells, through a zygote that is started when the first one is needed.

What the zygote and a cell do is in `zygote.py` and `cell.py`. INVARIANT: a cell is named by a descriptor, never
by a number that another process could get: kills reach the cell that was started here or nothing.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sandbox.job import FDS, MAX_MESSAGE

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sandbox.job import Job

_START_S = 30.0  # importing the engine takes 0.3 to 0.4 s on an idle machine


class CellError(Exception):
    """A cell could not be started; ours, or the machine's."""


@dataclass(slots=True)
class Cell:
    """A running cell, as its supervisor holds it; owns the descriptors until closed."""

    pid: int  # for people; never signalled by it
    pidfd: int
    exit_fd: int  # one line of JSON when it has ended, then the end of the file

    def kill(self) -> None:
        """End it at once, whatever it is doing."""
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self.pidfd, signal.SIGKILL)

    def close(self) -> None:
        """Kill it if it is still there, and give the descriptors back."""
        if self.pidfd >= 0:
            self.kill()
            os.close(self.pidfd)
            os.close(self.exit_fd)
            self.pidfd = -1


class Cells:
    """One zygote, and the cells that it forks; thread-safe."""

    def __init__(self) -> None:
        """Start nothing yet."""
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._channel: socket.socket | None = None

    def start(self, job: Job, fds: Mapping[str, int]) -> Cell:
        """Fork a cell for `job`, with copies of `fds` (all of `FDS` but `exit`); raises CellError."""
        exit_fd, wait_fd = os.pipe()
        try:
            with self._lock:
                answer, pidfd = self._ask(job.to_json(), [*(fds[name] for name in FDS[:-1]), wait_fd])
        except OSError as err:
            os.close(exit_fd)
            self.close()
            raise CellError(f"the zygote is gone: {err}") from err
        finally:
            os.close(wait_fd)
        return Cell(pid=int(answer["pid"]), pidfd=pidfd, exit_fd=exit_fd)

    def close(self) -> None:
        """End the zygote, and with it every cell."""
        with self._lock:
            if self._channel is not None:
                self._channel.close()
            if self._process is not None:
                try:
                    self._process.wait(5)
                except subprocess.TimeoutExpired:
                    self._process.kill()
                    self._process.wait()
            self._channel = self._process = None

    def _ask(self, message: bytes, fds: list[int]) -> tuple[dict[str, int], int]:
        channel = self._ready()
        socket.send_fds(channel, [message], fds)
        text, got, _, _ = socket.recv_fds(channel, MAX_MESSAGE, 1)
        if not text or len(got) != 1:
            raise OSError("no answer")
        return json.loads(text), got[0]

    def _ready(self) -> socket.socket:
        if self._process is not None and self._process.poll() is None and self._channel is not None:
            return self._channel
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        # SECURITY: the zygote gets no environment of ours: a cell has nothing to leak that it never had
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "sandbox.zygote", str(theirs.fileno())],
            stdin=subprocess.DEVNULL,
            cwd="/",
            env={"PYTHONPATH": str(Path(__file__).resolve().parent.parent), "LC_ALL": "C.UTF-8"},
            pass_fds=(theirs.fileno(),),
            start_new_session=True,
        )
        theirs.close()
        ours.settimeout(_START_S)
        self._channel = ours
        return ours
