"""The supervisor's loop: watches one cell from its start to its last record.

Starting cells is `cells.py`, what the ends mean is `outcome.py`, and the order of a whole run is
`runner.py`. INVARIANT: whatever becomes of the cell, or of this loop, when `follow` returns the cell is gone,
or it has said its end, was killed, and is behind walls that leave it nothing to change; every record in the
ring can then be handed to the audit writer. It is longer than most: what is looked at in each turn of the
loop stands together.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from audit.errors import AuditError, LogFullError
from sandbox.job import GO_ON, MAX_MESSAGE, STOP, CellEnd, Request, walls_from_json
from sandbox.monitor import layout
from sandbox.outcome import CANCELLED, Signs
from sandbox.patience import PAUSE_S, Patience

if TYPE_CHECKING:
    import socket
    import threading

    from audit.writer import AuditWriter
    from sandbox.holder import Holder
    from sandbox.outlet import Outlet
    from sandbox.ring import Ring

_TICK_S = 0.005  # how stale the coarse time may be, and how late a cancellation is seen
_SYNC_S = 0.005  # how long a record may be without a sync that nobody waits for
_START_S = 60.0  # for the cell to be ready, on a loaded machine
_LEAVE_S = 5.0  # for the exit status of a cell that is gone
_CHUNK = 1 << 16
_LEFT_BYTES = 2 << 20  # more than a pipe holds
# without these two a cell could still do something between the kill and its end
_HOLDING = frozenset({"landlock", "seccomp"})
_LEFT_MESSAGES = 4_096  # more than a socket holds; a child that a cell made could go on sending


@dataclass(slots=True)
class Watch:
    """What the supervisor holds of a run."""

    cell: Holder
    control: socket.socket
    ring: Ring
    streams: tuple[
        tuple[str, int, Outlet], ...
    ]  # name of the limit, what to read (without blocking), where to
    wall_ms: int  # from the moment the guest starts; negative: unlimited
    host_calls: int  # negative: unlimited
    cpu_ms: int  # negative: unlimited
    cancelled: threading.Event  # set by whoever asked for the run, to end it
    patience: Patience  # with a full disk
    can_change: bool = True  # whether there is anything that the cell, walls standing, could change


@dataclass(slots=True)
class _Seen:
    """What has become known so far."""

    limit: str = ""
    killed_for: str = ""
    walls: tuple[str, ...] = ()  # that stand, as the cell says before its guest starts
    is_stopped: bool = False
    is_log_broken: bool = False
    has_started: bool = False
    end: CellEnd | None = None
    deadline: float = 0.0
    synced: int = 0  # so many of the records that were taken are durable
    has_intent: bool = False  # one was taken since the last sync
    waits_for: int | None = None  # what the cell asked for and the disk keeps from it
    next_tick: float = 0.0
    next_sync: float = 0.0
    next_try: float = 0.0  # of a disk that refused


@dataclass(frozen=True, slots=True)
class Ended:
    """What is known when a cell is gone."""

    signs: Signs
    cpu_ms: int
    rss_bytes: int
    failure: BaseException | None = None  # what ended the loop early: ours, or an interrupt
    walls: tuple[str, ...] = ()  # that stood around the guest, beside those that always do
    is_early: bool = False  # the cell was gone before it asked whether to start, and nobody had ended it


class Supervision:
    """One run, watched; used once."""

    def __init__(self, watch: Watch, writer: AuditWriter) -> None:
        """Watch a cell that was just started."""
        self._watch = watch
        self._writer = writer
        self._seen = _Seen(deadline=time.monotonic() + _START_S)
        self._paused: list[tuple[str, int, Outlet]] = []

    def follow(self) -> Ended:
        """Work until the cell is gone and its streams are read; never raises."""
        failure = None
        try:
            self._follow()
        except BaseException as err:  # noqa: BLE001  # the runner raises it again, once the run is on record
            failure = err
        cell = self._watch.cell
        if failure is None and self._is_over and (cpu_ms := cell.cpu_ms()) is not None:
            # a process takes milliseconds to give its memory back, for which nobody has to wait
            cell.kill()
            return self._told(0, cpu_ms, 0)
        cell.kill()
        cell.wait()
        return self._ended(failure)

    @property
    def _is_over(self) -> bool:
        """Whether nothing that the cell could still do before it is gone would matter."""
        seen, watch = self._seen, self._watch
        is_held = not watch.can_change and _HOLDING.issubset(seen.walls)
        return is_held and seen.end is not None and not seen.is_stopped

    def _follow(self) -> None:
        watch = self._watch
        watch.control.setblocking(False)  # noqa: FBT003  # the name says what is set
        is_gone = False
        with selectors.DefaultSelector() as selector:
            selector.register(watch.control, selectors.EVENT_READ, self._on_control)
            selector.register(watch.cell.pidfd, selectors.EVENT_READ, None)
            for stream in watch.streams:
                selector.register(stream[1], selectors.EVENT_READ, self._reader(stream))
            # SECURITY: after its end a cell has nothing left to do; more time would be for who took it over
            while not is_gone and self._seen.end is None:
                for key, _ in selector.select(max(0.0, self._seen.next_tick - time.monotonic())):
                    handle: Callable[[], bool] | None = key.data
                    if handle is None:
                        is_gone = True
                    elif not handle():
                        selector.unregister(key.fileobj)
                self._look_after(selector)
        for _, fd, outlet in watch.streams:
            _read_left(fd, outlet)
        for _ in range(_LEFT_MESSAGES):
            if self._seen.end is not None or not self._on_control():
                break

    def _reader(self, stream: tuple[str, int, Outlet]) -> Callable[[], bool]:
        _, fd, outlet = stream

        def read() -> bool:
            try:
                chunk = os.read(fd, _CHUNK)
            except BlockingIOError:
                return True
            if chunk:
                outlet.put(chunk)
            if outlet.is_full:
                self._paused.append(stream)
            return bool(chunk) and not outlet.is_full

        return read

    def _on_control(self) -> bool:
        """Take one message; says whether there may be more."""
        try:
            message = self._watch.control.recv(MAX_MESSAGE)
        except BlockingIOError:
            return not self._watch.cell.is_gone
        except OSError:
            return False
        if not message:
            return False
        if message[0] == Request.END:
            self._on_end(message[1:])
            return True
        if message[0] == Request.START:
            self._on_start(message[1:])
            return True
        return self._reply(message[0])

    def _reply(self, request: int) -> bool:
        """Answer a cell, or let it wait while the disk takes nothing; False when it is not there to hear."""
        try:
            answer = self._answer(request)
        except LogFullError:
            self._wait(request)
            return True
        self._seen.waits_for = None
        try:
            self._watch.control.send(bytes([answer]))
        except OSError:
            return False
        return True

    def _wait(self, request: int | None) -> None:
        """Try again later, or end the guest when it has waited for long enough."""
        seen, patience = self._seen, self._watch.patience
        patience.refused()
        if request is not None:
            seen.waits_for = request
        seen.next_try = time.monotonic() + PAUSE_S
        if patience.is_over:
            self._lose_log()

    def _on_end(self, said: bytes) -> None:
        # SECURITY: said once: the first end counts
        if self._seen.end is None:
            self._seen.end = CellEnd.from_json(said)

    def _answer(self, request: int) -> int:
        seen, ring = self._seen, self._watch.ring
        if seen.is_stopped:
            return STOP
        try:
            match request:
                case Request.FULL:
                    self._drain()
                case Request.SYNC:
                    self._sync()
                case Request.INTENT:
                    ring.drain_intent(self._writer)
                    seen.has_intent = True
                    self._sync()
                case _:
                    return STOP
        except LogFullError:
            raise
        except AuditError:
            self._lose_log()
            return STOP
        return GO_ON

    def _on_start(self, said: bytes) -> None:
        # SECURITY: said once: a cell that was taken over must not get more time, or walls, by saying it again
        seen, wall_ms = self._seen, self._watch.wall_ms
        if not seen.has_started and seen.end is None:
            seen.has_started = True
            seen.walls = walls_from_json(said)
            if not seen.is_stopped:
                seen.deadline = float("inf") if wall_ms < 0 else time.monotonic() + wall_ms / 1_000

    def _look_after(self, selector: selectors.BaseSelector) -> None:
        """Do what is due, a few hundred times a second at most."""
        now = time.monotonic()
        if now < self._seen.next_tick:
            return
        self._seen.next_tick = now + _TICK_S
        self._watch.ring.refresh()
        self._check(now)
        if not self._seen.is_log_broken and now >= self._seen.next_try:
            try:
                self._take(now)
            except LogFullError:
                self._wait(None)
            except AuditError:
                self._lose_log()
            else:
                self._resume()
        for stream in [stream for stream in self._paused if not stream[2].is_full]:
            self._paused.remove(stream)
            selector.register(stream[1], selectors.EVENT_READ, self._reader(stream))

    def _check(self, now: float) -> None:
        """End the cell if it is time, or if it does what it must not."""
        seen, watch = self._seen, self._watch
        if now >= seen.deadline and seen.end is None:
            # the wall clock reaches a guest that sleeps in a host call, which an epoch does not
            if seen.has_started:
                self._stop(limit="timeout")
            else:
                self._stop(killed_for="the cell was not ready in time")
        if watch.cancelled.is_set() and seen.end is None:
            self._stop(killed_for=CANCELLED)
        if 0 <= watch.host_calls < watch.ring.taken - 1:  # one more is on record: the call that was refused
            self._stop(limit="host_calls")
        if not watch.ring.is_sound:
            self._stop(limit="")
        for name, _, outlet in watch.streams:
            if outlet.error is not None:
                self._stop(killed_for=f"{name} could not be passed on: {outlet.error}")
            if outlet.is_too_much:
                self._stop(limit=name)

    def _take(self, now: float) -> None:
        """Take what is complete, and make it durable from time to time."""
        self._drain()
        if now >= self._seen.next_sync or self._watch.patience.is_waiting:
            self._sync()
            with contextlib.suppress(LogFullError):  # then the file that there is goes on
                self._writer.rotate_if_large()

    def _resume(self) -> None:
        """Answer what the disk kept the cell from."""
        self._watch.patience.taken()
        if self._seen.waits_for is not None:
            self._reply(self._seen.waits_for)

    def _drain(self) -> None:
        self._watch.ring.drain(self._writer)

    def _sync(self) -> None:
        """Make all that is complete durable."""
        self._drain()
        seen, taken = self._seen, self._watch.ring.taken
        if taken != seen.synced or seen.has_intent:
            self._writer.commit(self._watch.ring.exec_id)
            seen.synced, seen.has_intent = taken, False
        seen.next_sync = time.monotonic() + _SYNC_S

    def _lose_log(self) -> None:
        self._seen.is_log_broken = True
        self._stop(limit="audit")

    def _stop(self, *, limit: str = "", killed_for: str = "") -> None:
        """Kill the cell; the first reason counts."""
        seen = self._seen
        if not seen.is_stopped:
            seen.limit, seen.killed_for = limit, killed_for
        seen.is_stopped = True
        seen.deadline = float("inf")
        self._watch.cell.kill()

    def _ended(self, failure: BaseException | None) -> Ended:
        seen = self._seen
        if failure is not None and not seen.is_stopped:
            seen.killed_for = f"the supervisor was stopped: {type(failure).__name__}"
        try:
            line = json.loads(self._watch.cell.exit_line(_LEAVE_S))
            status, cpu_ms, rss_bytes = (int(line[name]) for name in ("status", "cpu_ms", "rss_bytes"))
        except (ValueError, KeyError, TypeError):  # the zygote died before it could say
            status, cpu_ms, rss_bytes = -signal.SIGKILL, 0, 0
        if status == -signal.SIGKILL and not seen.is_stopped and 0 <= self._watch.cpu_ms <= cpu_ms:
            seen.limit = "cpu"  # at the last limit, which can't be blocked, the kernel says nothing else
        if status == -signal.SIGKILL and not seen.is_stopped and self._watch.cell.is_out_of_memory:
            seen.limit = "memory"
        ended = self._told(status, cpu_ms, rss_bytes)
        is_early = not (seen.has_started or seen.is_stopped or seen.end or failure)
        return replace(ended, failure=failure, is_early=is_early)

    def _told(self, status: int, cpu_ms: int, rss_bytes: int) -> Ended:
        seen, ring = self._seen, self._watch.ring
        signs = Signs(
            limit=seen.limit,
            killed_for=seen.killed_for,
            stop=ring.word(layout.STOP),
            has_exited=ring.word(layout.EXITED) == 1,
            exit_code=ring.word(layout.EXIT_CODE),
            end=seen.end,
            status=status,
        )
        return Ended(signs, cpu_ms=cpu_ms, rss_bytes=rss_bytes, walls=seen.walls)


def _read_left(fd: int, outlet: Outlet) -> None:
    """Read what a cell that is gone left in a pipe; a child that it may have made is not waited for."""
    left = _LEFT_BYTES
    while left > 0:
        try:
            chunk = os.read(fd, _CHUNK)
        except BlockingIOError:
            return
        if not chunk:
            return
        outlet.put(chunk)
        left -= len(chunk)
