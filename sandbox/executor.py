"""The supervisor's loop: watches one cell from its start to its last record.

Starting cells is `cells.py`, what the ends mean is `outcome.py`, and the order of a whole run is `runner.py`.
INVARIANT: whatever becomes of the cell, the loop ends, and every record in the ring has then been handed to the
audit writer.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from audit.errors import AuditError
from sandbox.job import MAX_MESSAGE, CellEnd, Request
from sandbox.monitor import layout
from sandbox.outcome import Signs

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from audit.writer import AuditWriter
    from sandbox.cells import Cell
    from sandbox.ring import Ring

_TICK_S = 0.005  # how stale the coarse time and an unsynced record may be
_START_S = 60.0  # for the cell to arm its monitor, on a loaded machine
_LEAVE_S = 5.0  # for the cell to go once it said how its guest ended
_CHUNK = 1 << 16


class OnOutput(Protocol):
    """Takes what the guest wrote, as it comes; must not block for long."""

    def __call__(self, chunk: bytes, /) -> None:
        """Take one piece."""


@dataclass(slots=True)
class Watch:
    """What the supervisor holds of a run."""

    cell: Cell
    control: socket.socket
    ring: Ring
    stdout_fd: int
    stderr_fd: int
    wall_ms: int  # from the moment the guest starts; negative: unlimited
    cancelled: threading.Event  # set by whoever asked for the run, to end it
    on_stdout: OnOutput
    on_stderr: OnOutput


@dataclass(slots=True)
class _Seen:
    """What has become known so far."""

    limit: str = ""
    is_cancelled: bool = False  # it was killed because its caller wanted that
    end: CellEnd | None = None
    exit_line: bytes = b""
    armed_at: float = 0.0
    deadline: float = 0.0
    unsynced: int = 0
    open_streams: set[str] = field(default_factory=lambda: {"stdout", "stderr", "exit"})


@dataclass(frozen=True, slots=True)
class Ended:
    """What is known when a cell is gone."""

    signs: Signs
    cpu_ms: int
    rss_bytes: int


class Supervision:
    """One run, watched; used once."""

    def __init__(self, watch: Watch, writer: AuditWriter) -> None:
        """Watch a cell that was just started."""
        self._watch = watch
        self._writer = writer
        self._seen = _Seen(deadline=time.monotonic() + _START_S)

    def follow(self) -> Ended:
        """Work until the cell is gone and its streams are read; then every record has been taken."""
        watch, seen = self._watch, self._seen
        watch.control.setblocking(False)
        with selectors.DefaultSelector() as selector:
            selector.register(watch.control, selectors.EVENT_READ, self._on_control)
            for name, fd in self._streams().items():
                selector.register(fd, selectors.EVENT_READ, self._stream(name))
            while seen.open_streams:
                for key, _ in selector.select(_TICK_S):
                    handle: Callable[[], bool] = key.data
                    if not handle():
                        selector.unregister(key.fileobj)
                self._tick()
        return self._ended()

    def _streams(self) -> dict[str, int]:
        watch = self._watch
        return {"stdout": watch.stdout_fd, "stderr": watch.stderr_fd, "exit": watch.cell.exit_fd}

    def _stream(self, name: str) -> Callable[[], bool]:
        fd = self._streams()[name]
        take = {"stdout": self._watch.on_stdout, "stderr": self._watch.on_stderr, "exit": self._on_exit}[name]

        def read() -> bool:
            chunk = os.read(fd, _CHUNK)
            if chunk:
                take(chunk)
                return True
            self._seen.open_streams.discard(name)
            return False

        return read

    def _on_exit(self, chunk: bytes) -> None:
        self._seen.exit_line += chunk

    def _on_control(self) -> bool:
        try:
            message = self._watch.control.recv(MAX_MESSAGE)
        except BlockingIOError:
            return True
        except OSError:
            return False
        if not message:
            return False
        if message[0] == Request.END:
            self._seen.end = CellEnd.from_json(message[1:])
            self._seen.deadline = time.monotonic() + _LEAVE_S
            return True
        with contextlib.suppress(OSError):
            self._watch.control.send(bytes([self._answer(message[0])]))
        return True

    def _answer(self, request: int) -> int:
        seen, ring = self._seen, self._watch.ring
        try:
            match request:
                case Request.ARMED:
                    self._arm()
                case Request.FULL:
                    seen.unsynced += ring.drain(self._writer)
                case Request.SYNC:
                    self._take()
                case Request.INTENT:
                    ring.drain_intent(self._writer)
                    self._writer.commit()
                case _:
                    return 1
        except AuditError:
            self._stop("audit")
            return 1
        return 0

    def _arm(self) -> None:
        seen = self._seen
        seen.armed_at = time.monotonic()
        wall_ms = self._watch.wall_ms
        seen.deadline = float("inf") if wall_ms < 0 else seen.armed_at + wall_ms / 1_000

    def _tick(self) -> None:
        seen = self._seen
        if self._watch.cancelled.is_set() and not seen.is_cancelled and seen.end is None:
            seen.is_cancelled = not seen.limit
            self._stop("")
        if time.monotonic() >= seen.deadline:
            # the wall clock reaches a guest that sleeps in a host call, which an epoch does not
            self._stop("timeout" if seen.armed_at and seen.end is None else seen.limit)
        if seen.limit == "audit":
            return
        self._watch.ring.refresh()
        try:
            self._take()
        except AuditError:
            self._stop("audit")

    def _take(self) -> None:
        """Take what is complete, and make it durable: one sync for all that came since the last."""
        if self._watch.ring.drain(self._writer) + self._seen.unsynced:
            self._seen.unsynced = 0
            self._writer.commit()

    def _stop(self, limit: str) -> None:
        self._seen.limit = self._seen.limit or limit
        self._seen.deadline = float("inf")
        self._watch.cell.kill()

    def _ended(self) -> Ended:
        seen, ring = self._seen, self._watch.ring
        while self._on_control_left():
            pass
        try:
            line = json.loads(seen.exit_line)
        except ValueError:
            line = {"status": -9, "cpu_ms": 0, "rss_bytes": 0}
        signs = Signs(
            limit=seen.limit,
            is_cancelled=seen.is_cancelled,
            stop=ring.word(layout.STOP),
            has_exited=ring.word(layout.EXITED) == 1,
            exit_code=ring.word(layout.EXIT_CODE),
            end=seen.end,
            status=int(line["status"]),
        )
        return Ended(signs, cpu_ms=int(line["cpu_ms"]), rss_bytes=int(line["rss_bytes"]))

    def _on_control_left(self) -> bool:
        """Read a message that came with the end; says whether there may be more."""
        try:
            message = self._watch.control.recv(MAX_MESSAGE)
        except OSError:
            return False
        if message and message[0] == Request.END:
            self._seen.end = CellEnd.from_json(message[1:])
        return bool(message)
