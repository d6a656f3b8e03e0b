"""The zygote: a small single-threaded process that has loaded engines and forks cells.

It is started with `exec` and a clean environment, so no cell inherits what the supervisor holds in memory;
what a cell does is in `cell.py`. For each configuration that was asked for lately it has an engine with the
monitor's code in it, with which its cells are born. INVARIANT: it never compiles, never loads a guest and
runs no code of either, so it never has a second thread. When the supervisor goes away its socket closes, and
the zygote ends with all its cells; when the zygote itself is killed, cells that run go on, and end with the
supervisor at the latest.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import resource
import select
import signal
import socket
import sys
from collections import OrderedDict
from collections.abc import Mapping, Sequence

from sandbox import cell
from sandbox.confinement import process
from sandbox.engine_config import EngineConfig
from sandbox.engine_wasmtime import Artifacts, Code, HostError
from sandbox.job import CODE, CONTROL, MAX_MESSAGE, OUR_CODE, Spawn

_MOST_ENGINES = 8  # each has some megabytes of the monitor's code
_STACK_BYTES = 16 << 20  # the guest's, MAX_STACK_BYTES at most, lies on the process's own


class Zygote:
    """The loop: take jobs from the supervisor, fork, report exits."""

    def __init__(self, channel: socket.socket, walls: Sequence[str] = ()) -> None:
        """Serve `channel`, a SEQPACKET socket to the supervisor; `walls` stand around this process."""
        self._channel = channel
        self._walls = walls
        self._exits: dict[int, int] = {}
        self._codes: OrderedDict[EngineConfig, Code] = (
            OrderedDict()
        )  # the one that was asked for last is the last
        self._wake, wake = socket.socketpair()
        self._wake.setblocking(False)  # noqa: FBT003  # the name says what is set
        wake.setblocking(False)  # noqa: FBT003  # the name says what is set
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(wake.fileno(), warn_on_full_buffer=False)
        self._keep = wake

    def serve(self) -> None:
        """Work until the supervisor is gone."""
        watch = (
            select.poll()
        )  # `select` knows no descriptor above 1023, and the channel has our parent's number
        channel, wake = self._channel.fileno(), self._wake.fileno()
        for fd in (channel, wake):
            watch.register(fd, select.POLLIN)
        while True:
            ready = {fd for fd, _ in watch.poll()}
            if wake in ready:
                with contextlib.suppress(BlockingIOError):
                    self._wake.recv(4_096)
                self._reap()
            if channel in ready and not self._spawn():
                break
        for pid in self._exits:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        # nobody else would take note of their end where the first process of a container reaps no strangers
        with contextlib.suppress(ChildProcessError):
            while True:
                os.wait4(-1, 0)

    def _spawn(self) -> bool:
        message, fds, _, _ = socket.recv_fds(self._channel, MAX_MESSAGE, len(CONTROL) + len(CODE))
        if not message:
            return False
        spawn = Spawn.from_json(message)
        given: dict[str, int] = dict(zip((*CONTROL, *CODE), fds, strict=False))
        born = cell.Born(self._walls, self._code(spawn.config, given))
        pid = os.fork()
        if pid == 0:
            self._become_cell(spawn, given, born)
        pidfd = os.pidfd_open(pid)
        self._exits[pid] = given.pop("exit")
        for fd in given.values():
            os.close(fd)
        # nothing reaps between fork and here: the number is still this cell's
        with contextlib.suppress(OSError):  # the supervisor is gone: the next look at the socket says so
            socket.send_fds(self._channel, [json.dumps({"pid": pid}).encode()], [pidfd])
        os.close(pidfd)
        return True

    def _code(self, config: EngineConfig, given: Mapping[str, int]) -> Code | None:
        """Give an engine with our own modules; None where it can't be had: the cell will say why."""
        code = self._codes.get(config)
        if code is None:
            paths = {name: cell.path_of(given[name]) for name in OUR_CODE}
            with contextlib.suppress(HostError):
                code = self._codes[config] = Code.load(config, Artifacts(**paths))
                gc.freeze()
        if code is not None:
            self._codes.move_to_end(config)
        while len(self._codes) > _MOST_ENGINES:
            self._codes.popitem(last=False)
        return code

    def _become_cell(self, spawn: Spawn, given: dict[str, int], born: cell.Born) -> None:
        """Run the job in the child; never returns."""
        control = socket.socket(fileno=given.pop("control"))
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            given.pop("exit")
            cell.Cell(spawn, control, given, born).run()
        except BaseException as err:  # noqa: BLE001  # nothing may run on in a cell
            cell.lament(control, err)
        finally:
            os._exit(1)

    def _reap(self) -> None:
        while self._exits:
            pid, status, usage = os.wait4(-1, os.WNOHANG)
            if pid == 0:
                return
            fd = self._exits.pop(pid, -1)
            if fd < 0:
                continue
            line = {
                "status": os.waitstatus_to_exitcode(status),
                "cpu_ms": int((usage.ru_utime + usage.ru_stime) * 1_000),
                "rss_bytes": usage.ru_maxrss * 1_024,
            }
            with contextlib.suppress(OSError):
                os.write(fd, json.dumps(line).encode())
            os.close(fd)


def _prepare() -> None:
    """Set what all cells inherit: no core files, which would hold guests' data, and room for their stacks."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    soft, hard = resource.getrlimit(resource.RLIMIT_STACK)
    room = _STACK_BYTES if hard == resource.RLIM_INFINITY else min(_STACK_BYTES, hard)
    if soft != resource.RLIM_INFINITY and soft < room:
        resource.setrlimit(resource.RLIMIT_STACK, (room, hard))
    gc.collect()
    gc.disable()  # a cell makes next to no garbage, and a collection would copy every page it looks at
    gc.freeze()


def main() -> None:
    """Serve the socket whose descriptor is the only argument."""
    _prepare()
    # no guest has a network, so no cell needs one to lose
    walls = () if process.leave_namespaces() else ("namespaces",)
    Zygote(socket.socket(fileno=int(sys.argv[1])), walls).serve()
    os._exit(0)  # nothing here needs an orderly end, and the supervisor waits for it


if __name__ == "__main__":
    main()
