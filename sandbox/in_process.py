"""Runs a guest in a thread of this very process, where its policy and the owner of the process say so.

What the thread does is what a cell does (`cell.py`), without a process of its own and without a wall of the
operating system; to its supervisor it looks like a cell (`executor.py`). A guest that computes is interrupted
by the engine; one that waits in a host call can't be ended without the process. INVARIANT: there is one such
guest at a time, and once one was left behind, no other run is begun in this process.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import threading
import time
from typing import TYPE_CHECKING, Final

from sandbox.cell_handle import CellError
from sandbox.job import CODE, NETWORK, WORLD

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from sandbox.engine_wasmtime import Machine
    from sandbox.job import Job

_GRACE_S: Final = 0.05  # for a guest that was interrupted, before it is left behind
_STDIN: Final = 0


class InProcess:
    """Where guests run in this process; thread-safe."""

    def __init__(self) -> None:
        """Take no guest yet."""
        self._lock = threading.Lock()
        self._guest: ThreadCell | None = None

    def start(self, code: Sequence[int]) -> ThreadCell:
        """Give a place for one guest, with copies of the artifacts (`CODE`); raises CellError."""
        with self._lock:
            if self._guest is not None and not self._guest.has_ended:
                was = "could not be stopped" if self._guest.is_left else "is running"
                raise CellError(f"this process holds a guest that {was}, and takes no other beside it")
            self._guest = ThreadCell(code)
            return self._guest


class ThreadCell:
    """A guest in a thread, as its supervisor holds it; owns the descriptors until closed."""

    def __init__(self, code: Sequence[int]) -> None:
        """Start nothing yet."""
        self.control, self._theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        # what a cell's `pidfd` is: it can be read from when the guest is over, or was left behind
        self.pidfd, self._over = os.pipe()
        self._lock = threading.Lock()
        self._code = tuple(os.dup(fd) for fd in code)
        self._machine: Machine | None = None
        self._thread: threading.Thread | None = None
        self._spent: Callable[[], float] | None = None
        self._cpu_s = 0.0
        self._is_over = threading.Event()
        self._is_killed = False
        self._is_closed = False
        self.is_left = False  # it goes on, and nothing but the end of the process will end it

    @property
    def has_ended(self) -> bool:
        """Whether none of its code runs any more."""
        return self._thread is None or not self._thread.is_alive()

    @property
    def is_gone(self) -> bool:
        """Whether nobody has to wait for it."""
        poll = select.poll()
        poll.register(self.pidfd, select.POLLIN)
        return bool(poll.poll(0))

    @property
    def is_out_of_memory(self) -> bool:
        """Whether the kernel ended it for want of memory: it would have ended this process."""
        return False

    def give(self, job: Job, fds: Mapping[str, int], guest: int) -> None:
        """Have it run a job, with copies of `fds` (`WORLD`); `guest` is in the code already."""
        del guest
        copies = {name: os.dup(fds[name]) for name in (*WORLD, *(NETWORK if job.has_network else ()))}
        self._thread = threading.Thread(target=self._main, args=(job, copies), name="guest", daemon=True)
        self._thread.start()

    def kill(self) -> None:
        """Have the engine end it; what waits in a host call is left behind after a moment."""
        with self._lock:
            if self._is_killed or self._is_closed:
                return
            self._is_killed = True
            machine = self._machine
        with contextlib.suppress(OSError):
            self.control.shutdown(socket.SHUT_WR)  # no answer is no
        if machine is not None:
            machine.interrupt()
        if self.has_ended:
            self._end(is_left=False)
            return
        timer = threading.Timer(_GRACE_S, self._end, kwargs={"is_left": True})
        timer.daemon = True
        timer.start()

    def wait(self) -> None:
        """Return when it has ended, or was left behind; `kill` it before."""
        poll = select.poll()
        poll.register(self.pidfd, select.POLLIN)
        poll.poll()

    def cpu_ms(self) -> int | None:
        """Processor time of its thread; None when it is gone."""
        spent = self._spent
        try:
            return None if spent is None else int(spent() * 1_000)
        except OSError:
            return None

    def exit_line(self, wait_s: float) -> bytes:
        """How it ended, in the form that a zygote has for it."""
        del wait_s
        cpu_ms = self.cpu_ms()
        line = {
            "status": -signal.SIGKILL if self._is_killed else 0,
            "cpu_ms": int(self._cpu_s * 1_000) if cpu_ms is None else cpu_ms,
            "rss_bytes": 0,  # nobody can tell whose pages they are
        }
        return json.dumps(line).encode()

    def close(self) -> None:
        """End it if it still runs, and give the descriptors back; a second call does nothing."""
        if self._is_closed:
            return
        self.kill()
        self.wait()
        with self._lock:
            self._is_closed = True
        self.control.close()
        os.close(self.pidfd)
        if self._thread is None:
            self._theirs.close()
            _close(self._code)

    def _end(self, *, is_left: bool) -> None:
        with self._lock:
            if self._over >= 0:
                os.close(self._over)
                self._over = -1
                self.is_left = is_left

    def _main(self, job: Job, fds: Mapping[str, int]) -> None:
        from sandbox import cell  # noqa: PLC0415  # brings the engine, which no other supervisor needs

        clock = time.pthread_getcpuclockid(threading.get_ident())
        self._spent = lambda: time.clock_gettime(clock)
        try:
            self._run(job, fds)
        except BaseException as err:  # noqa: BLE001  # there is nobody above who could be told
            cell.lament(self._theirs, err)
        finally:
            self._cpu_s = time.thread_time()
            self._spent = None
            self._machine = None
            self._is_over.set()
            self._theirs.close()
            _close(fds.values())
            self._end(is_left=False)

    def _run(self, job: Job, fds: Mapping[str, int]) -> None:
        from sandbox import cell  # noqa: PLC0415  # as above
        from sandbox.engine_wasmtime import Artifacts, Code, Machine  # noqa: PLC0415  # as above
        from sandbox.network.wires import Network  # noqa: PLC0415  # as above
        from sandbox.preopens import held  # noqa: PLC0415  # as above

        control = self._theirs
        try:
            paths = {name: _path(fd) for name, fd in zip(CODE, self._code, strict=True)}
            machine = Machine(Code.load(job.config, Artifacts(**paths)))
        finally:
            _close(self._code)
        with held(job.world.preopens) as (preopens, _):
            cell.begin(machine, job, preopens, (_path(fds["stdout"]), _path(fds["stderr"])))

        def start() -> None:
            with self._lock:
                self._machine = machine
                is_killed = self._is_killed
            if is_killed:
                raise CellError("the run was ended before its guest began")
            cell.say_start(control, job, ())
            self._watch_cpu(machine, job.cpu_ms)

        network = Network.of({name: os.dup(fds[name]) for name in NETWORK if name in fds})
        with _standard_input(fds["stdin"], is_given=job.world.has_stdin):
            cell.perform(
                machine,
                job,
                cell.Wires(control, fds["ring"], fds["tables"], start, network, time.thread_time),
            )

    def _watch_cpu(self, machine: Machine, cpu_ms: int) -> None:
        """End the guest when its thread has used this much CPU time from now on."""
        spent = self._spent
        if cpu_ms < 0 or spent is None:
            return

        def watch(until: float) -> None:
            with contextlib.suppress(OSError):  # the clock of a thread that has ended
                while (left := until - spent()) > 0:
                    if self._is_over.wait(max(left, 0.001)):
                        return
                machine.interrupt()

        args = (spent() + cpu_ms / 1_000,)
        threading.Thread(target=watch, args=args, name="guest-clock", daemon=True).start()


@contextlib.contextmanager
def _standard_input(fd: int, *, is_given: bool) -> Iterator[None]:
    """Make `fd` this process's standard input, which is what the engine gives to a guest."""
    if not is_given:
        yield
        return
    try:
        before = os.dup(_STDIN)
    except OSError:
        before = -1  # there was none
    os.dup2(fd, _STDIN, inheritable=False)
    try:
        yield
    finally:
        if before >= 0:
            os.dup2(before, _STDIN)
            os.close(before)
        else:
            os.close(_STDIN)


def _path(fd: int) -> str:
    return f"/proc/self/fd/{fd}"


def _close(fds: Iterable[int]) -> None:
    for fd in fds:
        os.close(fd)
