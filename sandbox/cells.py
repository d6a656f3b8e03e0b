"""Starts cells, through a zygote that is started when the first one is needed.

What the zygote and a cell do is in `zygote.py` and `cell.py`. INVARIANT: a cell is named by a descriptor,
never by a number that another process could get: kills reach the cell that was started here or nothing.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
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

_START_S = 30.0  # importing the engine takes 0.3 to 0.4 s on an idle machine
_END_S = 5.0
_MAX_LINE = 4_096


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

    def wait(self) -> None:
        """Return when it has ended; it writes nothing any more then."""
        _is_readable(self.pidfd, None)

    @property
    def is_gone(self) -> bool:
        """Whether it has ended."""
        return _is_readable(self.pidfd, 0.0)

    def exit_line(self, wait_s: float) -> bytes:
        """How it ended, in the zygote's words; empty when the zygote has ended, too."""
        return os.read(self.exit_fd, _MAX_LINE) if _is_readable(self.exit_fd, wait_s) else b""

    def close(self) -> None:
        """Kill it if it is still there, and give the descriptors back; a second call does nothing."""
        if self.pidfd >= 0:
            self.kill()
            os.close(self.pidfd)
            os.close(self.exit_fd)
            self.pidfd = -1


def _is_readable(fd: int, wait_s: float | None) -> bool:
    # not `select`, which knows no descriptor above 1023
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    return bool(poll.poll(None if wait_s is None else wait_s * 1_000))


@dataclass(frozen=True, slots=True)
class _Zygote:
    process: subprocess.Popen[bytes]
    channel: socket.socket

    def end(self) -> None:
        self.channel.close()
        try:
            self.process.wait(_END_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class Cells:
    """One zygote, and the cells that it forks; thread-safe."""

    def __init__(self, program: str = "sandbox.zygote") -> None:
        """Start nothing yet; `program` is the module that the zygote runs, another one to try the walls."""
        self._program = program
        self._lock = threading.Lock()
        self._zygote: _Zygote | None = None

    def warm(self) -> None:
        """Start the zygote if there is none; returns before it is ready."""
        with self._lock:
            self._ready()

    def start(self, fds: Mapping[str, int]) -> Cell:
        """Fork a cell, with copies of `fds` (all of `FDS` but `exit`); raises CellError.

        It does nothing for the guest before its supervisor answers it: one that is lost here ends by itself.
        """
        exit_fd, wait_fd = os.pipe()
        try:
            with self._lock:
                pid, pidfd = self._ask([*(fds[name] for name in FDS[:-1]), wait_fd])
        except (OSError, ValueError, KeyError) as err:
            os.close(exit_fd)
            raise CellError(f"the zygote is gone: {err}") from err
        finally:
            os.close(wait_fd)
        return Cell(pid=pid, pidfd=pidfd, exit_fd=exit_fd)

    def close(self) -> None:
        """End the zygote, and with it every cell."""
        with self._lock:
            self._end()

    def _end(self) -> None:
        zygote, self._zygote = self._zygote, None
        if zygote is not None:
            zygote.end()

    def _ask(self, fds: list[int]) -> tuple[int, int]:
        try:
            socket.send_fds(self._ready().channel, [b"fork"], fds)
        except OSError:
            # it died since it was last looked at, and forked nothing: another one can be asked
            self._end()
            socket.send_fds(self._ready().channel, [b"fork"], fds)
        got: list[int] = []
        try:
            text, got, _, _ = socket.recv_fds(
                self._ready().channel, MAX_MESSAGE, 1, flags=socket.MSG_CMSG_CLOEXEC
            )
            (pidfd,) = got
            return int(json.loads(text)["pid"]), pidfd
        except BaseException:
            for fd in got:
                os.close(fd)
            self._end()
            raise

    def _ready(self) -> _Zygote:
        if self._zygote is not None and self._zygote.process.poll() is None:
            return self._zygote
        self._end()
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            try:
                # SECURITY: the zygote gets no environment of ours: a cell cannot leak what it never had
                process = subprocess.Popen(
                    [sys.executable, "-P", "-m", self._program, str(theirs.fileno())],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    cwd="/",
                    env={"PYTHONPATH": str(Path(__file__).resolve().parent.parent), "LC_ALL": "C.UTF-8"},
                    pass_fds=(theirs.fileno(),),
                    start_new_session=True,
                )
            except BaseException:
                ours.close()
                raise
        ours.settimeout(_START_S)
        self._zygote = _Zygote(process, ours)
        return self._zygote
